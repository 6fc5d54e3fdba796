//! Typed identifiers. A `String` that means one of these is a bug waiting for its caller.

pub use ostler_spec::{InvalidServerName, InvalidSiteName, ServerName, SiteName};

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new one; version 7, so that ids sort by their time of birth.
            #[allow(clippy::new_without_default)]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id! {
    /// One journaled piece of long work.
    OperationId
}
uuid_id! {
    /// One execution of Ansible.
    RunId
}
uuid_id! {
    /// One thing under management, whatever it is called; see `Subject`.
    SubjectId
}
uuid_id! {
    /// This state directory. Whatever Ostler creates carries it, so that another state directory leaves it alone.
    StateId
}

uuid_id! {
    /// One event, before it has a place in the log: storing it twice leaves it there once.
    EventId
}
uuid_id! {
    /// One acquisition of a lease.
    LeaseToken
}

/// Position in the append-only log of events; the first event has number 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventNumber(pub i64);
