//! What the journal keeps of an operation.

use crate::{
    error::{Blame, Failure, Result},
    ids::OperationId,
    subject::Subject,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// An operation in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperationRecord {
    /// Its id.
    pub id: OperationId,
    /// What it works on.
    pub subject: Subject,
    /// What that was called when it began, for people.
    pub name: String,
    /// What it does.
    pub kind: OperationKind,
    /// Where it stands.
    pub state: OperationState,
    /// The recorded plan, as JSON that only the operation's own module reads. Holds no secret.
    pub plan: String,
    /// What all steps had found out, as one JSON object, where an earlier version began it, which kept it so; else an empty one. A
    /// step's output has the field names of then, so it is read out of this where the step has none of its own.
    pub outputs: String,
    /// Its steps, in order.
    pub steps: Vec<StepRecord>,
    /// Why it is not going on, where it failed or is stuck.
    pub failure: Option<Failure>,
    /// When it was begun.
    pub started: jiff::Timestamp,
    /// When it last came to an end.
    pub ended: Option<jiff::Timestamp>,
}

impl OperationRecord {
    /// The recorded plan. Only the operation's own module knows its type.
    pub fn read_plan<P: DeserializeOwned>(&self) -> Result<P> {
        serde_json::from_str(&self.plan).map_err(|error| self.unreadable(&error))
    }

    /// The failure where a part of it is not what it should be.
    pub(crate) fn unreadable(&self, error: &serde_json::Error) -> Failure {
        Failure::new(Blame::Bug, error.to_string())
            .because_of(format!("the journal of operation {} of {} can't be read", self.id, self.name))
            .with_hint("was it written by another version of Ostler?")
    }
}

/// A step in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its name, unique within the operation.
    pub name: String,
    /// Where it stands.
    pub state: StepState,
    /// What it found out, as JSON that only its operation's own module reads. Written in one transaction with its end; `None` before that,
    /// and where it finds out nothing. Holds no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

impl StepRecord {
    /// One that is not begun.
    pub fn pending(name: &str) -> Self {
        Self { name: name.to_owned(), state: StepState::Pending, output: None }
    }

    /// Whether it may have had effects that are still there.
    pub fn is_begun(&self) -> bool {
        !matches!(self.state, StepState::Pending | StepState::Undone)
    }
}

/// What an operation does. To destroy a server is to undo its `Create`; where it is a member of a cluster, a `Leave` comes before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationKind {
    /// Makes a server that can be logged in to.
    Create,
    /// Makes it what its spec says. A reconciler: no undo.
    Apply,
    /// Makes it anew in its place, with an empty disk.
    Rebuild,
    /// Takes it out of a cluster before its creation is undone.
    Leave,
    /// Makes a template of it, which is undone with its creation.
    Template,
    /// Makes a release of a site, and has it serve.
    Deploy,
    /// The same of what an earlier release was.
    Rollback,
    /// Takes a site away.
    Remove,
}

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationState {
    /// At work, or its Ostler was killed.
    Running,
    /// Done.
    Succeeded,
    /// A step failed; `resume` goes on there.
    Failed,
    /// Its steps are being undone, or its Ostler was killed at that.
    Unwinding,
    /// All its steps are undone.
    Undone,
    /// An undo failed; the failure says what is left where.
    Stuck,
}

impl OperationState {
    /// Whether nothing is at work on it any more.
    pub fn is_end(self) -> bool {
        !matches!(self, Self::Running | Self::Unwinding)
    }
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Not begun.
    Pending,
    /// Begun; its effects may exist in part.
    Started,
    /// Done.
    Done,
    /// Its undo was begun.
    Undoing,
    /// Undone.
    Undone,
}
