//! Which accelerator works. `/dev/kvm` may open, create a machine, and still not run a guest (nested virtualisation, broken
//! hosts): QEMU aborts, or the firmware hangs for ever. So KVM is believed only after a guest has shown life, and what was
//! found out is remembered for this boot of this host.
//!
//! Life is a guest that writes to its disk: no firmware and no boot loader does that in earnest, and every Linux does so as
//! soon as its root file system is writable. The serial console says nothing where the image has none.

use super::{
    console,
    error::LocalError,
    machine::{Accel, Home, write_private},
    process::Process,
    qemu::{LOG, QMP},
    qmp::{Qmp, Vitals},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// What is known about KVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kvm {
    /// A guest has run with it since this host booted.
    Works,
    /// Nobody has tried since.
    Untried,
    /// It does not work, and why.
    Broken(String),
}

/// How a guest fares under an accelerator that is not proven yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It lives.
    Alive,
    /// The accelerator is at fault, and how that was seen.
    Broken(String),
    /// It got past the firmware and then did nothing; that may as well be the image's fault.
    Silent(String),
}

/// What is known about KVM, without a try.
pub fn kvm(state: &Path, boot: Uuid) -> Kvm {
    if let Err(error) = open_kvm() {
        return Kvm::Broken(format!("/dev/kvm: {error}"));
    }
    let verdict = fs::read(state.join(VERDICT)).ok().and_then(|bytes| serde_json::from_slice::<Verdict>(&bytes).ok());
    match verdict.filter(|verdict| verdict.boot == boot) {
        None => Kvm::Untried,
        Some(Verdict { broken: None, .. }) => Kvm::Works,
        Some(Verdict { broken: Some(why), .. }) => Kvm::Broken(why),
    }
}

/// How to get a `/dev/kvm` that opens; nothing helps quickly where it opens and does not work.
pub fn kvm_hint() -> Option<&'static str> {
    match open_kvm().err()?.kind() {
        io::ErrorKind::PermissionDenied => {
            Some("join the group of the device: `sudo adduser $USER kvm`, and log in again")
        }
        io::ErrorKind::NotFound => {
            Some("switch on virtualisation in the firmware, or nested virtualisation if this machine is virtual itself")
        }
        _ => None,
    }
}

/// The only sure answer to "may I use it" is to open it as QEMU does.
fn open_kvm() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/kvm")
}

/// Remembers for this boot of this host that KVM works, or why it does not.
pub fn remember(state: &Path, boot: Uuid, broken: Option<String>) -> Result<(), LocalError> {
    let verdict = serde_json::to_vec_pretty(&Verdict { boot, broken }).expect("a verdict has only text keys");
    write_private(&state.join(VERDICT), &verdict)
}

/// Watches a guest until it has shown life or its time is up.
pub async fn prove(home: &Home, process: Process, boot: Uuid) -> Proof {
    let began = Instant::now();
    let mut qmp = None;
    loop {
        if !process.is_alive(boot) {
            return Proof::Broken(format!("QEMU ended: {}", last_words(home)));
        }
        if qmp.is_none() {
            qmp = Qmp::connect(&home.path(), QMP).await.ok();
        }
        let vitals = match &mut qmp {
            Some(connection) => connection.vitals().await.ok(),
            None => None,
        };
        if vitals.is_none() {
            qmp = None;
        }
        if let Some(proof) = judge(vitals.as_ref(), began.elapsed()) {
            return proof;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Pure part of [`prove`]: `None` while nothing is certain.
fn judge(vitals: Option<&Vitals>, elapsed: Duration) -> Option<Proof> {
    let Some(vitals) = vitals else {
        return (elapsed > FIRMWARE).then(|| Proof::Broken("QEMU's control socket does not answer".into()));
    };
    if vitals.state != "running" {
        return Some(Proof::Broken(format!("the guest stopped with state `{}`", vitals.state)));
    }
    if vitals.writes >= WRITES {
        return Some(Proof::Alive);
    }
    if vitals.resets >= RESETS {
        return Some(Proof::Broken(format!("the guest restarted {RESETS} times before it came up")));
    }
    if vitals.reads == 0 && elapsed > FIRMWARE {
        return Some(Proof::Broken(format!("the firmware hung for {} s", FIRMWARE.as_secs())));
    }
    (elapsed > BOOT).then(|| Proof::Silent(format!("the guest showed no sign of life within {} s", BOOT.as_secs())))
}

/// Last lines of QEMU's own log, as one.
pub fn last_words(home: &Home) -> String {
    let lines = console::tail(&home.file(LOG), 2).unwrap_or_default();
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_start_matches("qemu-system-x86_64: ")).collect();
    if lines.is_empty() { "it printed nothing".to_owned() } else { lines.join("; ") }
}

/// What to tell people when a machine is emulated.
pub fn emulation_notice(server: &str, why: &str) -> String {
    format!("{server} is emulated, about {} times slower than with KVM: {why}", Accel::Tcg.slowness())
}

#[derive(Serialize, Deserialize)]
struct Verdict {
    boot: Uuid,
    broken: Option<String>,
}

/// File in the state directory.
const VERDICT: &str = "accel.json";
/// GRUB may write one block (its environment); a mounted root file system writes dozens.
const WRITES: u64 = 8;
/// A guest may restart once of its own will.
const RESETS: usize = 3;
/// With working KVM, SeaBIOS reads the disk after half a second.
const FIRMWARE: Duration = Duration::from_secs(15);
/// With working KVM, Debian writes to its disk after about three seconds.
const BOOT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn vitals(state: &str, reads: u64, writes: u64, resets: usize) -> Vitals {
        Vitals { state: state.into(), reads, writes, resets }
    }

    #[test]
    fn life_and_death_are_told_apart() {
        let at = |vitals: Vitals, seconds| judge(Some(&vitals), Duration::from_secs(seconds));
        assert_eq!(at(vitals("running", 900, 40, 0), 3), Some(Proof::Alive));
        assert_eq!(at(vitals("running", 0, 0, 0), 3), None);
        assert_eq!(at(vitals("running", 900, 1, 1), 30), None);
        assert!(matches!(at(vitals("running", 0, 0, 0), 16), Some(Proof::Broken(_))));
        assert!(matches!(at(vitals("internal-error", 9, 0, 0), 1), Some(Proof::Broken(_))));
        assert!(matches!(at(vitals("running", 9, 0, 3), 2), Some(Proof::Broken(_))));
        assert!(matches!(at(vitals("running", 900, 1, 0), 61), Some(Proof::Silent(_))));
    }
}
