//! What can go wrong with Proxmox VE, who has to act, and what to do next.

#![allow(missing_docs, reason = "the message of a variant says what its fields are")]

use super::tls::with_colons;
use crate::image::ImageError;
use ostler_core::{
    Blame, Classify,
    hint::{Hint, Next},
    ids::ServerName,
};
use std::{io, time::Duration};

/// Failure of provider `proxmox`.
#[derive(Debug, thiserror::Error)]
pub enum ProxmoxError {
    /// The store's record of a machine is not what this provider wrote.
    #[error("the record of a machine is damaged: `{record}`")]
    BadRecord {
        /// The text.
        record: String,
        source: serde_json::Error,
    },
    /// An order that does not say where.
    #[error("the order does not say on which node the machine is made")]
    NoOptions,
    /// The secret that should be a token is none.
    #[error("the token of `{0}` does not have the form `USER@REALM!TOKENID=UUID`")]
    BadToken(String),
    /// The authority's certificate can't be read.
    #[error("the certificate of the authority can't be read: {0}")]
    BadAuthority(String),
    /// TLS can't be prepared.
    #[error("can't prepare for TLS")]
    Tls(#[source] rustls::Error),
    /// HTTP can't be prepared.
    #[error("can't prepare for HTTPS")]
    Client(#[source] reqwest::Error),
    /// Nobody there.
    #[error("{url} can't be reached")]
    Unreachable {
        /// Of whom.
        url: String,
        source: reqwest::Error,
    },
    /// The certificate is not the pinned one.
    #[error("{url} shows the certificate {}, but {} is pinned", with_colons(found), with_colons(pinned))]
    WrongCertificate {
        /// Of whom.
        url: String,
        /// In hexadecimal.
        pinned: String,
        /// In hexadecimal.
        found: String,
    },
    /// The certificate is not of the cluster's authority.
    #[error("the certificate of {url} is not signed by its authority")]
    UntrustedCertificate {
        /// Of whom.
        url: String,
        source: reqwest::Error,
    },
    /// No answer in time, or a connection that broke: what was asked for may have happened or not.
    #[error("no answer to `{what}`")]
    NoAnswer {
        /// Method and path.
        what: String,
        source: reqwest::Error,
    },
    /// The answer is not what the API is documented to say.
    #[error("the answer to `{what}` can't be understood")]
    Garbled {
        /// Method and path.
        what: String,
        source: serde_json::Error,
    },
    /// The token is not known, or its value is wrong.
    #[error("`{name}` does not accept the token: {message}")]
    Unauthorized {
        /// Name of the provider.
        name: String,
        /// PVE's own words.
        message: String,
    },
    /// The API refused.
    #[error("`{what}` was refused ({status}): {message}")]
    Refused {
        /// Method and path.
        what: String,
        /// HTTP status.
        status: u16,
        /// PVE's own words: the text of the status line, or the parameters at fault.
        message: String,
    },
    /// A task ended badly.
    #[error("the task to {what} failed: {exit}")]
    Task {
        /// Verb and object.
        what: String,
        /// PVE's own words.
        exit: String,
        /// Last lines of its log.
        log: Vec<String>,
    },
    /// A task does not end.
    #[error("the task to {what} has not ended after {} s", waited.as_secs())]
    TaskTooLong {
        /// Verb and object.
        what: String,
        /// How long.
        waited: Duration,
    },
    /// The VMID that the spec names is another machine's.
    #[error("VMID {vmid} is taken")]
    Taken { vmid: u32 },
    /// A machine of ours was migrated.
    #[error("VM {vmid} was migrated from {node} to {there}")]
    Moved {
        vmid: u32,
        /// From where.
        node: String,
        /// To where.
        there: String,
    },
    /// A machine of ours whose making was broken off on the node; only root there can remove it.
    #[error("VM {vmid} on {node} is half made and locked (`lock: {lock}`): its worker was killed on the node")]
    Locked {
        vmid: u32,
        node: String,
        /// What the lock says.
        lock: &'static str,
        /// Volumes that its worker made.
        volumes: Vec<String>,
    },
    /// A disk of ours without a VM, which the token may not remove.
    #[error("the disk {volume} is left on {node}, without a VM")]
    Stray { volume: String, node: String },
    /// The template that a machine was to be cloned from is gone.
    #[error("template VM {vmid} is no longer on {node}")]
    NoTemplate { server: ServerName, vmid: u32, node: String },
    /// A template that can't go yet.
    #[error("template VM {vmid} on {node} has clones that share its disk")]
    Cloned { vmid: u32, node: String },
    /// The machine carries no mark of this operation.
    #[error("VM {vmid} is not the machine of `{server}`")]
    Absent {
        /// Who was looked for.
        server: ServerName,
        vmid: u32,
    },
    /// Disks only grow.
    #[error("the disk of `{server}` has {has} MiB and can't shrink to {wanted} MiB")]
    Shrink {
        server: ServerName,
        /// MiB now.
        has: u64,
        /// MiB ordered.
        wanted: u64,
    },
    /// Only possible while the machine is off.
    #[error("machine `{0}` is running")]
    Running(ServerName),
    /// The image can't be had.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A file here can't be read.
    #[error("can't read `{path}`")]
    File { path: String, source: io::Error },
    /// This machine is no node.
    #[error("this machine is not a Proxmox VE host")]
    NotAHost,
    /// A program of Proxmox VE's failed on this host.
    #[error("`{what}` failed: {said}")]
    Program {
        /// The program with its arguments.
        what: String,
        /// What it said.
        said: String,
    },
}

impl ProxmoxError {
    /// Whether a request that only looks may do better in a while. 595 to 599 are what pveproxy answers for another node that
    /// it can't reach (AnyEvent::HTTP).
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NoAnswer { .. } => true,
            Self::Refused { status, .. } => matches!(status, 502..=504 | 595..=599),
            _ => false,
        }
    }

    /// Whether what was asked for may have been done all the same.
    pub(crate) fn leaves_doubt(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::Garbled { .. } => true,
            // 595 is a connection that did not come about.
            Self::Refused { status, .. } => matches!(status, 502..=504 | 596..=599),
            _ => false,
        }
    }

    /// PVE's words for a machine or volume that is not there.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::Refused { message, .. } | Self::Task { exit: message, .. }
            if message.contains("does not exist") || message.contains("no such volume"))
    }
}

impl Classify for ProxmoxError {
    fn blame(&self) -> Blame {
        match self {
            Self::BadRecord { .. } | Self::NoOptions => Blame::Bug,
            Self::BadToken(_)
            | Self::BadAuthority(_)
            | Self::WrongCertificate { .. }
            | Self::UntrustedCertificate { .. }
            | Self::Unauthorized { .. }
            | Self::Taken { .. }
            | Self::Shrink { .. } => Blame::Configuration,
            Self::Running(_) | Self::NotAHost | Self::Cloned { .. } => Blame::User,
            Self::Image(error) => error.blame(),
            _ => Blame::Provider,
        }
    }

    fn hints(&self) -> Vec<Hint> {
        let hint: Hint = match self {
            Self::BadToken(_) | Self::Unauthorized { .. } => Hint::from(Next::SetUpProxmox)
                .with(" on the node makes a token; ")
                .with(Next::SetSecret(None))
                .with(" keeps it"),
            Self::WrongCertificate { .. } => {
                "either something stands between you and the node, or its certificate was \
                renewed: compare with `pvenode cert info` on the node, then change `fingerprint` in the spec"
                    .into()
            }
            Self::UntrustedCertificate { .. } => "`ca` must be a copy of `/etc/pve/pve-root-ca.pem`, and the name or \
                address in `url` one of those in the node's certificate"
                .into(),
            Self::Unreachable { .. } => "check `url` in the spec, the network, and whether the node is up".into(),
            Self::Refused { status: 403, message, .. } => {
                format!("the token lacks a privilege: {message}; docs/proxmox.md lists them all").into()
            }
            error if error.is_transient() => {
                "the node, or another that it asks, is busy or out of reach: try again in a while".into()
            }
            Self::Moved { vmid, node, there } => {
                format!("Ostler works on it where it was made: `qm migrate {vmid} {node}` on {there} brings it back")
                    .into()
            }
            Self::Taken { .. } => "choose another under `proxmox.vmid`, or `auto`".into(),
            Self::Locked { vmid, node, volumes, .. } => {
                let free: String = volumes.iter().map(|volume| format!(" && pvesm free {volume}")).collect();
                format!("run on {node}, as root: `qm unlock {vmid} && qm destroy {vmid}{free}`").into()
            }
            Self::Stray { volume, node } => format!("run on {node}, as root: `pvesm free {volume}`").into(),
            Self::Absent { server, .. } => Hint::from("clear what is left with ")
                .with(Next::Destroy(server.clone()))
                .with("; then ")
                .with(Next::UpAgain)
                .with(" creates it from scratch"),
            Self::NoTemplate { server, .. } => Hint::from(Next::Destroy(server.clone()))
                .with(", which is not made yet; then ")
                .with(Next::UpAgain)
                .with(" makes it from its image"),
            Self::Cloned { .. } => {
                "destroy the servers that were cloned from it first, or keep it as long as they live".into()
            }
            Self::NotAHost => "run it as root on the node".into(),
            Self::Shrink { .. } => "set `disk` to the present size or more".into(),
            Self::Image(error) => return error.hints(),
            _ => return Vec::new(),
        };
        vec![hint]
    }
}
