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
        Next::Rescue(server) => format!("`ostler rescue {server}`"),
        Next::ShowLog(server) => format!("`ostler logs {server}`"),
        Next::FollowLog(server) => format!("`ostler logs {server} --follow`"),
        Next::Run { server, command } => format!("`ostler ssh {server} -- {command}`"),
        Next::SetSecret(name) => format!("`ostler secret set {}`", name.as_deref().unwrap_or("NAME")),
        Next::MakeKey { elsewhere: false } => "`ostler key new`".to_owned(),
        Next::MakeKey { elsewhere: true } => "`ostler key new --file PATH`".to_owned(),
        Next::BuildImage(image) => format!("`ostler image build {image}`"),
        Next::SetUpProxmox => "`ostler proxmox setup`".to_owned(),
        Next::NewCatalog => "`ostler catalog new DIR`".to_owned(),
        Next::FetchCatalog => "the same command without `--offline`".to_owned(),
        Next::MoveState => "`--state-dir DIR`".to_owned(),
        Next::Verify(server) => format!("`ostler verify {server}`"),
        Next::ListServers => "`ostler status`".to_owned(),
        Next::DeploySite(site) => format!("`ostler site deploy {site}`"),
        Next::RemoveSite(site) => format!("`ostler site remove {site}`"),
        Next::ListSites => "`ostler site list`".to_owned(),
        Next::CheckMachine => "`ostler doctor`".to_owned(),
        Next::PlanWithoutLook => "`ostler plan --no-check`".to_owned(),
        Next::WaitLonger => "`--timeout SECONDS`".to_owned(),
        Next::RollBackLater => "`--rollback-after SECONDS`".to_owned(),
    }
}

#[cfg(test)]
mod tests;
