//! The main job on real virtual machines: real QEMU, real cloud-init, real sshd, real Ansible.
//!
//! They take minutes, so they run only when asked for: `cargo xtask test` asks.

mod calm;
mod disturbed;
mod hardened;
mod lives;
mod proxmox;
pub mod runs;
mod support;
mod template;
