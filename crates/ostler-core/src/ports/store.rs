//! The state. One implementation serves SQLite and MySQL/MariaDB.

use crate::{
    error::{Failure, Result},
    event::{Event, NewEvent},
    ids::{EventNumber, OperationId, ServerName, StateId},
    model::{ServerOverview, ServerRecord},
    operation::{OperationRecord, OperationState, StepState},
    ports::ChildRecord,
    secret::Secret,
};
use async_trait::async_trait;
use std::time::Duration;

/// Who holds, or wants, a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseOwner {
    /// Host name, for people.
    pub host: String,
    /// `/proc/sys/kernel/random/boot_id`: the owner is dead if it is of this machine and another boot.
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

/// Answer to a wish for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// It is yours until its expiry; renew before.
    Granted,
    /// Somebody else has it, who is not known to be dead.
    HeldBy(LeaseOwner),
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only of this server.
    pub server: Option<ServerName>,
    /// Only of this operation.
    pub operation: Option<OperationId>,
}

/// The state. Every write is durable when it returns: a crash loses nothing that was answered.
#[async_trait]
pub trait Store: Send + Sync {
    /// Id of this state; made at its first use.
    async fn state_id(&self) -> Result<StateId>;

    /// One server.
    async fn server(&self, name: &ServerName) -> Result<Option<ServerRecord>>;
    /// All servers with their newest operations, by name, in one query.
    async fn overview(&self) -> Result<Vec<ServerOverview>>;
    /// Inserts or replaces a server.
    async fn put_server(&self, server: &ServerRecord) -> Result<()>;
    /// Removes a server with its secrets and children. Its operations and events stay as history. None there: fine.
    async fn remove_server(&self, name: &ServerName) -> Result<()>;

    /// Inserts an operation with its steps.
    async fn begin_operation(&self, operation: &OperationRecord) -> Result<()>;
    /// One operation.
    async fn operation(&self, id: OperationId) -> Result<Option<OperationRecord>>;
    /// The newest operation of a server; one that is being undone is newer than what was begun after it.
    async fn latest_operation(&self, server: &ServerName) -> Result<Option<OperationRecord>>;
    /// Sets where an operation stands; an end state sets `ended` to now, `Running` and `Unwinding` clear it.
    async fn set_operation_state(
        &self,
        id: OperationId,
        state: OperationState,
        failure: Option<&Failure>,
    ) -> Result<()>;
    /// In one transaction: where step `index` stands, and what the steps have found out so far.
    async fn set_step(&self, id: OperationId, index: usize, state: StepState, outputs: &str) -> Result<()>;

    /// Appends events in order, in one transaction; returns the number of the last one.
    async fn append_events(&self, events: &[NewEvent]) -> Result<EventNumber>;
    /// At most `limit` events with a number greater than `after`, in order.
    async fn events(&self, after: EventNumber, filter: &EventFilter, limit: u32) -> Result<Vec<Event>>;
    /// Number of the newest event; 0 if there is none.
    async fn last_event(&self) -> Result<EventNumber>;

    /// Takes the lease on a server, or says who holds it. One that has expired, or that is the asker's own, is granted; also
    /// one for which `is_dead` says that its owner is dead.
    async fn acquire_lease(
        &self,
        server: &ServerName,
        owner: &LeaseOwner,
        ttl: Duration,
        is_dead: &(dyn for<'o> Fn(&'o LeaseOwner) -> bool + Send + Sync),
    ) -> Result<LeaseAnswer>;
    /// Extends a lease; `false` if it is no longer the owner's.
    async fn renew_lease(&self, server: &ServerName, owner: &LeaseOwner, ttl: Duration) -> Result<bool>;
    /// Gives a lease back. Not one's own: fine.
    async fn release_lease(&self, server: &ServerName, owner: &LeaseOwner) -> Result<()>;
    /// Who holds the lease on a server, expired or not.
    async fn lease(&self, server: &ServerName) -> Result<Option<LeaseOwner>>;

    /// Journals a child process.
    async fn put_child(&self, child: &ChildRecord) -> Result<()>;
    /// Children of a server that are not known to be gone.
    async fn children(&self, server: &ServerName) -> Result<Vec<ChildRecord>>;
    /// A child is gone.
    async fn remove_child(&self, child: &ChildRecord) -> Result<()>;

    /// Stores a secret, encrypted with the state's key file. `owner`: the server it belongs to and goes with; `None`: the
    /// user's own.
    async fn put_secret(&self, owner: Option<&ServerName>, name: &str, secret: &Secret) -> Result<()>;
    /// A secret.
    async fn secret(&self, owner: Option<&ServerName>, name: &str) -> Result<Option<Secret>>;
    /// Names of the user's own secrets.
    async fn secret_names(&self) -> Result<Vec<String>>;
    /// Removes a secret; `false` if there was none.
    async fn remove_secret(&self, owner: Option<&ServerName>, name: &str) -> Result<bool>;
}
