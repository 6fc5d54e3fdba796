//! Programs of a build: found, run, and ended with their whole process group when the build is broken off.
//!
//! mmdebstrap and the scripts clean up after themselves on SIGTERM (their files may belong to users that only they can
//! act as), so they get the time for it. A small shell leads the group: when told to end, or when Ostler dies, however it
//! does, the shell passes that on to all of the group, as mmdebstrap's own processes expect.

use super::super::error::ImageError;
use ostler_process::children;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};

/// Where programs are looked for after `PATH`, which for everybody but root lacks these on Debian.
const SBIN: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Runs what follows it with the same input, and ends as that does, or ends the whole group once.
const KEEPER: &str = r#"trap 'trap "" TERM; kill -s TERM 0; wait; exit 143' TERM
exec 3<&0; "$@" <&3 3<&- & wait "$!""#;

/// Gives the command behind it mounts of its own (unshare(1)). As root, mmdebstrap mounts this machine's /proc, /sys and
/// devices in its tree: were they seen here, and left behind by a killed one, the removal of the tree would walk into them.
const OWN_MOUNTS: [&str; 3] = ["unshare", "--mount", "--"];

/// Makes the command behind it run as root of a user namespace (unshare(1)).
const AS_ROOT: [&str; 5] = ["unshare", "--user", "--map-root-user", "--map-auto", "--"];

/// How long a program may take to clean up after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// How many of a failed program's last lines are shown.
const LAST_LINES: usize = 12;

/// Whether a program is installed.
pub fn is_installed(program: &str) -> bool {
    let is_program =
        |file: PathBuf| fs::metadata(file).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0);
    env::split_paths(&search_path()).any(|dir| is_program(dir.join(program)))
}

/// Runs the programs of one build in its folder.
pub struct Runner {
    dir: PathBuf,
    log: PathBuf,
    path: std::ffi::OsString,
}

impl Runner {
    /// Programs run in `dir`, and what they say goes to the file `log`, which is emptied.
    pub fn new(dir: PathBuf, log: PathBuf) -> Result<Self, ImageError> {
        File::create(&log).map_err(ImageError::file("write", &log))?;
        Ok(Self { dir, log, path: search_path() })
    }

    /// A program with its arguments and nothing else yet.
    pub fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, program: &str, args: I) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--", "sh", "-c", KEEPER, "keeper"]);
        if is_root() {
            command.args(OWN_MOUNTS);
        }
        command.arg(program).args(args);
        command.current_dir(&self.dir).env("PATH", &self.path).env("LC_ALL", "C.UTF-8").process_group(0);
        command
    }

    /// The same as root of a user namespace that has all the user's subordinate ids, or as root.
    pub fn command_as_root(&self, program: &str, args: &[&str]) -> Command {
        if is_root() {
            return self.command(program, args);
        }
        let [unshare, options @ ..] = AS_ROOT;
        self.command(unshare, options.iter().chain(&[program]).chain(args))
    }

    /// Runs a command of [`Self::command`] to its end, with `input` on its standard input. `program` is for the error.
    pub async fn run(&self, program: &'static str, mut command: Command, input: &str) -> Result<(), ImageError> {
        let log = File::options().append(true).open(&self.log);
        let mut log = log.map_err(ImageError::file("write", &self.log))?;
        let start = log.seek(SeekFrom::End(0)).map_err(ImageError::file("read", &self.log))?;
        let stdin = self.input(input)?;
        let same = log.try_clone().map_err(ImageError::file("write", &self.log))?;
        command.stdin(stdin).stdout(log).stderr(same).kill_on_drop(true);
        let mut group = Group(children::start(command).map_err(ImageError::file("run", program))?);
        let status = group.0.wait().await.map_err(ImageError::file("await", program))?;
        if status.success() {
            return Ok(());
        }
        Err(ImageError::Program { program, status, said: self.said_since(start), log: self.log.clone() })
    }

    /// A file rather than a pipe, which somebody would have to feed.
    fn input(&self, text: &str) -> Result<Stdio, ImageError> {
        if text.is_empty() {
            return Ok(Stdio::null());
        }
        tempfile::tempfile_in(&self.dir)
            .and_then(|mut file| {
                std::io::Write::write_all(&mut file, text.as_bytes())?;
                file.rewind()?;
                Ok(file.into())
            })
            .map_err(ImageError::file("write to", &self.dir))
    }

    fn said_since(&self, start: u64) -> String {
        let mut said = Vec::new();
        let read = File::open(&self.log).and_then(|mut log| {
            log.seek(SeekFrom::Start(start))?;
            log.read_to_end(&mut said)
        });
        let text = String::from_utf8_lossy(&said);
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        match (read, lines.is_empty()) {
            (Ok(_), false) => lines[lines.len().saturating_sub(LAST_LINES)..].join("\n"),
            _ => "it printed nothing".into(),
        }
    }
}

/// A process group with its leader.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // `None` once it has been waited for: then it is over.
        let Some(leader) = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) else { return };
        let _ = kill_process(leader, Signal::TERM);
        let deadline = Instant::now() + GRACE;
        // NOWAIT leaves it a zombie, which tokio collects, and whose id nobody else gets meanwhile.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while Instant::now() < deadline && matches!(waitid(WaitId::Pid(leader), options), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = kill_process_group(leader, Signal::KILL);
    }
}

fn search_path() -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(SBIN.map(PathBuf::from)).filter(|dir| dir.is_absolute());
    env::join_paths(dirs.collect::<Vec<_>>()).unwrap_or(path)
}

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Removes a build's folder, also where parts of it belong to the user's subordinate ids.
pub fn remove_folder(path: &Path) -> Result<(), ImageError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) if is_root() => Err(ImageError::file("remove", path)(error)),
        Err(error) => {
            let [unshare, options @ ..] = AS_ROOT;
            let removed =
                std::process::Command::new(unshare).args(options).args(["rm", "-rf", "--"]).arg(path).status();
            match removed {
                Ok(status) if status.success() => Ok(()),
                _ => Err(ImageError::file("remove", path)(error)),
            }
        }
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(dir: &tempfile::TempDir) -> Runner {
        Runner::new(dir.path().into(), dir.path().join("log")).unwrap()
    }

    #[tokio::test]
    async fn a_program_gets_its_input_and_its_failure_is_told_with_its_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let runner = runner(&dir);
        let cat = runner.command("sh", ["-c", "cat > copy"]);
        runner.run("cat", cat, "all of it").await.unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("copy")).unwrap(), "all of it");

        let failing = runner.command("sh", ["-c", "seq 100; echo why >&2; exit 3"]);
        let error = runner.run("seq", failing, "").await.unwrap_err();
        let ImageError::Program { status, said, .. } = error else { panic!("{error:?}") };
        assert_eq!(status.code(), Some(3));
        assert!(said.starts_with("90\n") && said.ends_with("\n100\nwhy"), "{said}");
    }

    #[tokio::test]
    async fn a_program_that_is_broken_off_may_clean_up() {
        let dir = tempfile::tempdir().unwrap();
        let runner = runner(&dir);
        let script = "trap 'touch cleaned; exit' TERM; sleep 60 & echo $! > pid; wait";
        let command = runner.command("sh", ["-c", script]);
        let pid = async {
            loop {
                match fs::read_to_string(dir.path().join("pid")) {
                    Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let pid = tokio::select! {
            ended = runner.run("sh", command, "") => panic!("{ended:?}"),
            pid = pid => pid,
        };
        assert!(dir.path().join("cleaned").exists());
        // It has had its signal, and dies when the machine comes to it.
        let begun = std::time::Instant::now();
        loop {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "its own child still runs: {stat}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
