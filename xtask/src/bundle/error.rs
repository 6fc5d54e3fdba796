//! Errors of `cargo xtask bundle`.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a bundle could not be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum BundleError {
    #[error("can't read or write {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("can't run `{program}`; `cargo xtask setup` installs what a build needs")]
    Spawn { program: String, source: io::Error },
    #[error("`{command}` failed:\n{said}")]
    Command { command: String, said: String },
    #[error("{path} is not a lock file; `cargo xtask bundle --relock` writes a new one")]
    LockSyntax { path: PathBuf, source: serde_json::Error },
    #[error(
        "{package} {version} can't be had from {uri}: most likely the mirror has a newer one; \
         `cargo xtask bundle --relock` locks what it has now\n{stderr}"
    )]
    DebGone { package: String, version: String, uri: String, stderr: String },
    #[error("the mirrors have no {package}")]
    NoSuchDeb { package: String },
    #[error("the locked wheels can't be had from PyPI; `cargo xtask bundle --relock` locks what it has now\n{stderr}")]
    WheelsGone { stderr: String },
    #[error("{path} has sha256 {found}, locked is {locked}")]
    Sum { path: PathBuf, locked: String, found: String },
    #[error("{file} is not named like a wheel")]
    WheelName { file: String },
    #[error("the bundle lacks {path}, which the recipe expects: its inputs have changed their layout")]
    Missing { path: PathBuf },
    #[error("--verify makes a Debian root and enters it with chroot: run it as root")]
    NotRoot,
}

impl BundleError {
    /// Turns an I/O error at `path` into this type.
    pub fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }
}
