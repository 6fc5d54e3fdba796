//! The ControlMaster: the one process that holds a session's connection.

use crate::{args::READY, askpass::Askpass, connect_error, error::one_line, launch::Launcher, offered};
use ostler_core::{ports::ConnectError, secret::Secret};
use ostler_process::children;
use std::{
    process::Stdio,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStderr},
};

/// What of its standard error is kept for a diagnosis, in bytes. A login says about 6 KiB.
const KEPT: usize = 64 * 1024;

/// A master that is logged in. Dropping it kills it.
pub(crate) struct Master {
    child: Child,
    said: Said,
}

/// What ssh has said so far.
type Said = Arc<Mutex<Vec<u8>>>;

impl Master {
    /// Starts `argv` and waits until it is logged in. `expected`: fingerprints of the pinned host keys.
    pub(crate) async fn start(
        launcher: Launcher,
        argv: &[String],
        (askpass, environment): (Option<&Askpass>, &[(&'static str, Secret)]),
        expected: &[String],
    ) -> Result<Self, ConnectError> {
        let broken = |source| ConnectError::Broken(one_line(&Launcher::failed(argv, source)));
        let mut command = launcher.command(argv);
        if let Some(askpass) = askpass {
            command.envs(askpass.environment());
        }
        command.envs(environment.iter().map(|(name, value)| (name, value.expose())));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = children::start(command).map_err(broken)?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            unreachable!("both were asked for as pipes");
        };
        let said = Said::default();
        let reading = tokio::spawn(read_to_end(stderr, said.clone()));
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line == READY {
                return Ok(Self { child, said });
            }
        }
        let _ = child.wait().await;
        let _ = reading.await;
        Err(connect_error::classify(&text(&said), expected))
    }

    /// The methods of authentication that sshd offered.
    pub(crate) fn offered_methods(&self) -> Vec<String> {
        offered::told(&text(&self.said))
    }

    /// Kills it and waits until it is gone.
    pub(crate) async fn end(mut self) {
        let _ = self.child.kill().await;
    }
}

fn text(said: &Said) -> String {
    String::from_utf8_lossy(&said.lock().expect("no panic while held")).into_owned()
}

/// Reads all, so that ssh never blocks on a full pipe, and keeps the beginning.
async fn read_to_end(mut stderr: ChildStderr, kept: Said) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        let mut kept = kept.lock().expect("no panic while held");
        let room = KEPT - kept.len();
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_program_is_broken_not_unanswered() {
        let argv = ["ostler-has-no-such-ssh".to_owned()];
        let Err(error) = Master::start(Launcher::detect().await, &argv, (None, &[]), &[]).await else {
            panic!("it started")
        };
        let ConnectError::Broken(reason) = &error else { panic!("{error:?}") };
        assert!(reason.contains("ostler-has-no-such-ssh"), "{reason}");
    }
}
