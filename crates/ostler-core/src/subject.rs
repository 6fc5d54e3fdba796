//! What operations, events, leases, children and secrets are about.
//!
//! A name can be given again to something else, and is unique within a project only. So nothing but the store's table of names goes by names:
//! whoever begins something asks it once, and all that is kept from then on carries the id.

use crate::ids::SubjectId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One thing under management, by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// What it is.
    pub kind: SubjectKind,
    /// Unique among subjects of all kinds, and never given twice.
    pub id: SubjectId,
}

impl Subject {
    /// A server.
    pub const fn server(id: SubjectId) -> Self {
        Self { kind: SubjectKind::Server, id }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.id)
    }
}

/// What a subject is. The store takes any word of up to 16 letters, so a new kind needs no change of its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectKind {
    /// A machine under management.
    Server,
    /// A project that is served by one.
    Site,
    /// A part of the DNS that records are made in.
    Zone,
    /// A certificate with its key.
    Certificate,
    /// An account at an authority that issues certificates; its name is the authority's URL.
    Account,
}

impl SubjectKind {
    /// Lower-case word, as in events and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            SubjectKind::Server => "server",
            SubjectKind::Site => "site",
            SubjectKind::Zone => "zone",
            SubjectKind::Certificate => "certificate",
            SubjectKind::Account => "account",
        }
    }
}
