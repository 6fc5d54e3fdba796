//! The measured machine, and the snapshot that it is reset to.

use super::{OSTLER, SCRATCH};
use crate::shell::{ShellError, output, run};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A local server with nothing set up but its user.
pub struct Machine {
    state: PathBuf,
}

const BARE: &str = "bare.yaml";
const FULL: &str = "full.yaml";
const SNAPSHOT: &str = "bench";

impl Machine {
    /// Creates the server and its snapshot.
    pub fn create() -> Result<Self, Box<dyn std::error::Error>> {
        let dir = fs::canonicalize(SCRATCH)?;
        let machine = Self { state: dir.join("state") };
        let key = dir.join("id_ed25519");
        if !key.exists() {
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key))?;
        }
        let head = "servers:\n  web1:\n    provider: local\n    image: debian-13\n    \
                    size: { cpus: 2, memory: 1GiB, disk: 10GiB }\n    user: ops\n    authorized_keys: [ id_ed25519.pub ]\n";
        fs::write(dir.join(BARE), head)?;
        fs::write(dir.join(FULL), format!("{head}{}", include_str!("full.yaml")))?;
        let _ = machine.ostler(&["destroy", "web1", "--yes"]).output();
        images()?;
        run(&mut machine.ostler(&["up", &machine.spec(BARE)]))?;
        machine.monitor(&format!("savevm {SNAPSHOT}"))?;
        Ok(machine)
    }

    /// Resets the server to the snapshot.
    pub fn reset(&self) -> Result<(), Box<dyn std::error::Error>> {
        self.monitor(&format!("loadvm {SNAPSHOT}"))?;
        // The first connection after the reset is slow, so neither side's time includes it.
        run(self.ostler(&["ssh", "web1", "--", "true"]).stdout(Stdio::null()))?;
        Ok(())
    }

    /// Converges the server. Returns how long that took, and the peak memory of Ostler's own process in MiB.
    pub fn up(&self) -> Result<(Duration, f64), Box<dyn std::error::Error>> {
        let begun = Instant::now();
        let mut child = self.ostler(&["up", &self.spec(FULL), "--output", "quiet"]).spawn()?;
        let mut peak = 0.0_f64;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            peak = peak.max(peak_mebibytes(child.id()));
            std::thread::sleep(Duration::from_millis(20));
        };
        let took = begun.elapsed();
        if status.success() { Ok((took, peak)) } else { Err(ShellError::Unmet("`ostler up` failed".into()).into()) }
    }

    /// Port of its sshd on this machine.
    pub fn ssh_port(&self) -> Result<u16, Box<dyn std::error::Error>> {
        let status: Value = serde_json::from_str(&output(&mut self.ostler(&["status", "web1", "--output", "json"]))?)?;
        let address = status[0]["address"].as_str().unwrap_or_default();
        Ok(address.rsplit(':').next().unwrap_or_default().parse()?)
    }

    /// The known_hosts file that Ostler keeps for it, for a client that checks the host key too.
    pub fn known_hosts(&self) -> PathBuf {
        self.state.join("servers/web1/known_hosts")
    }

    /// The folder that Ostler unpacked `what` to: `ansible` (the bundle) or `content` (the playbook).
    pub fn unpacked(&self, what: &str) -> Result<PathBuf, Box<dyn std::error::Error>> {
        let folder = self.state.join(what);
        let newest = fs::read_dir(&folder)?.flatten().map(|entry| entry.path()).find(|path| path.is_dir());
        Ok(newest.ok_or_else(|| ShellError::Unmet(format!("{} is empty", folder.display())))?)
    }

    fn spec(&self, name: &str) -> String {
        Path::new(SCRATCH).join(name).to_string_lossy().into_owned()
    }

    fn ostler(&self, arguments: &[&str]) -> Command {
        ostler(&self.state, arguments)
    }

    /// Sends a command to QEMU's monitor. Fails if the monitor prints anything.
    fn monitor(&self, command: &str) -> Result<(), Box<dyn std::error::Error>> {
        // A socket address has at most 108 bytes, so this connects by a relative path.
        let folder = self.state.join("machines/web1");
        let previous = std::env::current_dir()?;
        std::env::set_current_dir(&folder)?;
        let stream = UnixStream::connect("qmp.sock");
        std::env::set_current_dir(previous)?;
        let mut stream = stream?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        lines.next();
        for request in [
            serde_json::json!({ "execute": "qmp_capabilities" }),
            serde_json::json!({ "execute": "human-monitor-command", "arguments": { "command-line": command } }),
        ] {
            writeln!(stream, "{request}")?;
            // Events may come in between.
            let answer = loop {
                let line = lines.next().ok_or_else(|| ShellError::Unmet("QEMU hung up".into()))??;
                let value: Value = serde_json::from_str(&line)?;
                if value.get("event").is_none() {
                    break value;
                }
            };
            let said = answer["return"].as_str().unwrap_or_default();
            if answer.get("error").is_some() || !said.is_empty() {
                return Err(ShellError::Unmet(format!("`{command}`: {answer}")).into());
            }
        }
        Ok(())
    }
}

fn ostler(state: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(OSTLER);
    command.arg("--state-dir").arg(state).arg("--non-interactive").args(arguments);
    command
}

/// The folder of the images that benchmarks boot from. Builds Debian's image if it is missing.
pub fn images() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let state = fs::canonicalize(SCRATCH)?.join("state");
    if !output(&mut ostler(&state, &["image", "list", "--output", "json"]))?.contains("debian-13") {
        run(&mut ostler(&state, &["image", "build", "debian-13"]))?;
    }
    Ok(state.join("images"))
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.ostler(&["destroy", "web1", "--yes"]).output();
    }
}

/// `VmHWM`: the peak resident memory of the process, in MiB.
fn peak_mebibytes(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes: f64 = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0);
    kibibytes / 1024.0
}
