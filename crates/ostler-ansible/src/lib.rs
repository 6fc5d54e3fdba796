//! Ansible as Ostler's engine: carried in the binary, cut off from whatever Ansible and Python the host has.
//!
//! [`AnsibleEngine`] unpacks the bundle and the playbook once per version, and runs `ansible-playbook` with an inventory that
//! asks this process over a private socket and a callback plugin that answers over a pipe. What Ansible prints is never read.

mod catalog;
mod command;
mod embedded;
mod engine;
mod error;
mod events;
mod grouping;
mod inventory;
mod pending;
mod processes;
mod rundir;
mod unpack;

pub use catalog::{Catalog, CatalogError, CatalogStore, Checked, check_catalog, new_catalog};
pub use embedded::{catalog_index, has_bundle, module_catalog, roles_id, tunnel_promises};
pub use engine::AnsibleEngine;
pub use error::AnsibleError;
pub use events::parse_event;
pub use grouping::GroupingEngine;
pub use pending::pending_handlers;
