//! Identifies a process. A pid alone is not enough: it is reused after a while, and means nothing on another machine or after a
//! reboot.
//!
//! Ostler uses these facts for every process that it remembers: the owner of a lease, a child, a machine's QEMU. The adapters and the
//! binary share nothing else but how children are started, so this crate stands alone.

pub mod children;

use std::{fs, io};

/// A process of this machine. It can't be mistaken for a later one with the same pid.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProcessId {
    /// The pid in this PID namespace.
    pub pid: u32,
    /// When it started, in clock ticks after boot: field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
    pub start_ticks: u64,
    /// The boot that `start_ticks` counts from; see [`boot_id`].
    pub boot: String,
}

impl ProcessId {
    /// The process that has this pid now, or `None` if there is none or only a zombie. Fails if `/proc` can't be read.
    pub fn of(pid: u32) -> io::Result<Option<Self>> {
        let Some(start_ticks) = start_ticks(pid)? else { return Ok(None) };
        Ok(Some(Self { pid, start_ticks, boot: boot_id()? }))
    }

    /// The calling process. Fails if `/proc` can't be read.
    pub fn current() -> io::Result<Self> {
        Self::of(std::process::id())?.ok_or_else(|| io::Error::other("/proc does not show this process"))
    }

    /// Whether it still runs. If that can't be determined, it counts as alive, because the dead lose their leases.
    pub fn is_alive(&self) -> bool {
        match boot_id() {
            Ok(boot) if boot != self.boot => false,
            _ => Self::of(self.pid).map_or(true, |now| now.as_ref() == Some(self)),
        }
    }
}

/// When the process that has this pid now started, in clock ticks after boot. `None` if there is none or only a zombie.
/// Fails if `/proc` can't be read.
pub fn start_ticks(pid: u32) -> io::Result<Option<u64>> {
    let path = format!("/proc/{pid}/stat");
    let stat = match fs::read_to_string(&path) {
        Ok(stat) => stat,
        // A process that ends between open and read gives ESRCH.
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, format!("{path} is malformed"));
    let (state, start_ticks) = state_and_start(&stat).ok_or_else(malformed)?;
    // A zombie has ended; only its parent has not waited for it yet.
    Ok((!matches!(state, "Z" | "X")).then_some(start_ticks))
}

/// Id of this boot of this machine: `/proc/sys/kernel/random/boot_id` (proc_sys_kernel(5)).
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The scope in which a pid is valid: this machine and this PID namespace.
///
/// A container shares the boot id of its host, and often the machine id (machine-id(5)) of its host or image. It sees other
/// processes.
pub fn machine_id() -> io::Result<String> {
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let namespace = fs::read_link("/proc/self/ns/pid")?;
    Ok(format!("{} {}", machine.trim(), namespace.display()))
}

/// "No such process"; the same number on every Linux architecture.
const ESRCH: i32 = 3;

/// Skips the second field, the command in parentheses, which may itself contain blanks and parentheses.
fn state_and_start(stat: &str) -> Option<(&str, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    // The state is field 3, the start field 22.
    Some((state, fields.nth(22 - 4)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn this_process_lives_and_no_other_is_taken_for_it() {
        let me = ProcessId::current().unwrap();
        assert!(me.is_alive());
        assert!(!ProcessId { start_ticks: me.start_ticks + 1, ..me.clone() }.is_alive());
        assert!(!ProcessId { boot: "another".into(), ..me }.is_alive());
    }

    #[test]
    fn a_killed_process_is_dead_even_before_anybody_waits_for_it() {
        let mut child = Command::new("sleep").arg("60").stdout(std::process::Stdio::piped()).spawn().unwrap();
        let process = ProcessId::of(child.id()).unwrap().unwrap();
        assert!(process.is_alive());
        child.kill().unwrap();
        // The end of the process closes the pipe.
        io::Read::read_to_end(&mut child.stdout.take().unwrap(), &mut Vec::new()).unwrap();
        while process.is_alive() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(ProcessId::of(process.pid).unwrap().filter(|now| *now == process), None);
    }

    #[test]
    fn a_command_may_be_called_anything() {
        let stat = "7 (a) Z (b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";
        assert_eq!(state_and_start(stat), Some(("S", 4711)));
        assert_eq!(state_and_start("7 (short) S 1"), None);
    }
}
