//! Servers that are real: Debian 13 in systemd-nspawn, in a lab of [`crate::targets`].
//!
//! Each has the addresses that the API shows, and real cloud-init, which gets what the API was told from the fake's metadata service.
//! The lab's nftables do what the firewalls say. A volume is a loop device over a sparse file. Cores, memory and disk are numbers, and the
//! architecture is this machine's.

use super::machines::{Attachments, FirewallRule, Machine, Machines, Power, PrivateCard};
use crate::{
    environment::Finished,
    targets::{
        Lab, Target, TargetOptions,
        cloud::{Addresses, FilterRules, METADATA, PrivateNic},
    },
};
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The one image that can boot.
const IMAGE: &str = "debian-13";
/// What that image has besides what every target has.
const PACKAGES: [&str; 5] = ["cloud-init", "curl", "e2fsprogs", "nftables", "sudo"];

/// A lab with a machine for each server.
#[derive(Debug)]
pub struct TargetMachines {
    lab: Lab,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    made: BTreeMap<u64, Made>,
    /// Names of servers that never boot.
    dead: BTreeSet<String>,
    /// Programs that the image has, by their paths.
    programs: BTreeMap<String, String>,
    /// Images that Docker has there as soon as it runs.
    images: Vec<DockerImage>,
}

#[derive(Debug)]
struct DockerImage {
    name: String,
    archive: PathBuf,
    import: String,
}

#[derive(Debug)]
struct Made {
    name: String,
    /// Number of the target.
    number: u8,
    target: Arc<Target>,
    attachments: Attachments,
    addresses: Addresses,
    /// It is switched on and does nothing.
    hangs: bool,
}

impl TargetMachines {
    /// A lab without machines yet. `None` where there can be no targets, like [`Lab::start`].
    ///
    /// # Panics
    /// Likewise.
    pub fn start() -> Option<Arc<Self>> {
        let lab = Lab::start()?;
        lab.open_cloud();
        // So that the first server does not have to wait for it.
        lab.base(&PACKAGES.map(str::to_owned));
        Some(Arc::new(Self { lab, inner: Mutex::default() }))
    }

    /// The lab, for connections from all over the world.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// From now on a server of this name is switched on and never boots.
    pub fn never_boots(&self, name: &str) {
        self.lock().dead.insert(name.to_owned());
    }

    /// Takes that back, for its next start.
    pub fn boots(&self, name: &str) {
        self.lock().dead.remove(name);
    }

    /// Each server that is made from now on has this script at this absolute path.
    pub fn add_program(&self, path: &str, text: &str) {
        self.lock().programs.insert(path.to_owned(), text.to_owned());
    }

    /// On each server that is made from now on, Docker has this image before anybody can ask it for that: in place of a registry, which can't
    /// be reached. `import` makes it out of the archive on its standard input.
    pub fn add_docker_image(&self, name: &str, archive: &Path, import: &str) {
        let image = DockerImage { name: name.to_owned(), archive: archive.to_owned(), import: import.to_owned() };
        self.lock().images.push(image);
    }

    /// Runs a shell command line as root on a server, without SSH, to its end.
    ///
    /// # Panics
    /// If it is not booted.
    #[track_caller]
    pub fn exec(&self, server: &str, script: &str) -> Finished {
        // The machine may ask for its metadata meanwhile.
        let target = self.lock().named(server);
        target.exec(script)
    }

    /// What the console of a server says.
    ///
    /// # Panics
    /// If there is no such server.
    #[track_caller]
    pub fn console_of(&self, server: &str) -> String {
        self.lock().named(server).console()
    }

    /// What there is of machines in the lab, for people: processes, mounts, devices, rules and files.
    pub fn traces(&self) -> Vec<String> {
        self.lab.traces()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, inner: &Inner, made: Made) {
        self.lab.filter(made.number, None);
        let networks = made.networks();
        made.target.disks(&self.lab, &made.attachments.volumes, &BTreeMap::new());
        made.target.erase();
        self.sweep(inner, &networks);
    }

    /// Removes those of some private networks that nobody is in any more.
    fn sweep(&self, inner: &Inner, networks: &BTreeSet<u64>) {
        let used: BTreeSet<u64> = inner.made.values().flat_map(Made::networks).collect();
        networks.difference(&used).for_each(|network| self.lab.remove_private_network(*network));
    }

    /// Moves the target of a machine to where it is attached.
    fn connect(&self, made: &mut Made, attachments: &Attachments) {
        if made.attachments.firewall != attachments.firewall {
            self.lab.filter(made.number, attachments.firewall.as_deref().map(filter_rules).as_ref());
        }
        let mut addresses =
            Addresses { ipv4: attachments.ipv4, ipv6: attachments.ipv6, private: made.addresses.private.clone() };
        let wanted: Vec<PrivateNic> = attachments.networks.iter().map(private_nic).collect();
        let gone: Vec<u8> =
            addresses.private.iter().filter(|(_, nic)| !wanted.contains(nic)).map(|(card, _)| *card).collect();
        for card in gone {
            self.lab.unplug_card(made.number, card);
            addresses.private.remove(&card);
        }
        for nic in wanted {
            if addresses.private.values().any(|there| *there == nic) {
                continue;
            }
            self.lab.private_network(nic.network);
            let card = (0..).find(|card| !addresses.private.contains_key(card)).expect("a number");
            if made.target.is_on() {
                self.lab.plug_card(made.number, card, &nic);
            }
            addresses.private.insert(card, nic);
        }
        if made.attachments.volumes != attachments.volumes {
            made.target.disks(&self.lab, &made.attachments.volumes, &attachments.volumes);
        }
        if addresses != made.addresses {
            made.target.reconnect(&self.lab.cloud_links(made.number, &addresses));
        }
        made.attachments = attachments.clone();
        made.addresses = addresses;
    }
}

impl Made {
    /// Private networks that it is in.
    fn networks(&self) -> BTreeSet<u64> {
        self.addresses.private.values().map(|nic| nic.network).collect()
    }
}

fn private_nic(card: &PrivateCard) -> PrivateNic {
    PrivateNic { network: card.network, address: card.address, range: card.range, mac: card.mac.clone() }
}

/// What a firewall does with a direction that no rule is for: nothing comes in, and everything goes out.
fn filter_rules(rules: &[FirewallRule]) -> FilterRules {
    let lines = |inbound| -> String { rules.iter().filter(|rule| rule.inbound == inbound).map(filter_lines).collect() };
    FilterRules { inbound: Some(lines(true)), outbound: Some(lines(false)).filter(|lines| !lines.is_empty()) }
}

fn filter_lines(rule: &FirewallRule) -> String {
    let what = match (rule.protocol.as_str(), &rule.ports) {
        ("icmp", _) => "meta l4proto { icmp, ipv6-icmp }".to_owned(),
        (protocol, Some(ports)) => format!("{protocol} dport {}-{}", ports.start(), ports.end()),
        (protocol, None) => format!("meta l4proto {protocol}"),
    };
    let side = if rule.inbound { "saddr" } else { "daddr" };
    let line =
        |peer: &IpNet| format!("{} {side} {peer} {what} accept\n", if peer.addr().is_ipv4() { "ip" } else { "ip6" });
    rule.peers.iter().map(line).collect()
}

impl Inner {
    #[track_caller]
    fn named(&self, name: &str) -> Arc<Target> {
        let made = self.made.values().find(|made| made.name == name);
        Arc::clone(&made.unwrap_or_else(|| panic!("there is no server {name}")).target)
    }
}

impl Machines for TargetMachines {
    fn create(&self, machine: &Machine) -> Result<(), String> {
        if machine.image != IMAGE {
            return Err(format!("only {IMAGE} can boot here, not {}", machine.image));
        }
        let mut inner = self.lock();
        let attachments = match inner.made.remove(&machine.id) {
            Some(old) => {
                let attachments = old.attachments.clone();
                self.remove(&inner, old);
                attachments
            }
            None => Attachments {
                ipv4: machine.ipv4.as_ref().and_then(|ip| ip.parse().ok()),
                ipv6: machine.ipv6.as_ref().and_then(|ip| ip.parse().ok()),
                ..Attachments::default()
            },
        };
        let addresses = Addresses { ipv4: attachments.ipv4, ipv6: attachments.ipv6, private: BTreeMap::new() };
        let number = self.lab.take_number();
        let links = self.lab.cloud_links(number, &addresses);
        let mut options = TargetOptions::new(&machine.name).docker().cloud(links, include_str!("image.sh"));
        for package in PACKAGES {
            options = options.package(package);
        }
        let target = Arc::new(Target::make(self.lab.clone(), number, options));
        inner.programs.iter().for_each(|(path, text)| target.add_program(path, text));
        for (number, DockerImage { name, archive, import }) in inner.images.iter().enumerate() {
            let place = format!("/var/lib/docker-images/{number}");
            target.add_file(&format!("{place}.tar"), archive);
            let has = format!("docker image inspect {name} >/dev/null 2>&1");
            target.add_program(&place, &format!("#!/bin/sh\n{has} || {import} <{place}.tar\n"));
            let unit = format!("[Service]\nExecStartPost={place}\n");
            target.add_program(&format!("/etc/systemd/system/docker.service.d/image-{number}.conf"), &unit);
        }
        let bare =
            Attachments { networks: Vec::new(), firewall: None, volumes: BTreeMap::new(), ..attachments.clone() };
        let name = machine.name.clone();
        let mut made = Made { name, number, target, attachments: bare, addresses, hangs: false };
        self.connect(&mut made, &attachments);
        inner.made.insert(machine.id, made);
        Ok(())
    }

    fn power(&self, id: u64, power: Power) -> Result<(), String> {
        let mut inner = self.lock();
        let Inner { made, dead, .. } = &mut *inner;
        let made = made.get_mut(&id).ok_or_else(|| format!("server {id} has no machine"))?;
        let dead = dead.contains(&made.name);
        match power {
            Power::Button => made.target.signal("RTMIN+4"),
            Power::Reboot => made.target.signal("INT"),
            Power::Off => {
                made.hangs = false;
                made.target.kill();
            }
            Power::On if made.hangs || made.target.is_on() => {}
            Power::On | Power::Reset => {
                made.target.kill();
                made.hangs = dead;
                if !dead {
                    made.target.power_on();
                }
            }
        }
        Ok(())
    }

    fn attach(&self, id: u64, attachments: &Attachments) {
        let mut inner = self.lock();
        if let Some(made) = inner.made.get_mut(&id)
            && made.attachments != *attachments
        {
            let before = made.networks();
            self.connect(made, attachments);
            self.sweep(&inner, &before);
        }
    }

    fn runs(&self, id: u64) -> bool {
        self.lock().made.get(&id).is_some_and(|made| made.hangs || made.target.is_on())
    }

    fn delete(&self, id: u64) {
        let mut inner = self.lock();
        if let Some(made) = inner.made.remove(&id) {
            self.remove(&inner, made);
        }
    }

    fn delete_volume(&self, id: u64) {
        self.lab.remove_disk(id);
    }

    fn metadata_listener(&self) -> Option<TcpListener> {
        let address = SocketAddr::new(METADATA.into(), 80);
        let listen = move || TcpListener::bind(address);
        Some(
            self.lab.in_network(listen).unwrap_or_else(|error: io::Error| panic!("can't listen at {address}: {error}")),
        )
    }

    fn asks_from(&self, address: IpAddr) -> Option<u64> {
        let inner = self.lock();
        let is_it = |made: &Made| self.lab.is_from(made.number, &made.addresses, address);
        inner.made.iter().find(|(_, made)| is_it(made)).map(|(id, _)| *id)
    }

    fn ipv4(&self, number: u32) -> Ipv4Addr {
        self.lab.cloud_ipv4(number)
    }

    fn ipv6(&self, number: u32) -> Ipv6Addr {
        self.lab.cloud_ipv6(number)
    }
}
