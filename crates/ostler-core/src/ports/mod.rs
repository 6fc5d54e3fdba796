//! What core needs from the outside, as traits. `wiring.rs` of the binary joins them to their implementations.

mod acme;
mod ask;
mod dns;
mod engine;
mod provider;
mod remote;
mod reporter;
mod runtime;
mod store;
mod tunnel;

pub use acme::*;
pub use ask::*;
pub use dns::*;
pub use engine::*;
pub use provider::*;
pub use remote::*;
pub use reporter::*;
pub use runtime::*;
pub use store::*;
pub use tunnel::*;
