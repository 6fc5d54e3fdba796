//! SSH through the system's OpenSSH client: its algorithms, its fixes, its behaviour, and nothing of the user's configuration.
//!
//! A session is a ControlMaster (`ssh -M -N`, a child of ours) plus an agent inside this process that holds one key.
//! Commands, Ansible and interactive logins ride on the master's connection, so the second command costs milliseconds. If
//! the master dies they connect by themselves, with the same pinned host keys and the same agent. Private keys touch
//! neither disk nor argv nor environment.
//!
//! Nothing here reads the environment of the process except `PATH`, or the home directory.

mod agent;
mod args;
mod askpass;
mod banner;
mod connect_error;
mod error;
mod host_keys;
mod key_file;
mod keys;
mod known_hosts;
mod launch;
mod master;
mod offered;
mod openssh;
mod runtime_dir;
mod session;

pub use args::interactive_argv;
pub use error::RemoteError;
pub use key_file::check as check_key_file;
pub use openssh::OpenSsh;
