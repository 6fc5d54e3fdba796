//! What a list of servers shows of each; no more than that is read for it.

use crate::{
    error::Failure,
    ids::{OperationId, ServerName, SubjectId},
    model::{MachineRecord, OperationKind, OperationState, Phase, StepRecord, Verification},
    spec::ProviderKind,
    subject::Subject,
};

/// One server in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerOverview {
    /// Its id.
    pub id: SubjectId,
    /// Its name.
    pub name: ServerName,
    /// Where it comes from.
    pub provider: ProviderKind,
    /// How far it has come.
    pub phase: Phase,
    /// The provider's record, once something exists or is about to.
    pub machine: Option<MachineRecord>,
    /// What came of trying its promises last.
    pub verified: Option<Verification>,
    /// Its newest operation.
    pub operation: Option<OperationOverview>,
}

impl ServerOverview {
    /// What operations, events and the like on it are about.
    pub fn subject(&self) -> Subject {
        Subject::server(self.id)
    }
}

/// The newest operation of a server in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationOverview {
    /// Its id.
    pub id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// Where it stands.
    pub state: OperationState,
    /// Its steps, in order.
    pub steps: Vec<StepRecord>,
    /// Why it is not going on, where it failed or is stuck.
    pub failure: Option<Failure>,
    /// When it was begun.
    pub started: jiff::Timestamp,
}
