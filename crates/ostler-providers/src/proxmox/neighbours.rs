//! Whom this host sees on its bridges: the kernel's neighbour table, and what a bridge has learned.
//!
//! A guest that has just got its address by DHCP has had no reason yet to talk to the host. So the host asks around: a datagram to an
//! address of its own subnet makes the kernel ask whose it is (ARP, RFC 826), and the answer stands in the table.

use super::host::Host;
use ipnet::Ipv4Net;
use serde::Deserialize;
use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What is remembered of asking around.
#[derive(Debug, Default)]
pub struct Neighbours(Mutex<HashMap<String, Round>>);

/// Where a device's round stands.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// When it went on last.
    at: Instant,
    /// How many addresses of the subnet it has come by.
    next: usize,
}

/// Least time between two parts of a round, and most addresses of one: an address that nobody has stays in the kernel's table for some
/// seconds, and the table has room for 1024 (`gc_thresh3`, arp(7)).
const PAUSE: Duration = Duration::from_secs(3);
const PART: usize = 256;

/// The shortest prefix of a subnet that is asked through.
const WIDEST: u8 = 22;

/// `discard` (RFC 863): who listens there wants no answer.
const PORT: u16 = 9;

/// An entry of `ip -j neigh`.
#[derive(Debug, Deserialize)]
struct Neighbour {
    dst: IpAddr,
    #[serde(default)]
    lladdr: String,
    #[serde(default)]
    state: Vec<String>,
}

/// A device of `ip -j address`.
#[derive(Debug, Deserialize)]
struct Device {
    #[serde(default)]
    addr_info: Vec<Own>,
}

/// An address of this host.
#[derive(Debug, Deserialize)]
struct Own {
    local: Ipv4Addr,
    prefixlen: u8,
}

impl Neighbours {
    /// Addresses of the card with this MAC, those that were confirmed lately first. Where there are none, those in the subnet of `device`
    /// are asked, for the next look.
    pub async fn find(&self, host: &Host, device: &str, mac: &str) -> Vec<IpAddr> {
        let table = host.output("ip", &["-j", "neigh"]).await.unwrap_or_default();
        let found = known(&table, mac);
        if found.is_empty() {
            self.ask_around(host, device).await;
        }
        found
    }

    async fn ask_around(&self, host: &Host, device: &str) {
        let Some(begin) = self.due(device) else { return };
        let own = host.output("ip", &["-j", "-4", "address", "show", "dev", device]).await.unwrap_or_default();
        let devices: Vec<Device> = serde_json::from_str(&own).unwrap_or_default();
        for Own { local, prefixlen } in devices.into_iter().flat_map(|device| device.addr_info) {
            let subnet = Ipv4Net::new(local, prefixlen).ok().filter(|_| prefixlen >= WIDEST);
            let all: Vec<Ipv4Addr> = subnet.into_iter().flat_map(|subnet| subnet.hosts()).collect();
            let Ok(socket) = UdpSocket::bind((local, 0)) else { continue };
            if socket.set_nonblocking(true).is_err() {
                continue;
            }
            for address in all.iter().cycle().skip(begin % all.len().max(1)).take(PART.min(all.len())) {
                // One that can't be sent now is in the next round, too.
                let _ = socket.send_to(&[], (*address, PORT));
            }
        }
    }

    /// Where a device's round goes on, if it is time.
    fn due(&self, device: &str) -> Option<usize> {
        let mut rounds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = match rounds.get(device) {
            Some(round) if round.at.elapsed() < PAUSE => return None,
            Some(round) => round.next,
            None => 0,
        };
        rounds.insert(device.to_owned(), Round { at: Instant::now(), next: next + PART });
        Some(next)
    }
}

/// The entries of a MAC.
fn known(table: &str, mac: &str) -> Vec<IpAddr> {
    let table: Vec<Neighbour> = serde_json::from_str(table).unwrap_or_default();
    let is = |neighbour: &Neighbour, state: &str| neighbour.state.iter().any(|it| it == state);
    let mut found: Vec<Neighbour> = table.into_iter().filter(|it| it.lladdr.eq_ignore_ascii_case(mac)).collect();
    found.retain(|neighbour| !is(neighbour, "FAILED"));
    found.sort_by_key(|neighbour| !is(neighbour, "REACHABLE"));
    found.into_iter().map(|neighbour| neighbour.dst).collect()
}

/// Whether a bridge has learned a MAC: somebody behind it has sent something. `None` where that is not known.
pub fn is_heard(bridge: &str, mac: &str) -> Option<bool> {
    let path: PathBuf = ["/sys/class/net", bridge, "brforward"].iter().collect();
    Some(learned(&fs::read(path).ok()?).any(|learned| learned.eq_ignore_ascii_case(mac)))
}

/// Entries of a forwarding database but for the bridge's own: `struct __fdb_entry` of linux/if_bridge.h, 16 bytes each, with the MAC first and
/// `is_local` at 7.
fn learned(database: &[u8]) -> impl Iterator<Item = String> {
    let entries = database.chunks_exact(16).filter(|entry| entry[7] == 0);
    entries.map(|entry| entry[..6].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn who_answered_lately_goes_before_who_did_once() {
        let table = r#"[
            {"dst":"192.168.1.9","dev":"vmbr0","state":["FAILED"]},
            {"dst":"192.168.1.7","dev":"vmbr0","lladdr":"52:54:00:aa:bb:cc","state":["STALE"]},
            {"dst":"192.168.1.8","dev":"vmbr0","lladdr":"52:54:00:aa:bb:cc","state":["FAILED"]},
            {"dst":"192.168.1.20","dev":"vmbr0","lladdr":"52:54:00:aa:bb:cc","state":["REACHABLE"]}
        ]"#;
        let expected: [IpAddr; 2] = ["192.168.1.20".parse().unwrap(), "192.168.1.7".parse().unwrap()];
        assert_eq!(known(table, "52:54:00:AA:BB:CC"), expected);
        assert!(known(table, "52:54:00:00:00:00").is_empty());
        assert!(known("", "52:54:00:aa:bb:cc").is_empty());
    }

    /// A bridge of this machine's own with one machine behind it, in a namespace. Gone when dropped.
    struct Net {
        bridge: String,
        namespace: String,
    }

    const MAC: &str = "52:54:00:0d:0c:0b";

    impl Net {
        /// `None` where only root could.
        fn new(subnet: &str, guest: &str) -> Option<Self> {
            if !rustix::process::geteuid().is_root() {
                eprintln!("skipped: only root can make a bridge");
                return None;
            }
            let id = std::process::id();
            let net = Self { bridge: format!("otb{id}"), namespace: format!("ostler-neighbours-{id}") };
            let (bridge, namespace) = (net.bridge.as_str(), net.namespace.as_str());
            ip(&["netns", "add", namespace]);
            ip(&["link", "add", bridge, "type", "bridge"]);
            ip(&["address", "add", subnet, "dev", bridge]);
            ip(&["link", "set", bridge, "up"]);
            let near = format!("otv{id}");
            ip(&["link", "add", &near, "type", "veth", "peer", "name", "eth0", "address", MAC, "netns", namespace]);
            ip(&["link", "set", &near, "up", "master", bridge]);
            ip(&["-n", namespace, "address", "add", guest, "dev", "eth0"]);
            // Its first words are those that it is asked for.
            ip(&["netns", "exec", namespace, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6"]);
            ip(&["-n", namespace, "link", "set", "eth0", "up"]);
            Some(net)
        }
    }

    impl Drop for Net {
        fn drop(&mut self) {
            for arguments in [["netns", "delete", &self.namespace], ["link", "delete", &self.bridge]] {
                let _ = Command::new("ip").args(arguments).status();
            }
        }
    }

    fn ip(arguments: &[&str]) {
        let output = Command::new("ip").args(arguments).output().unwrap();
        assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    #[tokio::test]
    async fn a_guest_that_has_said_nothing_is_asked_for_its_address() {
        // Its address comes in the second part of the round.
        let Some(net) = Net::new("10.214.76.1/22", "10.214.77.77/22") else { return };
        let host = Host::with_cluster_files("/nowhere".into(), "/usr/sbin:/usr/bin:/sbin:/bin");
        assert_eq!(is_heard(&net.bridge, MAC), Some(false));
        assert_eq!(is_heard("lo", MAC), None, "no bridge");
        let neighbours = Neighbours::default();
        let begun = Instant::now();
        let found = loop {
            let found = neighbours.find(&host, &net.bridge, MAC).await;
            if !found.is_empty() {
                break found;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "nobody answers");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(found, ["10.214.77.77".parse::<IpAddr>().unwrap()]);
        assert!(begun.elapsed() > PAUSE, "the whole subnet was asked at once");
        assert_eq!(is_heard(&net.bridge, MAC), Some(true));
    }
}
