//! Serial consoles of VMs on this host, heard from the moment that they are started: nobody else keeps what they say.
//!
//! A console has one listener at a time, and `qm terminal` waits while there is one. So Ostler leaves as soon as it has no more use for it.

use crate::local::console::last_lines;
use std::{
    collections::HashMap,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{io::AsyncReadExt, net::UnixStream, task::AbortHandle};

/// What was heard, by VMID.
#[derive(Debug, Default)]
pub struct Consoles(Mutex<HashMap<u32, Console>>);

/// One of them.
#[derive(Debug)]
struct Console {
    heard: Heard,
    listener: AbortHandle,
}

type Heard = Arc<Mutex<Vec<u8>>>;

/// Bytes of a console that are kept, at least: a whole boot, with cloud-init's table of addresses.
const KEPT: usize = 256 << 10;
/// Pause between two tries, for a VM that does not run yet.
const PAUSE: Duration = Duration::from_millis(100);

impl Consoles {
    /// Listens to the console of a VM, which need not run yet, and may be started anew.
    pub fn listen(&self, vmid: u32, socket: PathBuf) {
        let heard = Heard::default();
        let listener = tokio::spawn(listen(socket, Arc::clone(&heard))).abort_handle();
        self.lock().insert(vmid, Console { heard, listener });
    }

    /// Leaves a console to others. What was heard stays.
    pub fn leave(&self, vmid: u32) {
        if let Some(console) = self.lock().get(&vmid) {
            console.listener.abort();
        }
    }

    /// The last lines that were heard.
    pub fn tail(&self, vmid: u32, count: usize) -> Vec<String> {
        self.lock().get(&vmid).map_or_else(Vec::new, |console| last_lines(&lock(&console.heard), count))
    }

    /// Addresses of the card with this MAC, as the guest's cloud-init shows them.
    pub fn addresses(&self, vmid: u32, mac: &str) -> Vec<IpAddr> {
        self.tail(vmid, usize::MAX).iter().rev().filter_map(|line| address(line, mac)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Console>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

fn lock(heard: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(socket: PathBuf, heard: Heard) {
    let mut chunk = vec![0; 4096];
    loop {
        if let Ok(mut stream) = UnixStream::connect(&socket).await {
            while let Ok(read @ 1..) = stream.read(&mut chunk).await {
                let mut heard = lock(&heard);
                heard.extend_from_slice(&chunk[..read]);
                if heard.len() > 2 * KEPT {
                    let old = heard.len() - KEPT;
                    heard.drain(..old);
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The address in a line of cloud-init's table (cloudinit/netinfo.py), if it is that of this MAC:
/// `ci-info: | eth0 | True | 192.168.1.20 | 255.255.255.0 | global | 52:54:00:aa:bb:cc |`.
fn address(line: &str, mac: &str) -> Option<IpAddr> {
    let (_, row) = line.split_once("ci-info:")?;
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    match cells.as_slice() {
        ["", _, "True", address, _, _, found, ..] if found.eq_ignore_ascii_case(mac) => {
            address.split('/').next()?.parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cloud_init_s_table_tells_the_address_of_a_mac() {
        const MAC: &str = "52:54:00:AA:BB:CC";
        let table = [
            "[   14.301] cloud-init[412]: ci-info: +--------+------+--------------+---------------+--------+-------------------+",
            "[   14.302] cloud-init[412]: ci-info: | Device |  Up  |   Address    |      Mask     | Scope  |     Hw-Address    |",
            "[   14.303] cloud-init[412]: ci-info: |  eth0  | True | 192.168.1.20 | 255.255.255.0 | global | 52:54:00:aa:bb:cc |",
            "[   14.304] cloud-init[412]: ci-info: |  eth0  | True | fe80::1/64 |       .       |  link  | 52:54:00:aa:bb:cc |",
            "[   14.305] cloud-init[412]: ci-info: |   lo   | True |  127.0.0.1   |   255.0.0.0   |  host  |         .         |",
            "[   14.306] cloud-init[412]: ci-info: |  eth1  | False |     .     |   .   |  .  | 52:54:00:aa:bb:cc |",
            "web1 login: 192.168.1.99 52:54:00:aa:bb:cc",
        ];
        let found: Vec<String> = table.iter().filter_map(|line| address(line, MAC)).map(|it| it.to_string()).collect();
        assert_eq!(found, ["192.168.1.20", "fe80::1"]);
    }
}
