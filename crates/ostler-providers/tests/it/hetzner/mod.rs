//! Provider `hetzner` against a fake Hetzner Cloud that is held to the vendor's schema.

mod balancers;
mod fence;
pub mod lab;
mod living;
mod making;
mod preflight;
mod tokens;
