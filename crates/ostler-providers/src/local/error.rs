//! What can go wrong with QEMU on this machine, who has to act, and what to do next.

#![allow(missing_docs, reason = "the message of a variant says what its fields are")]

use ostler_core::{
    Blame, Classify,
    hint::{Hint, Next},
    ids::{OperationId, ServerName, StateId},
};
use std::{io, path::PathBuf, time::Duration};

/// Failure of provider `local`.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A program is not installed.
    #[error("`{0}` is not installed")]
    ProgramMissing(&'static str),
    /// A file or folder can't be used.
    #[error("can't {action} `{}`", path.display())]
    File {
        /// Verb.
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The path of an image is not UTF-8, which the journal is.
    #[error("the path of image `{}` is not UTF-8", .0.display())]
    ImagePath(PathBuf),
    /// `machine.json` or another of Ostler's own files is not what Ostler writes.
    #[error("`{}` is damaged", path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
    /// The store's record of a machine is not what this provider wrote.
    #[error("the record of a machine is damaged: `{record}`")]
    BadRecord {
        /// The text.
        record: String,
        source: serde_json::Error,
    },
    /// A folder without `machine.json` stands where the machine would be.
    #[error("`{}` exists and is not a machine of Ostler's", .0.display())]
    NotAMachine(PathBuf),
    /// The machine belongs to another state directory.
    #[error("machine `{server}` belongs to another state directory (id {found}, this is {expected})")]
    OtherOwner {
        server: ServerName,
        /// Its owner.
        found: StateId,
        /// Who asks.
        expected: StateId,
    },
    /// The machine was made by another operation.
    #[error("a machine `{server}` exists already, made by operation {found}")]
    OtherOperation {
        server: ServerName,
        /// Who made it.
        found: OperationId,
    },
    /// There is no such machine.
    #[error("machine `{0}` does not exist")]
    Absent(ServerName),
    /// A part of the machine is missing.
    #[error("machine `{server}` is incomplete: no `{}`", path.display())]
    Incomplete {
        server: ServerName,
        /// The missing file.
        path: PathBuf,
    },
    /// Only possible while the machine is off.
    #[error("machine `{0}` is running")]
    Running(ServerName),
    /// Disks only grow.
    #[error("the disk of `{server}` has {has} MiB and can't shrink to {wanted} MiB")]
    Shrink {
        server: ServerName,
        /// MiB now.
        has: u64,
        /// MiB ordered.
        wanted: u64,
    },
    /// The disk is smaller than what the image holds.
    #[error("a disk of {wanted} MiB is too small for image `{}`, which needs {needs} MiB", image.display())]
    ImageTooBig {
        /// The image.
        image: PathBuf,
        /// MiB that it needs.
        needs: u64,
        /// MiB ordered.
        wanted: u64,
    },
    /// The network can't be had with QEMU's user-mode networking.
    #[error(transparent)]
    Network(#[from] super::net::NetworkError),
    /// A port of this machine that the order names is taken.
    #[error("port {port} of 127.0.0.1 can't be forwarded to `{server}`")]
    Port {
        port: u16,
        /// To whom.
        server: ServerName,
        source: io::Error,
    },
    /// Every port of the range is taken.
    #[error("no port from 20000 to 32767 of 127.0.0.1 is free")]
    NoFreePort,
    /// `qemu-img` failed.
    #[error("`qemu-img {verb}` failed on `{}`: {said}", path.display())]
    QemuImg {
        /// Subcommand.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Last lines that it said.
        said: String,
    },
    /// QEMU did not start.
    #[error("QEMU did not start machine `{server}`: {said}")]
    Launch {
        server: ServerName,
        /// Last lines that it said.
        said: String,
    },
    /// QEMU's control socket failed.
    #[error("QEMU's control socket of `{server}` failed")]
    Qmp { server: ServerName, source: super::qmp::QmpError },
    /// QEMU would not end.
    #[error("process {pid} of machine `{server}` did not end within {} s of SIGKILL", waited.as_secs())]
    WontEnd {
        server: ServerName,
        /// Its QEMU.
        pid: u32,
        /// How long.
        waited: Duration,
    },
    /// A process can't be looked at or ended.
    #[error("can't {action} process {pid}")]
    Process {
        /// Verb.
        action: &'static str,
        pid: u32,
        source: io::Error,
    },
}

impl LocalError {
    /// For `map_err` of a file operation.
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}

impl Classify for LocalError {
    fn blame(&self) -> Blame {
        match self {
            Self::OtherOwner { .. } | Self::OtherOperation { .. } | Self::Running(_) => Blame::User,
            Self::Network(_)
            | Self::Port { .. }
            | Self::Shrink { .. }
            | Self::ImageTooBig { .. }
            | Self::ImagePath(_) => Blame::Configuration,
            Self::Damaged { .. } | Self::BadRecord { .. } => Blame::Bug,
            Self::ProgramMissing(_)
            | Self::File { .. }
            | Self::NotAMachine(_)
            | Self::Absent(_)
            | Self::Incomplete { .. }
            | Self::NoFreePort
            | Self::QemuImg { .. }
            | Self::Launch { .. }
            | Self::Qmp { .. }
            | Self::WontEnd { .. }
            | Self::Process { .. } => Blame::Provider,
        }
    }

    fn hints(&self) -> Vec<Hint> {
        let hint: Hint = match self {
            Self::ProgramMissing(_) => INSTALL_HINT.into(),
            Self::NotAMachine(path) => {
                format!("look into it, and remove it if nobody needs it: `rm -r {}`", path.display()).into()
            }
            Self::OtherOwner { .. } => "use the state directory that made it, or give the server another name".into(),
            Self::OtherOperation { server, .. } => {
                Hint::from(Next::Destroy(server.clone())).with(" first, or give the server another name")
            }
            Self::Running(server) => {
                let shut_down = Next::Run { server: server.clone(), command: "sudo poweroff".to_owned() };
                Hint::from("shut it down first: ").with(shut_down)
            }
            Self::Shrink { .. } => "set `disk` to the present size or more".into(),
            Self::ImagePath(_) => "put it where the path is UTF-8".into(),
            Self::ImageTooBig { .. } => "set `disk` to that size or more".into(),
            Self::Port { .. } => "stop what listens there, or set another host port in `local.forward`".into(),
            Self::Absent(server) => Hint::from("clear what is left with ")
                .with(Next::Destroy(server.clone()))
                .with("; then ")
                .with(Next::UpAgain)
                .with(" creates it from scratch"),
            _ => return Vec::new(),
        };
        vec![hint]
    }
}

/// How to get what is missing.
pub(crate) const INSTALL_HINT: &str = "install QEMU: `sudo apt install qemu-system-x86 qemu-utils`";
