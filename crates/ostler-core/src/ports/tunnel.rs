//! Where tunnels end: an account that a host name leads to, and that a server connects out to.

use crate::{
    error::Result,
    ids::{ServerName, StateId},
    model::{TunnelChange, TunnelLedger},
    spec::TunnelOptions,
};
use async_trait::async_trait;

/// A tunnel to a server's SSH.
#[derive(Clone, Debug)]
pub struct TunnelOrder {
    /// The server.
    pub server: ServerName,
    /// The state directory that owns it. What is made in the account carries it with the server's name, so that it is found after a crash.
    pub owner: StateId,
    /// The account, and the host name.
    pub options: TunnelOptions,
    /// Where sshd listens on the server.
    pub port: u16,
}

/// Keeps what was made of a tunnel.
#[async_trait]
pub trait KeepTunnel: Send + Sync {
    /// Durable when it returns; what was kept before is replaced.
    async fn keep(&self, made: &TunnelLedger) -> Result<()>;
}

/// Makes tunnels, and takes them away. Both may be called again after a crash at any point, and are right then too.
#[async_trait]
pub trait Tunnels: Send + Sync {
    /// What [`Tunnels::open`] would change in the account. Fails where that would fail before it makes anything: the token may not do all that
    /// is needed, or somebody else has the host name. Changes nothing.
    async fn look(&self, order: &TunnelOrder, made: &TunnelLedger) -> Result<Vec<TunnelChange>>;

    /// Checks first what the token may do. Then makes what is missing of the tunnel, its host name, and the application that lets in nobody
    /// without its service token; each is kept as soon as it exists, and the application exists before the host name leads anywhere. What
    /// others made in the account stays as it is.
    async fn open(&self, order: &TunnelOrder, made: TunnelLedger, keep: &dyn KeepTunnel) -> Result<TunnelLedger>;

    /// Takes away what was made, the other way round; returns what stays, and why, for people. The server's end must not be connected
    /// any more.
    async fn close(&self, order: &TunnelOrder, made: TunnelLedger, keep: &dyn KeepTunnel) -> Result<Vec<String>>;
}
