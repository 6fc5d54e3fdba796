//! The DNS: records in zones, and what the world sees of them.

use crate::{error::Result, spec::ZoneSpec};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordKind {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// Another name.
    Cname,
    /// A text.
    Txt,
    /// Which authorities may issue certificates (RFC 8659).
    Caa,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DnsRecord {
    /// The whole name, in lower case and without a dot at the end.
    pub name: String,
    /// What it says.
    pub kind: RecordKind,
    /// The value: an address; a whole name without a dot at the end; a text as it is, without quotation marks; `0 issue "ca.example"`.
    pub value: String,
    /// Seconds for which others keep it. Not part of what tells two records apart.
    pub ttl: u32,
}

impl std::fmt::Display for RecordKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Txt => "TXT",
            Self::Caa => "CAA",
        })
    }
}

impl DnsRecord {
    /// Whether both say the same, for however long.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.name, self.kind, &self.value) == (&other.name, other.kind, &other.value)
    }
}

/// What came of the wish for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It was made.
    Made,
    /// It was there; whoever made it may need it.
    Found,
    /// Somebody has to make it by hand.
    ByHand,
}

/// Makes records and takes them away. A change may be asked for again after a crash at any point, and is right then too; other records, also
/// of the same name and kind, stay as they are.
#[async_trait]
pub trait Dns: Send + Sync {
    /// Fails where records of the zone could not be made: a token that may not, a zone that is elsewhere or a copy of another one. Changes
    /// nothing.
    async fn check(&self, zone: &ZoneSpec) -> Result<()>;

    /// The records of a name. Where nobody can list them, what the authoritative servers answer.
    async fn records(&self, zone: &ZoneSpec, name: &str) -> Result<Vec<DnsRecord>>;

    /// Makes a record.
    async fn add(&self, zone: &ZoneSpec, record: &DnsRecord) -> Result<Added>;

    /// Takes a record away; none there: fine. What somebody has to remove by hand stays.
    async fn remove(&self, zone: &ZoneSpec, record: &DnsRecord) -> Result<()>;

    /// Returns once every authoritative server of the zone answers with the record; fails with what they answer instead after `timeout`.
    async fn settle(&self, zone: &ZoneSpec, record: &DnsRecord, timeout: Duration) -> Result<()>;

    /// Records of a name and kind, and of what it is an alias of, as the authoritative servers of a zone answer; without a zone, as the
    /// resolvers of this machine do.
    async fn lookup(&self, zone: Option<&ZoneSpec>, name: &str, kind: RecordKind) -> Result<Vec<DnsRecord>>;
}
