//! What can go wrong with images, who has to act, and what to do next.

#![allow(missing_docs, reason = "the message of a variant says what its fields are")]

use super::sum::Sum;
use ostler_core::{
    Blame, Classify,
    hint::{Hint, Next},
};
use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

/// Failure to get an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Ostler knows no image of this name.
    #[error("there is no image `{0}`")]
    Unknown(String),
    /// The file that a spec names is not there.
    #[error("image `{}` does not exist", .0.display())]
    NoSuchFile(PathBuf),
    /// Neither `sha256:HEX` nor `sha512:HEX`.
    #[error("`{0}` is not a checksum")]
    BadSum(String),
    /// A file or folder can't be used.
    #[error("can't {action} `{}`", path.display())]
    File {
        /// Verb.
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The record beside an image is not what Ostler writes.
    #[error("`{}` is damaged", path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
    /// The disk is too full.
    #[error("`{}` has {} MiB free, and {} MiB are needed", path.display(), free >> 20, needed >> 20)]
    NoSpace {
        /// The folder.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// This machine can't make HTTP requests, such as for want of CA certificates.
    #[error("can't prepare for HTTPS")]
    Client(#[source] reqwest::Error),
    /// No connection: no name, no route, nobody there.
    #[error("the image site can't be reached: {url}")]
    SiteUnreachable {
        /// What was wanted.
        url: String,
        source: reqwest::Error,
    },
    /// The site answers, and does not give the file.
    #[error("{url}: the site answered {status}")]
    Status {
        /// What was wanted.
        url: String,
        /// HTTP status.
        status: reqwest::StatusCode,
        /// How long the site asks to be left alone (`Retry-After`, RFC 9110 section 10.2.3).
        retry_after: Option<Duration>,
    },
    /// The transfer broke off.
    #[error("the download broke off after {received} bytes: {url}")]
    Broken {
        /// What was wanted.
        url: String,
        /// Bytes that are at hand.
        received: u64,
        /// Why, unless the site just ended the connection.
        source: Option<reqwest::Error>,
    },
    /// Nothing came for a while.
    #[error("no data came for {} s: {url}", idle.as_secs())]
    Stalled {
        /// What was wanted.
        url: String,
        /// How long.
        idle: Duration,
    },
    /// The list of checksums lacks the image.
    #[error("{url} does not list `{file}`")]
    NotListed {
        /// The list.
        url: String,
        /// The file.
        file: String,
    },
    /// The file is not what its publisher says.
    #[error("{url} has the wrong checksum: {found}, and {expected} was expected")]
    WrongSum {
        /// The download.
        url: String,
        /// Its publisher's.
        expected: Sum,
        /// Of what came.
        found: Sum,
    },
    /// Programs that a build needs are not installed.
    #[error("building an image needs programs that are not installed: {}", programs.join(", "))]
    ProgramsMissing {
        /// Their names.
        programs: Vec<&'static str>,
        /// Debian's packages that hold them.
        packages: Vec<&'static str>,
    },
    /// A program of the build failed.
    #[error("`{program}` failed while building ({status}): {said}")]
    Program {
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Last lines that it said.
        said: String,
        /// All that it and its forerunners said.
        log: PathBuf,
    },
    /// GRUB's code is not what this version can embed.
    #[error("GRUB's `{}` can't be embedded: {why}", path.display())]
    BootCode {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl ImageError {
    /// For `map_err` of a file operation.
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// Whether the same request may do better in a while.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::SiteUnreachable { .. } | Self::Broken { .. } | Self::Stalled { .. } => true,
            Self::Status { status, .. } => status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429),
            _ => false,
        }
    }
}

impl Classify for ImageError {
    fn blame(&self) -> Blame {
        match self {
            Self::Unknown(_) => Blame::User,
            Self::NoSuchFile(_) | Self::BadSum(_) => Blame::Configuration,
            Self::Damaged { .. } => Blame::Bug,
            _ => Blame::Provider,
        }
    }

    fn hints(&self) -> Vec<Hint> {
        let hint: Hint = match self {
            Self::Unknown(_) => format!("known: {}", super::site::names()).into(),
            Self::SiteUnreachable { url, .. } if super::site::is_known_url(url) => {
                Hint::from(Next::BuildImage("debian-13".to_owned()))
                    .with(" makes the same image from Debian's package mirror")
            }
            Self::Status { retry_after: Some(wait), .. } => {
                format!("the site asks for a pause of {} s; try again then", wait.as_secs()).into()
            }
            Self::Status { .. } | Self::Broken { .. } | Self::Stalled { .. } => {
                "try again: it goes on where it broke off".into()
            }
            Self::NoSpace { .. } => Hint::from("make room there, or use ").with(Next::MoveState),
            Self::Client(_) => "install the CA certificates: `sudo apt install ca-certificates`".into(),
            Self::WrongSum { .. } => {
                "the download was removed; try again, and if it stays wrong, do not trust the site".into()
            }
            Self::ProgramsMissing { packages, .. } => {
                format!("install them: `sudo apt install {}`", packages.join(" ")).into()
            }
            Self::Program { log, .. } => format!("all its output is in `{}`", log.display()).into(),
            Self::Damaged { path, .. } => format!("remove it: `rm {}`", path.display()).into(),
            _ => return Vec::new(),
        };
        vec![hint]
    }
}
