//! Where servers come from: the adapters behind `ostler_core::ports::Provider`, and what machines boot from.

pub mod existing;
pub mod hetzner;
pub mod image;
pub mod local;
pub mod proxmox;
mod tokens;

pub use tokens::Tokens;
