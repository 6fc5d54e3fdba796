//! What came of trying what a server's spec promises.

use serde::{Deserialize, Serialize};

/// What all promises of a server came to, tried at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// When they were tried.
    pub at: jiff::Timestamp,
    /// Digest of what they follow from: the spec, and what modules and apps promise.
    pub of: String,
    /// One by one.
    pub promises: Vec<TriedPromise>,
}

/// One promise, and what came of trying it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriedPromise {
    /// Who promises it: `ssh`, `ports`, or the name of a module or an app.
    pub about: String,
    /// What is promised.
    pub says: String,
    /// Others can break it by what Ostler leaves alone, such as their own rules of the firewall: then a run does not mend it.
    #[serde(default)]
    pub of_others: bool,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of trying a promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "why", rename_all = "lowercase")]
pub enum Outcome {
    /// It holds.
    Kept,
    /// It does not, and this is why.
    Broken(String),
    /// It could not be tried, and this is why.
    Unknown(String),
}

impl Verification {
    /// Those that do not hold.
    pub fn broken(&self) -> impl Iterator<Item = (&TriedPromise, &str)> {
        self.promises.iter().filter_map(|promise| match &promise.outcome {
            Outcome::Broken(why) => Some((promise, why.as_str())),
            Outcome::Kept | Outcome::Unknown(_) => None,
        })
    }

    /// `12 kept, 1 broken, 2 not tried`
    pub fn summary(&self) -> String {
        let count = |is: fn(&Outcome) -> bool| self.promises.iter().filter(|promise| is(&promise.outcome)).count();
        let counts = [
            (count(|outcome| *outcome == Outcome::Kept), "kept"),
            (count(|outcome| matches!(outcome, Outcome::Broken(_))), "broken"),
            (count(|outcome| matches!(outcome, Outcome::Unknown(_))), "not tried"),
        ];
        let counts = counts.iter().filter(|(count, word)| *count > 0 || *word == "kept");
        counts.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
    }
}
