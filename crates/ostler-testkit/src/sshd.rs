//! A real sshd on a free port of 127.0.0.1, for as long as a test lasts.
//!
//! It logs in the user who runs the tests, with keys that the test names; it has a configuration, host key and log of its
//! own in a temporary folder, which is also the home of its sessions. It needs `sshd`, `ssh-keygen` and `setpriv` (Debian:
//! openssh-server, openssh-client, util-linux). A test gets `None` where there is no sshd and should return then; with
//! `OSTLER_REQUIRE_SSHD=1` in the environment, as in continuous integration, that is a failure instead.

use std::{
    fmt::Write as _,
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long sshd may take to listen.
const START: Duration = Duration::from_secs(20);

/// A running sshd. Dropping it ends it and everything that it started.
#[derive(Debug)]
pub struct Sshd {
    listener: Child,
    dir: TempDir,
    address: SocketAddr,
    host_key: String,
    user: String,
}

impl Sshd {
    /// Starts one that accepts the public keys `authorized`. Panics if it is there and does not start.
    pub fn start(authorized: &[&str]) -> Option<Self> {
        let Some(program) = program() else {
            let required = std::env::var_os("OSTLER_REQUIRE_SSHD").is_some_and(|value| value == "1");
            assert!(!required, "there is no sshd, and OSTLER_REQUIRE_SSHD is 1: install openssh-server");
            eprintln!("skipped: there is no sshd (Debian: openssh-server)");
            return None;
        };
        let dir = tempfile::tempdir().expect("a temporary folder");
        let host_key = generate_host_key(dir.path());
        // Another process may take the port between its choice and sshd's bind.
        for _ in 0..5 {
            let address = free_port();
            write_config(dir.path(), address);
            let mut listener = spawn(&program, dir.path());
            if listens(&mut listener, dir.path(), address) {
                let user = user();
                let sshd = Self { listener, dir, address, host_key, user };
                sshd.authorize(authorized);
                return Some(sshd);
            }
        }
        panic!("sshd does not listen; it says: {}", read_log(dir.path()));
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its public host key, as `ssh-ed25519 AAAA...`.
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    /// The only account that it can log in: ours.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// From now on these public keys are accepted, and no others.
    pub fn authorize(&self, keys: &[&str]) {
        fs::write(self.dir.path().join("authorized_keys"), keys.join("\n") + "\n").expect("authorized_keys is written");
    }

    /// What it has logged so far, at level VERBOSE.
    pub fn log(&self) -> String {
        read_log(self.dir.path())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let mut family = descendants(self.listener.id());
        family.push(self.listener.id());
        for pid in family {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
        }
        let _ = self.listener.wait();
    }
}

/// sshd's absolute path: it wants to be called by that, because it executes itself anew for each connection.
fn program() -> Option<PathBuf> {
    ["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
}

fn generate_host_key(dir: &Path) -> String {
    let path = dir.join("host_key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(&path).status();
    assert!(made.expect("ssh-keygen runs").success(), "ssh-keygen made no host key");
    fs::read_to_string(path.with_extension("pub")).expect("the public host key").trim().to_owned()
}

fn free_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).expect("a free port")
}

fn write_config(dir: &Path, address: SocketAddr) {
    let mut config = String::new();
    let path = |name: &str| dir.join(name).display().to_string();
    for (key, value) in [
        ("ListenAddress", address.to_string()),
        ("HostKey", path("host_key")),
        ("AuthorizedKeysFile", path("authorized_keys")),
        ("PidFile", "none".to_owned()),
        ("StrictModes", "no".to_owned()), // the folder lies in /tmp
        ("UsePAM", "no".to_owned()),      // works without root, and opens no logind session
        ("PasswordAuthentication", "no".to_owned()),
        ("KbdInteractiveAuthentication", "no".to_owned()),
        ("PermitRootLogin", "prohibit-password".to_owned()),
        // An account's own start-up files would slow down or change what tests see; bash reads .bashrc under sshd.
        ("SetEnv", format!("HOME={}", dir.display())),
        ("PermitUserRC", "no".to_owned()),
        ("Subsystem", "sftp internal-sftp".to_owned()),
        ("LogLevel", "VERBOSE".to_owned()),
    ] {
        writeln!(config, "{key} {value}").expect("a String takes everything");
    }
    fs::write(dir.join("sshd_config"), config).expect("sshd_config is written");
}

fn spawn(program: &Path, dir: &Path) -> Child {
    if user() == "root" {
        // The folder for its unprivileged half is built into sshd; packages make it when their service starts.
        match fs::DirBuilder::new().mode(0o755).create("/run/sshd") {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => panic!("can't make /run/sshd: {error}"),
            _ => {}
        }
    }
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(program)
        .args(["-D", "-f"])
        .arg(dir.join("sshd_config"))
        .arg("-E")
        .arg(dir.join("log"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("setpriv runs")
}

/// Waits until it says that it listens; `false` if it ended instead.
fn listens(listener: &mut Child, dir: &Path, address: SocketAddr) -> bool {
    let line = format!("Server listening on {} port {}.", address.ip(), address.port());
    let deadline = Instant::now() + START;
    while Instant::now() < deadline {
        if read_log(dir).contains(&line) {
            return true;
        }
        if listener.try_wait().is_ok_and(|status| status.is_some()) {
            return false;
        }
        thread::sleep(Duration::from_millis(5)); // awaits the condition above
    }
    let _ = listener.kill();
    let _ = listener.wait();
    false
}

fn read_log(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).unwrap_or_default()
}

fn user() -> String {
    let id = Command::new("id").arg("-un").output().expect("id runs");
    String::from_utf8_lossy(&id.stdout).trim().to_owned()
}

/// Processes below `pid`, by the parents that `/proc` names.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // proc(5): `pid (comm) state ppid ...`, and comm may hold anything, also a closing parenthesis.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (child, parent)));
    }
    let mut family = vec![pid];
    let mut next = 0;
    while next < family.len() {
        let parent = family[next];
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        next += 1;
    }
    family.split_off(1)
}
