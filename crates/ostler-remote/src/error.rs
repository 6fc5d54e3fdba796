//! What can go wrong here besides a login that does not come about (that is core's `ConnectError`).

#![allow(missing_docs, reason = "the message of a variant says what its fields are")]

use ostler_core::{Blame, Classify, hint::Hint};
use std::{io, path::PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// A text that should be a public key is none.
    #[error("`{text}` is not a public key in OpenSSH format")]
    PublicKey {
        /// The text; public keys are no secret.
        text: String,
        source: ssh_key::Error,
    },
    /// The private key of a server can't be read. The key is not shown.
    #[error("the private key for {server} is not in OpenSSH format")]
    PrivateKey {
        /// The server.
        server: String,
        source: ssh_key::Error,
    },
    /// The private key of a server is of a kind that Ostler never makes.
    #[error("the private key for {server} is not an unencrypted ed25519 key")]
    PrivateKeyKind {
        /// The server.
        server: String,
    },
    /// No key could be made.
    #[error("can't generate an ed25519 key")]
    Generate(#[source] ssh_key::Error),
    /// A folder for sockets belongs to somebody else, or others may write to it.
    #[error("{} must be a folder that belongs to user id {uid} with mode 0700", path.display())]
    Hostile {
        /// The folder.
        path: PathBuf,
        /// Our user id.
        uid: u32,
    },
    /// The way to a socket is longer than the kernel takes.
    #[error("{} is too long for a socket", path.display())]
    SocketPath {
        /// The folder.
        path: PathBuf,
    },
    /// A path can't be told to ssh.
    #[error("{} can't be written as an option of ssh", path.display())]
    UnusablePath {
        /// The path.
        path: PathBuf,
    },
    /// A file or folder can't be made or changed.
    #[error("can't write {}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// A program can't be started.
    #[error("can't run `{program}`")]
    Program {
        /// Its name.
        program: String,
        source: io::Error,
    },
    /// There is no program here that takes a tunnel, or it does not work.
    #[error("a login through a tunnel needs the program `{program}` on this machine")]
    TunnelClient {
        /// Its name.
        program: &'static str,
        source: io::Error,
    },
    /// The pipes to ssh broke.
    #[error("lost the pipes to ssh for {server}")]
    Pipe {
        /// The server.
        server: String,
        source: io::Error,
    },
    /// The login works, and something else was run than what was asked for.
    #[error("{server} lets {user} in, but does not run Ostler's commands; it says: {words}")]
    AnotherCommand {
        /// The server.
        server: String,
        /// The account.
        user: String,
        /// What came instead, on one line.
        words: String,
    },
    /// A remote command wrote more than is kept in memory.
    #[error("a command on {server} wrote more than {limit} bytes")]
    TooMuchOutput {
        /// The server.
        server: String,
        /// The bound in bytes, for each of standard output and standard error.
        limit: usize,
    },
}

impl Classify for RemoteError {
    fn blame(&self) -> Blame {
        match self {
            RemoteError::PublicKey { .. } => Blame::Configuration,
            RemoteError::PrivateKey { .. }
            | RemoteError::PrivateKeyKind { .. }
            | RemoteError::Generate(_)
            | RemoteError::Pipe { .. } => Blame::Bug,
            RemoteError::Hostile { .. }
            | RemoteError::SocketPath { .. }
            | RemoteError::UnusablePath { .. }
            | RemoteError::File { .. }
            | RemoteError::Program { .. } => Blame::User,
            RemoteError::TunnelClient { .. } => Blame::Provider,
            RemoteError::TooMuchOutput { .. } | RemoteError::AnotherCommand { .. } => Blame::Target,
        }
    }

    fn hints(&self) -> Vec<Hint> {
        let hint: Hint = match self {
            RemoteError::Program { program, source } if source.kind() == io::ErrorKind::NotFound => {
                format!("install `{program}`; on Debian it is in the package openssh-client").into()
            }
            RemoteError::TunnelClient { program, .. } => {
                format!("install `{program}` from https://pkg.cloudflare.com, or put it into a folder of `PATH`").into()
            }
            RemoteError::Hostile { path, .. } => {
                format!("see who made it (`ls -ld {}`) and remove it", path.display()).into()
            }
            RemoteError::AnotherCommand { server, user, .. } => format!(
                "check the shell of {user} on {server} (`getent passwd {user}`), its start-up files, and `command=` in its \
                 authorized_keys; or name another account"
            )
            .into(),
            RemoteError::PublicKey { .. } => "it should look like `ssh-ed25519 AAAA...`".into(),
            _ => return Vec::new(),
        };
        vec![hint]
    }
}

/// An error with its causes on one line, for where the contract takes a text.
pub(crate) fn one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line
}
