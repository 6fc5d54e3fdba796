//! Somebody at a terminal, and pictures of what is to be seen there.

use ostler_testkit::{environment::TestEnvironment, pve::FakeNode, tmux::Terminal};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    thread,
};

/// Somebody at a terminal.
pub struct Desk {
    terminal: Terminal,
    folder: PathBuf,
    state: PathBuf,
    before: Vec<String>,
}

impl Desk {
    /// Calls the binary in a window of this size; `None` where there is no tmux.
    pub fn sit_down(
        environment: &TestEnvironment,
        width: u16,
        height: u16,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Option<Self> {
        Self::sit_down_in(&[], environment, (width, height), arguments, variables)
    }

    /// The same where the binary is called by another program, `within`.
    pub fn sit_down_in(
        within: &[&str],
        environment: &TestEnvironment,
        (width, height): (u16, u16),
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Option<Self> {
        let mut command = environment.by_hand(arguments);
        command.env("OSTLER_IMAGE_SITE", "http://127.0.0.1:1");
        // tmux says which terminal it is; only what a program is started with can say another.
        let mut wrapped = Command::new("env");
        wrapped.args(variables.iter().map(|(key, value)| format!("{key}={value}")));
        wrapped.args(within).arg(command.get_program()).args(command.get_args()).current_dir(environment.path());
        wrapped.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        let before = files(environment.path());
        let terminal = Terminal::start(width, height, &wrapped)?;
        Some(Self { terminal, folder: environment.path().to_owned(), state: environment.state_dir(), before })
    }

    /// Types an answer to the question that stands there, and Enter.
    #[track_caller]
    pub fn answer(&self, question: &str, text: &str) {
        self.terminal.wait_for(question);
        self.line(text);
    }

    /// The same where questions are plain lines: the last one counts, and of a list its question stands above.
    #[track_caller]
    pub fn says(&self, question: &str, text: &str) {
        self.terminal.wait_until(&format!("`{question}`"), |screen| {
            let mut lines = screen.trim_end().lines().rev();
            let last = lines.next().unwrap_or_default();
            let of_list = last.starts_with("Number") && lines.take(20).any(|line| line.contains(question));
            last.ends_with(':') && (last.contains(question) || of_list)
        });
        self.line(text);
    }

    /// Types a line.
    pub fn line(&self, text: &str) {
        if !text.is_empty() {
            self.terminal.type_text(text);
        }
        self.terminal.press(&["Enter"]);
    }

    /// Presses keys.
    pub fn press(&self, keys: &[&str]) {
        self.terminal.press(keys);
    }

    /// Takes back what was typed.
    pub fn erase(&self) {
        self.terminal.press(&["-N", "80", "BSpace"]);
    }

    /// Walks to a choice of the list that stands there, and takes it.
    #[track_caller]
    pub fn choose(&self, label: &str) {
        let marked = |screen: &str| screen.lines().any(|line| line.starts_with(&format!("> {label}")));
        for _ in 0..20 {
            if marked(&self.terminal.screen()) {
                self.terminal.press(&["Enter"]);
                return;
            }
            let before = self.terminal.screen();
            self.terminal.press(&["Down"]);
            self.terminal.wait_until("another line", |screen| screen != before);
        }
        panic!("there is no `{label}`:\n{}", self.terminal.screen());
    }

    /// The same once its question stands there.
    #[track_caller]
    pub fn choose_at(&self, question: &str, label: &str) {
        self.terminal.wait_for(question);
        self.choose(label);
    }

    /// Waits for a text.
    #[track_caller]
    pub fn waits_for(&self, text: &str) -> String {
        self.terminal.wait_for(text)
    }

    /// Waits until `text` stands there, and then for the whole window to be as in `screens/NAME.txt`; with `UPDATE_SCREENS=1` the
    /// file is written instead.
    #[track_caller]
    pub fn sees(&self, text: &str, name: &str) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/wizard/screens/{name}.txt"));
        let mut last = String::new();
        if std::env::var_os("UPDATE_SCREENS").is_some_and(|value| value == "1") {
            self.terminal.wait_for(text);
            // Drawn to its end: it looks the same twice.
            loop {
                thread::sleep(std::time::Duration::from_millis(300));
                let screen = self.terminal.screen();
                if screen == last {
                    break;
                }
                last = screen;
            }
            fs::write(&file, masked(&last)).expect("a written file");
            return;
        }
        let expected = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.terminal.wait_until(&format!("the picture {name}:\n{expected}"), |screen| masked(screen) == expected);
    }

    /// Gives the window another size.
    pub fn resize(&self, width: u16, height: u16) {
        self.terminal.resize(width, height);
    }

    /// Ends the binary by SIGTERM.
    pub fn terminate(&self) {
        let marker = self.state.to_string_lossy().into_owned();
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let read = |name: &str| {
                String::from_utf8_lossy(&fs::read(process.path().join(name)).unwrap_or_default()).into_owned()
            };
            let ours = read("environ").contains(&marker) && read("cmdline").contains("ostler\0wizard");
            let Some(pid) = process.file_name().to_str().and_then(|pid| pid.parse::<i32>().ok()).filter(|_| ours)
            else {
                continue;
            };
            let is_binary = fs::read_link(process.path().join("exe")).is_ok_and(|exe| exe.ends_with("ostler"));
            if let Some(pid) = rustix::process::Pid::from_raw(pid).filter(|_| is_binary) {
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
            }
        }
    }

    /// Exit code, and whether the terminal is as it was.
    #[track_caller]
    pub fn ended(&self) -> (i32, bool) {
        self.terminal.ended()
    }

    /// Everything that was to be seen.
    pub fn history(&self) -> String {
        self.terminal.history()
    }

    /// What is to be seen, with its colours.
    pub fn coloured_screen(&self) -> String {
        self.terminal.coloured_screen()
    }

    /// Neither a file nor a state.
    #[track_caller]
    pub fn left_nothing(&self) {
        assert_eq!(files(&self.folder), self.before);
        assert!(!self.state.exists(), "the state directory was made");
    }
}

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.file_name().into_string());
    let mut names: Vec<String> = names.map(|name| name.expect("a name in UTF-8")).collect();
    names.sort();
    names
}

/// A file of the environment's folder.
#[track_caller]
pub fn written(environment: &TestEnvironment, name: &str) -> String {
    fs::read_to_string(environment.path().join(name)).expect("a written file")
}

/// What differs from run to run: ports, and the digits of fingerprints.
fn masked(screen: &str) -> String {
    let mut out = String::new();
    let mut rest = screen;
    while let Some(at) = rest.find("127.0.0.1:") {
        let (before, after) = rest.split_at(at + "127.0.0.1:".len());
        let digits = after.chars().take_while(char::is_ascii_digit).count();
        out.push_str(before);
        out.push_str("00000");
        rest = &after[digits..];
    }
    out.push_str(rest);
    out.lines().map(|line| format!("{}\n", without_fingerprint(line))).collect()
}

/// Pairs of hexadecimal digits with colons between become `00`.
fn without_fingerprint(line: &str) -> String {
    let words = line.split_inclusive([' ', '"']).map(|word| {
        let hex = word.trim_end_matches([' ', '"']);
        let is_part = hex.len() > 20 && hex.chars().all(|c| c == ':' || c.is_ascii_hexdigit()) && hex.contains(':');
        let zero = |c: char| if c.is_ascii_hexdigit() { '0' } else { c };
        if is_part { hex.chars().map(zero).collect::<String>() + &word[hex.len()..] } else { word.to_owned() }
    });
    words.collect()
}

/// A node with a thread of its own: `ostler` is run by another process.
pub fn start_node() -> FakeNode {
    let (sender, started) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let node = FakeNode::start().await.expect("a node");
            sender.send(node).expect("somebody waits for it");
            std::future::pending::<()>().await;
        });
    });
    started.recv().expect("a node")
}
