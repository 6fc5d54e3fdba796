//! Hints on the command line: what is next is a command to type.

use ostler_core::{Failure, hint::Next};

/// The hints of a failure, each in words.
pub fn of(failure: &Failure) -> impl Iterator<Item = String> {
    failure.hints.iter().map(|hint| hint.in_words(command))
}

/// The command that does it, in backticks.
pub fn command(next: &Next) -> String {
    match next {
        Next::Resume(server) => format!("`ostler resume {server}`"),
        Next::Destroy(server) => format!("`ostler destroy {server}`"),
        Next::Up { file: Some(file) } => format!("`ostler up {file}`"),
        Next::Up { file: None } => "`ostler up FILE`".to_owned(),
        Next::UpAgain => "`ostler up`".to_owned(),
        Next::ShowLog(server) => format!("`ostler logs {server}`"),
        Next::FollowLog(server) => format!("`ostler logs {server} --follow`"),
        Next::Run { server, command } => format!("`ostler ssh {server} -- {command}`"),
        Next::SetSecret(name) => format!("`ostler secret set {name}`"),
        Next::ListServers => "`ostler status`".to_owned(),
        Next::CheckMachine => "`ostler doctor`".to_owned(),
        Next::PlanWithoutLook => "`ostler plan --no-check`".to_owned(),
        Next::WaitLonger => "`--timeout SECONDS`".to_owned(),
        Next::RollBackLater => "`--rollback-after SECONDS`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::{Blame, hint::Hint, ids::ServerName};

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
}
