//! Provider `proxmox` against a node that holds every request against PVE's own schema.

mod addresses;
mod crashing;
mod failing;
mod inventory;
pub mod lab;
mod living;
mod preflight;
mod setup;
mod templates;
mod trust;
