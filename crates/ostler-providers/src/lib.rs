//! Where servers come from: the adapters behind `ostler_core::ports::Provider` and `ostler_core::ports::Images`.

pub mod existing;
pub mod image;
pub mod local;
pub mod proxmox;
