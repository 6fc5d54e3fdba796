//! A server under management, as the store keeps it.

use crate::{
    ids::{OperationId, ServerName, SubjectId},
    model::{MachineRecord, Verification},
    spec::{ProviderKind, ServerSpec},
    subject::Subject,
};
use serde::{Deserialize, Serialize};

/// One server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerRecord {
    /// Its id, which it has from before anything of it is made until it is removed.
    pub id: SubjectId,
    /// Its name.
    pub name: ServerName,
    /// Where it comes from.
    pub provider: ProviderKind,
    /// How far it has come.
    pub phase: Phase,
    /// The operation that created it; what was made for it carries this id.
    pub created_by: OperationId,
    /// The spec of the last operation that was begun.
    pub desired: ServerSpec,
    /// The account that Ostler logs in as: the target user whose access was last proved.
    pub login_user: String,
    /// The provider's record, once something exists or is about to.
    pub machine: Option<MachineRecord>,
    /// The provider's record for when sshd has moved to the port of the spec, until a login there has proved that.
    #[serde(default)]
    pub machine_next: Option<MachineRecord>,
    /// Host keys that a connection may show, as `ssh-ed25519 AAAA...`. More than one only while a key is replaced.
    pub host_keys: Vec<String>,
    /// Public half of Ostler's own client key for this server, as `ssh-ed25519 AAAA...`.
    pub client_key: Option<String>,
    /// Handlers that were notified in a run that did not reach them, as (role, handler).
    pub pending_handlers: Vec<(String, String)>,
    /// A run began that is not known to have ended well: dpkg may be interrupted, processes may linger.
    pub unclean: bool,
    /// What came of trying its promises last.
    #[serde(default)]
    pub verified: Option<Verification>,
}

impl ServerRecord {
    /// What operations, events and the like on it are about.
    pub fn subject(&self) -> Subject {
        Subject::server(self.id)
    }
}

/// How far a server has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It is being made.
    Create,
    /// It exists; its address and SSH are awaited.
    Connect,
    /// The target user's access is set up and proved.
    Access,
    /// Ansible works on it.
    Provision,
    /// A login through the tunnel is proved, and SSH is closed to all others.
    Tunnel,
    /// It is what its spec says.
    Ready,
    /// A release of a site comes to serve, or goes. No server is ever in it.
    Deploy,
}

impl Phase {
    /// Lower-case word, as in events and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Create => "create",
            Phase::Connect => "connect",
            Phase::Access => "access",
            Phase::Provision => "provision",
            Phase::Tunnel => "tunnel",
            Phase::Ready => "ready",
            Phase::Deploy => "deploy",
        }
    }
}
