//! The answers as they will be read, and what becomes of them.

use super::SUMMARY;
use crate::wizard::{
    check::check_all,
    dialog::Dialog,
    prompt::{Ask, Choice},
    talk::{Line, Step, Stop},
};
use std::path::{Path, PathBuf};

/// What becomes of the answers.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Where they are written.
    pub file: PathBuf,
    /// Whether the servers are made at once.
    pub go: bool,
}

/// Lines of a window that the spec does not get: heading, question, choices, and a line that breaks.
const FRAME: usize = 13;
/// Lines of the spec that are shown at once in any case.
const FEWEST: usize = 6;

/// Asks.
pub fn ask(dialog: &mut Dialog<'_>) -> Step<End> {
    dialog.talk.screen(SUMMARY);
    let around = dialog.around;
    // Rules that join keys of several screens have had no question of their own.
    check_all(around, &dialog.draft, &around.folder).map_err(|words| Stop::Again(1, words))?;
    let go = read(dialog)?;
    let file = file(dialog)?;
    Ok(End { file, go })
}

/// Shows the spec, a window at a time; whether to go.
fn read(dialog: &mut Dialog<'_>) -> Step<bool> {
    let text = dialog.draft.yaml();
    let lines: Vec<&str> = text.lines().collect();
    let page = dialog.talk.rows().saturating_sub(FRAME).max(FEWEST);
    let pages: Vec<&[&str]> = lines.chunks(page).collect();
    let mut number = 0;
    loop {
        dialog.talk.screen(SUMMARY);
        dialog.talk.say(pages[number % pages.len()].iter().map(|line| (*line).to_owned()));
        let mut choices = vec![
            Choice::new("go", "write it, and make the server now"),
            Choice::new("save", "write it; `ostler up` makes the server"),
        ];
        if pages.len() > 1 {
            let next = (number + 1) % pages.len();
            let shown = format!("page {} of {}", next + 1, pages.len());
            choices.push(Choice::new("read on", shown));
        }
        choices.push(Choice::new("back", "change something"));
        let ask = Ask { question: "This is what you asked for:", help: "" };
        let chosen = dialog.talk.menu(&format!("summary {number}"), ask, &choices)?;
        match choices[chosen].label.as_str() {
            "go" => return Ok(true),
            "save" => return Ok(false),
            // This answer, and those that turned pages.
            "back" => return Err(Stop::Again(number + 2, String::new())),
            _ => number += 1,
        }
    }
}

fn file(dialog: &mut Dialog<'_>) -> Step<PathBuf> {
    let (around, draft) = (dialog.around, dialog.draft.clone());
    let good = |name: &str| {
        let path = around.folder.join(name);
        let folder = path.parent().unwrap_or(Path::new("/"));
        if path.is_dir() {
            return Err("that is a folder".to_owned());
        }
        if !folder.is_dir() {
            return Err(format!("there is no folder {}", folder.display()));
        }
        // Paths in the file are relative to its folder.
        check_all(around, &draft, folder)
    };
    let ask = Ask { question: "File:", help: "where the spec is written" };
    let name = dialog.talk.text("file", ask, Line { default: Some("ostler.yaml"), optional: false }, good)?;
    if around.folder.join(&name).exists() {
        let ask = Ask { question: "That file exists already.", help: "" };
        let choices = [Choice::new("another name", ""), Choice::new("replace it", "its contents are lost")];
        if dialog.talk.menu(&format!("replace {name}"), ask, &choices)? == 0 {
            return Err(Stop::Again(2, String::new()));
        }
    }
    Ok(PathBuf::from(name))
}
