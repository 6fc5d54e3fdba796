//! What happened. Events are appended to the store, numbered, and are the only thing a user interface reads.

use crate::{
    error::Failure,
    hint::Next,
    ids::{EventId, EventNumber, OperationId, RunId, ServerName},
    model::{OperationKind, OperationState, Phase},
    subject::{Subject, SubjectKind},
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// One event, as frontends see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the log. Of progress, which is not in the log, the place of the event before it.
    pub number: EventNumber,
    /// When, to the microsecond.
    pub time: jiff::Timestamp,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// What that was called then, if it is a server.
    pub server: Option<ServerName>,
    /// What that was called then, if it is something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The operation it belongs to.
    pub operation: Option<OperationId>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// An event that has no place in the log yet.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// By which the store knows one that it has already: whoever can't tell whether it was stored stores it again.
    pub id: EventId,
    /// What it is about.
    pub subject: Option<Subject>,
    /// What that is called, if it is a server.
    pub server: Option<ServerName>,
    /// What that is called, if it is something else.
    pub name: Option<String>,
    /// The operation it belongs to.
    pub operation: Option<OperationId>,
    /// What happened.
    pub kind: EventKind,
}

impl Event {
    /// The event as it was told, at its place in the log.
    pub fn placed(number: EventNumber, time: jiff::Timestamp, event: NewEvent) -> Self {
        let NewEvent { id: _, subject, server, name, operation, kind } = event;
        Self { number, time, subject, server, name, operation, kind }
    }

    /// What its subject was called then.
    pub fn called(&self) -> Option<&str> {
        self.server.as_ref().map(ServerName::as_str).or(self.name.as_deref())
    }

    /// The same with the hints of its failure, if it has one, in words.
    pub fn with_hints_in_words(&self, called: impl Fn(&Next) -> String) -> Cow<'_, Self> {
        let has_hints = matches!(
            self.kind,
            EventKind::StepFailed { .. }
                | EventKind::UndoFailed { .. }
                | EventKind::OperationEnded { failure: Some(_), .. }
        );
        if !has_hints {
            return Cow::Borrowed(self);
        }
        let mut event = self.clone();
        if let EventKind::StepFailed { failure, .. }
        | EventKind::UndoFailed { failure, .. }
        | EventKind::OperationEnded { failure: Some(failure), .. } = &mut event.kind
        {
            *failure = failure.clone().in_words(called);
        }
        Cow::Owned(event)
    }
}

impl NewEvent {
    /// One that happens now, to a server if `about` names one.
    pub fn new(about: Option<(Subject, ServerName)>, operation: Option<OperationId>, kind: EventKind) -> Self {
        Self::about(about.map(|(subject, server)| (subject, server.into())), operation, kind)
    }

    /// The same of any subject, which is called so.
    pub fn about(about: Option<(Subject, String)>, operation: Option<OperationId>, kind: EventKind) -> Self {
        let (subject, name) = about.unzip();
        let is_server = subject.is_some_and(|subject| subject.kind == SubjectKind::Server);
        let server = name.as_deref().filter(|_| is_server).and_then(|name| ServerName::parse(name).ok());
        Self { id: EventId::new(), subject, server, name: name.filter(|_| !is_server), operation, kind }
    }
}

/// What happened. In JSON the tag stands under `event`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// An operation began, with its steps up front.
    OperationStarted {
        /// What it does.
        operation_kind: OperationKind,
        /// Its steps, in order, with the phase of each.
        steps: Vec<(Phase, String)>,
        /// Index of the step at which it goes on; 0 unless resumed.
        first: usize,
    },
    /// A step began.
    StepStarted {
        /// Index.
        index: usize,
        /// Name.
        step: String,
        /// Its phase.
        phase: Phase,
    },
    /// A step ended well.
    StepDone {
        /// Index.
        index: usize,
        /// Name.
        step: String,
        /// Wall-clock seconds.
        seconds: f64,
    },
    /// A step failed.
    StepFailed {
        /// Index.
        index: usize,
        /// Name.
        step: String,
        /// Why.
        failure: Failure,
    },
    /// An operation is being undone.
    UnwindStarted {
        /// Its steps that have an undo, in the order of undoing.
        steps: Vec<String>,
    },
    /// The undo of a step began.
    UndoStarted {
        /// Index.
        index: usize,
        /// Name.
        step: String,
    },
    /// A step was undone.
    UndoDone {
        /// Index.
        index: usize,
        /// Name.
        step: String,
    },
    /// The undo of a step failed.
    UndoFailed {
        /// Index.
        index: usize,
        /// Name.
        step: String,
        /// Why, and what is left where.
        failure: Failure,
    },
    /// The operation came to an end, for now or for good. Terminal: each start has exactly one, unless Ostler is killed.
    OperationEnded {
        /// How; `Unwinding`: its undoing was stopped on request.
        state: OperationState,
        /// Why, unless it succeeded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        /// Wall-clock seconds since its start or resumption.
        seconds: f64,
    },
    /// Something worth a line.
    Notice {
        /// Its weight.
        level: Level,
        /// The line.
        message: String,
    },
    /// How far a long transfer or build is. It is told while it happens, and not stored.
    Progress {
        /// What of.
        what: String,
        /// Units done.
        done: u64,
        /// Units in all, if known.
        total: Option<u64>,
        /// `bytes` or `steps`.
        unit: ProgressUnit,
    },
    /// Ansible reported something.
    Ansible {
        /// Of which run.
        run: RunId,
        /// What.
        #[serde(flatten)]
        report: AnsibleReport,
    },
}

impl EventKind {
    /// Whether the log keeps it.
    pub fn is_stored(&self) -> bool {
        !matches!(self, Self::Progress { .. })
    }
}

/// Weight of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Good to know.
    Info,
    /// Better to know.
    Warning,
}

/// Unit of a progress event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgressUnit {
    /// Bytes.
    Bytes,
    /// Steps.
    Steps,
}

/// One line of the callback plugin, typed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum AnsibleReport {
    /// The playbook began.
    RunStarted {
        /// Of ansible-core.
        ansible_version: String,
        /// Strategy plugin.
        strategy: String,
        /// Whether nothing is changed.
        check: bool,
    },
    /// A task or handler began on a host.
    TaskStarted {
        /// Inventory name; none in runs of an older Ostler.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// Of the task.
        task_id: String,
        /// Its name.
        task: String,
        /// The role it stands in.
        role: Option<String>,
        /// Its module, such as `ansible.builtin.apt`.
        module: String,
        /// Whether it is a handler.
        handler: bool,
    },
    /// A task, or one item of its loop, ended on a host.
    TaskResult(Box<TaskResult>),
    /// The end, with the counts of each host.
    Stats {
        /// Host to counts.
        hosts: std::collections::BTreeMap<String, HostStats>,
    },
    /// Ansible warned.
    Warning {
        /// Whom it is about; none if it is the run as a whole.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// The text.
        message: String,
    },
    /// Something this version does not know; kept as it came.
    Unknown {
        /// The whole line.
        line: String,
    },
}

/// How a task, or one item of its loop, ended on a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Inventory name.
    pub host: String,
    /// The role the task stands in.
    pub role: Option<String>,
    /// The module's or app's role because of which that one runs: roles depend on others, and include them.
    #[serde(default)]
    pub top_role: Option<String>,
    /// Task name.
    pub task: String,
    /// Task id; the same as in `task_started`.
    pub task_id: String,
    /// Module, such as `ansible.builtin.apt`.
    pub module: String,
    /// Arguments as JSON, secrets masked.
    #[serde(default)]
    pub args: serde_json::Value,
    /// How it ended.
    pub result: TaskOutcome,
    /// Failed, but `ignore_errors` holds.
    #[serde(default)]
    pub ignored: bool,
    /// The module's own message.
    #[serde(default)]
    pub msg: Option<String>,
    /// Bounded.
    #[serde(default)]
    pub stdout: Option<String>,
    /// Bounded.
    #[serde(default)]
    pub stderr: Option<String>,
    /// Exit status of a command.
    #[serde(default)]
    pub rc: Option<i64>,
    /// What changed.
    #[serde(default)]
    pub diff: Vec<Diff>,
    /// Seconds.
    pub duration: f64,
    /// Label of the loop's item.
    #[serde(default)]
    pub item: Option<String>,
    /// Handlers that this change notified.
    #[serde(default)]
    pub notify: Vec<String>,
    /// Whether it is a handler.
    #[serde(default)]
    pub handler: bool,
    /// The sum of a loop whose items were reported one by one: not counted.
    #[serde(default)]
    pub aggregate: bool,
    /// Passed over in check mode because its module can't say beforehand what it would do.
    #[serde(default)]
    pub unpredicted: bool,
}

impl TaskResult {
    /// `role : task`, as Ansible itself writes it; after `top role > ` where that is another one.
    pub fn place(&self) -> String {
        let roles = [self.top_role.as_ref().filter(|top| Some(*top) != self.role.as_ref()), self.role.as_ref()];
        let roles: Vec<&str> = roles.into_iter().flatten().map(String::as_str).collect();
        if roles.is_empty() { self.task.clone() } else { format!("{} : {}", roles.join(" > "), self.task) }
    }
}

impl TaskOutcome {
    /// Lower-case word, as in the events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Changed => "changed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Unreachable => "unreachable",
        }
    }
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskOutcome {
    /// As it should be already.
    Ok,
    /// Changed (in check mode: would change).
    Changed,
    /// Failed.
    Failed,
    /// Not applicable.
    Skipped,
    /// The host was lost.
    Unreachable,
}

/// A difference that a task made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// Header of the old side.
    #[serde(default)]
    pub before_header: Option<String>,
    /// Header of the new side.
    #[serde(default)]
    pub after_header: Option<String>,
    /// Old text.
    #[serde(default)]
    pub before: Option<String>,
    /// New text.
    #[serde(default)]
    pub after: Option<String>,
    /// A diff that the module made itself.
    #[serde(default)]
    pub prepared: Option<String>,
}

/// Counts of one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStats {
    /// Tasks that ran, changed ones included.
    #[serde(default)]
    pub ok: u64,
    /// Tasks that changed something.
    #[serde(default)]
    pub changed: u64,
    /// Failed tasks.
    #[serde(default)]
    pub failures: u64,
    /// Times the host was lost.
    #[serde(default)]
    pub unreachable: u64,
    /// Skipped tasks.
    #[serde(default)]
    pub skipped: u64,
    /// Rescued tasks.
    #[serde(default)]
    pub rescued: u64,
    /// Ignored failures.
    #[serde(default)]
    pub ignored: u64,
}
