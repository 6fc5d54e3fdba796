//! Starts children that must die with this process.
//!
//! `PR_SET_PDEATHSIG` (PR_SET_PDEATHSIG(2const)), by which the kernel ends them whatever becomes of this process, counts for the *thread*
//! that started the child. Runtimes end threads when they like, so all such children come from one that lives as long as the process.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        mpsc::{Sender, channel, sync_channel},
    },
    thread,
};
use tokio::{
    process::{Child, Command},
    runtime::Handle,
};

type Job = Box<dyn FnOnce() + Send>;

/// Where the thread takes what it is to do. It stays here, so the thread never ends.
static JOBS: Mutex<Option<Sender<Job>>> = Mutex::new(None);

/// Starts a program that asks for `PR_SET_PDEATHSIG` itself, as under `setpriv --pdeathsig`. It may be called from any thread; the child is
/// one of the caller's runtime. Takes as long as [`Command::spawn`], and a millisecond more the first time.
///
/// Fails as [`Command::spawn`] does, or if the thread can't be started.
///
/// # Panics
///
/// Outside of a runtime.
pub fn start(mut command: Command) -> io::Result<Child> {
    let runtime = Handle::current();
    let (answer, started) = sync_channel(1);
    let job = move || {
        let _guard = runtime.enter();
        // A panic would end the thread, and with it all children.
        let child = catch_unwind(AssertUnwindSafe(|| command.spawn()));
        let _ = answer.send(child.unwrap_or_else(|_| Err(io::Error::other("starting it panicked"))));
    };
    hand_over(Box::new(job))?;
    started.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that starts children is gone")))
}

fn hand_over(job: Job) -> io::Result<()> {
    let mut jobs = JOBS.lock().unwrap_or_else(PoisonError::into_inner);
    let sender = match &mut *jobs {
        Some(sender) => sender,
        none => {
            let (sender, received) = channel::<Job>();
            thread::Builder::new().name("children".into()).spawn(move || received.iter().for_each(|job| job()))?;
            none.insert(sender)
        }
    };
    sender.send(job).map_err(|_| io::Error::other("the thread that starts children is gone"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProcessId;
    use std::{
        fs,
        io::{BufRead, BufReader},
        process::Stdio,
    };

    /// What a process of its own is to do in the second test.
    const HOLD: &str = "OSTLER_TEST_HOLD_A_CHILD";

    fn sleeper() -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "sleep", "600"]).stdin(Stdio::null());
        command
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Its process, once setpriv has asked for the signal and become another program.
    fn asleep(pid: u32) -> ProcessId {
        loop {
            if fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n") {
                return ProcessId::of(pid).unwrap().expect("it sleeps for minutes");
            }
            thread::yield_now();
        }
    }

    fn await_end(process: &ProcessId) {
        while process.is_alive() {
            thread::yield_now();
        }
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let runtime = runtime();
        let handle = runtime.handle().clone();
        let (mut lasting, of_thread) = thread::spawn(move || {
            let _guard = handle.enter();
            let (lasting, direct) = (start(sleeper()).unwrap(), sleeper().spawn().unwrap());
            asleep(lasting.id().unwrap());
            (lasting, asleep(direct.id().unwrap()))
        })
        .join()
        .unwrap();
        await_end(&of_thread); // which shows that the thread's end was heard of
        assert!(asleep(lasting.id().unwrap()).is_alive());
        // It is a child of the runtime that asked for it.
        let killed = runtime.block_on(async {
            lasting.start_kill().unwrap();
            lasting.wait().await.unwrap()
        });
        assert!(!killed.success());
    }

    #[test]
    fn a_child_dies_with_the_process() {
        if std::env::var_os(HOLD).is_some() {
            let runtime = runtime();
            let _guard = runtime.enter();
            let child = start(sleeper()).unwrap();
            println!("\nchild {}", asleep(child.id().unwrap()).pid);
            loop {
                thread::park();
            }
        }
        let name = "children::tests::a_child_dies_with_the_process";
        let mut holder = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(HOLD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        let pid = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("child ")?.parse().ok());
        let child = asleep(pid.expect("it says which child it has"));
        holder.kill().unwrap();
        holder.wait().unwrap();
        await_end(&child);
    }

    #[test]
    fn what_can_not_be_started_is_told_and_the_thread_goes_on() {
        let runtime = runtime();
        let _guard = runtime.enter();
        let error = start(Command::new("/nonexistent")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let mut child = start(Command::new("true")).unwrap();
        assert!(runtime.block_on(child.wait()).unwrap().success());
    }
}
