//! The network of a cloud in a lab: public addresses that are routed to each target, private networks, and firewalls outside the targets.
//!
//! As at Hetzner, a server's IPv4 address is a /32 whose gateway is 172.31.1.1, and its IPv6 network's gateway is `fe80::1`. The lab is
//! both gateways, so that what a server gets and sends passes the lab's nftables. The test process has a route to all of them.

use super::{
    feed,
    lab::Lab,
    network::{GATEWAY, Links, Network},
    succeed,
};
use ipnet::{Ipv4Net, Ipv6Net};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::{Command, Stdio},
};

/// Where metadata services answer.
pub(crate) const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Addresses of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub ipv4: Option<Ipv4Addr>,
    /// The target has the first address in it.
    pub ipv6: Option<Ipv6Net>,
    /// Its network cards in private networks, by their number from 0 up.
    pub private: BTreeMap<u8, PrivateNic>,
}

/// A network card in a private network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PrivateNic {
    /// Number of the network.
    pub network: u64,
    pub address: Ipv4Addr,
    /// Of the whole network.
    pub range: Ipv4Net,
    pub mac: String,
}

impl Network {
    /// The public IPv4 address of a number from 1 up; they come again after 254. All are in a network set aside for benchmarks.
    fn cloud_ipv4(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.0, ((number - 1) % 254 + 1) as u8)
    }

    /// The public IPv6 network of a number from 1 up.
    fn cloud_ipv6(self, number: u32) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, self.0.into(), number as u16, 0, 0, 0, 0)
    }

    /// The address by which a target without a public IPv4 address asks for its metadata.
    fn link_local(self, target: u8) -> Ipv4Addr {
        Ipv4Addr::new(169, 254, target, 2)
    }

    fn cloud_links(self, target: u8, addresses: &Addresses) -> Links {
        let mac = self.mac(target);
        let device = format!("t{target}");
        let ipv4 = addresses.ipv4.unwrap_or_else(|| self.link_local(target));
        let mut unplug = format!("link delete {device}\n");
        let mut outside = format!(
            "link add {device} type veth peer name eth0 address {mac} netns {device}\nlink set {device} up\n\
             address add 172.31.1.1/32 dev {device}\naddress add fe80::1/64 dev {device} nodad\n"
        );
        let mut plug = format!("route add {ipv4} dev {device}\nneighbour replace {ipv4} lladdr {mac} dev {device}\n");
        let mut inside = format!(
            "link set lo up\nlink set eth0 up\naddress add {ipv4}/32 dev eth0\nroute add 172.31.1.1 dev eth0\n\
             route add {to} via 172.31.1.1\n",
            to = if addresses.ipv4.is_some() { "default".to_owned() } else { METADATA.to_string() },
        );
        if let Some(network) = addresses.ipv6 {
            let address = first(network);
            plug +=
                &format!("route add {network} dev {device}\nneighbour replace {address} lladdr {mac} dev {device}\n");
            inside += &format!("address add {address}/64 dev eth0 nodad\nroute add default via fe80::1 dev eth0\n");
        }
        for (card, nic) in &addresses.private {
            unplug += &unplug_card(target, *card);
            outside += &card_outside(target, *card, nic);
            inside += &card_inside(*card, nic);
        }
        Links { unplug, outside, plug, inside }
    }
}

/// The address of a server in its IPv6 network.
fn first(network: Ipv6Net) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(network.network()) + 1)
}

fn card_outside(target: u8, card: u8, nic: &PrivateNic) -> String {
    format!(
        "link add p{target}x{card} type veth peer name enp{slot}s0 address {mac} netns t{target}\n\
         link set p{target}x{card} up master n{network}\n",
        slot = card + 7,
        mac = nic.mac,
        network = nic.network,
    )
}

fn card_inside(card: u8, nic: &PrivateNic) -> String {
    let (slot, length) = (card + 7, nic.range.prefix_len());
    format!("address add {}/{length} dev enp{slot}s0\nlink set enp{slot}s0 mtu 1450 up\n", nic.address)
}

fn unplug_card(target: u8, card: u8) -> String {
    format!("link delete p{target}x{card}\n")
}

impl Lab {
    /// Makes the network of a cloud: once for a lab.
    pub(crate) fn open_cloud(&self) {
        let network = self.network();
        let (all_v4, all_v6) = (format!("198.18.{}.0/24", network.0), format!("2001:db8:{:x}::/48", network.0));
        let (device, gateway) = (format!("ot{}", network.0), network.lan(GATEWAY).to_string());
        succeed(Command::new("ip").args(["route", "add", &all_v4, "via", &gateway, "dev", &device]));
        let gateway = network.public_v6(GATEWAY).to_string();
        let mut route_v6 = Command::new("ip");
        route_v6.args(["-6", "route", "add", &all_v6, "via", &gateway, "dev", &device]).stderr(Stdio::null());
        // Not where this machine has no IPv6.
        let _ = route_v6.status();
        // Whatever is sent to a server that is off, or to none, is lost without an answer.
        let batch = format!(
            "link add off type veth peer name void\nlink set void up\nlink set off up arp off\n\
             route add {all_v4} dev off\nroute add {all_v6} dev off\naddress add {METADATA}/32 dev lo\n"
        );
        feed(self.command("ip").args(["-batch", "-"]), &batch);
    }

    /// The public IPv4 address of a number from 1 up.
    pub(crate) fn cloud_ipv4(&self, number: u32) -> Ipv4Addr {
        self.network().cloud_ipv4(number)
    }

    /// The public IPv6 network of a number from 1 up.
    pub(crate) fn cloud_ipv6(&self, number: u32) -> Ipv6Addr {
        self.network().cloud_ipv6(number)
    }

    /// How a target is connected that has these addresses.
    pub(crate) fn cloud_links(&self, target: u8, addresses: &Addresses) -> Links {
        self.network().cloud_links(target, addresses)
    }

    /// Whether what comes from an address comes from this target, which has these addresses.
    pub(crate) fn is_from(&self, target: u8, addresses: &Addresses, from: IpAddr) -> bool {
        from == addresses.ipv4.unwrap_or_else(|| self.network().link_local(target))
            || addresses.private.values().any(|nic| from == nic.address)
    }

    /// There is a private network.
    pub(crate) fn private_network(&self, network: u64) {
        let batch = format!("link add n{network} type bridge\nlink set n{network} up\n");
        // It may be there.
        self.try_ip(&["-force"], &batch);
    }

    /// Takes a private network away, if it is there.
    pub(crate) fn remove_private_network(&self, network: u64) {
        self.try_ip(&[], &format!("link delete n{network}\n"));
    }

    /// Puts a card into a running target.
    pub(crate) fn plug_card(&self, target: u8, card: u8, nic: &PrivateNic) {
        feed(self.command("ip").args(["-batch", "-"]), &card_outside(target, card, nic));
        feed(self.command("ip").args(["-n", &format!("t{target}"), "-batch", "-"]), &card_inside(card, nic));
    }

    /// Takes a card out of a target, if it is there.
    pub(crate) fn unplug_card(&self, target: u8, card: u8) {
        self.try_ip(&[], &unplug_card(target, card));
    }

    /// What comes to a target from its public network, and what it sends there, passes these rules from now on: nftables chains of this
    /// table, at hooks where a target's device is known. Without any, everything passes.
    pub(crate) fn filter(&self, target: u8, rules: Option<&FilterRules>) {
        let mut script = format!("table inet t{target}\ndelete table inet t{target}\n");
        if let Some(FilterRules { inbound, outbound }) = rules {
            let neighbours =
                "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept";
            script += &format!("table inet t{target} {{\n");
            for (name, hook, device, rules) in
                [("inbound", "postrouting", "oifname", inbound), ("outbound", "prerouting", "iifname", outbound)]
            {
                let Some(rules) = rules else { continue };
                script += &format!(
                    "chain {name} {{\ntype filter hook {hook} priority filter; policy accept;\n{device} != \"t{target}\" accept\n\
                     ct state established,related accept\n{neighbours}\nip daddr {METADATA} accept\n{rules}drop\n}}\n"
                );
            }
            script += "}\n";
        }
        feed(self.command("nft").args(["-f", "-"]), &script);
    }

    /// What there is in the lab, for people: devices, namespaces, rules, mounts, files, cgroups and processes.
    pub(crate) fn traces(&self) -> Vec<String> {
        let script = r#"ip -o link show | sed 's/^[0-9]*: //; s/[:@].*//'; ip netns list; nft list tables; cut -d' ' -f2 /proc/self/mounts | grep -vx /run/netns
            ls -d "$1"/*; ls -d /sys/fs/cgroup/"$2"-* /sys/fs/cgroup/*/"$2"-*; ps -eo args | grep -v 'ps -eo args\|sh -c'"#;
        let mut command = self.command("sh");
        command.args(["-c", script, "sh"]).arg(self.folder()).arg(format!("ot{}", self.network().0));
        let output = command.output().expect("nsenter runs");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// ip(8), whose lines may fail.
    fn try_ip(&self, options: &[&str], batch: &str) {
        let mut command = self.command("ip");
        command.args(options).args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("nsenter runs");
        let _ = std::io::Write::write_all(&mut child.stdin.take().expect("it is piped"), batch.as_bytes());
        let _ = child.wait();
    }
}

/// Lines of nft(8) that accept; what none of them accepts is dropped. `None`: everything passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FilterRules {
    pub inbound: Option<String>,
    pub outbound: Option<String>,
}
