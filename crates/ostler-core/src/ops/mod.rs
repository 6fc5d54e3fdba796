//! The long verbs: create, apply and destroy a server, and `up`, which decides between them; and a look at what `up` would change.
//!
//! Each file has the same sections in the same order: plan and outputs, steps, implementations.

mod adopt;
pub mod apply;
mod cause;
mod confirm;
pub mod create;
pub mod destroy;
pub mod drift;
mod guard;
mod host_key;
mod host_vars;
mod leftovers;
mod password;
mod patience;
mod pending_sshd;
mod prefetch;
mod promises;
mod refusal;
mod server_log;
pub mod template;
mod wait;
mod waiting;
mod world;

pub mod up;

pub use wait::WaitOptions;
pub use world::*;

/// Runs the script that comes on standard input as root.
pub(crate) const RUN_AS_ROOT: &str = "exec sudo -n sh -s";
