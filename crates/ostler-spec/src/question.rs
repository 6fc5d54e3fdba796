//! The keys of the spec as questions, for a frontend that asks a person: the very shapes that the answers are checked with, so that it
//! can neither ask for what the file can't say nor explain it in other words.

use super::{
    Fault, ShapeError, Value,
    fault::At,
    grammar, plain_yaml,
    shape::{Choice, Field, Presence, Shape, Text, plain},
    walk::check_text,
};
use crate::{CatalogIndex, ModuleMeta};
use std::path::Path;

/// Every key of the spec, with the settings of these modules and the parameters of these apps.
pub struct Questions(Shape);

/// One key.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The key itself, without what it stands in.
    pub key: String,
    /// What it means, in one line; empty where its words say it.
    pub help: String,
    /// How it is answered.
    pub kind: QuestionKind,
    /// What holds where it is not written, if that is a value.
    pub default: Option<Value>,
    /// Whether it must be written.
    pub required: bool,
}

/// How a key is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum QuestionKind {
    /// `true` or `false`.
    Switch,
    /// One of these.
    Choice(Vec<Word>),
    /// A line of text, or a number where `number` says that it may be one.
    Line {
        /// What is expected: `a size such as 2GiB`.
        expected: String,
        /// Whether digits mean a number.
        number: bool,
    },
    /// A text that the file only names.
    Secret,
    /// Any number of these.
    List(Box<QuestionKind>),
    /// Any number of these, each under a key that the answer chooses.
    Entries(KeyRule, Box<QuestionKind>),
    /// Several keys.
    Fields(Vec<Question>),
    /// A line of YAML.
    Any,
}

/// What a key must be that the answer chooses.
#[derive(Clone, Debug)]
pub struct KeyRule(Text);

/// One word of a choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// It.
    pub value: Value,
    /// What it means; empty where that is not known.
    pub help: String,
}

impl Questions {
    /// For these modules and apps.
    pub fn new(modules: &[ModuleMeta], catalog: &CatalogIndex) -> Result<Self, ShapeError> {
        grammar::spec(modules, Some(catalog)).map(Self)
    }

    /// The key at `path`, such as `["servers", "web1", "size", "cpus"]`; `None` where there is no such key. A name that the user
    /// chooses may be any.
    pub fn at(&self, path: &[&str]) -> Option<Question> {
        let field = Field::new("", self.0.clone(), Presence::Required, "");
        path.iter().try_fold(field, |field, key| inner(&field.shape, key)).map(|field| question(&field))
    }
}

impl KeyRule {
    /// Whether `key` may be one, or what is wrong with it.
    pub fn check(&self, key: &str) -> Result<(), Fault> {
        check_text(key, &self.0).map_err(|problem| problem.at(At { line: 1, column: 1 }, key))
    }
}

impl PartialEq for KeyRule {
    fn eq(&self, other: &Self) -> bool {
        self.0.noun == other.0.noun
    }
}

impl QuestionKind {
    /// What a line of text stands for.
    pub fn read(&self, line: &str) -> Value {
        match self {
            QuestionKind::Line { number: true, .. } => {
                let whole = line.parse().map(Value::Int);
                let decimal = || line.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float);
                whole.ok().or_else(decimal).unwrap_or_else(|| Value::String(line.to_owned()))
            }
            QuestionKind::Any => plain_yaml(Path::new(""), line).unwrap_or_else(|_| Value::String(line.to_owned())),
            _ => Value::String(line.to_owned()),
        }
    }
}

/// A value as a person would type it.
pub fn shown(value: &Value) -> String {
    plain(value)
}

fn inner(shape: &Shape, key: &str) -> Option<Field> {
    match shape {
        Shape::Object { fields, .. } => fields.iter().find(|field| field.key == key).cloned(),
        Shape::Map { value, .. } => Some(Field::new(key, (**value).clone(), Presence::Optional(None), "")),
        Shape::Either(shapes) => shapes.iter().find_map(|shape| inner(shape, key)),
        _ => None,
    }
}

fn question(field: &Field) -> Question {
    let (default, required) = match &field.presence {
        Presence::Required => (None, true),
        Presence::Default(Value::Null) => (None, false),
        Presence::Default(value) => (Some(value.clone()), false),
        Presence::Optional(value) => (value.clone(), false),
    };
    let mut kind = kind(&field.shape);
    let mut help = field.help.clone();
    if let QuestionKind::Choice(words) = &mut kind {
        explain(words, &mut help);
    }
    Question { key: field.key.clone(), help, kind, default, required }
}

fn kind(shape: &Shape) -> QuestionKind {
    match shape {
        Shape::Bool => QuestionKind::Switch,
        Shape::Int { .. } | Shape::Number { .. } => QuestionKind::Line { expected: shape.noun(), number: true },
        Shape::Size { .. } | Shape::Text(_) => QuestionKind::Line { expected: shape.noun(), number: false },
        Shape::Choice(choices) => QuestionKind::Choice(choices.iter().map(word).collect()),
        Shape::Secret => QuestionKind::Secret,
        Shape::List(item) => QuestionKind::List(Box::new(kind(item))),
        Shape::Map { key, value } => QuestionKind::Entries(KeyRule(key.clone()), Box::new(kind(value))),
        Shape::Object { fields, .. } => QuestionKind::Fields(fields.iter().map(question).collect()),
        // What a switch would say is said by asking at all.
        Shape::Either(shapes) => match shapes.iter().find(|shape| !matches!(shape, Shape::Bool)).map(kind) {
            // `true` is no name, and a mapping no text.
            Some(QuestionKind::Line { .. })
                if shapes.iter().any(|shape| matches!(shape, Shape::Bool | Shape::Object { .. })) =>
            {
                QuestionKind::Any
            }
            Some(QuestionKind::Line { .. }) => {
                let number = shapes.iter().any(|shape| matches!(shape, Shape::Int { .. } | Shape::Number { .. }));
                QuestionKind::Line { expected: shape.noun(), number }
            }
            Some(kind) => kind,
            None => QuestionKind::Switch,
        },
        Shape::Any => QuestionKind::Any,
    }
}

fn word(choice: &Choice) -> Word {
    Word { value: choice.word.clone(), help: choice.help.to_owned() }
}

/// Metadata says what words mean within the help of their key: `web: also HTTP; custom: your own list`. Where it does so for all of
/// them, that is given to the words.
fn explain(words: &mut [Word], help: &mut String) {
    let meaning = |word: &Word| {
        let word = plain(&word.value);
        help.split("; ").find_map(|part| part.strip_prefix(word.as_str())?.strip_prefix(": ").map(str::to_owned))
    };
    let Some(meanings) = words.iter().map(meaning).collect::<Option<Vec<_>>>() else { return };
    words.iter_mut().zip(meanings).for_each(|(word, meaning)| word.help = meaning);
    help.clear();
}
