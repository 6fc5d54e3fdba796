//! How failures travel: typed errors in each adapter, one shape where they meet.
//!
//! An adapter keeps a typed error enum whose variants carry the path or id, and says for each variant who is to blame and
//! what to do next ([`Classify`]). At a port it becomes a [`Failure`]: what the journal records and what a frontend shows.

use crate::hint::{Hint, Next, recorded};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Result of everything that crosses a port.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Who has to act. It decides the exit code; see [`Blame::exit_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The command line or the moment: unknown server, a lease that someone else holds.
    User,
    /// The spec, or a file or variable that it names.
    Configuration,
    /// The machine or vendor that servers come from: no disk space, no QEMU, an image site out of reach.
    Provider,
    /// The server itself: no SSH, a failed task.
    Target,
    /// Ostler or its state directory.
    Bug,
    /// Nobody: Ctrl-C.
    Interrupted,
}

impl Blame {
    /// Exit code of a command that ends with this blame; docs/state.md lists them. 0 is success.
    pub fn exit_code(self) -> u8 {
        match self {
            Blame::User => 2,
            Blame::Configuration => 3,
            Blame::Provider => 4,
            Blame::Target => 5,
            Blame::Bug => 70,          // EX_SOFTWARE of sysexits.h
            Blame::Interrupted => 130, // 128 + SIGINT, as shells report it
        }
    }
}

/// What a typed error says of itself besides its message.
pub trait Classify: std::error::Error {
    /// Who has to act.
    fn blame(&self) -> Blame;

    /// What to do next.
    fn hints(&self) -> Vec<Hint> {
        Vec::new()
    }
}

/// A failure as the journal keeps it and people read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Who has to act.
    pub blame: Blame,
    /// What failed, with the path or name. Never repeats a cause.
    pub message: String,
    /// The chain of causes, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do next.
    #[serde(default, rename = "hint", with = "recorded", skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<Hint>,
    /// Lines that show it: the console, an output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// What was made before it failed, and is there still.
    #[serde(default, skip_serializing_if = "<[String]>::is_empty")]
    pub left: Box<[String]>,
}

impl Failure {
    /// A failure that no typed error stands behind; for core's own verbs.
    pub fn new(blame: Blame, message: impl Into<String>) -> Self {
        Self {
            blame,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
            lines: Vec::new(),
            left: Box::default(),
        }
    }

    /// The same with this hint in place of others.
    pub fn with_hint(self, hint: impl Into<Hint>) -> Self {
        Self { hints: vec![hint.into()], ..self }
    }

    /// The same with this hint, unless one that it has says how to go on ([`Hint::is_option`]).
    pub fn or_hint(mut self, hint: impl Into<Hint>) -> Self {
        if self.hints.iter().all(Hint::is_option) {
            self.hints.insert(0, hint.into());
        }
        self
    }

    /// All hints in words, as [`Hint::in_words`]; `None` where there is none.
    pub fn advice(&self, called: impl Fn(&Next) -> String) -> Option<String> {
        let all: Vec<_> = self.hints.iter().map(|hint| hint.in_words(&called)).collect();
        (!all.is_empty()).then(|| all.join(". "))
    }

    /// The same with its hints as one that has words only: what programs that read JSON get.
    pub fn in_words(self, called: impl Fn(&Next) -> String) -> Self {
        let hints = self.advice(called).map(Hint::from).into_iter().collect();
        Self { hints, ..self }
    }

    /// The same with lines that show it.
    pub fn with_lines(mut self, lines: Vec<String>) -> Self {
        self.lines = lines;
        self
    }

    /// The same as the cause of `message`.
    pub fn because_of(mut self, message: impl Into<String>) -> Self {
        let cause = std::mem::replace(&mut self.message, message.into());
        self.causes.insert(0, cause);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: Classify> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut causes: Vec<String> = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            // Some libraries' errors say again what their own cause says.
            let text = cause.to_string();
            if causes.last() != Some(&text) {
                causes.push(text);
            }
            source = cause.source();
        }
        Self {
            blame: error.blame(),
            hints: error.hints(),
            message: error.to_string(),
            causes,
            lines: Vec::new(),
            left: Box::default(),
        }
    }
}
