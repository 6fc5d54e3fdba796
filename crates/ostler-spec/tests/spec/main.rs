//! The reading of `ostler.yaml`, as its user sees it: what is accepted, and the exact words of each refusal.

mod accepted;
mod access;
mod apps;
mod balancers;
mod existing;
mod fixture;
mod hetzner;
mod hostile;
mod index;
mod proxmox;
mod questions;
mod refusals;
mod schema;
mod shape;
mod sites;
mod tunnels;
mod values;
mod yaml;
mod zones;
