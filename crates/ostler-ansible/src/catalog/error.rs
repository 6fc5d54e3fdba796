//! Why there is no catalog.

#![allow(missing_docs, reason = "the message of a variant says what its fields are")]

use ostler_core::{
    Blame, Classify,
    hint::{Hint, Next},
    spec::{CatalogSource, SpecFaults},
};
use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Why there is no catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A file on this machine.
    #[error("can't read or write {path}")]
    File { path: PathBuf, source: io::Error },
    /// The server, or what it sent.
    #[error("the catalog {url} can't be fetched")]
    Git {
        /// Where from.
        url: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The repository has no such branch.
    #[error("the catalog {url} has no branch `{branch}`")]
    NoBranch {
        url: String,
        /// The branch.
        branch: String,
    },
    /// The repository has no such commit, on any branch.
    #[error("the catalog {url} has no commit {commit}")]
    NoCommit {
        url: String,
        /// The commit.
        commit: String,
    },
    /// Something in the repository that must not be written to disk.
    #[error("`{path}` in commit {commit} of the catalog is refused: {reason}")]
    Refused {
        /// Where in the repository.
        path: String,
        /// Which commit.
        commit: String,
        reason: &'static str,
    },
    /// Its files are at fault.
    #[error("{what} is at fault:\n{}", Lines(.faults))]
    Faulty {
        /// The catalog: a folder, or a commit of a repository.
        what: String,
        /// All faults, a list for each file. Never empty.
        faults: Vec<SpecFaults>,
    },
    /// Nothing was fetched yet, and nothing may be.
    #[error("the catalog {url} was never fetched")]
    NotAtHand { url: String },
    /// `catalog new` makes a new folder, and changes none.
    #[error("{path} is there already")]
    Exists { path: PathBuf },
}

impl CatalogError {
    /// Turns an I/O error at `path` into this type.
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }

    /// Turns an error of Git into this type.
    pub(super) fn git<E>(source: &CatalogSource) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let url = source.url.clone();
        |error| Self::Git { url, source: error.into() }
    }

    /// The same with the hints of its faults in words alone; see [`SpecFaults::in_words`].
    pub fn in_words(self, called: impl Fn(&Next) -> String) -> Self {
        match self {
            Self::Faulty { what, faults } => {
                Self::Faulty { what, faults: faults.into_iter().map(|faults| faults.in_words(&called)).collect() }
            }
            other => other,
        }
    }

    /// Message and causes in one line, for a warning.
    pub(super) fn in_one_line(&self) -> String {
        let mut line = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            // The layers of an HTTP client repeat one another.
            let cause_text = cause.to_string();
            if !line.contains(&cause_text) {
                line.push_str(&format!(": {cause_text}"));
            }
            source = cause.source();
        }
        line
    }
}

struct Lines<'a>(&'a [SpecFaults]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, faults) in self.0.iter().enumerate() {
            write!(f, "{}{faults}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl Classify for CatalogError {
    fn blame(&self) -> Blame {
        match self {
            Self::File { .. } | Self::Git { .. } => Blame::Provider,
            Self::NoBranch { .. } | Self::NoCommit { .. } | Self::Refused { .. } | Self::Faulty { .. } => {
                Blame::Configuration
            }
            Self::NotAtHand { .. } | Self::Exists { .. } => Blame::User,
        }
    }

    fn hints(&self) -> Vec<Hint> {
        let hint: Hint = match self {
            Self::Git { url, .. } if url.starts_with("ssh://") => {
                "it is fetched with `ssh`, your configuration and your agent: check that `ssh` to this host works without asking anything"
                    .into()
            }
            Self::Git { .. } => "check that the URL is right and the server is up; it must let anyone read".into(),
            Self::NoBranch { .. } => "name one with `catalog.branch`".into(),
            Self::NoCommit { .. } => "check that it was pushed, and is still on a branch".into(),
            Self::NotAtHand { .. } => Hint::from(Next::FetchCatalog).with(" fetches it"),
            Self::Exists { .. } => "name a folder that is not there yet".into(),
            Self::File { .. } | Self::Refused { .. } | Self::Faulty { .. } => return Vec::new(),
        };
        vec![hint]
    }
}
