//! A throw-away sshd with a client for it.

use ostler_core::{
    ids::ServerName,
    model::KeyPair,
    ports::{Login, Remote, Session},
    secret::Secret,
};
use ostler_remote::OpenSsh;
use ostler_testkit::sshd::Sshd;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Tells a copy of the test's binary to hold a session until it is killed; its input is address, user, host key, private key.
const HOLD: &str = "OSTLER_TEST_HOLD_SESSION";

/// A client with state of its own, and a server that knows its key.
pub struct Lab {
    pub sshd: Sshd,
    pub remote: OpenSsh,
    pub key: KeyPair,
    dir: TempDir,
}

impl Lab {
    /// `None` where there is no sshd.
    pub fn new() -> Option<Self> {
        // In /tmp, for TMPDIR may be too long for a socket; 0700, as a runtime folder is.
        let dir = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir_in("/tmp").unwrap();
        let remote = client(dir.path());
        let key = remote.generate_key().unwrap();
        let sshd = Sshd::start(&[&key.public])?;
        Some(Self { sshd, remote, key, dir })
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where sessions have their sockets.
    pub fn runtime(&self) -> PathBuf {
        self.dir().join("ostler")
    }

    pub fn login(&self) -> Login {
        login(self.sshd.address(), self.sshd.user(), self.sshd.host_key(), self.key.private.clone())
    }

    pub async fn connect(&self) -> Box<dyn Session> {
        let session = self.remote.connect(&self.login(), Duration::from_secs(30)).await;
        session.unwrap_or_else(|error| panic!("{error:?}; sshd says: {}", self.sshd.log()))
    }

    /// How many folders with sockets there are.
    pub fn sockets(&self) -> usize {
        fs::read_dir(self.runtime()).map_or(0, Iterator::count)
    }

    /// How many logins the server has seen.
    pub fn logins(&self) -> usize {
        self.sshd.log().matches("Accepted publickey").count()
    }

    /// Runs `test` of this binary anew, and returns when that process holds a session to our server. `path`: its `PATH`.
    pub fn hold_a_session(&self, test: &str, path: Option<&Path>) -> Holder {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).env(HOLD, self.dir());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(path) = path {
            command.env("PATH", path);
        }
        let mut holder = Holder(command.spawn().unwrap());
        let (address, user, host_key) = (self.sshd.address(), self.sshd.user(), self.sshd.host_key());
        let mut input = holder.0.stdin.take().unwrap();
        write!(input, "{address}\n{user}\n{host_key}\n{}", self.key.private.expose()).unwrap();
        drop(input);
        let lines = BufReader::new(holder.0.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.ends_with("holding")), "it holds no session");
        holder
    }
}

/// A process that holds a session. Dropping it kills it with SIGKILL.
pub struct Holder(Child);

impl Holder {
    pub fn kill(self) {}
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where a program is.
pub fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.exists()).unwrap()
}

/// The other side of [`Lab::hold_a_session`]; `false` in a normal run. Ends only by being killed, or failing.
pub async fn hold_a_session_if_told() -> bool {
    let Some(dir) = std::env::var_os(HOLD) else { return false };
    let text = std::io::read_to_string(std::io::stdin()).unwrap();
    let [address, user, host_key, key] = text.splitn(4, '\n').collect::<Vec<_>>().try_into().unwrap();
    let login = login(address.parse().unwrap(), user, host_key, Secret::new(key));
    let session = client(Path::new(&dir)).connect(&login, Duration::from_secs(30)).await;
    let _session = session.unwrap_or_else(|error| panic!("{error:?}"));
    println!("\nholding");
    std::future::pending().await
}

/// Waits for `condition`, 10 seconds at most.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Ids of living processes whose argv names something in `dir`.
pub fn processes_with(dir: &Path) -> Vec<u32> {
    let needle = dir.as_os_str().as_bytes();
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            let argv = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            argv.windows(needle.len()).any(|window| window == needle)
        })
        .collect()
}

fn client(dir: &Path) -> OpenSsh {
    OpenSsh::new(dir.join("state"), Some(dir.to_owned()))
}

fn login(address: std::net::SocketAddr, user: &str, host_key: &str, key: Secret) -> Login {
    let server = ServerName::parse("web-1").unwrap();
    Login {
        server,
        address,
        user: user.to_owned(),
        host_keys: vec![host_key.to_owned()],
        through: None,
        credential: ostler_core::ports::Credential::Key(key),
    }
}
