//! Ansible.

use crate::{
    error::Result,
    event::{AnsibleReport, HostStats},
    ids::{RunId, ServerName},
    ports::Transport,
    secret::Secret,
    spec::{SecretRef, Strategy, Value},
    subject::Subject,
};
use async_trait::async_trait;
use std::{any::Any, collections::BTreeMap, path::PathBuf};

/// One run of the playbook against a group of servers.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// Which of the playbooks.
    pub playbook: Playbook,
    /// Its id; each process of the run carries it in its environment as `OSTLER_RUN_ID`, with those of the runs joined to it.
    pub run: RunId,
    /// The servers.
    pub hosts: Vec<RunHost>,
    /// Strategy plugin for all of them.
    pub strategy: Strategy,
    /// Folder of the catalog whose apps are run; `None`: the one that ships with Ostler.
    pub catalog: Option<PathBuf>,
    /// Change nothing, say what would change.
    pub check: bool,
}

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Playbook {
    /// The target user's access, by whatever account there is.
    Access,
    /// Everything that the spec says.
    Site,
}

/// One server in a run.
#[derive(Clone, Debug)]
pub struct RunHost {
    /// Inventory name.
    pub name: ServerName,
    /// How it is reached.
    pub transport: Transport,
    /// Host variables. Nothing in them is templated.
    pub vars: BTreeMap<String, Value>,
    /// The texts of all secrets that `vars` name; they are told and masked like `secret_vars`.
    pub secrets: BTreeMap<SecretRef, Secret>,
    /// Host variables that are secret. They go through the socket only, and are masked in every event.
    pub secret_vars: BTreeMap<String, Secret>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSummary {
    /// Exit status of ansible-playbook.
    pub status: i32,
    /// Counts per host, if it came that far.
    pub hosts: BTreeMap<String, HostStats>,
    /// Last lines of its standard error, for a run that failed without a failed task.
    pub stderr_tail: Vec<String>,
}

/// A child process that must not outlive its Ostler unnoticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildRecord {
    /// The server that it works on.
    pub subject: Subject,
    /// The run that it belongs to.
    pub run: RunId,
    /// Process id.
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`: clock ticks after boot. With `boot`, it tells a process from a later one of the same id.
    pub start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
}

/// Takes what a run says while it goes on.
#[async_trait]
pub trait RunObserver: Send + Sync {
    /// A child was started. It waits until this returns, so the journal has it before it does anything.
    async fn child_started(&self, pid: u32, start_ticks: u64, boot: String) -> Result<()>;

    /// The callback plugin reported something.
    async fn report(&self, report: AnsibleReport);
}

/// Says that a server is worked on, as long as it is kept.
pub type Expected = Box<dyn Any + Send + Sync>;

/// The engine.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Hears that a server is worked on as long as the answer is kept: an engine that joins runs may have others wait a moment for its own.
    fn expect(&self, _server: &ServerName) -> Expected {
        Box::new(())
    }

    /// Runs the playbook to its end. Dropping the future ends all its processes, or if it was joined with other runs, its part
    /// in them.
    async fn run(&self, request: RunRequest, observer: &dyn RunObserver) -> Result<RunSummary>;

    /// Ends whatever is left of a run whose Ostler died; returns when all of its processes are gone, and how many there were.
    async fn end_leftovers(&self, child: &ChildRecord) -> Result<usize>;

    /// Handlers, as (role, handler), that are still to run: `before` and those that the run notified, less those that ran.
    fn pending_handlers(&self, before: &[(String, String)], reports: &[AnsibleReport]) -> Vec<(String, String)>;
}
