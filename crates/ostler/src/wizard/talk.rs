//! A conversation that one can go back in.
//!
//! The wizard is a function that asks one question after the other. To go back, the last answer is forgotten and the function runs
//! again: what is answered already is not asked anew, so the first question that a person sees is the one before. What follows from
//! an answer can therefore never outlive it. Forgotten answers are what is offered when their question comes again.

use super::prompt::{Answer, Ask, Choice, Prompter, Screen, Unanswered};
use ostler_core::{Failure, Result, operation::Interrupt, secret::Secret};
use std::collections::HashMap;

/// Why the function that asks returns early.
#[derive(Debug)]
pub enum Stop {
    /// Back to the question before.
    Back,
    /// So many of the last answers turned out to be no good, for this reason; they are asked for again.
    Again(usize, String),
    /// Ctrl-C.
    Interrupted,
    /// It can't go on.
    Failed(Failure),
}

/// Result of whatever asks.
pub type Step<T> = Result<T, Stop>;

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Unanswered> for Stop {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Interrupted => Self::Interrupted,
            Unanswered::Failed(failure) => Self::Failed(failure),
        }
    }
}

/// The conversation.
pub struct Talk {
    prompter: Box<dyn Prompter>,
    given: Vec<(String, Reply)>,
    /// How many of them this run has come by.
    at: usize,
    remembered: HashMap<String, Reply>,
    screen: Screen,
    /// Whether the terminal shows something else.
    stale: bool,
}

/// An answer that was given. Choices are known by their labels, for there may be others when the question comes again.
#[derive(Clone)]
enum Reply {
    Chosen(Vec<String>),
    Text(String),
    Secret(Secret),
}

/// How a line is asked for.
#[derive(Clone, Copy, Default)]
pub struct Line<'a> {
    /// What an empty line stands for.
    pub default: Option<&'a str>,
    /// Nothing is an answer, too.
    pub optional: bool,
}

/// Typed where nothing is meant and something is offered.
const NOTHING: &str = "-";

impl Talk {
    /// With nobody asked yet.
    pub fn new(prompter: Box<dyn Prompter>, path: &'static [&'static str]) -> Self {
        let screen = Screen { path, ..Screen::default() };
        Self { prompter, given: Vec::new(), at: 0, remembered: HashMap::new(), screen, stale: true }
    }

    /// Runs `flow` to its end, or until the person leaves (`None`).
    pub fn run<T>(&mut self, flow: impl Fn(&mut Talk) -> Step<T>) -> Result<Option<T>> {
        loop {
            self.at = 0;
            self.stale = true;
            let stop = match flow(self) {
                Ok(end) => return Ok(Some(end)),
                Err(stop) => stop,
            };
            self.screen.notice = None;
            match stop {
                Stop::Back if self.given.is_empty() => {
                    if self.wants_to_leave()? {
                        return Ok(None);
                    }
                }
                Stop::Back => self.forget(),
                Stop::Again(answers, notice) => {
                    (0..answers).for_each(|_| self.forget());
                    // A secret that was no good is not offered again.
                    self.remembered.retain(|_, reply| !matches!(reply, Reply::Secret(_)));
                    self.screen.notice = Some(notice).filter(|notice| !notice.is_empty());
                }
                Stop::Interrupted => return Err(stopped()),
                Stop::Failed(failure) => return Err(failure),
            }
        }
    }

    /// Begins a screen.
    pub fn screen(&mut self, title: &'static str) {
        (self.screen.title, self.stale) = (title, true);
        self.screen.text.clear();
        self.screen.answered.clear();
    }

    /// Something to read before the next question.
    pub fn say(&mut self, lines: impl IntoIterator<Item = String>) {
        self.screen.text.extend(lines);
        self.stale = true;
    }

    /// Lines that the window holds.
    pub fn rows(&self) -> usize {
        self.prompter.rows()
    }

    /// One of `choices`; `id` tells the question from all others.
    pub fn choose(&mut self, id: &str, ask: Ask<'_>, choices: &[Choice], default: usize) -> Step<usize> {
        let place = |label: &String| choices.iter().position(|choice| choice.label == *label);
        if let Some(Reply::Chosen(labels)) = self.replayed(id)
            && let Some(index) = labels.first().and_then(place)
        {
            return Ok(self.came_by(ask, &choices[index].label, index));
        }
        let default = match self.remembered.get(id) {
            Some(Reply::Chosen(labels)) => labels.first().and_then(place).unwrap_or(default),
            _ => default,
        };
        self.show();
        let index = given(self.prompter.select(ask, choices, default)?)?;
        let label = &choices[index].label;
        self.keep(id, ask, Reply::Chosen(vec![label.clone()]), label);
        Ok(index)
    }

    /// The same for what is to be done next, where the answer before says nothing about the next one.
    pub fn menu(&mut self, id: &str, ask: Ask<'_>, choices: &[Choice]) -> Step<usize> {
        self.remembered.remove(id);
        self.choose(id, ask, choices, 0)
    }

    /// Whether or not.
    pub fn confirm(&mut self, id: &str, ask: Ask<'_>, yes: &str, no: &str, default: bool) -> Step<bool> {
        let choices = [Choice::new("yes", yes), Choice::new("no", no)];
        self.choose(id, ask, &choices, usize::from(!default)).map(|index| index == 0)
    }

    /// Any of `choices`, which `check` looks at.
    pub fn choose_many(
        &mut self,
        id: &str,
        ask: Ask<'_>,
        choices: &[Choice],
        default: &[usize],
        check: impl Fn(&[usize]) -> Result<(), String>,
    ) -> Step<Vec<usize>> {
        let places = |labels: &[String]| -> Vec<usize> {
            (0..choices.len()).filter(|index| labels.contains(&choices[*index].label)).collect()
        };
        let labels = |chosen: &[usize]| -> Vec<String> { chosen.iter().map(|it| choices[*it].label.clone()).collect() };
        if let Some(Reply::Chosen(chosen)) = self.replayed(id) {
            let chosen = places(&chosen);
            return Ok(self.came_by(ask, &labels(&chosen).join(", "), chosen));
        }
        let default = match self.remembered.get(id) {
            Some(Reply::Chosen(labels)) => places(labels),
            _ => default.to_vec(),
        };
        self.show();
        let chosen = given(self.prompter.multi_select(ask, choices, &default, &check)?)?;
        let labels = labels(&chosen);
        let shown = labels.join(", ");
        self.keep(id, ask, Reply::Chosen(labels), &shown);
        Ok(chosen)
    }

    /// A line, which `check` looks at. Empty only where that is an answer.
    pub fn text(
        &mut self,
        id: &str,
        ask: Ask<'_>,
        line: Line<'_>,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Step<String> {
        if let Some(Reply::Text(text)) = self.replayed(id) {
            return Ok(self.came_by(ask, &text, text.clone()));
        }
        let default = match self.remembered.get(id) {
            Some(Reply::Text(text)) if !text.is_empty() => Some(text.clone()),
            // It was emptied on purpose.
            Some(Reply::Text(_)) if line.optional => None,
            _ => line.default.map(str::to_owned),
        };
        let meant = |typed: &str| match typed.trim() {
            "" => default.clone().unwrap_or_default(),
            NOTHING if line.optional => String::new(),
            typed => typed.to_owned(),
        };
        let help = match (&default, line.optional, ask.help) {
            (Some(_), true, "") => format!("{NOTHING}: none"),
            (Some(_), true, help) => format!("{help}. {NOTHING}: none"),
            (_, _, help) => help.to_owned(),
        };
        let check = |typed: &str| match meant(typed) {
            empty if empty.is_empty() && line.optional => Ok(()),
            empty if empty.is_empty() => Err("an answer is needed".to_owned()),
            text => check(&text),
        };
        self.show();
        let text = meant(&given(self.prompter.text(Ask { help: &help, ..ask }, default.as_deref(), &check)?)?);
        self.keep(id, ask, Reply::Text(text.clone()), &text);
        Ok(text)
    }

    /// A line that nobody sees, typed twice where nothing else could tell a slip.
    pub fn secret(&mut self, id: &str, ask: Ask<'_>, twice: bool) -> Step<Secret> {
        if let Some(Reply::Secret(secret)) = self.replayed(id) {
            return Ok(self.came_by(ask, HIDDEN, secret));
        }
        let before = match self.remembered.get(id) {
            Some(Reply::Secret(secret)) => Some(secret.clone()),
            _ => None,
        };
        let help = match (&before, ask.help) {
            (None, help) => help.to_owned(),
            (Some(_), "") => "empty: as it was typed before".to_owned(),
            (Some(_), help) => format!("{help}. Empty: as it was typed before"),
        };
        let check = |typed: &str| match (typed.is_empty(), &before) {
            (true, None) => Err("an answer is needed".to_owned()),
            _ => Ok(()),
        };
        self.show();
        let typed = given(self.prompter.password(Ask { help: &help, ..ask }, twice, &check)?)?;
        let secret = before.filter(|_| typed.expose().is_empty()).unwrap_or(typed);
        self.keep(id, ask, Reply::Secret(secret.clone()), HIDDEN);
        Ok(secret)
    }

    /// The answer of an earlier run to the question that comes now. Another question: what was answered from here on is void.
    fn replayed(&mut self, id: &str) -> Option<Reply> {
        let (asked, reply) = self.given.get(self.at)?;
        if asked == id {
            return Some(reply.clone());
        }
        self.void();
        None
    }

    fn void(&mut self) {
        let void = self.given.split_off(self.at);
        self.remembered.extend(void);
    }

    fn came_by<T>(&mut self, ask: Ask<'_>, shown: &str, answer: T) -> T {
        self.at += 1;
        self.screen.answered.push((ask.question.to_owned(), shown.to_owned()));
        answer
    }

    fn keep(&mut self, id: &str, ask: Ask<'_>, reply: Reply, shown: &str) {
        self.void();
        self.given.push((id.to_owned(), reply));
        self.screen.notice = None;
        self.came_by(ask, shown, ());
    }

    fn forget(&mut self) {
        self.remembered.extend(self.given.pop());
    }

    fn show(&mut self) {
        if std::mem::take(&mut self.stale) || self.prompter.is_stale() {
            self.prompter.screen(&self.screen);
        }
    }

    fn wants_to_leave(&mut self) -> Result<bool> {
        let choices = [Choice::new("go on", ""), Choice::new("leave", "nothing was written")];
        let ask = Ask { question: "Leave?", help: "" };
        match self.prompter.select(ask, &choices, 0) {
            Ok(answer) => Ok(answer == Answer::Given(1)),
            Err(Unanswered::Interrupted) => Err(stopped()),
            Err(Unanswered::Failed(failure)) => Err(failure),
        }
    }
}

/// What stands for a secret.
const HIDDEN: &str = "********";

fn given<T>(answer: Answer<T>) -> Step<T> {
    match answer {
        Answer::Given(answer) => Ok(answer),
        Answer::Back => Err(Stop::Back),
    }
}

/// The failure that a conversation ends with that somebody breaks off.
pub fn stopped() -> Failure {
    Interrupt::failure().with_hint("nothing was written; `ostler` starts again")
}
