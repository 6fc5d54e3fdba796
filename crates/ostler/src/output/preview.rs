//! What a run would change on a server, for people.

use super::{
    diff::{self, Mark},
    hints,
};
use ostler_core::{
    Failure,
    event::Diff,
    ids::ServerName,
    server::drift::{Change, Check, Findings, Unpredicted},
    text::plain,
};

/// What a look at a server found; with colours if `colour`.
pub fn check_text(server: &ServerName, check: &Check, colour: bool) -> String {
    match check {
        Check::FromScratch { modules, apps } => {
            format!(
                "{server}  will be provisioned from scratch: {}, {}\n",
                count(*modules, "module"),
                count(*apps, "app")
            )
        }
        Check::Off => {
            format!(
                "{server}  is off: what Ansible would change can't be checked; `ostler up` starts it and applies its spec\n"
            )
        }
        Check::Done(findings) => findings_text(server, findings, colour) + &summary(server, findings),
        Check::Failed { failure, until_then } => {
            findings_text(server, until_then, colour) + &failure_lines(server, "not checked", failure)
        }
    }
}

/// A failure as lines of one server.
pub fn failure_lines(name: &impl std::fmt::Display, word: &str, failure: &Failure) -> String {
    let mut lines = vec![format!("{name}  {word}: {failure}")];
    lines.extend(failure.causes.iter().map(|cause| format!("{name}    {cause}")));
    lines.extend(failure.lines.iter().map(|line| format!("{name}    | {line}")));
    lines.extend(hints::of(failure).map(|hint| format!("{name}    hint: {hint}")));
    plain(&(lines.join("\n") + "\n"))
}

fn findings_text(server: &ServerName, findings: &Findings, colour: bool) -> String {
    let warnings = findings.warnings.iter().map(|warning| plain(&format!("{server}  warning: {warning}\n")));
    let changes = findings.changes.iter().map(|change| change_text(server, change, colour));
    let unpredicted = findings.unpredicted.iter().map(|task| unpredicted_text(server, task));
    warnings.chain(changes).chain(unpredicted).collect()
}

fn change_text(server: &ServerName, change: &Change, colour: bool) -> String {
    let Change { role, task, item, diff, handlers, .. } = change;
    let mut text = plain(&format!("{server}  would change  {}\n", place(role, task, item)));
    text.extend(diff.iter().map(|diff| diff_text(diff, colour)));
    for handler in handlers {
        text.push_str(&plain(&format!("{server}    and run handler  {handler}\n")));
    }
    text
}

fn diff_text(diff: &Diff, colour: bool) -> String {
    let line = |(mark, line)| match mark {
        Mark::Gone if colour => format!("    \u{1b}[31m{line}\u{1b}[0m\n"),
        Mark::New if colour => format!("    \u{1b}[32m{line}\u{1b}[0m\n"),
        Mark::Place if colour => format!("    \u{1b}[2m{line}\u{1b}[0m\n"),
        _ => format!("    {line}\n"),
    };
    diff::lines(diff).into_iter().map(line).collect()
}

fn unpredicted_text(server: &ServerName, unpredicted: &Unpredicted) -> String {
    let Unpredicted { role, task, item, module, .. } = unpredicted;
    plain(&format!("{server}  can't be predicted  {} ({module})\n", place(role, task, item)))
}

/// `role : task (item)`
pub fn place(role: &Option<String>, task: &str, item: &Option<String>) -> String {
    let role = role.as_ref().map(|role| format!("{role} : ")).unwrap_or_default();
    let item = item.as_ref().map(|item| format!(" ({item})")).unwrap_or_default();
    format!("{role}{task}{item}")
}

fn summary(server: &ServerName, findings: &Findings) -> String {
    let did = match findings.changes.len() {
        0 => "nothing would change".to_owned(),
        n => format!("{n} of {} would change something", count(findings.tasks, "task")),
    };
    let unknown = match findings.unpredicted.len() {
        0 => String::new(),
        n => format!("; {} can't be predicted", count(n, "task")),
    };
    format!("{server}  {did}{unknown}\n")
}

/// `1 task`, `2 tasks`
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> Change {
        Change {
            role: Some("fail2ban".into()),
            task: "Write the ban rules".into(),
            item: None,
            module: "ansible.builtin.template".into(),
            diff: vec![Diff { before: Some("a\n".into()), after: Some("b\n".into()), ..Diff::default() }],
            handlers: vec!["Reload fail2ban".into()],
        }
    }

    fn text(check: &Check, colour: bool) -> String {
        check_text(&ServerName::parse("web1").unwrap(), check, colour)
    }

    #[test]
    fn a_change_with_its_difference_its_handler_and_the_count() {
        let unpredicted = Unpredicted {
            role: None,
            task: "Ask".into(),
            item: Some("one".into()),
            module: "ansible.builtin.command".into(),
            reason: None,
        };
        let findings =
            Findings { tasks: 7, changes: vec![change()], unpredicted: vec![unpredicted], warnings: Vec::new() };
        let expected = "\
web1  would change  fail2ban : Write the ban rules
    @@ -1 +1 @@
    -a
    +b
web1    and run handler  Reload fail2ban
web1  can't be predicted  Ask (one) (ansible.builtin.command)
web1  1 of 7 tasks would change something; 1 task can't be predicted
";
        assert_eq!(text(&Check::Done(findings.clone()), false), expected);
        let coloured = text(&Check::Done(findings), true);
        assert!(coloured.contains("    \u{1b}[31m-a\u{1b}[0m\n    \u{1b}[32m+b\u{1b}[0m\n"), "{coloured:?}");
    }

    #[test]
    fn what_can_not_be_checked_says_why() {
        let scratch = text(&Check::FromScratch { modules: 3, apps: 1 }, false);
        assert_eq!(scratch, "web1  will be provisioned from scratch: 3 modules, 1 app\n");
        assert!(text(&Check::Off, false).contains("is off"));
    }

    #[test]
    fn the_servers_words_do_not_steer_the_terminal() {
        let hostile = "\u{1b}]0;title\u{7}\u{1b}[2J";
        let mut change = change();
        change.task.push_str(hostile);
        change.diff[0].after = Some(hostile.into());
        let findings = Findings { changes: vec![change], warnings: vec![hostile.into()], ..Findings::default() };
        assert!(!text(&Check::Done(findings), false).contains('\u{1b}'));
    }
}
