//! Certificates by LEGO, which ships with Ostler and runs as its child.
//!
//! LEGO works in a folder of its own that is gone afterwards, and proves names by calling a program: Ostler itself ([`answer_hook`]), which
//! hands the question over to the Ostler that runs LEGO. So every provider of DNS works that Ostler knows, and their tokens stay in one process.

mod ari;
mod chain;
mod error;
mod folder;
mod hook;
mod lego;
mod program;

pub use error::AcmeError;
pub use hook::{HOOK, answer_hook};
pub use lego::LegoAcme;
pub use program::has_lego;
