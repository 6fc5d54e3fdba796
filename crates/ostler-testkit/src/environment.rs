//! A hermetic place to run the `ostler` binary in: a state directory of its own, a cleared environment, and a clean-up that
//! also happens when the test fails.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};
use tempfile::TempDir;

/// Where the binary finds other programs.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A state directory and the binary that works on it.
pub struct TestEnvironment {
    dir: TempDir,
    binary: PathBuf,
}

impl TestEnvironment {
    /// An empty one, for `binary` (a test has it as `env!("CARGO_BIN_EXE_ostler")`).
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let dir = tempfile::Builder::new().prefix("ostler-test-").tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("home")).expect("a home directory");
        fs::create_dir(dir.path().join("bin")).expect("a folder for programs");
        Self { dir, binary: binary.into() }
    }

    /// The same with the images of another state directory, so that they are got once.
    pub fn with_images(binary: impl Into<PathBuf>, images: &Path) -> Self {
        let environment = Self::new(binary);
        fs::create_dir_all(environment.state_dir()).expect("a state directory");
        std::os::unix::fs::symlink(images, environment.state_dir().join("images")).expect("a link to the images");
        environment
    }

    /// The same with the Ansible that an earlier test has unpacked: that costs seconds, and waits for all that this machine's disk
    /// has to write.
    pub fn with_ansible(self) -> Self {
        let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp/ostler-ansible/ansible");
        fs::create_dir_all(&shared).expect("a folder for Ansible");
        fs::create_dir_all(self.state_dir()).expect("a state directory");
        let shared = shared.canonicalize().expect("the folder's path");
        std::os::unix::fs::symlink(shared, self.state_dir().join("ansible")).expect("a link to Ansible");
        self
    }

    /// Its folder, for spec files and the like.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A folder whose programs the binary finds before those of this machine.
    pub fn programs(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    /// The state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).expect("a written file");
        path
    }

    /// Makes a key pair: `id_ed25519` and `id_ed25519.pub` in the folder.
    pub fn make_key(&self) {
        let key = self.dir.path().join("id_ed25519");
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
        assert!(made.is_ok_and(|status| status.success()), "ssh-keygen makes a key");
    }

    /// The binary with arguments, not started yet.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg("--state-dir")
            .arg(self.state_dir())
            .arg("--non-interactive")
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", format!("{}:{SEARCH_PATH}", self.programs().display()))
            .env("HOME", self.dir.path().join("home"))
            .stdin(Stdio::null());
        command
    }

    /// The binary as a person calls it at a terminal, not started yet: for [`crate::tmux::Terminal`].
    pub fn by_hand<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env("PATH", SEARCH_PATH)
            .env("LANG", "C.UTF-8")
            .env("HOME", self.dir.path().join("home"))
            .env("OSTLER_STATE_DIR", self.state_dir());
        command
    }

    /// Runs the binary to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Finished {
        Finished::new(self.command(arguments).output().expect("ostler starts"))
    }

    /// Starts the binary with `--output json` and hands over its events as they come.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Running {
        let mut command = self.command(arguments);
        let mut child = command
            .args(["--output", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ostler starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Running { child, lines }
    }

    /// What marks this environment's processes on their command lines: its state directory, and its machines' UUIDs, for
    /// QEMU is started with relative paths.
    pub fn markers(&self) -> Vec<String> {
        let mut markers = vec![self.state_dir().to_string_lossy().into_owned()];
        for machine in fs::read_dir(self.state_dir().join("machines")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(machine.path().join("machine.json")).unwrap_or_default();
            let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            markers.extend(json["uuid"].as_str().map(str::to_owned));
        }
        markers
    }
}

/// Processes, as (id, command line), that carry one of the markers.
pub fn marked_processes(markers: &[String]) -> Vec<(i32, String)> {
    let mut marked = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let cmdline = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let cmdline = String::from_utf8_lossy(&cmdline).replace('\0', " ");
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = pid.filter(|_| markers.iter().any(|marker| cmdline.contains(marker))) {
            marked.push((pid, cmdline));
        }
    }
    marked
}

impl Drop for TestEnvironment {
    fn drop(&mut self) {
        // Machines outlive Ostler by design.
        for (pid, _) in marked_processes(&self.markers()) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// What a finished run left.
#[derive(Debug)]
pub struct Finished {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The same, if it succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// How a run with `--output json` came out for its last server.
    #[track_caller]
    pub fn outcome(&self) -> serde_json::Value {
        self.json_lines().into_iter().rfind(|line| line["event"] == "outcome").expect("an outcome")
    }

    /// `role : task` of every task that changed something, of a run with `--output json`.
    #[track_caller]
    pub fn changes(&self) -> Vec<String> {
        let changed = |line: &serde_json::Value| {
            line["report"] == "task_result" && line["result"] == "changed" && line["aggregate"] != true
        };
        let name = |line: &serde_json::Value| {
            format!("{} : {}", line["role"].as_str().unwrap_or("-"), line["task"].as_str().unwrap_or("-"))
        };
        self.json_lines().iter().filter(|line| changed(line)).map(name).collect()
    }

    /// Standard output as JSON, a value a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.lines().map(parse).collect()
    }
}

/// A run under way.
pub struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Running {
    /// The next event; `None` at the end.
    pub fn next_event(&mut self) -> Option<serde_json::Value> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).expect("a readable pipe");
        (read > 0).then(|| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// Reads events until one is picked; `None` at the end.
    pub fn wait_for(&mut self, mut pick: impl FnMut(&serde_json::Value) -> Option<String>) -> Option<String> {
        while let Some(event) = self.next_event() {
            if let Some(picked) = pick(&event) {
                return Some(picked);
            }
        }
        None
    }

    /// `kill -9`, now.
    pub fn kill(mut self) {
        self.child.kill().expect("a signal");
        self.child.wait().expect("an end");
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Finished {
        let mut stdout = String::new();
        std::io::Read::read_to_string(&mut self.lines, &mut stdout).expect("a readable pipe");
        let mut stderr = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            std::io::Read::read_to_string(&mut pipe, &mut stderr).expect("a readable pipe");
        }
        let status = self.child.wait().expect("an end");
        Finished { code: status.code().unwrap_or(-1), stdout, stderr }
    }
}
