//! Why Ansible could not be run. What fails on a server is not here: that is a [`RunSummary`](ostler_core::ports::RunSummary).

#![allow(missing_docs, reason = "the message of a variant says what its fields are")]

use ostler_core::{
    Blame, Classify,
    hint::{Hint, Next},
    ids::RunId,
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Why Ansible could not be run.
#[derive(Debug, thiserror::Error)]
pub enum AnsibleError {
    /// Built before `cargo xtask bundle` ran.
    #[error("this build of Ostler carries no Ansible")]
    NoBundle,
    /// A file of ours.
    #[error("can't read or write {path}")]
    File { path: PathBuf, source: io::Error },
    /// Of the bundle or the playbook.
    #[error("can't unpack Ansible into {path}")]
    Unpack {
        /// Where to.
        path: PathBuf,
        source: io::Error,
    },
    /// Somebody else made a folder that has to be ours alone.
    #[error("{path} belongs to another user or is open to others")]
    NotPrivate { path: PathBuf },
    /// The interpreter in the bundle.
    #[error("can't start {program}")]
    Start { program: PathBuf, source: io::Error },
    /// It ended before its gate was opened.
    #[error("Ansible of run {run} ended before it began")]
    EndedEarly { run: RunId, source: io::Error },
    /// Not even SIGKILL ended them.
    #[error("processes {pids:?} of run {run} can't be ended")]
    Unkillable {
        /// Which run.
        run: RunId,
        /// Process ids.
        pids: Vec<u32>,
    },
    /// The inventory plugin does not let the run begin.
    #[error("{why}")]
    Refused {
        /// In its words.
        why: String,
    },
    /// A role's `meta/ostler.yml` or the catalog's index.
    #[error("the embedded {what} says something that this version does not know")]
    Metadata { what: &'static str, source: serde_json::Error },
}

impl AnsibleError {
    /// Turns an I/O error at `path` into this type.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }
}

impl Classify for AnsibleError {
    fn blame(&self) -> Blame {
        match self {
            Self::Refused { .. } => Blame::Configuration,
            _ => Blame::Bug,
        }
    }

    fn hints(&self) -> Vec<Hint> {
        let hint: Hint = match self {
            Self::NoBundle => "run `cargo xtask bundle` and build again".into(),
            Self::Unpack { path, .. } => {
                format!("it needs about 200 MB: see `df -h {}`", path.parent().unwrap_or(path).display()).into()
            }
            Self::NotPrivate { path } => {
                format!("see who made it with `ls -ld {}`, and remove it", path.display()).into()
            }
            Self::Start { .. } => "it needs a 64-bit x86 system with glibc 2.36, such as Debian 12 or 13".into(),
            Self::Unkillable { .. } => "look at them with `ps`; a dead disk or network share can hold them".into(),
            Self::Refused { .. } => Hint::from("it is what `catalog.vault_password` of the spec names: ")
                .with(Next::SetSecret(None))
                .with(" stores another"),
            _ => return Vec::new(),
        };
        vec![hint]
    }
}
