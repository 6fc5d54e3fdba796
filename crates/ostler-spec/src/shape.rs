//! How a part of the spec may look: the one description that checking, JSON Schema and reference are made from.

use super::{
    Value,
    fault::{Problem, words},
};
use regex::Regex;

#[derive(Clone, Debug)]
pub(super) enum Shape {
    Bool,
    Int {
        min: i64,
        max: i64,
    },
    Number {
        min: f64,
        max: f64,
    },
    /// Bytes, written with a unit.
    Size {
        min: u64,
        max: u64,
    },
    Text(Text),
    Choice(Vec<Choice>),
    /// `{ secret: NAME }`, `{ env: NAME }` or `{ file: PATH }`.
    Secret,
    List(Box<Shape>),
    /// Keys are the user's.
    Map {
        key: Text,
        value: Box<Shape>,
    },
    /// Keys are ours. `open`: others are let through unchecked.
    Object {
        fields: Vec<Field>,
        open: bool,
    },
    /// The first one that fits the kind of value that stands there.
    Either(Vec<Shape>),
    /// Whatever YAML can say.
    Any,
}

/// Says what is wrong with a text.
pub(super) type Check = fn(&str) -> Result<(), Problem>;

/// A text and its rules.
#[derive(Clone, Debug)]
pub(super) struct Text {
    /// With its article: `an IP address`.
    pub noun: &'static str,
    /// What editors check, and Ostler too.
    pub pattern: Option<Regex>,
    /// Says, with an example, what has the pattern.
    pub example: Option<String>,
    /// What a pattern can't say, or not in words that help; it comes first.
    pub check: Option<Check>,
}

/// One word of a choice.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub word: Value,
    /// YAML 1.1 tools write `false` for `no`: means the same.
    pub also: Option<bool>,
    pub help: &'static str,
}

/// One key of an object.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub key: String,
    pub shape: Shape,
    pub presence: Presence,
    pub help: String,
}

/// What holds where a key is not written.
#[derive(Clone, Debug)]
pub(super) enum Presence {
    Required,
    /// This value, as if it were written.
    Default(Value),
    /// Nothing, or what the reader further on takes for it.
    Optional(Option<Value>),
}

impl Shape {
    pub fn object(fields: Vec<Field>) -> Self {
        Shape::Object { fields, open: false }
    }

    /// What is expected, for messages.
    pub fn noun(&self) -> String {
        match self {
            Shape::Bool => "`true` or `false`".into(),
            Shape::Int { .. } => "a whole number".into(),
            Shape::Number { .. } => "a number".into(),
            Shape::Size { .. } => "a size such as `2GiB`".into(),
            Shape::Text(text) => text.noun.into(),
            Shape::Choice(choices) => match &choices[..] {
                [only] => format!("`{}`", plain(&only.word)),
                _ => format!("one of {}", choice_words(choices)),
            },
            Shape::Secret => "`{ secret: NAME }`, `{ env: NAME }` or `{ file: PATH }`".into(),
            Shape::List(_) => "a list".into(),
            Shape::Map { .. } | Shape::Object { .. } => "a mapping".into(),
            Shape::Either(shapes) => shapes.iter().map(Shape::noun).collect::<Vec<_>>().join(" or "),
            Shape::Any => "any value".into(),
        }
    }
}

impl Choice {
    pub fn new(word: &str, help: &'static str) -> Self {
        Self { word: Value::String(word.to_owned()), also: None, help }
    }

    pub fn also(mut self, value: bool) -> Self {
        self.also = Some(value);
        self
    }
}

impl Field {
    pub fn new(key: &str, shape: Shape, presence: Presence, help: &str) -> Self {
        Self { key: key.to_owned(), shape, presence, help: help.to_owned() }
    }
}

impl Text {
    pub fn any(noun: &'static str) -> Self {
        Self { noun, pattern: None, example: None, check: None }
    }

    /// `pattern` must be a valid regular expression.
    pub fn checked(noun: &'static str, pattern: Option<&str>, check: Check) -> Self {
        let pattern = pattern.map(|pattern| Regex::new(pattern).expect("a pattern of this crate"));
        Self { noun, pattern, example: None, check: Some(check) }
    }
}

/// The words that a choice accepts.
pub(super) fn choice_words(choices: &[Choice]) -> String {
    let known: Vec<String> = choices.iter().map(|c| plain(&c.word)).collect();
    words(&known.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A value in YAML's flow style, for people.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}
