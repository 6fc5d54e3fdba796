//! SSH.

use crate::{error::Result, ids::ServerName, model::KeyPair, secret::Secret};
use async_trait::async_trait;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// How to log in to a server.
#[derive(Clone, Debug)]
pub struct Login {
    /// Which server; names its known_hosts.
    pub server: ServerName,
    /// Where sshd is reached from here.
    pub address: SocketAddr,
    /// Account.
    pub user: String,
    /// Host keys that may be shown, as `ssh-ed25519 AAAA...`. Nothing else is accepted.
    pub host_keys: Vec<String>,
    /// What proves who we are.
    pub credential: Credential,
    /// The tunnel that leads to its sshd; `None`: `address` does.
    pub through: Option<Through>,
}

/// A tunnel, as a client takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Through {
    /// Host name that leads through it.
    pub hostname: String,
    /// What the client names itself by.
    pub client_id: String,
    /// What it proves that with.
    pub client_secret: Secret,
}

/// What a login is made with.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A private key in OpenSSH format.
    Key(Secret),
    /// One key of the user's.
    KeyFile {
        /// Its file, in any format that ssh reads; with a passphrase, or only the public half, where the agent holds it.
        path: PathBuf,
        /// Socket of the user's ssh-agent.
        agent: Option<PathBuf>,
    },
    /// A password.
    Password(Secret),
    /// The keys of an ssh-agent, such as the user's own.
    Agent {
        /// Its socket.
        socket: PathBuf,
        /// Public keys, as lines of authorized_keys, that are tried before its others: a server takes only some tries.
        first: Vec<String>,
    },
}

/// A host key as a server shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKey {
    /// `ssh-ed25519 AAAA...`
    pub key: String,
    /// `SHA256:...`
    pub fingerprint: String,
}

/// Why a login did not come about. The texts are what the server and ssh said, fit to be shown, in a few lines; the last one says
/// most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// Nothing that speaks SSH answered: refused, timed out, closed. Worth another try.
    NoAnswer(String),
    /// Another host key than the pinned ones. Never worth another try; fingerprints as `SHA256:...`.
    HostKey {
        /// Pinned.
        expected: Vec<String>,
        /// Shown by the server, where ssh said it.
        offered: Option<String>,
    },
    /// sshd lets nobody from here even try, because of logins that failed before or are not finished. It passes.
    Barred(String),
    /// The right server refused the login. Worth another try only while cloud-init works, with growing pauses.
    Refused(String),
    /// The right server hung up because none of the first keys that it was offered lets in.
    TooManyKeys {
        /// What ssh said.
        words: String,
        /// Keys that there are to be offered.
        held: usize,
        /// How many of them it was offered.
        tried: usize,
    },
    /// ssh itself can't be run.
    Broken(String),
}

impl ConnectError {
    /// What the server and ssh said; `None`: another host key was shown, and nothing more.
    pub fn words(&self) -> Option<&str> {
        match self {
            Self::NoAnswer(words)
            | Self::Barred(words)
            | Self::Refused(words)
            | Self::TooManyKeys { words, .. }
            | Self::Broken(words) => Some(words),
            Self::HostKey { .. } => None,
        }
    }
}

/// What comes of a TCP connection to a port, in the words of port scanners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Something took it.
    Open,
    /// It was refused: nothing listens there, or a firewall says so.
    Closed,
    /// No answer came, or the word that there is no way.
    Filtered,
}

/// What sshd lets somebody in with who proves nothing (RFC 4252, section 5.2).
pub const LET_IN: &str = "none";

/// Exit status of `ssh` where it failed itself (ssh(1), EXIT STATUS): the connection is gone, and no other came about.
pub const SSH_FAILED: i32 = 255;

/// What a remote command left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit status; [`SSH_FAILED`] where the server can't be reached any more.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// What another OpenSSH client needs to use the same trust and key; nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Where sshd is reached.
    pub address: SocketAddr,
    /// Account.
    pub user: String,
    /// Options for `ssh`: `-F none`, known_hosts, agent, host-key checking.
    pub ssh_args: Vec<String>,
    /// Socket of the private agent that holds the key while the session lives.
    pub agent_socket: PathBuf,
}

/// Opens sessions.
#[async_trait]
pub trait Remote: Send + Sync {
    /// A new key pair.
    fn generate_key(&self) -> Result<KeyPair>;

    /// Removes what is kept on disk of a server: its known_hosts. Nothing there: fine.
    async fn forget(&self, server: &ServerName) -> Result<()>;

    /// Returns as soon as something at `address` shows an SSH banner; `false` after `timeout`.
    async fn banner(&self, address: SocketAddr, timeout: Duration) -> bool;

    /// What comes of a TCP connection to `address`, which is closed at once.
    async fn try_port(&self, address: SocketAddr, timeout: Duration) -> PortState;

    /// The best host key that whatever listens at `address` shows, by one connection; where that is not the one with the
    /// fingerprint `wanted`, its other ones as well. Nobody has vouched for them. `timeout` bounds each connection.
    async fn host_keys(
        &self,
        address: SocketAddr,
        wanted: Option<&str>,
        timeout: Duration,
    ) -> Result<Vec<HostKey>, ConnectError>;

    /// The methods of authentication that sshd offers to `login.user`, as it calls them, without any being tried: it counts as no
    /// failed login. [`LET_IN`] alone where it wants no proof at all.
    async fn offered_methods(&self, login: &Login, timeout: Duration) -> Result<Vec<String>, ConnectError>;

    /// What the program that takes a tunnel says of its version. Fails where this machine has none.
    async fn tunnel_client(&self) -> Result<String>;

    /// Logs in. `timeout` bounds the whole attempt.
    async fn connect(&self, login: &Login, timeout: Duration) -> Result<Box<dyn Session>, ConnectError>;
}

/// A login that stays open. Dropping it closes it and its agent.
#[async_trait]
pub trait Session: Send + Sync {
    /// Runs `script` with `sh -c` on the server, `stdin` as its input. A status other than 0 is not an error. Where the
    /// connection is gone, another one is tried for a few seconds.
    async fn run(&self, script: &str, stdin: &[u8]) -> Result<Output>;

    /// The methods of authentication that sshd offered when the login began, as it calls them.
    fn offered_methods(&self) -> Vec<String>;

    /// The same connection's trust and key for another client.
    fn transport(&self) -> Transport;

    /// Closes it, its processes and its agent.
    async fn close(self: Box<Self>);
}
