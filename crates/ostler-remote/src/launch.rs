//! Starts programs that must not outlive this process, not even if it is killed.
//!
//! `setpriv --pdeathsig KILL` (util-linux 2.33) has the kernel kill the child when the *thread* that started it ends, so
//! [`children::start`] has one that lives as long as this process. Where setpriv can't do that, leftovers are ended by the next Ostler
//! that opens a session.

use crate::RemoteError;
use ostler_core::secret::Secret;
use ostler_process::children;
use std::{
    io,
    process::{Output, Stdio},
};
use tokio::process::Command;

/// How children are started on this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launcher {
    dies_with_us: bool,
}

impl Launcher {
    /// Looks at what this machine can do; takes a few milliseconds.
    pub(crate) async fn detect() -> Self {
        let prefixed = Self { dies_with_us: true };
        let works = prefixed.output(&["true".to_owned()]).await;
        Self { dies_with_us: works.is_ok_and(|output| output.status.success()) }
    }

    /// Runs `argv` to its end, and keeps what it says on standard error. Dropping the future kills it.
    pub(crate) async fn output(self, argv: &[String]) -> io::Result<Output> {
        self.output_with(argv, &[]).await
    }

    /// The same with more in its environment.
    pub(crate) async fn output_with(
        self,
        argv: &[String],
        environment: &[(&'static str, Secret)],
    ) -> io::Result<Output> {
        let mut command = self.command(argv);
        command.envs(environment.iter().map(|(name, value)| (name, value.expose())));
        command.stderr(Stdio::piped());
        children::start(command)?.wait_with_output().await
    }

    /// `argv`, to be started by [`children::start`], with an environment of `PATH` and `LC_ALL=C` only: messages stay English, tokens stay here.
    pub(crate) fn command(self, argv: &[String]) -> Command {
        let prefix: &[&str] = if self.dies_with_us { &["setpriv", "--pdeathsig", "KILL"] } else { &[] };
        let mut words = prefix.iter().copied().chain(argv.iter().map(String::as_str));
        let mut command = Command::new(words.next().unwrap_or_default());
        // A group of its own: Ctrl-C in a terminal asks Ostler to stop, and must not take the connection from under it.
        command.args(words).env_clear().env("LC_ALL", "C").kill_on_drop(true).process_group(0);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// The error of a command that did not start.
    pub(crate) fn failed(argv: &[String], source: io::Error) -> RemoteError {
        RemoteError::Program { program: argv.first().cloned().unwrap_or_default(), source }
    }
}
