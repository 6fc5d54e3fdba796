//! Secrets as types: they wipe their memory, and neither `Debug` nor `Display` nor serde lets them out.

use std::fmt;
use zeroize::Zeroizing;

/// A text that must never be printed, logged, or put on a command line.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Each caller is a place to review: it may go into a socket, a pipe or a 0600 file, nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}
