//! Dependencies run one way only, between crates and between the modules of this one.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What each crate may use of ours, in its library, binary and build script.
const CRATES: [(&str, &[&str]); 15] = [
    ("ostler-spec", &[]),
    ("ostler-process", &[]),
    ("ostler-core", &["ostler-spec"]),
    ("ostler-service", &["ostler-core"]),
    ("ostler-store", &["ostler-core"]),
    ("ostler-remote", &["ostler-core", "ostler-process"]),
    ("ostler-providers", &["ostler-core", "ostler-process"]),
    ("ostler-ansible", &["ostler-core", "ostler-process"]),
    ("ostler-tunnels", &["ostler-core"]),
    ("ostler-dns", &["ostler-core"]),
    ("ostler-runtimes", &["ostler-core"]),
    ("ostler-acme", &["ostler-core", "ostler-process"]),
    ("ostler-testkit", &["ostler-core", "ostler-process"]),
    (
        "ostler",
        &[
            "ostler-core",
            "ostler-service",
            "ostler-store",
            "ostler-remote",
            "ostler-providers",
            "ostler-ansible",
            "ostler-tunnels",
            "ostler-dns",
            "ostler-runtimes",
            "ostler-acme",
            "ostler-process",
        ],
    ),
    ("xtask", &[]),
];

/// What tests may use besides that.
const IN_TESTS: [(&str, &str); 9] = [
    ("ostler-store", "ostler-testkit"),
    ("ostler-remote", "ostler-testkit"),
    ("ostler-providers", "ostler-testkit"),
    ("ostler-ansible", "ostler-testkit"),
    ("ostler-tunnels", "ostler-testkit"),
    ("ostler-dns", "ostler-testkit"),
    ("ostler", "ostler-testkit"),
    ("ostler-testkit", "ostler-service"),
    ("ostler-testkit", "ostler-store"),
];

/// The modules of this crate, lowest first. Each uses only those that stand before it.
const MODULES: [&str; 20] = [
    "hint",
    "error",
    "spec",
    "ids",
    "secret",
    "text",
    "subject",
    "model",
    "plan",
    "event",
    "ports",
    "operation",
    "world",
    "reach",
    "tunnel",
    "converge",
    "zone",
    "certificate",
    "server",
    "site",
];

#[test]
fn crates_use_only_what_the_table_allows() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("the members of the workspace");
    assert_eq!(crate_faults(packages), [""; 0]);
}

#[test]
fn modules_use_only_what_stands_below_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&source, &mut files);
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let inside = file.strip_prefix(&source).expect("found there");
        let module = inside.components().next().expect("a file").as_os_str().to_string_lossy().into_owned();
        let module = module.trim_end_matches(".rs").to_owned();
        uses.entry(module).or_default().extend(used_modules(&fs::read_to_string(&file).expect("a source file")));
    }
    assert_eq!(module_faults(&uses), [""; 0]);
}

#[test]
fn a_violation_is_seen() {
    let package = |name: &str, kind: Value, on: &str| serde_json::json!({ "name": name, "dependencies": [{ "name": on, "kind": kind }] });
    let upward = [package("ostler-spec", Value::Null, "ostler-core")];
    assert_eq!(crate_faults(&upward), ["ostler-spec may not use ostler-core"]);
    let sideways = [package("ostler-remote", "build".into(), "ostler-store")];
    assert_eq!(crate_faults(&sideways), ["ostler-remote may not use ostler-store"]);
    assert_eq!(crate_faults(&[package("ostler-store", "dev".into(), "ostler-testkit")]), [""; 0]);
    assert_eq!(crate_faults(&[package("ostler-new", Value::Null, "serde")]), ["ostler-new is missing from the table"]);

    let source = "use crate::{\n    error::{Blame, Failure},\n    reach::wait,\n    Failure as F,\n};\nlet x = crate::server::up::look();";
    let used = used_modules(source);
    assert_eq!(used.iter().map(String::as_str).collect::<Vec<_>>(), ["error", "reach", "server"]);
    let faults = module_faults(&[("plan".to_owned(), used), ("ledger".to_owned(), BTreeSet::new())].into());
    assert_eq!(faults, ["ledger is missing from the list", "plan may not use reach", "plan may not use server"]);
}

fn crate_faults(packages: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for package in packages {
        let name = text(&package["name"]);
        let Some((_, allowed)) = CRATES.iter().find(|(known, _)| *known == name) else {
            faults.push(format!("{name} is missing from the table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let on = text(&dependency["name"]);
            let is_test = dependency["kind"] == "dev" && IN_TESTS.contains(&(&name, &on));
            if on.starts_with("ostler") && !allowed.contains(&on.as_str()) && !is_test {
                faults.push(format!("{name} may not use {on}"));
            }
        }
    }
    faults
}

fn module_faults(uses: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let place = |module: &str| MODULES.iter().position(|known| *known == module);
    let mut faults = Vec::new();
    for (module, used) in uses {
        // Examples for unit tests may use everything.
        if ["lib", "testing"].contains(&module.as_str()) {
            continue;
        }
        let Some(own) = place(module) else {
            faults.push(format!("{module} is missing from the list"));
            continue;
        };
        let upward = used.iter().filter(|used| place(used).is_none_or(|other| other > own) && *used != "testing");
        faults.extend(upward.map(|used| format!("{module} may not use {used}")));
    }
    faults
}

/// The modules that a source names by `crate::NAME` or within `crate::{...}`.
fn used_modules(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in source.match_indices("crate::") {
        let rest = &source[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.extend(first_word(rest)),
            Some(list) => {
                let (mut depth, mut is_start) = (0, true);
                for (at, c) in list.char_indices() {
                    match c {
                        '}' if depth == 0 => break,
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => is_start = true,
                        c if c.is_whitespace() => {}
                        _ if is_start => {
                            found.extend(first_word(&list[at..]));
                            is_start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    // Types that the root names again.
    found.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    found
}

fn first_word(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    Some(text[..end].to_owned()).filter(|word| !word.is_empty())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => collect(&path, files),
            false if path.extension().is_some_and(|extension| extension == "rs") => files.push(path),
            false => {}
        }
    }
}
