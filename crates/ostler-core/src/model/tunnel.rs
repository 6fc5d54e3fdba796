//! The tunnel to a server, as the state keeps it.

use crate::{secret::Secret, spec::TunnelOptions};
use serde::{Deserialize, Serialize};

/// What there is of the tunnel to a server, from before anything of it is made until all of it is taken away. Kept encrypted, for it
/// holds secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelRecord {
    /// What the spec said when it was made.
    pub options: TunnelOptions,
    /// Where sshd listens on the server, which it leads to.
    pub port: u16,
    /// What was made in the account.
    pub made: TunnelLedger,
    /// Whether logins go through it, and not to the server's address.
    pub through: bool,
    /// Whether the server's firewall is told to let nobody in on the SSH port.
    pub ssh_closed: bool,
    /// Whether the closed port was tried from outside since anything changed.
    pub proved: bool,
}

impl TunnelRecord {
    /// One of which nothing is made yet.
    pub fn new(options: TunnelOptions, port: u16) -> Self {
        Self { options, port, made: TunnelLedger::default(), through: false, ssh_closed: false, proved: false }
    }
}

/// What bringing a server to its tunnel changes: for people and programs that read a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TunnelPlan {
    /// Its host name.
    pub hostname: String,
    /// What changes, in order.
    pub changes: Vec<TunnelChange>,
}

/// One change that a tunnel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TunnelChange {
    /// Makes the tunnel.
    MakeTunnel,
    /// Makes the service token.
    MakeServiceToken,
    /// Makes the Access application that lets in that token only.
    MakeApplication,
    /// Adds the ingress rule, or has it lead to another port.
    SetIngressRule,
    /// Makes the DNS record of the host name.
    MakeRecord,
    /// Takes over the DNS record that leads to the tunnel already. It is never deleted.
    AdoptRecord,
    /// Closes the SSH port to all but the tunnel, once a login through that is proved.
    CloseSsh,
    /// Opens the SSH port.
    OpenSsh,
    /// Takes away all that was made, once a login by the port is proved.
    TakeDown,
}

/// What was made in an account, each entry kept as soon as it exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelLedger {
    /// Id of the tunnel.
    pub tunnel: Option<String>,
    /// The record of its host name.
    pub dns: Option<DnsEntry>,
    /// Id of the Access application.
    pub app: Option<String>,
    /// The service token that the application lets in.
    pub pass: Option<ServicePass>,
    /// What the server's end of the tunnel proves itself with.
    #[serde(with = "shown")]
    pub token: Option<Secret>,
}

/// A record of a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsEntry {
    /// Id of the zone.
    pub zone: String,
    /// Id of the record.
    pub record: String,
    /// Ostler made it. One that was there before is never changed or deleted.
    pub created: bool,
}

/// A service token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePass {
    /// Its id in the account.
    pub id: String,
    /// What a client names itself by.
    pub client_id: String,
    /// What it proves that with; shown once.
    #[serde(with = "shown_always")]
    pub client_secret: Secret,
}

mod shown {
    use crate::secret::Secret;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Secret::expose).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
    }
}

mod shown_always {
    use crate::secret::Secret;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}
