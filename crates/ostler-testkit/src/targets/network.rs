//! Addresses of a lab, and the commands of ip(8) that make its network.
//!
//! A lab's network namespace is the targets' gateway, their neighbours and the rest of the internet at once. The test process
//! is a neighbour too, by one end of a pair of devices. The way out, for packages, is slirp4netns: it needs no forwarding,
//! no NAT and no firewall rule on this machine, and hands DNS queries to this machine's own resolver.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Input for ip(8): how a target is connected. All but `inside` runs in the lab's network namespace.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    /// Takes away what an earlier boot has left; lines may fail.
    pub unplug: String,
    /// Run at each boot: the devices.
    pub outside: String,
    /// Run at each boot of a target that is not cut off.
    pub plug: String,
    /// Run at each boot in the target's network namespace.
    pub inside: String,
}

/// The gateway.
pub(super) const GATEWAY: u8 = 1;
/// This machine.
pub(super) const HOST: u8 = 2;
/// Whom connections from the LAN come from.
pub(super) const NEIGHBOUR: u8 = 9;
/// The first target.
pub(super) const FIRST: u8 = 11;

/// slirp4netns(1) answers DNS here.
pub(super) const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// Addresses of the lab with this number, 1 to 249.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network(pub u8);

impl Network {
    pub fn lan(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.0, host)
    }

    pub fn public_v6(self, host: u8) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, self.0.into(), 0, 0, 0, 0, host.into())
    }

    pub fn ula(self, host: u8) -> Ipv6Addr {
        Ipv6Addr::new(0xfd13, 0, self.0.into(), 0, 0, 0, 0, host.into())
    }

    pub fn host(self) -> Ipv4Addr {
        self.lan(HOST)
    }

    pub(super) fn mac(self, host: u8) -> String {
        format!("02:00:5e:13:{:02x}:{host:02x}", self.0)
    }

    /// Run on this machine: its end of the pair. `namespaces` is a process in the lab's network namespace.
    pub fn on_host(self, namespaces: u32) -> String {
        format!(
            "link add ot{n} type veth peer name host netns {namespaces}\naddress add {host}/24 dev ot{n}\nlink set ot{n} up\n",
            n = self.0,
            host = self.host(),
        )
    }

    /// Arguments of ip(8) on this machine: its end's address on the internet.
    pub fn on_host_v6(self) -> [String; 6] {
        let address = format!("{}/64", self.public_v6(HOST));
        ["address", "add", &address, "dev", &format!("ot{}", self.0), "nodad"].map(str::to_owned)
    }

    /// Run in the lab's network namespace.
    pub fn in_lab(self) -> String {
        let mut batch =
            "link set lo up\nlink add lan type bridge\nlink set host up master lan\nlink set lan up\n".to_owned();
        for host in [GATEWAY, NEIGHBOUR] {
            batch += &format!(
                "address add {}/24 dev lan\naddress add {}/64 dev lan nodad\naddress add {}/64 dev lan nodad\n",
                self.lan(host),
                self.public_v6(host),
                self.ula(host),
            );
        }
        // Every address of these networks is the lab's own.
        batch += "route add local 198.51.100.0/24 dev lo\nroute add local 2001:db8:ffff::/48 dev lo\n";
        // There is no IPv6 beyond; say so, rather than let programs wait.
        batch + "route add unreachable ::/0 metric 4096\n"
    }

    /// How a target is connected: by a pair of devices to the bridge.
    pub fn links(self, host: u8) -> Links {
        let mac = self.mac(host);
        let (lan, public, ula) = (self.lan(host), self.public_v6(host), self.ula(host));
        let mut outside =
            format!("link add t{host} type veth peer name host0 address {mac} netns t{host}\nlink set t{host} up\n");
        for address in [lan.to_string(), public.to_string(), ula.to_string()] {
            outside += &format!("neighbour replace {address} lladdr {mac} dev lan nud permanent\n");
        }
        let inside = format!(
            "link set lo up\naddress add {lan}/24 dev host0\naddress add {public}/64 dev host0 nodad\n\
             address add {ula}/64 dev host0 nodad\nlink set host0 up\nroute add default via {}\nroute add default via {}\n",
            self.lan(GATEWAY),
            self.public_v6(GATEWAY),
        );
        Links {
            unplug: format!("link delete t{host}\n"),
            outside,
            plug: format!("link set t{host} master lan\n"),
            inside,
        }
    }
}
