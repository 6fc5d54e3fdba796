//! What goes wrong, and when: each call of a port passes here before and after it acts.

use ostler_core::{Blame, Failure, Result};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Mutex};
use tokio::sync::watch;

/// One thing that goes wrong, once, or as often as its effect says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// In which call.
    pub call: Call,
    /// When in it.
    pub moment: Moment,
    /// What happens then.
    pub effect: Effect,
}

/// A call of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// The first one of this name: `provider.create`, `store.set_step create machine done`.
    Named(String),
    /// The one of this number; the first one has number 0.
    Number(usize),
}

/// Before a call acts, when it has acted in part, or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    /// Nothing of it is done.
    Before,
    /// Half of it is done. Only where a call is made of parts: `provider.create`, `engine.run`.
    Middle,
    /// All of it is done, and the caller does not know yet.
    After,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// The call returns a failure. In the middle of a run, a task fails.
    Fail,
    /// So many calls of the name return a failure, one after the other.
    FailTimes(u32),
    /// `kill -9` of the own process.
    Kill,
    /// The process says `hanging` on its standard output and does nothing any more.
    Hang,
    /// Ctrl-C; the call goes on.
    Interrupt,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.call {
            Call::Named(name) => write!(f, "{:?} {:?} `{name}`", self.effect, self.moment),
            Call::Number(number) => write!(f, "{:?} {:?} call {number}", self.effect, self.moment),
        }
    }
}

/// Strikes at the chosen call, and remembers all calls.
#[derive(Default)]
pub struct Faults {
    fault: Option<Fault>,
    ctrl_c: Option<watch::Sender<bool>>,
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    calls: Vec<String>,
    struck: u32,
}

impl Faults {
    /// With at most one fault. `ctrl_c` is what [`Effect::Interrupt`] switches.
    pub fn new(fault: Option<Fault>, ctrl_c: watch::Sender<bool>) -> Self {
        Self { fault, ctrl_c: Some(ctrl_c), made: Mutex::default() }
    }

    /// All calls so far, in the order in which they began.
    pub fn calls(&self) -> Vec<String> {
        self.made.lock().expect("no panic while held").calls.clone()
    }

    /// Whether the fault has happened.
    pub fn struck(&self) -> bool {
        self.made.lock().expect("no panic while held").struck > 0
    }

    /// Does `work` as the call `name`.
    pub(super) async fn around<T>(&self, name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let number = self.begin(name)?;
        let result = work.await;
        self.strike(name, number, Moment::After)?;
        result
    }

    /// The same for a call that is not asynchronous.
    pub(super) fn around_now<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let number = self.begin(name)?;
        let result = work();
        self.strike(name, number, Moment::After)?;
        result
    }

    fn begin(&self, name: &str) -> Result<usize> {
        let number = {
            let mut made = self.made.lock().expect("no panic while held");
            made.calls.push(name.to_owned());
            made.calls.len() - 1
        };
        self.strike(name, number, Moment::Before)?;
        Ok(number)
    }

    /// The call `name` is half done.
    pub(super) fn middle(&self, name: &str) -> Result<()> {
        self.strike(name, usize::MAX, Moment::Middle)
    }

    fn strike(&self, name: &str, number: usize, moment: Moment) -> Result<()> {
        let Some(fault) = self.fault.as_ref().filter(|fault| fault.moment == moment) else { return Ok(()) };
        let chosen = match &fault.call {
            Call::Named(chosen) => chosen == name,
            Call::Number(chosen) => *chosen == number,
        };
        let times = if let Effect::FailTimes(times) = fault.effect { times } else { 1 };
        let mut made = self.made.lock().expect("no panic while held");
        if !chosen || made.struck == times {
            return Ok(());
        }
        made.struck += 1;
        drop(made);
        match fault.effect {
            Effect::Fail | Effect::FailTimes(_) => {
                return Err(Failure::new(Blame::Provider, format!("injected: {fault}")));
            }
            Effect::Kill => {
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                wait_forever()
            }
            Effect::Hang => {
                println!("hanging");
                wait_forever()
            }
            Effect::Interrupt => self.ctrl_c.as_ref().into_iter().for_each(|ctrl_c| {
                ctrl_c.send_replace(true);
            }),
        }
        Ok(())
    }
}

fn wait_forever() -> ! {
    loop {
        std::thread::park();
    }
}
