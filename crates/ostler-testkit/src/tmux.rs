//! A real terminal with a person's keys going in and what a person sees coming out: tmux.
//!
//! Every terminal has a tmux server of its own, which ends with it. Where tmux is not installed there is none, and the test is
//! skipped; with `OSTLER_REQUIRE_TMUX=1` in the environment, as in continuous integration, that is a failure instead.

use rustix::termios::tcgetwinsize;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A terminal in which a program runs.
pub struct Terminal {
    dir: TempDir,
    patience: Duration,
}

/// How long something may take to appear, unless somebody is more patient.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(25);

/// No line of its own, no waiting for what may follow Esc, and what was there stays when the program has ended.
const CONFIGURATION: &str = "set -g status off\nset -g escape-time 0\nset -g remain-on-exit on\nset -g remain-on-exit-format ''\n\
    set -g default-terminal screen-256color\n";

/// Runs the program, and says how it ended and what it left of the terminal; also after Ctrl-C, which goes to both.
const WRAPPER: &str = r#"trap : INT; "$@"; code=$?
stty -a | grep -qE -e ' -(icanon|echo|isig|icrnl|opost)\b' && echo '[the terminal is raw]'
echo "[exit code $code]""#;

impl Terminal {
    /// A terminal of this size, in which `command` runs with its own folder and variables; `None` where there is no tmux.
    ///
    /// # Panics
    /// If tmux does not start, or is missing and `OSTLER_REQUIRE_TMUX` is `1`.
    pub fn start(width: u16, height: u16, command: &Command) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            let required = std::env::var_os("OSTLER_REQUIRE_TMUX").is_some_and(|value| value == "1");
            assert!(!required, "tmux is not installed, but OSTLER_REQUIRE_TMUX is 1");
            eprintln!("skipped: tmux is not installed (Debian package tmux)");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("ostler-tmux-").tempdir().expect("a temporary directory");
        fs::write(dir.path().join("tmux.conf"), CONFIGURATION).expect("a written file");
        let terminal = Self { dir, patience: PATIENCE };
        let mut tmux = terminal.tmux();
        // What the server starts with is what its programs get.
        tmux.env_clear();
        tmux.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        if let Some(folder) = command.get_current_dir() {
            tmux.current_dir(folder);
        }
        let size = ["-x", &width.to_string(), "-y", &height.to_string()].map(str::to_owned);
        tmux.arg("new-session").arg("-d").args(size).args(["--", "sh", "-c", WRAPPER, "sh"]);
        tmux.arg(command.get_program()).args(command.get_args());
        done(&tmux.output().expect("tmux starts"));
        Some(terminal)
    }

    /// The same for whoever waits longer.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Types a text.
    pub fn type_text(&self, text: &str) {
        self.call(&["send-keys", "-l", "--", text]);
    }

    /// Presses keys, by the names that tmux has for them: `Enter`, `Escape`, `C-c`, `Down`.
    pub fn press(&self, keys: &[&str]) {
        self.call(&[&["send-keys"], keys].concat());
    }

    /// Gives the window another size; returns when the program has been told.
    ///
    /// # Panics
    /// If the window does not get it.
    pub fn resize(&self, width: u16, height: u16) {
        self.call(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
        let tty = fs::File::open(self.call(&["display-message", "-p", "#{pane_tty}"]).trim()).expect("its terminal");
        let begun = Instant::now();
        while tcgetwinsize(&tty).map(|size| (size.ws_col, size.ws_row)) != Ok((width, height)) {
            assert!(begun.elapsed() < self.patience, "the window does not become {width}x{height}");
            thread::sleep(LOOK);
        }
    }

    /// What stands in the window, without blanks at the ends of lines and empty lines at the end.
    pub fn screen(&self) -> String {
        let text = self.call(&["capture-pane", "-p"]);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        format!("{}\n", lines.join("\n").trim_end())
    }

    /// The same with the sequences that colour it.
    pub fn coloured_screen(&self) -> String {
        self.call(&["capture-pane", "-p", "-e"])
    }

    /// Also what has gone out of the window at its top.
    pub fn history(&self) -> String {
        self.call(&["capture-pane", "-p", "-J", "-S", "-"])
    }

    /// Waits until `text` stands in the window.
    ///
    /// # Panics
    /// If it does not come.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_until(&format!("`{text}`"), |screen| screen.contains(text))
    }

    /// Waits until the window is as it should be.
    ///
    /// # Panics
    /// If it does not become so; `what` says what was awaited.
    #[track_caller]
    pub fn wait_until(&self, what: &str, good: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if good(&screen) {
                return screen;
            }
            assert!(begun.elapsed() < self.patience, "{what} does not come. The window:\n{screen}");
            thread::sleep(LOOK);
        }
    }

    /// Waits for the program's end; its exit code, and whether it left the terminal as it was.
    ///
    /// # Panics
    /// If it does not end.
    #[track_caller]
    pub fn ended(&self) -> (i32, bool) {
        self.wait_for("[exit code ");
        let text = self.history();
        let code = text.rsplit_once("[exit code ").and_then(|(_, rest)| rest.split(']').next()?.parse().ok());
        (code.expect("a number"), !text.contains("[the terminal is raw]"))
    }

    fn call(&self, arguments: &[&str]) -> String {
        done(&self.tmux().args(arguments).output().expect("tmux starts"))
    }

    fn tmux(&self) -> Command {
        let file = |name: &str| Path::new(self.dir.path()).join(name);
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-S").arg(file("socket")).arg("-f").arg(file("tmux.conf"));
        command
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux().arg("kill-server").output();
    }
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "tmux: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
