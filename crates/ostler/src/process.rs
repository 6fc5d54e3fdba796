//! Who holds a lease, as seen from this machine: only a process of this machine is ever known to be dead.

use ostler_core::ports::LeaseOwner;
use ostler_process::{ProcessId, machine_id};

/// This process as the owner of a lease; `doing` is what others are told.
///
/// Where `/proc` can't be read nothing identifies it, and nobody will take it for dead: its leases end by their expiry.
pub fn this_owner(doing: &str) -> LeaseOwner {
    let unknown = |_| ProcessId { pid: std::process::id(), start_ticks: 0, boot: String::new() };
    let process = ProcessId::current().unwrap_or_else(unknown);
    LeaseOwner {
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        boot: process.boot,
        machine: machine_id().unwrap_or_default(),
        pid: process.pid,
        start_ticks: process.start_ticks,
        doing: doing.to_owned(),
    }
}

/// Whether the owner is dead for certain. Of a process on another machine that is never known.
pub fn is_dead(owner: &LeaseOwner) -> bool {
    let process = ProcessId { pid: owner.pid, start_ticks: owner.start_ticks, boot: owner.boot.clone() };
    machine_id().is_ok_and(|machine| machine == owner.machine) && !process.is_alive()
}
