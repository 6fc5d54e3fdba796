//! What Ostler knows and decides, without touching the world.
//!
//! This crate does no I/O: it names the things (`ids`, `model`), declares what it needs from the outside as traits (`ports`), keeps
//! the journal's rules (`operation`), knows the way to a server (`reach`) and how it becomes what its spec says (`converge`),
//! decides what to do (`plan`), and holds the operations of servers (`server`). Each of these modules uses only those above it in
//! the list below. Adapters (`ostler-store`, `ostler-providers`, `ostler-remote`, `ostler-ansible`) implement the ports and depend on
//! this crate, never on one another; the binary's `wiring.rs` joins them.

pub use ostler_spec::{self as spec, error};

pub mod ids;
pub mod secret;
pub mod text;

pub mod model;

pub mod event;

pub mod ports;

pub mod operation;

pub mod world;

pub mod reach;

pub mod converge;

pub mod plan;

pub mod server;

#[cfg(test)]
mod testing;

pub use error::{Blame, Classify, Failure, Result};
