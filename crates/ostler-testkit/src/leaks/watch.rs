//! A look at all processes of this machine, again and again.

use super::Planted;
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, UNIX_EPOCH},
};

/// Time between two scrapes.
const PAUSE: Duration = Duration::from_millis(40);

/// Looks at arguments and environments of all processes, and at the files of a folder, until it is told to stop.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What a watch saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Where a secret was: the place, and which secrets in which forms.
    pub leaks: BTreeMap<String, BTreeSet<String>>,
    /// Every command line, words separated by blanks.
    pub commands: BTreeSet<String>,
    texts: HashSet<Vec<u8>>,
}

impl Watch {
    /// Begins. `told`: a program that was given the secret of this name in its environment, where it is no leak.
    pub fn start(planted: &Arc<Planted>, folder: PathBuf, told: (PathBuf, &str)) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, planted) = (Arc::clone(&stop), Arc::clone(planted));
        let told = (told.0, told.1.to_owned());
        let thread = thread::spawn(move || {
            let mut seen = Seen::default();
            loop {
                let last = stopped.load(Ordering::Relaxed);
                seen.processes(&planted, &told);
                for leak in planted.in_files(&folder, UNIX_EPOCH) {
                    seen.leaks.entry(folder.join(leak.path).display().to_string()).or_default().extend(leak.found);
                }
                if last {
                    return seen;
                }
                thread::sleep(PAUSE); // the next look
            }
        });
        Self { stop, thread }
    }

    /// Looks once more, and ends.
    pub fn finish(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

impl Seen {
    fn processes(&mut self, planted: &Planted, (program, name): &(PathBuf, String)) {
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            if !process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
                continue;
            }
            let process = process.path();
            let Ok(arguments) = fs::read(process.join("cmdline")) else { continue };
            let before = fs::read_link(process.join("exe")).ok();
            let environment = fs::read(process.join("environ")).unwrap_or_default();
            let is_told = before.as_deref().is_some_and(|exe| is_same_program(exe, program));
            // Between fork and exec, or in the midst of exec, it is nobody's.
            let changed = fs::read_link(process.join("exe")).ok() != before;
            let command = String::from_utf8_lossy(&arguments).replace('\0', " ").trim().to_owned();
            self.text(planted, &format!("arguments of {command}"), arguments, None);
            if !changed {
                let told = is_told.then_some(name.as_str());
                self.text(planted, &format!("environment of {command}"), environment, told);
            }
            self.commands.insert(command);
        }
    }

    fn text(&mut self, planted: &Planted, place: &str, text: Vec<u8>, told: Option<&str>) {
        // What was found clean, or told to one program, may be a leak in another.
        if told.is_none() && !self.texts.insert(text.clone()) {
            return;
        }
        let mut found = planted.in_bytes(&text);
        found.retain(|label| told.is_none_or(|name| !label.starts_with(&format!("{name} ("))));
        if !found.is_empty() {
            self.leaks.entry(place.to_owned()).or_default().extend(found);
        }
    }
}

fn is_same_program(exe: &Path, program: &Path) -> bool {
    exe == program || fs::canonicalize(program).is_ok_and(|program| exe == program)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn arguments_environments_and_files_are_seen() {
        let planted =
            Arc::new(Planted::new(&[("a", "argument-Vh3Zq8"), ("e", "environment-Wn5Yr2"), ("f", "file-Km6Tx9")]));
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("file"), "file-Km6Tx9").expect("a file");
        let mut child = Command::new("sh")
            .args(["-c", "echo; read line", "argument-Vh3Zq8"])
            .env("E", "environment-Wn5Yr2")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        // It says so once it is there.
        std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut [0]).expect("a line");
        let look = |told: &str| {
            let shell = fs::canonicalize("/bin/sh").expect("a path");
            Watch::start(&planted, folder.path().to_owned(), (shell, told)).finish()
        };
        let (seen, told) = (look("nothing"), look("e"));
        drop(child.stdin.take());
        child.wait().expect("an end");
        let found = |seen: &Seen| seen.leaks.values().flatten().cloned().collect::<BTreeSet<_>>();
        let labels = |letters: &[&str]| letters.iter().map(|letter| format!("{letter} (as it is)")).collect();
        assert_eq!(found(&seen), labels(&["a", "e", "f"]), "{:?}", seen.leaks);
        assert_eq!(found(&told), labels(&["a", "f"]), "{:?}", told.leaks);
        assert!(seen.commands.iter().any(|command| command.contains("echo; read line")));
    }
}
