//! The state. One implementation serves SQLite and MySQL/MariaDB.

use crate::{
    error::{Failure, Result},
    event::{Event, NewEvent},
    ids::{EventNumber, LeaseToken, OperationId, ServerName, StateId},
    model::{OperationRecord, OperationState, ServerOverview, ServerRecord, StepRecord, StepState},
    ports::ChildRecord,
    secret::Secret,
    subject::{Subject, SubjectKind},
};
use async_trait::async_trait;
use jiff::Timestamp;
use std::time::Duration;

/// Who holds, or wants, a lease: a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseOwner {
    /// Host name, for people.
    pub host: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
    /// `/etc/machine-id` or the like: tells this machine from others.
    pub machine: String,
    /// Process id.
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`.
    pub start_ticks: u64,
    /// What it does, for people: `up`, `destroy`.
    pub doing: String,
}

impl LeaseOwner {
    /// Whether both are the same process for certain, whatever it does.
    pub fn is_same_process(&self, other: &Self) -> bool {
        !self.boot.is_empty() && Self { doing: other.doing.clone(), ..self.clone() } == *other
    }
}

/// A lease as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it.
    pub owner: LeaseOwner,
    /// Which acquisition this is; `None`: one of an Ostler that knew no tokens.
    pub token: Option<LeaseToken>,
    /// Whether it was not renewed in time, by the store's clock.
    pub expired: bool,
}

impl Lease {
    /// Whether somebody else may take it. What is known of its owner counts; a clock, which may have been set or have stood
    /// still while the machine slept, decides only where nothing is.
    pub fn is_free(&self, owner: Liveness) -> bool {
        match owner {
            Liveness::Alive => false,
            Liveness::Dead => true,
            Liveness::Unknown => self.expired,
        }
    }
}

/// What is known of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It runs on this machine.
    Alive,
    /// It runs no more, for certain.
    Dead,
    /// It is of another machine, or nothing can be told.
    Unknown,
}

/// Answer to a wish for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// It is yours until its expiry; renew before.
    Granted,
    /// Somebody else has it.
    HeldBy(Lease),
}

/// What is on record of a subject that is no server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it is about.
    pub subject: Subject,
    /// What that is called.
    pub name: String,
    /// The record, as JSON.
    pub text: String,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only about this subject.
    pub subject: Option<Subject>,
    /// Only about servers that were called so then, also those that are destroyed.
    pub server: Option<ServerName>,
    /// Only of this operation.
    pub operation: Option<OperationId>,
}

impl EventFilter {
    /// Whether it is one of these events.
    pub fn lets_through(&self, event: &Event) -> bool {
        fn agrees<T: PartialEq>(wanted: &Option<T>, found: &Option<T>) -> bool {
            wanted.is_none() || wanted == found
        }
        agrees(&self.subject, &event.subject)
            && agrees(&self.server, &event.server)
            && agrees(&self.operation, &event.operation)
    }
}

/// The state. Every write is durable when it returns: a crash loses nothing that was answered.
#[async_trait]
pub trait Store: Send + Sync {
    /// Id of this state; made at its first use.
    async fn state_id(&self) -> Result<StateId>;

    /// What is called so now. A name is unique among the subjects of its kind.
    async fn subject(&self, kind: SubjectKind, name: &str) -> Result<Option<Subject>>;
    /// The same; where nothing is called so the name is given to a new subject, of which nothing else exists yet. All who claim a name
    /// get the same subject, until that is removed and its lease given back.
    async fn claim_name(&self, kind: SubjectKind, name: &str) -> Result<Subject>;

    /// The server that is called so now.
    async fn server(&self, name: &ServerName) -> Result<Option<ServerRecord>>;
    /// All servers with their newest operations, by name, in one query.
    async fn overview(&self) -> Result<Vec<ServerOverview>>;
    /// Inserts or replaces a server. Fails if another one has its name.
    async fn put_server(&self, server: &ServerRecord) -> Result<()>;
    /// Removes a server with its secrets and children. Its operations and events stay as history; its name is free once the lease on it is
    /// given back. None there: fine.
    async fn remove_server(&self, server: Subject) -> Result<()>;

    /// What is on record of a subject that is no server: JSON that only the room of its kind reads. Holds no secret.
    async fn document(&self, subject: Subject) -> Result<Option<String>>;
    /// What is on record of all subjects of a kind, by name.
    async fn documents(&self, kind: SubjectKind) -> Result<Vec<Document>>;
    /// Inserts or replaces one. Fails if another subject has its name.
    async fn put_document(&self, document: &Document) -> Result<()>;
    /// Removes what is on record of a subject, with its secrets and children. Its name is free once the lease on it is given back. None there:
    /// fine.
    async fn remove_document(&self, subject: Subject) -> Result<()>;

    /// Inserts an operation with its steps.
    async fn begin_operation(&self, operation: &OperationRecord) -> Result<()>;
    /// One operation.
    async fn operation(&self, id: OperationId) -> Result<Option<OperationRecord>>;
    /// The newest operation on a subject; one that is being undone is newer than what was begun after it.
    async fn latest_operation(&self, subject: Subject) -> Result<Option<OperationRecord>>;
    /// The same of the newest subject that was ever called so, which may be removed.
    async fn latest_operation_called(&self, kind: SubjectKind, name: &str) -> Result<Option<OperationRecord>>;
    /// In one transaction: sets where an operation stands, and appends the events that tell of it. An end state sets `ended`
    /// to now, `Running` and `Unwinding` clear it. Returns those events that were not in the log already.
    async fn set_operation_state(
        &self,
        id: OperationId,
        state: OperationState,
        failure: Option<&Failure>,
        events: &[NewEvent],
    ) -> Result<Vec<Event>>;
    /// Replaces the steps of an operation: another version goes on with it, which has others.
    async fn replace_steps(&self, id: OperationId, steps: &[StepRecord]) -> Result<()>;
    /// In one transaction: where step `index` stands, its output (`None` leaves the one that it had), and the events that tell of it. Returns
    /// those events that were not in the log already.
    async fn set_step(
        &self,
        id: OperationId,
        index: usize,
        state: StepState,
        output: Option<&str>,
        events: &[NewEvent],
    ) -> Result<Vec<Event>>;

    /// Appends events in order, in one transaction. Those that are in the log already stay where they are; the others are returned, with
    /// their numbers.
    async fn append_events(&self, events: &[NewEvent]) -> Result<Vec<Event>>;
    /// At most `limit` events with a number greater than `after`, in order.
    async fn events(&self, after: EventNumber, filter: &EventFilter, limit: u32) -> Result<Vec<Event>>;
    /// Number of the newest event; 0 if there is none.
    async fn last_event(&self) -> Result<EventNumber>;

    /// Operations that ended before this time and still have events, oldest first; but none that is the newest of its kind on a server that
    /// is there.
    async fn operations_to_forget(&self, before: Timestamp) -> Result<Vec<OperationId>>;
    /// Removes at most `limit` events of an operation; returns how many. The operation stays in the journal.
    async fn forget_events(&self, operation: OperationId, limit: u32) -> Result<u32>;
    /// Whether there are operations on what was ever called so whose events were removed.
    async fn has_forgotten(&self, kind: SubjectKind, name: &str) -> Result<bool>;
    /// When all that was to be removed was removed last.
    async fn last_forgetting(&self) -> Result<Option<Timestamp>>;
    /// All that is to be removed is.
    async fn set_last_forgetting(&self, time: Timestamp) -> Result<()>;

    /// Takes the lease on a subject, or returns the lease that somebody else holds. It replaces another token's lease only if that is still
    /// `instead`, which an earlier answer returned. So the caller decides which leases are free, and no third party can slip in between.
    async fn acquire_lease(
        &self,
        subject: Subject,
        token: LeaseToken,
        owner: &LeaseOwner,
        ttl: Duration,
        instead: Option<&Lease>,
    ) -> Result<LeaseAnswer>;
    /// Extends a lease; `false` if it is no longer held by this token.
    async fn renew_lease(&self, subject: Subject, token: LeaseToken, ttl: Duration) -> Result<bool>;
    /// Gives a lease back, and with it the name of a subject of which nothing exists any more, or yet: what is called so later is
    /// another one. Held by another token: fine.
    async fn release_lease(&self, subject: Subject, token: LeaseToken) -> Result<()>;
    /// The lease on a subject, expired or not.
    async fn lease(&self, subject: Subject) -> Result<Option<Lease>>;

    /// Journals a child process.
    async fn put_child(&self, child: &ChildRecord) -> Result<()>;
    /// Children that work on a subject and are not known to be gone.
    async fn children(&self, subject: Subject) -> Result<Vec<ChildRecord>>;
    /// A child is gone.
    async fn remove_child(&self, child: &ChildRecord) -> Result<()>;

    /// Stores a secret, encrypted with the state's key file. `owner`: the subject it belongs to and goes with; `None`: the
    /// user's own.
    async fn put_secret(&self, owner: Option<Subject>, name: &str, secret: &Secret) -> Result<()>;
    /// A secret.
    async fn secret(&self, owner: Option<Subject>, name: &str) -> Result<Option<Secret>>;
    /// Names of the user's own secrets.
    async fn secret_names(&self) -> Result<Vec<String>>;
    /// Removes a secret; `false` if there was none.
    async fn remove_secret(&self, owner: Option<Subject>, name: &str) -> Result<bool>;
}
