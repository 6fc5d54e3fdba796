//! Whether an answer is good, by the reader of the spec itself: there are no other rules.

use super::{discover::Surroundings, draft::Draft};
use crate::{environment, output::hints};
use ostler_core::spec::{self, Fault, ReadError, SpecContext};
use std::path::Path;

/// What is wrong with a draft at `path` and below it, or at `path` alone where `only` says so; of a draft that is not complete
/// nothing else is told.
pub fn check(around: &Surroundings, draft: &Draft, path: &str, only: bool) -> Result<(), String> {
    let below = |key_path: &str| {
        let rest = key_path.strip_prefix(path);
        rest.is_some_and(|rest| rest.is_empty() || !only && rest.starts_with(['.', '[']))
    };
    let faults = faults(around, draft, &around.folder)?;
    told(faults.iter().filter(|fault| below(&fault.key_path)).map(words).collect())
}

/// What is wrong with a whole draft, if it stood in a file of `folder`.
pub fn check_all(around: &Surroundings, draft: &Draft, folder: &Path) -> Result<(), String> {
    let faults = faults(around, draft, folder)?;
    told(faults.iter().map(|fault| format!("{}: {}", fault.key_path, words(fault))).collect())
}

fn told(words: Vec<String>) -> Result<(), String> {
    if words.is_empty() { Ok(()) } else { Err(words.join("\n")) }
}

/// A fault without its place.
pub fn words(fault: &Fault) -> String {
    let hints = fault.hints.iter().map(|hint| format!("\n  hint: {}", hint.in_words(hints::command)));
    std::iter::once(fault.message.clone()).chain(hints).collect()
}

fn faults(around: &Surroundings, draft: &Draft, folder: &Path) -> Result<Vec<Fault>, String> {
    let context = SpecContext {
        path: folder.join("ostler.yaml"),
        folder: folder.to_owned(),
        home: around.home.clone(),
        modules: &around.modules,
        catalog: &around.catalog,
        read_file: &|path| around.read_named_file(path),
        is_file: &|path| path.is_file(),
        check_key: &|path| ostler_remote::check_key_file(path, environment::ssh_agent().as_deref()),
    };
    match spec::read(&draft.yaml(), &context) {
        Ok(_) => Ok(Vec::new()),
        Err(ReadError::Faults(faults)) => Ok(faults.faults),
        Err(ReadError::Shape(error)) => Err(error.to_string()),
    }
}
