//! What Ostler knows and decides, without touching the world.
//!
//! This crate does no I/O. Its modules, lowest first; each uses only those before it, and `tests/architecture.rs` keeps it so:
//!
//! - `spec`, `error` and `hint`, which are the crate `ostler-spec`; `ids`, `secret`, `text`; `subject`: what work and records are about
//! - `model`: what is recorded and observed
//! - `plan`: what `up` would do, a pure function of both
//! - `event`: what happened
//! - `ports`: what the outside must offer, as traits
//! - `operation`: the rules of the journal, the driver of steps, and what each of them finds out
//! - `world`: the ports and options that every operation works with
//! - `reach`: the way to a server
//! - `tunnel`: a tunnel in place of the open SSH port
//! - `converge`: a run of Ansible, and what keeps the server whole around it
//! - `zone`: records in zones
//! - `certificate`: certificates of authorities, and how they get to servers
//! - `server`: the operations of servers
//! - `site`: the operations of sites
//!
//! Adapters (`ostler-store`, `ostler-providers`, `ostler-remote`, `ostler-ansible`) implement the ports and depend on this crate, never
//! on one another; the binary's `wiring.rs` joins them.

pub mod certificate;
pub mod converge;
pub mod event;
pub mod ids;
pub mod model;
pub mod operation;
pub mod plan;
pub mod ports;
pub mod reach;
pub mod secret;
pub mod server;
pub mod site;
pub mod subject;
#[cfg(test)]
mod testing;
pub mod text;
mod tunnel;
pub mod world;
pub mod zone;

pub use error::{Blame, Classify, Failure, Result};
pub use ostler_spec::{self as spec, error, hint};
