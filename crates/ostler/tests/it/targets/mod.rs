//! Ostler against real servers, most of them there already: systemd-nspawn machines of the test kit.
//!
//! They need root and are slow for unit tests, so they are ignored by default; `cargo xtask test` runs them.

mod adopt;
mod catalogs;
mod disturbed;
mod draws;
mod faults;
mod hetzner;
mod lockout;
mod logins;
mod names;
mod output;
mod packages;
mod promises;
mod scale;
mod secrets;
mod server_draw;
mod sites;
mod support;
mod swarm;
mod tunnel;
mod verify;
