//! One question to a person, whatever it looks like.

use ostler_core::{Blame, Failure, secret::Secret};
use std::fmt;

/// What came of a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer<T> {
    /// An answer.
    Given(T),
    /// The person wants to see the question before.
    Back,
}

/// Why there is no answer at all.
#[derive(Debug)]
pub enum Unanswered {
    /// Ctrl-C, or nobody is there any more.
    Interrupted,
    /// The terminal failed.
    Failed(Failure),
}

impl Unanswered {
    /// The terminal failed like this.
    pub fn unreadable(error: &impl fmt::Display) -> Self {
        Self::Failed(Failure::new(Blame::User, error.to_string()).because_of("the terminal can't be read"))
    }
}

/// Says what is wrong with a line, in words for the person.
pub type CheckLine<'a> = &'a dyn Fn(&str) -> Result<(), String>;

/// The same for what was chosen.
pub type CheckChosen<'a> = &'a dyn Fn(&[usize]) -> Result<(), String>;

/// What a screen shows before its question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Screen {
    /// All screens in order.
    pub path: &'static [&'static str],
    /// Which of them it is.
    pub title: &'static str,
    /// What stands there to be read.
    pub text: Vec<String>,
    /// What was answered here already: question and answer.
    pub answered: Vec<(String, String)>,
    /// What came of the last answer, if that was no good.
    pub notice: Option<String>,
}

/// One of several.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What is chosen; short.
    pub label: String,
    /// What it means, in a line.
    pub help: String,
}

impl Choice {
    /// With its explanation.
    pub fn new(label: impl Into<String>, help: impl Into<String>) -> Self {
        Self { label: label.into(), help: help.into() }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The question, short.
    pub question: &'a str,
    /// A line that explains it; may be empty.
    pub help: &'a str,
}

impl<'a> Ask<'a> {
    /// The line that explains it, if there is one.
    pub fn help(&self) -> Option<&'a str> {
        Some(self.help).filter(|help| !help.is_empty())
    }
}

/// Asks.
pub trait Prompter: Send {
    /// Begins a screen, or shows it anew.
    fn screen(&mut self, screen: &Screen);

    /// Whether the screen must be shown anew before the next question, for the window is another one.
    fn is_stale(&self) -> bool {
        false
    }

    /// Lines that a window holds.
    fn rows(&self) -> usize;

    /// One of `choices`, by its index; `default` is offered.
    fn select(&mut self, ask: Ask<'_>, choices: &[Choice], default: usize) -> Result<Answer<usize>, Unanswered>;

    /// Any of `choices`, in ascending order; those of `default` are offered.
    fn multi_select(
        &mut self,
        ask: Ask<'_>,
        choices: &[Choice],
        default: &[usize],
        check: CheckChosen<'_>,
    ) -> Result<Answer<Vec<usize>>, Unanswered>;

    /// A line; an empty one stands for `default`.
    fn text(&mut self, ask: Ask<'_>, default: Option<&str>, check: CheckLine<'_>)
    -> Result<Answer<String>, Unanswered>;

    /// A line that nobody sees; `twice`, so that it is typed as it is meant.
    fn password(&mut self, ask: Ask<'_>, twice: bool, check: CheckLine<'_>) -> Result<Answer<Secret>, Unanswered>;
}
