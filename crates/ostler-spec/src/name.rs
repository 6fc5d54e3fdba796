//! Names of what is under management.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $longest:literal, $(#[$invalid_doc:meta])* $invalid:ident, $words:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        $(#[$invalid_doc])*
        #[derive(Debug, thiserror::Error, PartialEq, Eq)]
        #[error($words)]
        pub struct $invalid(pub String);

        impl $name {
            /// Checks and wraps `text`.
            pub fn parse(text: &str) -> Result<Self, $invalid> {
                if is_label(text, $longest) { Ok(Self(text.to_owned())) } else { Err($invalid(text.to_owned())) }
            }

            /// The label itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = $invalid;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// Name of a server: an RFC 1123 host label, 1 to 63 characters of `a-z0-9-`, neither first nor last a hyphen.
    ///
    /// It becomes the host name, a directory and a process name, so nothing else is accepted anywhere.
    ServerName, 63,
    /// Why a text is not a [`ServerName`].
    InvalidServerName, "`{0}` is not a host label (1-63 of a-z, 0-9 and -; it can't begin or end with a hyphen)"
}

name! {
    /// Name of a site: like a host label, of 1 to 40 characters, so that what runs of it can have longer ones.
    SiteName, 40,
    /// Why a text is not a [`SiteName`].
    InvalidSiteName, "`{0}` is not the name of a site (1-40 of a-z, 0-9 and -; it can't begin or end with a hyphen)"
}

fn is_label(text: &str, longest: usize) -> bool {
    !text.is_empty()
        && text.len() <= longest
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}
