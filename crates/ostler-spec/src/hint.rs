//! What to do next, as whoever shows it may put it: a command line shows a command to type, a web interface a button.

use crate::ServerName;
use serde::{Deserialize, Serialize};

/// One piece of advice: words, and what Ostler may be asked to do next. Without a final full stop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hint(Vec<Part>);

/// Words, or what Ostler may be asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Words; in backticks stands what is to be typed elsewhere than at Ostler.
    Words(String),
    /// Something that Ostler does when it is asked.
    Next(Next),
}

/// Something that Ostler does, with what it is done to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Stores the secret of this name.
    SetSecret(String),
    /// Lists servers.
    ListServers,
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

/// How hints of a failure are recorded: as one text where there are only words, as every release can read it, else with their parts.
pub(crate) mod recorded {
    use super::{Hint, Part};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Recorded {
        Text(String),
        Hints(Vec<Hint>),
    }

    pub fn serialize<S: Serializer>(hints: &[Hint], serializer: S) -> Result<S::Ok, S::Error> {
        match hints {
            [Hint(parts)] if matches!(parts.as_slice(), [Part::Words(_)]) => {
                Recorded::Text(hints[0].in_words(|_| String::new()))
            }
            hints => Recorded::Hints(hints.to_vec()),
        }
        .serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Hint>, D::Error> {
        Ok(match Recorded::deserialize(deserializer)? {
            Recorded::Text(words) => vec![words.into()],
            Recorded::Hints(hints) => hints,
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
        let called = |action: &Next| match action {
            Next::Run { server, command } => format!("{command} on {server}"),
            Next::Resume(server) => format!("resume {server}"),
            _ => "up".to_owned(),
        };
        let words = "df -h on web shows the disks; then resume web. up";
        assert_eq!(kept(&failure.in_words(called))["hint"], words);
    }
}
