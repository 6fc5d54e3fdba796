//! The way to a server: its address, its first boot, its host key, and logins.

pub mod cloud_init;
pub mod fence;
pub(crate) mod host_key;
pub(crate) mod password;
pub(crate) mod patience;
pub(crate) mod refusal;
pub mod wait;
pub(crate) mod waiting;

/// Runs the script that comes on standard input as root.
pub(crate) const RUN_AS_ROOT: &str = "exec sudo -n sh -s";
