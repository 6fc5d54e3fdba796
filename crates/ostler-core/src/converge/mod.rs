//! A run of Ansible on a server, and everything around it that keeps the server whole.

pub(crate) mod access;
pub(crate) mod cause;
pub(crate) mod confirm;
pub mod diagnosis;
pub(crate) mod guard;
pub(crate) mod host_vars;
pub(crate) mod leftovers;
pub(crate) mod members;
pub(crate) mod peer;
pub(crate) mod pending_sshd;
pub(crate) mod prefetch;
pub(crate) mod promises;
pub(crate) mod run;
pub(crate) mod server_log;
pub(crate) mod verify;
pub(crate) mod volumes;
