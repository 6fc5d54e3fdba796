//! Finds and ends the processes of a run.
//!
//! Ansible's workers, mitogen's processes and ssh leave their process group and session, but none of them drops the
//! environment that it was started with: each process of a run is found by the run's id in it.

use crate::AnsibleError;
use ostler_core::{ids::RunId, ports::ChildRecord};
use ostler_process::{boot_id, start_ticks};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::{
    collections::BTreeSet,
    fs,
    os::fd::OwnedFd,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Variable that carries the run's id; where runs are joined, the ids of all of them.
pub(crate) const RUN_ID: &str = "OSTLER_RUN_ID";
/// Between ids.
const SEPARATOR: &str = ",";
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// After SIGKILL: only a process that hangs in the kernel takes longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// The value of [`RUN_ID`] for the processes of these runs.
pub(crate) fn mark(runs: &[RunId]) -> String {
    runs.iter().map(RunId::to_string).collect::<Vec<_>>().join(SEPARATOR)
}

/// Ends all processes of `run`: SIGTERM, and SIGKILL to those that are left after two seconds. Blocks until they are gone, and
/// returns how many there were.
///
/// `first` is the run's first process, with its start: it is found also while it has no environment to know it by, as in
/// the moment in which it is started.
pub(crate) fn end_processes(run: RunId, first: Option<(u32, u64)>) -> Result<usize, AnsibleError> {
    end_all(run, || {
        let mut found = processes_of(run);
        if let Some((pid, ticks)) = first.filter(|(pid, _)| found.iter().all(|process| process.pid != *pid)) {
            found.extend(Process::open(pid).filter(|_| start_ticks(pid).is_ok_and(|started| started == Some(ticks))));
        }
        found
    })
}

/// The same for a run of an Ostler that died.
pub(crate) fn end_leftovers(child: &ChildRecord) -> Result<usize, AnsibleError> {
    if boot_id().map_err(AnsibleError::at(Path::new("/proc")))? != child.boot {
        return Ok(0);
    }
    end_processes(child.run, Some((child.pid, child.start_ticks)))
}

fn end_all(run: RunId, find: impl Fn() -> Vec<Process>) -> Result<usize, AnsibleError> {
    let started = Instant::now();
    let mut asked = BTreeSet::new();
    loop {
        let found = find();
        if found.is_empty() {
            return Ok(asked.len());
        }
        for process in &found {
            if started.elapsed() > GRACE {
                process.signal(Signal::KILL);
            } else if !asked.contains(&process.pid) {
                process.signal(Signal::TERM);
            }
            asked.insert(process.pid);
        }
        if started.elapsed() > GRACE + PATIENCE {
            return Err(AnsibleError::Unkillable { run, pids: found.iter().map(|process| process.pid).collect() });
        }
        thread::sleep(PAUSE);
    }
}

/// A process that can't be mistaken for a later one of the same id.
struct Process {
    pid: u32,
    handle: OwnedFd,
}

impl Process {
    fn open(pid: u32) -> Option<Self> {
        let handle = pidfd_open(Pid::from_raw(pid.try_into().ok()?)?, PidfdFlags::empty()).ok()?;
        Some(Self { pid, handle })
    }

    /// A process that is gone is what we want.
    fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.handle, signal);
    }
}

/// Handles first and looks second: what is then seen is true of the handle or of nothing. A zombie shows no environment.
fn processes_of(run: RunId) -> Vec<Process> {
    let (variable, wanted) = (format!("{RUN_ID}="), run.to_string());
    let carries = |pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let entries = String::from_utf8_lossy(&environment);
        let mut marks = entries.split('\0').filter_map(|entry| entry.strip_prefix(&variable));
        marks.any(|mark| mark.split(SEPARATOR).any(|id| id == wanted))
    };
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid| carries(pid))
        .filter_map(Process::open)
        .filter(|process| carries(process.pid))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::{ids::SubjectId, subject::Subject};
    use std::process::{Child, Command};

    /// A shell and its child, both in the run; the shell ignores SIGTERM if it is `stubborn`.
    fn start(run: RunId, stubborn: bool) -> Child {
        let script = if stubborn { "trap '' TERM; sleep 600; :" } else { "sleep 600; :" };
        let child = Command::new("sh").args(["-c", script]).env(RUN_ID, run.to_string()).spawn().unwrap();
        while processes_of(run).len() < 2 {
            thread::sleep(PAUSE);
        }
        child
    }

    fn record(run: RunId, child: &Child) -> ChildRecord {
        ChildRecord {
            subject: Subject::server(SubjectId::new()),
            run,
            pid: child.id(),
            start_ticks: start_ticks(child.id()).unwrap().unwrap(),
            boot: boot_id().unwrap(),
        }
    }

    #[test]
    fn all_processes_of_the_run_end_and_no_others() {
        let (run, other) = (RunId::new(), RunId::new());
        let (mut child, mut bystander) = (start(run, true), start(other, false));
        assert_eq!(end_leftovers(&record(run, &child)).unwrap(), 2);
        child.wait().unwrap();
        assert_eq!(processes_of(other).len(), 2);
        end_processes(other, None).unwrap();
        bystander.wait().unwrap();
    }

    #[test]
    fn a_later_process_of_the_same_id_is_left_alone() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let of_old_boot = ChildRecord { boot: "another".to_owned(), ..record(RunId::new(), &child) };
        let of_old_process = ChildRecord { start_ticks: 1, ..record(RunId::new(), &child) };
        let counts = (end_leftovers(&of_old_boot).unwrap(), end_leftovers(&of_old_process).unwrap());
        let alive = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((counts, alive), ((0, 0), true));
    }
}
