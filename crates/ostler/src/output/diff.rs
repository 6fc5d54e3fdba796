//! A difference that a task made or would make, line by line, as `diff -u` shows it.

use ostler_core::{event::Diff, text::plain};
use similar::{ChangeTag, TextDiff};

/// What a line of a difference says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The file's name, or where in it the next lines stand.
    Place,
    /// On both sides.
    Same,
    /// Only on the old side.
    Gone,
    /// Only on the new side.
    New,
}

/// Lines around each change that are shown with it.
const CONTEXT: usize = 3;

/// The lines with their marks, without line ends and fit for a terminal.
pub fn lines(diff: &Diff) -> Vec<(Mark, String)> {
    let mut lines = Vec::new();
    if let Some(prepared) = &diff.prepared {
        lines.extend(plain(prepared).lines().map(|line| (mark(line), line.to_owned())));
    }
    let (before, after) = (diff.before.as_deref().unwrap_or(""), diff.after.as_deref().unwrap_or(""));
    if before.is_empty() && after.is_empty() {
        return lines;
    }
    // The other header may name a temporary file of the run.
    if let Some(name) = diff.before_header.as_ref().or(diff.after_header.as_ref()) {
        let name = plain(name);
        lines.extend([(Mark::Place, format!("--- {name}")), (Mark::Place, format!("+++ {name}"))]);
    }
    if before == after {
        lines.push((Mark::Place, "(what differs is masked)".to_owned()));
    }
    let (before, after) = (plain(before), plain(after));
    let text = TextDiff::from_lines(&before, &after);
    for hunk in text.unified_diff().context_radius(CONTEXT).iter_hunks() {
        lines.push((Mark::Place, hunk.header().to_string()));
        lines.extend(hunk.iter_changes().map(|change| {
            let mark = match change.tag() {
                ChangeTag::Equal => Mark::Same,
                ChangeTag::Delete => Mark::Gone,
                ChangeTag::Insert => Mark::New,
            };
            (mark, format!("{}{}", change.tag(), change.value().trim_end_matches('\n')))
        }));
    }
    lines
}

/// Of a line in a difference that a module made itself.
fn mark(line: &str) -> Mark {
    match line.as_bytes() {
        [b'-', b'-', b'-', ..] | [b'+', b'+', b'+', ..] | [b'@', ..] => Mark::Place,
        [b'-', ..] => Mark::Gone,
        [b'+', ..] => Mark::New,
        _ => Mark::Same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(diff: &Diff) -> String {
        lines(diff).into_iter().map(|(_, line)| line + "\n").collect()
    }

    #[test]
    fn two_texts_are_compared_with_the_lines_around() {
        let before = (1..=9).map(|n| format!("line {n}\n")).collect::<String>();
        let after = before.replace("line 5\n", "line five\n");
        let diff = Diff {
            before: Some(before),
            after: Some(after),
            before_header: Some("/etc/x".into()),
            after_header: Some("/run/tmp/x.j2".into()),
            prepared: None,
        };
        let expected = "--- /etc/x\n+++ /etc/x\n@@ -2,7 +2,7 @@\n line 2\n line 3\n line 4\n-line 5\n+line five\n line 6\n line 7\n line 8\n";
        assert_eq!(shown(&diff), expected);
    }

    #[test]
    fn what_a_module_prepared_is_shown_as_it_came_but_for_control_sequences() {
        let prepared = "--- a\n+++ b\n@@ -1 +1 @@\n-old\n+\u{1b}[2Jnew\n";
        let diff = Diff { prepared: Some(prepared.into()), ..Diff::default() };
        let marks: Vec<_> = lines(&diff).into_iter().map(|(mark, _)| mark).collect();
        assert_eq!(marks, [Mark::Place, Mark::Place, Mark::Place, Mark::Gone, Mark::New, Mark::Same][..marks.len()]);
        assert!(!shown(&diff).contains('\u{1b}'));
    }

    #[test]
    fn sides_that_only_differ_in_secrets_say_so() {
        let text = Some("token=********\n".to_owned());
        let diff = Diff { before: text.clone(), after: text, ..Diff::default() };
        assert_eq!(shown(&diff), "(what differs is masked)\n");
    }
}
