//! What can go wrong with servers that are there already.

#![allow(missing_docs, reason = "the message of a variant says what its fields are")]

use ostler_core::{Blame, Classify};

/// An error of provider `existing`.
#[derive(Debug, thiserror::Error)]
pub enum ExistingError {
    /// The store's record of a server is none of ours.
    #[error("`{record}` is not a record of an existing server")]
    BadRecord {
        /// The record.
        record: String,
        source: serde_json::Error,
    },
    /// An order that does not say which server.
    #[error("the order does not name the existing server")]
    NoOptions,
    /// A name that leads nowhere.
    #[error("the name `{name}` can't be resolved: {cause}")]
    Unknown {
        /// The name.
        name: String,
        /// What the resolver said.
        cause: String,
    },
}

impl Classify for ExistingError {
    fn blame(&self) -> Blame {
        match self {
            ExistingError::BadRecord { .. } | ExistingError::NoOptions => Blame::Bug,
            ExistingError::Unknown { .. } => Blame::Configuration,
        }
    }
}
