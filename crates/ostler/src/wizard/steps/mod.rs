//! The screens, in their order. Each asks for its part of the spec.

pub mod apps;
pub mod hetzner;
pub mod modules;
pub mod network;
pub mod server;
pub mod ssh;
pub mod summary;
pub mod target;
pub mod tunnel;

use super::prompt::Choice;
use ostler_core::spec::{Question, QuestionKind, Value, shown};

/// All of them.
pub const PATH: &[&str] = &[WHERE, SERVER, NETWORK, SSH, MODULES, APPS, SUMMARY];

const WHERE: &str = "Where";
const SERVER: &str = "Server";
const NETWORK: &str = "Network";
const SSH: &str = "SSH";
const MODULES: &str = "Modules";
const APPS: &str = "Apps";
const SUMMARY: &str = "Summary";

fn text(value: impl Into<String>) -> Value {
    Value::String(value.into())
}

fn texts<'a>(values: impl IntoIterator<Item = &'a String>) -> Value {
    Value::List(values.into_iter().map(text).collect())
}

/// What holds where nothing is changed, as far as it says anything.
fn defaults(question: &Question) -> String {
    let QuestionKind::Fields(fields) = &question.kind else { return String::new() };
    let known = fields.iter().filter_map(|field| {
        let value = field.default.as_ref().map(shown).filter(|value| !matches!(value.as_str(), "" | "[]" | "{}"))?;
        Some(format!("{} {value}", field.key))
    });
    known.collect::<Vec<_>>().join(", ")
}

/// Those of `names` that are chosen to be looked at more closely.
fn picked(names: &[String], chosen: &[usize]) -> Vec<String> {
    chosen.iter().map(|index| names[*index].clone()).collect()
}

fn choices(names: &[String], help: impl Fn(&str) -> String) -> Vec<Choice> {
    names.iter().map(|name| Choice::new(name.clone(), help(name))).collect()
}
