//! QEMU processes that outlive the Ostler which started them.
//!
//! A process id alone says nothing after a while, so a process is known by id, start time and boot of this machine. QEMU
//! is not our child (it daemonises itself), so its end is awaited through a pidfd. A process that a crash kept out of
//! `machine.json` is found by the machine's UUID on its command line.

use super::error::LocalError;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// A process of this or an earlier boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`: clock ticks after boot (proc_pid_stat(5)).
    pub start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot: Uuid,
}

impl Process {
    /// The process that has id `pid` now; `None` if there is none or only its remains.
    pub fn of_pid(pid: u32, boot: Uuid) -> Option<Self> {
        let start_ticks = ostler_process::start_ticks(pid).ok()??;
        Some(Self { pid, start_ticks, boot })
    }

    /// Whether it still runs.
    pub fn is_alive(&self, boot: Uuid) -> bool {
        self.boot == boot && Self::of_pid(self.pid, boot) == Some(*self)
    }

    /// Waits for its end; `false` if it still runs after `patience`.
    pub async fn ended_within(&self, patience: Duration) -> Result<bool, LocalError> {
        let Some(pidfd) = self.open()? else { return Ok(true) };
        let failed = |source| LocalError::Process { action: "await the end of", pid: self.pid, source };
        // On a thread: tokio can only watch a descriptor of this kind through an unsafe call.
        tokio::task::spawn_blocking(move || wait_readable(&pidfd, patience))
            .await
            .map_err(io::Error::from)
            .and_then(|ended| ended)
            .map_err(failed)
    }

    /// Tells it to end: QEMU writes out its caches and goes. One that ended already is left alone.
    pub fn terminate(&self) -> Result<(), LocalError> {
        self.signal(Signal::TERM)
    }

    /// Takes its life. One that ended already is left alone.
    pub fn kill(&self) -> Result<(), LocalError> {
        self.signal(Signal::KILL)
    }

    fn signal(&self, signal: Signal) -> Result<(), LocalError> {
        let Some(pidfd) = self.open()? else { return Ok(()) };
        match pidfd_send_signal(&pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(LocalError::Process { action: "end", pid: self.pid, source: errno.into() }),
        }
    }

    /// A handle on this very process, not on a later one of the same id.
    fn open(&self) -> Result<Option<OwnedFd>, LocalError> {
        let failed = |source| LocalError::Process { action: "open", pid: self.pid, source };
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(self.is_alive(boot_id().map_err(failed)?).then_some(pidfd)),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(errno) => Err(failed(errno.into())),
        }
    }
}

/// A pidfd becomes readable when its process ends (pidfd_open(2)).
fn wait_readable(pidfd: &OwnedFd, patience: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Id of this boot of this machine.
pub fn boot_id() -> io::Result<Uuid> {
    Uuid::parse_str(&ostler_process::boot_id()?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The QEMU whose command line has `-uuid UUID`: where `pidfile` says, or anywhere.
pub fn find_qemu(uuid: Uuid, pidfile: &Path, boot: Uuid) -> Option<Process> {
    let noted = fs::read_to_string(pidfile).ok().and_then(|text| text.trim().parse().ok());
    noted.into_iter().chain(processes()).find(|pid| has_uuid(*pid, uuid)).and_then(|pid| Process::of_pid(pid, boot))
}

fn has_uuid(pid: u32, uuid: Uuid) -> bool {
    argument(pid, "-uuid").is_some_and(|found| found == uuid.to_string())
}

/// The value of an option on a process's command line.
fn argument(pid: u32, option: &str) -> Option<String> {
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut arguments = command.split(|byte| *byte == 0);
    arguments
        .any(|argument| argument == option.as_bytes())
        .then(|| arguments.next())?
        .map(|value| String::from_utf8_lossy(value).into_owned())
}

/// A QEMU, as its command line names it.
pub struct Qemu {
    /// Process id.
    pub pid: u32,
    /// Its machine's UUID.
    pub uuid: Uuid,
    /// `guest=web1`
    pub name: String,
}

/// Every QEMU that has a file below `folder` open, which may be deleted.
pub fn qemus_with_files_in(folder: &Path) -> Vec<Qemu> {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let mut all: Vec<Qemu> = processes()
        .filter_map(|pid| {
            let uuid = argument(pid, "-uuid")?.parse().ok()?;
            let name = argument(pid, "-name").unwrap_or_default();
            let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
            let is_there =
                open.filter_map(|file| fs::read_link(file.path()).ok()).any(|file| file.starts_with(&folder));
            is_there.then_some(Qemu { pid, uuid, name })
        })
        .collect();
    all.sort_by_key(|qemu| qemu.pid);
    all
}

/// Ids of all processes.
fn processes() -> impl Iterator<Item = u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_awaited_and_killed_by_its_whole_identity() {
        let boot = boot_id().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of_pid(child.id(), boot).unwrap();
        let later = Process { start_ticks: process.start_ticks + 1, ..process };
        later.kill().unwrap();
        assert!(process.is_alive(boot), "another start time is another process");
        assert!(!process.ended_within(Duration::from_millis(1)).await.unwrap());
        process.kill().unwrap();
        assert!(process.ended_within(Duration::from_secs(5)).await.unwrap());
        assert!(!process.is_alive(boot), "what waits for its parent does not run");
        child.wait().unwrap();
    }
}
