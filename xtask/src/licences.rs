//! Lists the crates in the binary and their licences, with the text of every licence, for the package.

use crate::shell::{ShellError, output};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The needed part of `cargo metadata` (doc.rust-lang.org/cargo/commands/cargo-metadata.html).
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    /// `None` for crates of this workspace.
    source: Option<String>,
    manifest_path: PathBuf,
}

/// The list and the texts. Fails if a crate names no licence, because it must not be shipped then.
pub fn text() -> Result<String, ShellError> {
    let json = output(Command::new(env!("CARGO")).args(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Metadata = serde_json::from_str(&json).map_err(|error| ShellError::Unmet(error.to_string()))?;
    // The graph in the metadata also contains crates of optional features that are off.
    let tree = ["tree", "--locked", "--package", "ostler", "--edges", "normal", "--prefix", "none"];
    let crates = linked(&metadata, &output(Command::new(env!("CARGO")).args(tree))?);
    let mut list = String::from("Crates in the binary, with their licences (SPDX). The texts follow.\n\n");
    // Many crates have the same licence text, which is listed once.
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in crates {
        let Package { name, version, .. } = package;
        let licence = package.license.as_ref().ok_or_else(|| {
            ShellError::Unmet(format!("crate {name} {version} does not say under which licence it is"))
        })?;
        let place = package.repository.as_deref().unwrap_or("https://crates.io");
        let _ = writeln!(list, "{name} {version}: {licence} ({place})"); // writing to a string can't fail
        for words in words(package.manifest_path.parent().unwrap_or(Path::new("."))) {
            texts.entry(words).or_default().push(format!("{name} {version}"));
        }
    }
    for (words, of) in texts {
        let _ = write!(list, "\n{}\n{}\n\n{}\n", "-".repeat(78), of.join(", "), words.trim_end());
    }
    Ok(list)
}

/// Other people's crates that are part of the program, sorted by name. A line of `tree` begins with `NAME vVERSION`.
fn linked<'a>(metadata: &'a Metadata, tree: &str) -> Vec<&'a Package> {
    let mut parts: BTreeSet<(&str, &str)> = BTreeSet::new();
    for line in tree.lines() {
        let mut words = line.split(' ');
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            parts.insert((name, version.trim_start_matches('v')));
        }
    }
    let is_part = |package: &&Package| {
        package.source.is_some() && parts.contains(&(package.name.as_str(), package.version.as_str()))
    };
    let mut crates: Vec<&Package> = metadata.packages.iter().filter(is_part).collect();
    crates.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    crates
}

/// The texts of a crate's licence files.
fn words(folder: &Path) -> Vec<String> {
    let is_licence = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"].iter().any(|word| name.starts_with(word))
    };
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).filter(is_licence).collect())
        .unwrap_or_default();
    files.sort();
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect()
}
