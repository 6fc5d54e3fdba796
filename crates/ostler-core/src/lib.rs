//! What Ostler knows and decides, without touching the world.
//!
//! This crate does no I/O: it names the things (`ids`, `model`), reads the desired state (`spec`), decides what to do
//! (`plan`), keeps the journal's rules (`operation`), holds the long verbs (`ops`) and declares what it needs from the
//! outside as traits (`ports`). Adapters (`ostler-store`, `ostler-providers`, `ostler-remote`, `ostler-ansible`)
//! implement the ports and depend on this crate, never on one another; the binary's `wiring.rs` joins them.

pub mod error;
pub mod event;
pub mod ids;
pub mod model;
pub mod operation;
pub mod ops;
pub mod plan;
pub mod ports;
pub mod secret;
pub mod spec;
#[cfg(test)]
mod testing;
pub mod text;

pub use error::{Blame, Classify, Failure, Result};
