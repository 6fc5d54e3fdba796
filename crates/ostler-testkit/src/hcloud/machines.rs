//! Where servers become machines. The fake tells this seam what to do; what is behind it may be records, or real machines.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener},
    ops::RangeInclusive,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A server as a machine: what it takes to make it and to answer its questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Id of the server.
    pub id: u64,
    /// Its host name.
    pub name: String,
    /// Name of the image, such as `debian-13`; the id of a snapshot.
    pub image: String,
    /// Cores.
    pub cores: u64,
    /// Memory in GB.
    pub memory: u64,
    /// Disk in GB.
    pub disk: u64,
    /// Its public IPv4 address, if it has one.
    pub ipv4: Option<String>,
    /// Its public IPv6 network, such as `2001:db8:1::/64`, if it has one; the machine has `::1` in it.
    pub ipv6: Option<String>,
    /// What cloud-init gets.
    pub user_data: String,
    /// Keys of `root`.
    pub public_keys: Vec<String>,
    /// Password of `root` that has to be changed at the first login, where there are no keys.
    pub root_password: Option<String>,
    /// Where its metadata service answers, instead of `http://169.254.169.254/hetzner/v1`.
    pub metadata_url: String,
}

/// What a machine is attached to, which may change at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachments {
    /// Its public IPv4 address. The API only changes it while the machine is off.
    pub ipv4: Option<Ipv4Addr>,
    /// Its public IPv6 network, likewise.
    pub ipv6: Option<Ipv6Net>,
    /// Its cards in private networks.
    pub networks: Vec<PrivateCard>,
    /// Rules of all firewalls that are applied to it; `None` where there is no firewall, which lets everything pass. They are for the
    /// public network only.
    pub firewall: Option<Vec<FirewallRule>>,
    /// Its volumes: how many GB each has, by its id.
    pub volumes: BTreeMap<u64, u64>,
}

/// A network card in a private network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateCard {
    /// Id of the network.
    pub network: u64,
    /// Its address there.
    pub address: Ipv4Addr,
    /// Addresses of the whole network.
    pub range: Ipv4Net,
    /// Its MAC address.
    pub mac: String,
}

/// What a firewall lets pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallRule {
    /// Into the machine, or out of it.
    pub inbound: bool,
    /// `tcp`, `udp`, `icmp` (of both families), `esp` or `gre`.
    pub protocol: String,
    /// Ports of the receiver; only for TCP and UDP.
    pub ports: Option<RangeInclusive<u16>>,
    /// Who sends it, or who receives it.
    pub peers: Vec<IpNet>,
}

/// What is done with a machine's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Switched on.
    On,
    /// Cut.
    Off,
    /// The power button: the machine may go off, now, later or never.
    Button,
    /// Ctrl-Alt-Delete: the machine may reboot, now, later or never.
    Reboot,
    /// The reset button.
    Reset,
}

/// What stands behind the servers. Methods are called while the fake's state is locked: they must return soon, and not ask the fake.
/// An error ends the action with these words.
pub trait Machines: Debug + Send + Sync {
    /// Makes a machine's disk from its image. It is off then. For an id that is there already, a rebuild: the old disk is lost.
    fn create(&self, machine: &Machine) -> Result<(), String>;
    /// Uses the power of one.
    fn power(&self, id: u64, power: Power) -> Result<(), String>;
    /// Tells what one is attached to. Called often, also where nothing has changed, and for machines that are not there yet.
    fn attach(&self, _id: u64, _attachments: &Attachments) {}
    /// Whether one runs; one that switched itself off does not.
    fn runs(&self, id: u64) -> bool;
    /// Removes one with its disk, whatever it does.
    fn delete(&self, id: u64);
    /// Removes what is on a volume.
    fn delete_volume(&self, _id: u64) {}
    /// Where a VNC client finds its console.
    fn console(&self, id: u64) -> String {
        format!("wss://127.0.0.1:1/?server_id={id}")
    }
    /// A socket in the machines' network at which they ask for their metadata, if there is one.
    fn metadata_listener(&self) -> Option<TcpListener> {
        None
    }
    /// The machine that asks there from this address.
    fn asks_from(&self, _address: IpAddr) -> Option<u64> {
        None
    }
    /// The address of a number from 1 up; by default one of those that are set aside for benchmarks.
    fn ipv4(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number)
    }
    /// The /64 of a number from 1 up; by default one of those that are set aside for documentation.
    fn ipv6(&self, number: u32) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0)) + (u128::from(number) << 64))
    }
}

/// Machines that are records: they boot at once, and the power button switches them off unless they are deaf to it.
#[derive(Debug, Default)]
pub struct Records(Mutex<Recorded>);

#[derive(Debug, Default)]
struct Recorded {
    machines: BTreeMap<u64, (Machine, bool)>,
    deaf: BTreeSet<u64>,
}

impl Records {
    /// The machine of a server, as it was made or rebuilt last.
    pub fn machine(&self, id: u64) -> Option<Machine> {
        self.lock().machines.get(&id).map(|(machine, _)| machine.clone())
    }

    /// Ids of all that have a disk.
    pub fn ids(&self) -> Vec<u64> {
        self.lock().machines.keys().copied().collect()
    }

    /// From now on one does not heed the power button.
    pub fn make_deaf(&self, id: u64) {
        self.lock().deaf.insert(id);
    }

    /// One switches itself off.
    pub fn halt(&self, id: u64) {
        if let Some((_, runs)) = self.lock().machines.get_mut(&id) {
            *runs = false;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machines for Records {
    fn create(&self, machine: &Machine) -> Result<(), String> {
        self.lock().machines.insert(machine.id, (machine.clone(), false));
        Ok(())
    }

    fn power(&self, id: u64, power: Power) -> Result<(), String> {
        let mut recorded = self.lock();
        let deaf = recorded.deaf.contains(&id);
        let (_, runs) = recorded.machines.get_mut(&id).ok_or("there is no such machine")?;
        match power {
            Power::On => *runs = true,
            Power::Off => *runs = false,
            Power::Button => *runs &= deaf,
            Power::Reboot | Power::Reset => {}
        }
        Ok(())
    }

    fn runs(&self, id: u64) -> bool {
        self.lock().machines.get(&id).is_some_and(|(_, runs)| *runs)
    }

    fn delete(&self, id: u64) {
        self.lock().machines.remove(&id);
    }
}
