//! The terminal is one, and live lines, lines that stay and questions share it.
//!
//! While a question is open nothing else is written, for it would stand between the question and its answer. Work goes on
//! meanwhile, and what it says is shown afterwards. Nothing here ever waits for a reader; see [`super::writer`].

use super::writer::{Stream, Writer};
use indicatif::ProgressStyle;
use ostler_core::text::plain;
use std::{
    fs::File,
    io::{self, IsTerminal},
    os::fd::AsFd,
    sync::OnceLock,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// Standard output and standard error of this process. Clones are the same ones.
#[derive(Clone)]
pub struct Stage {
    /// Writes standard output.
    output: Writer,
    /// Writes standard error and the live lines: the same where both are one place, so that all stands in its order, and
    /// another where they are two, so that one that is not read keeps nothing from the other.
    error: Writer,
    /// Live lines are seen.
    terminal: bool,
    /// Lines of standard output stand in the way of a question.
    visible: bool,
}

/// While it lives nothing is written but by who holds it.
pub struct OpenQuestion(Stage);

/// How often a live line moves.
pub(super) const TICK: Duration = Duration::from_millis(100);

impl Stage {
    /// That of this process.
    pub fn of_process() -> Self {
        static STAGE: OnceLock<Stage> = OnceLock::new();
        let own = || {
            let duplicate = |fd: io::Result<std::os::fd::OwnedFd>| fd.ok().map(File::from);
            let output = duplicate(io::stdout().as_fd().try_clone_to_owned());
            let error = duplicate(io::stderr().as_fd().try_clone_to_owned());
            Self::on(output, error, io::stderr().is_terminal(), io::stdout().is_terminal())
        };
        STAGE.get_or_init(own).clone()
    }

    fn on(output: Option<File>, error: Option<File>, terminal: bool, visible: bool) -> Self {
        let place = |file: &Option<File>| {
            let status = file.as_ref().and_then(|file| rustix::fs::fstat(file).ok());
            status.map(|status| (status.st_dev, status.st_ino))
        };
        if place(&output) == place(&error) {
            let both = Writer::start(output, error, terminal);
            return Self { output: both.clone(), error: both, terminal, visible: true };
        }
        let for_warnings = error.as_ref().and_then(|error| error.try_clone().ok());
        let output = Writer::start(output, for_warnings, false);
        Self { output, error: Writer::start(None, error, terminal), terminal, visible }
    }

    /// Whether live lines are seen.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// How the live lines look, if not as one line with a spinner, a message and the time.
    pub fn set_style(&self, style: ProgressStyle) {
        self.error.set_style(style);
    }

    /// What the live line says; it is shown if it was not.
    pub fn set_message(&self, message: &str) {
        self.error.set_message(plain(message), TICK);
    }

    /// Shows the live lines, and moves them that often. Its clock begins anew.
    pub fn start(&self, tick: Duration) {
        self.error.set_live(Some(tick));
    }

    /// Takes the live lines away.
    pub fn stop(&self) {
        self.error.set_live(None);
    }

    /// Writes whole lines to standard output.
    pub fn print(&self, text: &str) {
        self.output.write(Stream::Output, text.to_owned(), false);
    }

    /// Writes lines to standard output that say how far something has come: a slow reader does without.
    pub fn print_progress(&self, text: &str) {
        self.output.write(Stream::Output, text.to_owned(), true);
    }

    /// Writes whole lines to standard error.
    pub fn print_error(&self, text: &str) {
        self.error.write(Stream::Error, text.to_owned(), false);
    }

    /// Whether somebody still reads standard output.
    pub fn is_read(&self) -> bool {
        self.output.is_read(Stream::Output)
    }

    /// Makes room for a question. There is some as soon as [`Stage::wait_quiet`] returns.
    pub fn open_question(&self) -> OpenQuestion {
        self.set_asking(true);
        OpenQuestion(self.clone())
    }

    /// Waits, in this thread, until what was said before the question is written.
    pub fn wait_quiet(&self) {
        if self.visible {
            self.output.wait_quiet();
        }
        self.error.wait_quiet();
    }

    /// Returns once all is written. Only who holds nothing that others wait for may wait for a reader.
    pub async fn written(&self) {
        self.output.written().await;
        self.error.written().await;
    }

    /// The same, unless a signal asks for the end.
    pub async fn written_or_stopped(&self) {
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return self.written().await;
        };
        tokio::select! {
            () = self.written() => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }

    fn set_asking(&self, asking: bool) {
        if self.visible {
            self.output.set_asking(asking);
        }
        self.error.set_asking(asking);
    }
}

impl Drop for OpenQuestion {
    fn drop(&mut self) {
        self.0.set_asking(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read};

    /// A stage, and what reads its standard output and error.
    fn stage() -> (Stage, BufReader<io::PipeReader>, BufReader<io::PipeReader>) {
        let ((output, stdout), (error, stderr)) = (io::pipe().unwrap(), io::pipe().unwrap());
        let file = |end: io::PipeWriter| Some(File::from(std::os::fd::OwnedFd::from(end)));
        (Stage::on(file(stdout), file(stderr), false, true), BufReader::new(output), BufReader::new(error))
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    fn line(reader: &mut impl BufRead) -> String {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line
    }

    #[test]
    fn a_reader_that_does_not_read_keeps_nobody_waiting_and_gets_every_line() {
        let (stage, mut output, mut error) = stage();
        let wide = "x".repeat(100);
        for number in 0..50_000 {
            stage.print(&format!("{number} {wide}\n"));
            stage.print_progress("so far\n");
        }
        stage.print_error("an error\n");
        assert_eq!(line(&mut error), "an error\n", "one place keeps the other waiting");
        let mut progress = 0;
        let mut number = 0;
        while number < 50_000 {
            match line(&mut output).as_str() {
                "so far\n" => progress += 1,
                said => {
                    assert_eq!(said, format!("{number} {wide}\n"));
                    number += 1;
                }
            }
        }
        assert!(progress < 20_000, "a slow reader got {progress} lines of progress");
        block_on(stage.written());
    }

    #[test]
    fn what_nobody_reads_any_more_is_forgotten() {
        let (stage, mut output, mut error) = stage();
        stage.print("one\n");
        assert_eq!(line(&mut output), "one\n");
        drop(output);
        for _ in 0..1000 {
            stage.print(&"two\n".repeat(1000));
        }
        block_on(stage.written());
        assert!(!stage.is_read());
        stage.print_error("still there\n");
        assert_eq!(line(&mut error), "still there\n");
    }

    #[test]
    fn beyond_all_bounds_it_is_said_that_lines_are_missing() {
        let (stage, mut output, mut error) = stage();
        let mebibyte = format!("{}\n", "x".repeat((1 << 20) - 1));
        for _ in 0..80 {
            stage.print(&mebibyte);
        }
        output.read_exact(&mut vec![0; 64 << 20]).unwrap();
        assert!(line(&mut error).starts_with("warning: 16 lines are left out, because nobody read them in time"));
        stage.print("and on\n");
        assert_eq!(line(&mut output), "and on\n");
    }

    #[test]
    fn what_is_said_during_a_question_waits_for_its_answer() {
        let (stage, mut output, mut error) = stage();
        stage.print("web0  ready\n");
        let question = stage.open_question();
        stage.wait_quiet();
        assert_eq!(line(&mut output), "web0  ready\n");
        stage.print("web1  ready\n");
        stage.print_error("web2  failed\n");
        block_on(stage.written());
        assert!(rustix::io::ioctl_fionread(output.get_ref()).unwrap() == 0, "it stands between question and answer");
        drop(question);
        assert_eq!(line(&mut output), "web1  ready\n");
        assert_eq!(line(&mut error), "web2  failed\n");
    }
}
