//! What Ostler records of the world.

mod catalog;
mod cloud_init;
mod machine;
mod module;
mod overview;
mod server;
mod template;

pub use catalog::*;
pub use cloud_init::*;
pub use machine::*;
pub use module::*;
pub use overview::*;
pub use server::*;
pub use template::*;
