//! Ostler as its users meet it: the binary, from outside.
//!
//! `e2e` and `targets` take long, so they are ignored by default, and `cargo xtask test` runs them.

mod catalog;
mod certificates;
mod cli;
mod e2e;
mod earlier;
mod forgetting;
mod hetzner;
mod proxmox;
mod targets;
mod tunnels;
mod wizard;
