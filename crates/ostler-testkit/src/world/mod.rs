//! A world to try operations on: a directory that stands for everything outside of Ostler, and ports that act on it.
//!
//! It lies on disk, so it outlives a process that is killed in the middle of an operation, as the real world does. What must
//! never happen (a second machine, two runs at once, a run that meets an interrupted dpkg) is written to its log or
//! refused. [`Faults`] make a chosen call fail, or kill the process that makes it.

mod acme;
mod ask;
mod cluster;
mod disk;
mod dns;
mod engine;
mod fault;
mod provider;
mod remote;
mod sites;
mod store;
mod tunnels;

pub use cluster::cluster_app;
pub use disk::{Guest, Machine, Member, WorldDir};
pub use fault::{Call, Effect, Fault, Faults, Moment};
pub use provider::{Adopter, Maker};
pub use sites::FakeRelease;
pub use store::{FaultyStore, set_step};
pub use tunnels::FakeTunnel;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

/// Where ports of machines are reached that are forwarded to them: what leads to port 443 there is open.
const WEB: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 443);

/// All ports to the world: SSH, Ansible, what sites run on, and the person; the providers are [`Maker`] and [`Adopter`].
#[derive(Clone)]
pub struct FakeWorld {
    /// Where.
    pub dir: WorldDir,
    /// What goes wrong.
    pub faults: Arc<Faults>,
}
