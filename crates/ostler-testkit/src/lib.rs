//! What tests need: throw-away real targets, fakes of what cannot exist here, and a hermetic place to run the binary in.

pub mod cloudflare;
pub mod earlier;
mod endpoint;
pub mod environment;
pub mod git_site;
pub mod hcloud;
pub mod image_site;
pub mod keeper;
pub mod leaks;
pub mod mariadb;
pub mod nameserver;
pub mod pebble;
pub mod pve;
pub mod sshd;
pub mod targets;
pub mod tmux;
pub mod traefik;
pub mod world;
