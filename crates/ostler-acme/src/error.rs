//! What can go wrong with LEGO and with authorities.

use ostler_core::{Blame, Classify, hint::Hint};
use std::{io, path::PathBuf};

/// Why there is no certificate, or no word about one.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum AcmeError {
    #[error("can't read or write {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("LEGO, the ACME client, can't be run: {path}")]
    Start { path: PathBuf, source: io::Error },
    #[error("this build carries no LEGO, and this machine has none")]
    NoLego,
    #[error("{path} is LEGO {version}; Ostler knows the flags and folders of 4.35 only")]
    Version { path: PathBuf, version: String },
    #[error("{url} did not issue a certificate for {names}: {words}")]
    Refused { url: String, names: String, words: String },
    #[error("LEGO says that it has a certificate for {names}, but {what}")]
    Result { names: String, what: &'static str },
    #[error("a certificate can't be read: {0}")]
    Chain(String),
    #[error("the root certificate of {url} can't be read")]
    Root { url: String },
    #[error("{url} can't be asked when to renew")]
    Ask { url: String, source: reqwest::Error },
    #[error("{url} says when to renew in a way that can't be read")]
    Answer { url: String },
}

impl AcmeError {
    /// Turns an I/O error at a path into this type.
    pub(crate) fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

impl Classify for AcmeError {
    fn blame(&self) -> Blame {
        match self {
            Self::Refused { .. } | Self::Ask { .. } | Self::Answer { .. } | Self::NoLego | Self::Version { .. } => {
                Blame::Provider
            }
            Self::Root { .. } => Blame::Configuration,
            _ => Blame::Bug,
        }
    }

    fn hints(&self) -> Vec<Hint> {
        match self {
            Self::NoLego | Self::Version { .. } => {
                vec!["take a release of Ostler, which brings LEGO along; a build of your own does after `cargo xtask bundle`".into()]
            }
            _ => Vec::new(),
        }
    }
}
