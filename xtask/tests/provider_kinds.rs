//! Nothing decides by the kind of a provider: who needs to know what one can do asks for the part that does it
//! (`ostler_core::ports::Provider`). Only the spec, where a user names the provider, and `wiring.rs`, where each is made, name kinds.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Variants of these are kinds.
const KINDS: [&str; 2] = ["ProviderKind::", "ProviderOptions::"];

#[test]
fn only_the_spec_and_the_wiring_name_kinds_of_providers() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut files = Vec::new();
    for krate in fs::read_dir(&crates).unwrap() {
        collect(&krate.unwrap().path().join("src"), &mut files);
    }
    let (allowed, checked): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| may_name_kinds(file));
    assert!(allowed.iter().any(|file| named_in(file) > 0), "the kinds have other names now: mend this test");
    let named: Vec<_> = checked.iter().filter(|file| named_in(file) > 0).collect();
    assert!(
        named.is_empty(),
        "these files name kinds of providers; ask for a part of the provider instead: {named:#?}"
    );
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn may_name_kinds(file: &Path) -> bool {
    let is = |names: &[&str]| file.components().any(|part| names.iter().any(|name| part.as_os_str() == *name));
    // The others are tests within a crate, which make specs of their own.
    is(&["spec", "ostler-spec", "wiring.rs", "tests", "tests.rs", "testing.rs"])
}

/// How often the file names a kind, outside of its tests.
fn named_in(file: &Path) -> usize {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let named = |name: &&str| code.split(*name).skip(1).filter(|rest| rest.starts_with(char::is_uppercase)).count();
    KINDS.iter().map(named).sum()
}
