//! The terminal is one, and live lines, lines that stay and questions share it.
//!
//! While a question is open nothing else is written, for it would stand between the question and its answer. Work goes on
//! meanwhile, and what it says is shown afterwards.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ostler_core::text::plain;
use std::{
    io::IsTerminal,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The terminal. Clones are the same one.
#[derive(Clone)]
pub struct Stage {
    state: Arc<Mutex<State>>,
    terminal: bool,
}

struct State {
    live: ProgressBar,
    /// How often the live lines move, while there are any.
    tick: Option<Duration>,
    asking: bool,
    held: Vec<Line>,
}

enum Line {
    Output(String),
    Error(String),
}

/// While it lives nothing is written but by who holds it.
pub struct Hush(Stage);

/// How often a live line moves.
pub(super) const TICK: Duration = Duration::from_millis(100);

impl Default for Stage {
    fn default() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let live = ProgressBar::with_draw_target(None, target);
        live.set_style(
            ProgressStyle::with_template("{spinner} {wide_msg} {elapsed_precise}").expect("a constant template"),
        );
        let state = State { live, tick: None, asking: false, held: Vec::new() };
        Self { state: Arc::new(Mutex::new(state)), terminal }
    }
}

impl Stage {
    /// Whether live lines are seen.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// How the live lines look, if not as one line with a spinner, a message and the time.
    pub fn set_style(&self, style: ProgressStyle) {
        self.state().live.set_style(style);
    }

    /// What the live line says; it is shown if it was not.
    pub fn set_message(&self, message: &str) {
        let message = plain(message);
        let mut state = self.state();
        state.live.set_message(message);
        if state.tick.is_none() {
            state.start(TICK);
        }
    }

    /// Shows the live lines, and moves them that often. Its clock begins anew.
    pub fn start(&self, tick: Duration) {
        self.state().start(tick);
    }

    /// Takes the live lines away.
    pub fn stop(&self) {
        let mut state = self.state();
        state.tick = None;
        state.live.finish_and_clear();
    }

    /// Writes whole lines to standard output.
    pub fn print(&self, text: &str) {
        self.state().write(Line::Output(text.to_owned()));
    }

    /// Writes whole lines to standard error.
    pub fn print_error(&self, text: &str) {
        self.state().write(Line::Error(text.to_owned()));
    }

    /// Makes room for a question.
    pub fn hush(&self) -> Hush {
        let mut state = self.state();
        state.asking = true;
        state.live.finish_and_clear();
        drop(state);
        Hush(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn start(&mut self, tick: Duration) {
        self.tick = Some(tick);
        if !self.asking {
            self.show();
        }
    }

    fn show(&self) {
        if let Some(tick) = self.tick {
            self.live.reset();
            self.live.enable_steady_tick(tick);
        }
    }

    fn write(&mut self, line: Line) {
        if self.asking {
            self.held.push(line);
        } else if self.tick.is_some() {
            self.live.suspend(|| line.write());
        } else {
            line.write();
        }
    }
}

impl Line {
    fn write(&self) {
        match self {
            Line::Output(text) => super::print(text),
            Line::Error(text) => eprint!("{text}"),
        }
    }
}

impl Drop for Hush {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.asking = false;
        std::mem::take(&mut state.held).iter().for_each(Line::write);
        state.show();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_during_a_question_waits_for_its_answer() {
        let stage = Stage::default();
        stage.start(TICK);
        let hush = stage.hush();
        stage.print("web1  ready\n");
        stage.print_error("web2  failed\n");
        assert_eq!(stage.state().held.len(), 2);
        assert!(stage.state().live.is_finished(), "a live line moves below the question");
        drop(hush);
        assert!(stage.state().held.is_empty());
        assert!(!stage.state().live.is_finished());
    }

    #[test]
    fn live_lines_that_ended_during_a_question_stay_away() {
        let stage = Stage::default();
        stage.start(TICK);
        let hush = stage.hush();
        stage.stop();
        drop(hush);
        assert!(stage.state().live.is_finished());
    }
}
