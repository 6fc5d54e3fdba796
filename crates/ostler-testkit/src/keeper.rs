//! A throw-away server's process and its directory, and nothing left of them afterwards.
//!
//! A small shell stands between the tests and the server: it reads a pipe that only the test process holds, and when that
//! comes to its end, however the process ended, it kills the server and removes the directory. So a static may hold the
//! server, a test may panic, and the process may be killed.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, ChildStderr, Command, Stdio},
};
use tempfile::TempDir;

/// Starts what follows the directory `$1` in a session of its own; when standard input ends, kills that session and removes
/// the directory. Keeps no hold on standard error, so that its end is the server's end.
const KEEPER: &str = r#"dir=$1; shift; setsid "$@" & server=$!; exec 2>/dev/null
cat; kill -s KILL -- "-$server"; wait; rm -rf "$dir""#;

/// Dropping it ends the server and removes its files.
#[derive(Debug)]
pub struct Keeper(Child);

impl Keeper {
    /// Runs `script` with `sh -c` in a session of its own; `$1` is the directory, `$2` and so on are the arguments. The script becomes the
    /// server, and writes its log to standard error.
    ///
    /// # Errors
    /// If there is no shell.
    pub fn start(dir: TempDir, script: &str, arguments: &[&str]) -> io::Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "sh"]).arg(dir.path());
        command.args(["sh", "-c", script, "sh"]).arg(dir.path()).args(arguments);
        // A group of its own: Ctrl-C in the terminal must not end the keeper before its work.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn()?;
        // From here on the keeper removes the directory.
        let _ = dir.keep();
        Ok(Self(child))
    }

    /// The server's log; only the first call gets it.
    pub fn log(&mut self) -> Option<ChildStderr> {
        self.0.stderr.take()
    }

    /// Process id of the shell that stands between.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
