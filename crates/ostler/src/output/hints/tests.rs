//! What hints look like on the command line, and that no text of it stands anywhere below.

use super::*;
use crate::cli::Cli;
use clap::CommandFactory;
use ostler_core::{Blame, hint::Hint, ids::ServerName};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Where messages and hints are made that every frontend shows, from the root of the repository.
const BELOW: [&str; 9] = [
    "ansible",
    "crates/ostler-ansible/src",
    "crates/ostler-core/src",
    "crates/ostler-process/src",
    "crates/ostler-providers/src",
    "crates/ostler-remote/src",
    "crates/ostler-spec/src",
    "crates/ostler-store/src",
    "crates/ostler-tunnels/src",
];
/// Commands whose name is no other word of Ostler, so that the name alone in backticks means the command.
const PLAIN_NAMES: [&str; 8] = ["up", "plan", "status", "resume", "destroy", "logs", "doctor", "wizard"];
/// What the store writes into keys and locks, which nobody reads.
const FOR_MACHINES: [&str; 3] = ["ostler key check", "ostler secret\\0", "ostler schema "];

#[test]
fn commands_stand_in_hints_for_people_and_for_programs() {
    let web = ServerName::parse("web1").unwrap();
    let hint = Hint::from("mend the cause, then ")
        .with(Next::Resume(web.clone()))
        .with("; where the spec is at fault, mend that, then ")
        .with(Next::Up { file: None })
        .with("; ")
        .with(Next::ShowLog(web.clone()))
        .with(" has the whole run");
    let words = "mend the cause, then `ostler resume web1`; where the spec is at fault, mend that, then `ostler up FILE`; \
                 `ostler logs web1` has the whole run";
    let mut failure = Failure::new(Blame::Target, "it failed").with_hint(hint);
    assert_eq!(of(&failure).collect::<Vec<_>>(), [words]);
    assert_eq!(serde_json::to_value(failure.clone().in_words(command)).unwrap()["hint"], words);
    let run = Next::Run { server: web, command: "df -h".into() };
    failure.hints.push(Hint::from(run).with(" shows the disks"));
    let shown = crate::output::human::failure_text(&failure);
    assert!(
        shown.ends_with(&format!("\nhint: {words}\nhint: `ostler ssh web1 -- df -h` shows the disks\n")),
        "{shown}"
    );
}

#[test]
fn no_text_of_the_command_line_stands_below_the_frontend() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    BELOW.iter().for_each(|folder| collect(&root.join(folder), &mut files));
    assert!(files.len() > 200, "the sources have moved: mend this test");
    let known = CommandLine::ours();
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source is a text");
        let texts = if file.extension().is_some_and(|end| end == "rs") { literals(&text) } else { lines(&text) };
        let named = texts.iter().flat_map(|text| known.named_in(text));
        found.extend(named.map(|name| format!("{}: {name}", file.strip_prefix(&root).expect("found there").display())));
    }
    assert!(found.is_empty(), "use a typed hint (`ostler_core::hint::Next`) instead of a command: {found:#?}");
}

#[test]
fn a_command_and_a_flag_are_seen_in_a_text_and_nowhere_else() {
    let known = CommandLine::ours();
    let all = |source: &str| literals(source).iter().flat_map(|text| known.named_in(text)).collect::<Vec<_>>();
    assert_eq!(all(r#"x("`ostler logs` shows it", '"', "then `up` makes it");"#), ["ostler logs", "`up`"]);
    assert_eq!(all(r##"x(r#"("late"; see `--timeout`)"#, "too late (--timeout)");"##), ["--timeout", "--timeout"]);
    let fine = r#"
        // `ostler logs` shows it, "with --timeout"
        x("--output=json", "dpkg --audit", "the ostler user logs in", "bring it up");
        #[cfg(test)]
        mod tests {
            const TOLD: &str = "`ostler logs`";
    "#;
    assert_eq!(all(fine), [""; 0]);
    assert_eq!(lines("  # ostler up\nfail: \"ostler up\"\n"), ["fail: \"ostler up\""]);
}

/// The names of all commands and flags.
struct CommandLine {
    commands: BTreeSet<String>,
    flags: BTreeSet<String>,
}

impl CommandLine {
    fn ours() -> Self {
        let root = Cli::command();
        let commands = root.get_subcommands().map(|command| command.get_name().to_owned()).collect();
        let (mut flags, mut open) = (BTreeSet::new(), vec![&root]);
        while let Some(command) = open.pop() {
            flags.extend(command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned));
            open.extend(command.get_subcommands());
        }
        Self { commands, flags }
    }

    /// Commands and flags that a text tells its reader to type. Arguments of other programs begin a text or follow a word.
    fn named_in(&self, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        let rests = |before: &str| text.split(before).skip(1).map(first_word).collect::<Vec<_>>();
        let is_ours = |word: &&str| self.commands.contains(*word) && !FOR_MACHINES.iter().any(|it| text.contains(it));
        found.extend(rests("ostler ").iter().filter(|word| is_ours(word)).map(|word| format!("ostler {word}")));
        found.extend(rests("`").iter().filter(|word| PLAIN_NAMES.contains(*word)).map(|word| format!("`{word}`")));
        for before in ["`--", "(--"] {
            found.extend(
                rests(before).iter().filter(|word| self.flags.contains(**word)).map(|word| format!("--{word}")),
            );
        }
        found
    }
}

fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(text.len());
    &text[..end]
}

/// The string literals of a source, without those of its tests; escapes stay as they are written.
fn literals(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let before = &rest[..at];
        rest = &rest[at..];
        if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if let Some(after) = rest.strip_prefix('"') {
            let hashes = before.len() - before.trim_end_matches('#').len();
            let is_raw = before.trim_end_matches('#').ends_with('r');
            let end = if is_raw { format!("\"{}", "#".repeat(hashes)) } else { "\"".to_owned() };
            let mut length = after.find(&end).unwrap_or(after.len());
            while !is_raw && escapes(&after[..length]) {
                length += 1 + after[length + 1..].find('"').expect("a literal ends");
            }
            found.push(after[..length].to_owned());
            rest = &after[(length + end.len()).min(after.len())..];
        } else if let Some(quote) = ["'\"'", "'\\\"'"].iter().find(|quote| rest.starts_with(**quote)) {
            rest = &rest[quote.len()..];
        } else {
            rest = &rest[1..];
        }
    }
    found
}

/// Whether a text ends in a backslash that is not itself escaped.
fn escapes(text: &str) -> bool {
    (text.len() - text.trim_end_matches('\\').len()) % 2 == 1
}

/// The lines of a script or a role that are no comments.
fn lines(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.trim_start().starts_with('#')).map(str::trim).map(str::to_owned).collect()
}

/// Sources of programs and roles; texts for people who keep a catalog are no messages.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let is_test = path.file_stem().is_some_and(|name| name == "tests" || name == "testing");
        let is_source = path.extension().is_some_and(|end| ["rs", "py", "sh", "yml", "j2"].iter().any(|it| end == *it));
        match path.is_dir() {
            true if !is_test => collect(&path, files),
            false if is_source && !is_test => files.push(path),
            _ => {}
        }
    }
}
