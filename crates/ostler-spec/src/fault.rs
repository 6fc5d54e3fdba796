//! What is wrong with a spec file: every fault with its place, so that one reading suffices to mend them all.

use crate::{
    error::{Blame, Classify},
    hint::{Hint, Next, recorded},
};
use serde::Serialize;
use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
};

/// Everything that is wrong with one file, in the order of its lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpecFaults {
    /// The file, as the user named it.
    pub path: PathBuf,
    /// The faults.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Where in the structure: `servers.web1.authorized_keys[0]`. Empty for the file as a whole.
    pub key_path: String,
    /// What is wrong. Never holds a secret.
    pub message: String,
    /// What to do.
    #[serde(rename = "hint", with = "recorded")]
    pub hints: Vec<Hint>,
}

impl Fault {
    /// The same with its hints in words alone, as [`Hint::in_words`].
    pub fn in_words(self, called: impl Fn(&Next) -> String) -> Self {
        Self { hints: self.hints.iter().map(|hint| hint.in_words(&called).into()).collect(), ..self }
    }
}

impl SpecFaults {
    pub(super) fn new(path: &Path, mut faults: Vec<Fault>) -> Self {
        faults.sort_by(|a, b| (a.line, a.column, &a.key_path).cmp(&(b.line, b.column, &b.key_path)));
        faults.dedup();
        Self { path: path.to_owned(), faults: told_once(faults) }
    }

    /// The same with all hints in words alone; `Display` shows them so, and what is not yet in words by its label.
    pub fn in_words(self, called: impl Fn(&Next) -> String) -> Self {
        Self { faults: self.faults.into_iter().map(|fault| fault.in_words(&called)).collect(), ..self }
    }
}

/// What an alias repeats is mended in one place, and so it is one fault, which names where else it is used.
fn told_once(faults: Vec<Fault>) -> Vec<Fault> {
    let key = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let mut known: HashMap<_, usize> = HashMap::new();
    let mut told: Vec<(Fault, Vec<String>)> = Vec::new();
    for fault in faults {
        let id = (fault.line, fault.column, fault.message.clone(), fault.hints.clone(), key(&fault.key_path));
        match known.get(&id) {
            Some(index) => told[*index].1.push(fault.key_path),
            None => {
                known.insert(id, told.len());
                told.push((fault, Vec::new()));
            }
        }
    }
    let words = |(fault, elsewhere): (Fault, Vec<String>)| match elsewhere.as_slice() {
        [] => fault,
        [one] => Fault { message: format!("{} (likewise `{one}`)", fault.message), ..fault },
        [one, more @ ..] => {
            Fault { message: format!("{} (likewise `{one}` and {} more)", fault.message, more.len()), ..fault }
        }
    };
    told.into_iter().map(words).collect()
}

impl fmt::Display for SpecFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let start = if index == 0 { "" } else { "\n" };
            write!(f, "{start}{}:{}:{}: ", self.path.display(), fault.line, fault.column)?;
            if !fault.key_path.is_empty() {
                write!(f, "{}: ", fault.key_path)?;
            }
            f.write_str(&fault.message)?;
            for hint in &fault.hints {
                write!(f, "\n  hint: {}", hint.in_words(|next| format!("`{next}`")))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for SpecFaults {}

impl Classify for SpecFaults {
    fn blame(&self) -> Blame {
        Blame::Configuration
    }
}

/// A place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub line: usize,
    pub column: usize,
}

/// A fault that does not yet know its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub message: String,
    pub hints: Vec<Hint>,
}

impl Problem {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hints: Vec::new() }
    }

    pub fn hint(self, hint: impl Into<Hint>) -> Self {
        self.hints([hint])
    }

    pub fn hints(self, hints: impl IntoIterator<Item = impl Into<Hint>>) -> Self {
        Self { hints: hints.into_iter().map(Into::into).collect(), ..self }
    }

    pub fn at(self, at: At, key_path: &str) -> Fault {
        Fault {
            line: at.line,
            column: at.column,
            key_path: key_path.to_owned(),
            message: self.message,
            hints: self.hints,
        }
    }
}

/// The user's own text as part of a message: short, and without anything that a terminal would obey.
pub(super) fn quote(text: &str) -> String {
    const SHOWN: usize = 60;
    let more = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
    format!("`{}{more}`", printable(text, SHOWN))
}

/// The key path of `key` within `path`, as faults say it.
pub fn join(path: &str, key: &str) -> String {
    let key = printable(key, 63);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The first characters of `text`; escaped are controls, line separators and marks that turn the direction of writing.
pub(super) fn printable(text: &str, length: usize) -> String {
    let mut shown = String::new();
    for c in text.chars().take(length) {
        let invisible =
            matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || invisible {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Hint that names the known word nearest to an unknown one, or else all of them where they are few.
pub(super) fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let plain = |word: &str| word.to_lowercase().replace('-', "_");
    let known: Vec<&str> = known.into_iter().collect();
    let distance = |word: &str| strsim::osa_distance(&plain(unknown), &plain(word));
    // A long key is no typing error, and comparing it would take quadratic time.
    let best = known.iter().filter(|_| unknown.len() <= 64).map(|word| (distance(word), *word)).min();
    match best {
        Some((distance, word)) if distance <= 1 + unknown.chars().count() / 4 => {
            Some(format!("did you mean `{word}`?"))
        }
        _ if known.is_empty() || known.len() > 20 => None,
        _ => Some(format!("known here: {}", words(&known))),
    }
}

/// `a`, `b`, `c`.
pub(super) fn words(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
