//! Who holds a lease, as seen from this machine.

use ostler_core::ports::{LeaseOwner, Liveness};
use ostler_process::{ProcessId, boot_id, machine_id};

/// This process as the owner of a lease; `doing` is what others are told.
///
/// Where `/proc` can't be read nothing identifies it, and nobody will take it for dead: its leases end by their expiry.
pub fn this_owner(doing: &str) -> LeaseOwner {
    let unknown = |_| ProcessId { pid: std::process::id(), start_ticks: 0, boot: String::new() };
    let process = ProcessId::current().unwrap_or_else(unknown);
    LeaseOwner {
        host: host(),
        boot: process.boot,
        machine: machine_id().unwrap_or_default(),
        pid: process.pid,
        start_ticks: process.start_ticks,
        doing: doing.to_owned(),
    }
}

/// The program of this process, also where the file that it was started from is replaced meanwhile.
pub fn own_program() -> std::path::PathBuf {
    format!("/proc/{}/exe", std::process::id()).into()
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What is known of an owner. `shared`: machines may share the state; then one of this machine's id and another boot or host name may
/// as well be of another machine with a copied id, and nothing is known of it.
pub fn liveness(owner: &LeaseOwner, shared: bool) -> Liveness {
    let (Ok(machine), Ok(boot)) = (machine_id(), boot_id()) else { return Liveness::Unknown };
    let copied = shared && (owner.boot != boot || owner.host != host());
    if owner.machine != machine || owner.boot.is_empty() || copied {
        return Liveness::Unknown;
    }
    let process = ProcessId { pid: owner.pid, start_ticks: owner.start_ticks, boot: owner.boot.clone() };
    if process.is_alive() { Liveness::Alive } else { Liveness::Dead }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certain_is_said_of_another_process() {
        let me = this_owner("up");
        let other_boot = LeaseOwner { boot: "9a2e".into(), ..me.clone() };
        let other_name = LeaseOwner { host: "another".into(), ..me.clone() };
        let gone = LeaseOwner { start_ticks: me.start_ticks + 1, ..me.clone() };
        let elsewhere = LeaseOwner { machine: "another".into(), ..me.clone() };
        let nameless = LeaseOwner { boot: String::new(), ..me.clone() };
        for (owner, shared, expected) in [
            (&me, false, Liveness::Alive),
            (&me, true, Liveness::Alive),
            (&gone, true, Liveness::Dead),
            (&other_boot, false, Liveness::Dead),
            // A cloned machine has the id of the first one, and a boot of its own.
            (&other_boot, true, Liveness::Unknown),
            (&other_name, true, Liveness::Unknown),
            (&other_name, false, Liveness::Alive),
            (&elsewhere, false, Liveness::Unknown),
            (&nameless, false, Liveness::Unknown),
        ] {
            assert_eq!(liveness(owner, shared), expected, "{owner:?}, shared: {shared}");
        }
    }
}
