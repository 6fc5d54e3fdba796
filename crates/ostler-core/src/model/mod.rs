//! What Ostler records of the world.

mod machine;
mod operation;
mod overview;
mod server;
mod tunnel;
mod verification;

pub use machine::*;
pub use operation::*;
pub use overview::*;
pub use server::*;
pub use tunnel::*;
pub use verification::*;
