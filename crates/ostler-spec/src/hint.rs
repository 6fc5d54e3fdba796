//! What to do next, as whoever shows it may put it: a command line shows a command to type, a web interface a button.

use crate::{ServerName, SiteName};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One piece of advice: words, and what Ostler may be asked to do next. Without a final full stop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hint(Vec<Part>);

/// Words, or what Ostler may be asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Words; in backticks stands what is to be typed elsewhere than at Ostler.
    Words(String),
    /// Something that Ostler does when it is asked.
    Next(Next),
}

/// Something that Ostler does, with what it is done to. `Display` gives a short label for it, as a button could have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// Goes on with the newest operation of a server.
    Resume(ServerName),
    /// Destroys a server, or what is left of it.
    Destroy(ServerName),
    /// Brings the servers of a spec to it. `None`: of the spec that the user has in mind.
    Up {
        /// The file as the user would name it.
        file: Option<String>,
    },
    /// The same where it is of no matter which spec.
    UpAgain,
    /// Opens the SSH port of a server again whose tunnel is dead.
    Rescue(ServerName),
    /// Shows what happened to a server.
    ShowLog(ServerName),
    /// Shows what happens to it now.
    FollowLog(ServerName),
    /// Runs a command on a server.
    Run {
        /// Where.
        server: ServerName,
        /// In words of a shell.
        command: String,
    },
    /// Stores the secret of this name. `None`: the user chooses the name.
    SetSecret(Option<String>),
    /// Makes an SSH key pair.
    MakeKey {
        /// In a file that the user names, not in the default one.
        elsewhere: bool,
    },
    /// Builds the image of this name from a package mirror.
    BuildImage(String),
    /// Makes the roles, the user and the token that Ostler needs on a Proxmox VE host.
    SetUpProxmox,
    /// Writes a new catalog with an example.
    NewCatalog,
    /// Does the same again and fetches the catalog, which it was told not to do.
    FetchCatalog,
    /// Keeps the state in another directory.
    MoveState,
    /// Tries what is promised of a server.
    Verify(ServerName),
    /// Lists servers.
    ListServers,
    /// Deploys a site.
    DeploySite(SiteName),
    /// Takes a site away.
    RemoveSite(SiteName),
    /// Lists sites.
    ListSites,
    /// Looks at this machine: what Ostler needs of it.
    CheckMachine,
    /// Plans without a look at servers.
    PlanWithoutLook,
    /// Waits longer for servers and for package managers on them.
    WaitLonger,
    /// Gives a server more time before it puts back what is not proved.
    RollBackLater,
}

impl Hint {
    /// The same with more behind it.
    pub fn with(mut self, part: impl Into<Part>) -> Self {
        self.0.push(part.into());
        self
    }

    /// Whether it only advises another option ([`Next::is_option`]), and not how to go on.
    pub fn is_option(&self) -> bool {
        let mut next = self.0.iter().filter_map(|part| match part {
            Part::Next(next) => Some(next),
            Part::Words(_) => None,
        });
        next.next().is_some_and(Next::is_option) && next.all(Next::is_option)
    }

    /// All of it, in order.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// Whether it advises to do such a thing.
    pub fn advises(&self, is_such: impl Fn(&Next) -> bool) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Next(next) if is_such(next)))
    }

    /// In words alone; `called` says how whoever shows it calls what is next.
    pub fn in_words(&self, called: impl Fn(&Next) -> String) -> String {
        let word = |part: &Part| match part {
            Part::Words(words) => words.clone(),
            Part::Next(next) => called(next),
        };
        self.0.iter().map(word).collect()
    }
}

impl Next {
    /// Whether it changes how something else is done, and does nothing by itself.
    pub fn is_option(&self) -> bool {
        matches!(self, Self::WaitLonger | Self::RollBackLater)
    }
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resume(server) => write!(f, "resume {server}"),
            Self::Destroy(server) => write!(f, "destroy {server}"),
            Self::Up { file: Some(file) } => write!(f, "bring up {file}"),
            Self::Up { file: None } | Self::UpAgain => f.write_str("bring up"),
            Self::Rescue(server) => write!(f, "rescue {server}"),
            Self::ShowLog(server) => write!(f, "log of {server}"),
            Self::FollowLog(server) => write!(f, "live log of {server}"),
            Self::Run { server, command } => write!(f, "{command} on {server}"),
            Self::SetSecret(Some(name)) => write!(f, "store secret {name}"),
            Self::SetSecret(None) => f.write_str("store a secret"),
            Self::MakeKey { elsewhere: false } => f.write_str("new key pair"),
            Self::MakeKey { elsewhere: true } => f.write_str("new key pair in another file"),
            Self::BuildImage(image) => write!(f, "build image {image}"),
            Self::SetUpProxmox => f.write_str("set up Proxmox VE"),
            Self::NewCatalog => f.write_str("new catalog"),
            Self::FetchCatalog => f.write_str("fetch the catalog"),
            Self::MoveState => f.write_str("another state directory"),
            Self::Verify(server) => write!(f, "verify {server}"),
            Self::ListServers => f.write_str("servers"),
            Self::DeploySite(site) => write!(f, "deploy site {site}"),
            Self::RemoveSite(site) => write!(f, "remove site {site}"),
            Self::ListSites => f.write_str("sites"),
            Self::CheckMachine => f.write_str("check this machine"),
            Self::PlanWithoutLook => f.write_str("plan without checking servers"),
            Self::WaitLonger => f.write_str("a longer timeout"),
            Self::RollBackLater => f.write_str("a later rollback"),
        }
    }
}

impl From<String> for Hint {
    fn from(words: String) -> Self {
        Self(vec![words.into()])
    }
}

impl From<&str> for Hint {
    fn from(words: &str) -> Self {
        Self(vec![words.into()])
    }
}

impl From<Next> for Hint {
    fn from(next: Next) -> Self {
        Self(vec![next.into()])
    }
}

impl From<String> for Part {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl From<&str> for Part {
    fn from(words: &str) -> Self {
        Self::Words(words.to_owned())
    }
}

impl From<Next> for Part {
    fn from(next: Next) -> Self {
        Self::Next(next)
    }
}

/// How hints are recorded: as `null` where there are none, as one text where there are only words, as every release can read it, else
/// with their parts.
pub mod recorded {
    use super::{Hint, Next, Part};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Recorded {
        Text(String),
        Hints(Vec<Hint>),
    }

    /// For serde's `with`.
    pub fn serialize<S: Serializer>(hints: &[Hint], serializer: S) -> Result<S::Ok, S::Error> {
        match hints {
            [] => None,
            [Hint(parts)] if matches!(parts.as_slice(), [Part::Words(_)]) => {
                Some(Recorded::Text(hints[0].in_words(Next::to_string)))
            }
            hints => Some(Recorded::Hints(hints.to_vec())),
        }
        .serialize(serializer)
    }

    /// For serde's `with`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Hint>, D::Error> {
        Ok(match Option::<Recorded>::deserialize(deserializer)? {
            None => Vec::new(),
            Some(Recorded::Text(words)) => vec![words.into()],
            Some(Recorded::Hints(hints)) => hints,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Blame, Failure};

    fn web() -> ServerName {
        ServerName::parse("web").unwrap()
    }

    fn kept(failure: &Failure) -> serde_json::Value {
        serde_json::to_value(failure).unwrap()
    }

    #[test]
    fn what_earlier_releases_recorded_is_read_and_words_alone_are_recorded_as_they_did() {
        let text = r#"{"blame":"target","message":"it failed","hint":"`ostler resume web` goes on"}"#;
        let failure: Failure = serde_json::from_str(text).unwrap();
        assert_eq!(failure.hints, [Hint::from("`ostler resume web` goes on")]);
        assert_eq!(serde_json::to_string(&failure).unwrap(), text);
        let none = Failure::new(Blame::Target, "it failed");
        assert_eq!(kept(&none).get("hint"), None);
        assert_eq!(serde_json::from_value::<Failure>(kept(&none)).unwrap(), none);
    }

    #[test]
    fn actions_are_kept_and_put_in_words_by_who_shows_them() {
        let run = Next::Run { server: web(), command: "df -h".into() };
        let hint = Hint::from(run).with(" shows the disks; then ").with(Next::Resume(web()));
        let mut failure = Failure::new(Blame::Target, "it failed").with_hint(hint);
        failure.hints.push(Hint::from(Next::UpAgain));
        assert_eq!(serde_json::from_value::<Failure>(kept(&failure)).unwrap(), failure);
        let words = "<df -h on web> shows the disks; then <resume web>. <bring up>";
        assert_eq!(kept(&failure.in_words(|next| format!("<{next}>")))["hint"], words);
    }

    #[test]
    fn an_option_stands_behind_the_way_on_and_does_not_replace_it() {
        let waiting = Hint::from(Next::WaitLonger).with(" waits longer");
        let on = Hint::from(Next::Resume(web())).with(" goes on");
        let failure = Failure::new(Blame::Target, "it failed").with_hint(waiting.clone()).or_hint(on.clone());
        assert_eq!(failure.hints, [on.clone(), waiting]);
        assert_eq!(failure.clone().or_hint("something else"), failure);
    }
}
