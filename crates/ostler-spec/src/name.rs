//! The name of a server.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Name of a server: an RFC 1123 host label, 1 to 63 characters of `a-z0-9-`, neither first nor last a hyphen.
///
/// It becomes the host name, a directory and a process name, so nothing else is accepted anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerName(String);

/// Why a text is not a [`ServerName`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a host label (1-63 of a-z, 0-9 and -; it can't begin or end with a hyphen)")]
pub struct InvalidServerName(pub String);

impl ServerName {
    /// Checks and wraps `text`.
    pub fn parse(text: &str) -> Result<Self, InvalidServerName> {
        let ok = !text.is_empty()
            && text.len() <= 63
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if ok { Ok(Self(text.to_owned())) } else { Err(InvalidServerName(text.to_owned())) }
    }

    /// The label itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ServerName {
    type Error = InvalidServerName;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<ServerName> for String {
    fn from(name: ServerName) -> String {
        name.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
