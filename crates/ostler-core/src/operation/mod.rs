//! Operations: journaled, resumable, undoable pieces of long work.
//!
//! An operation is a list of [`Step`]s over a context. The [`Driver`] runs them and writes the journal; what an
//! operation does stands in `server/`, one file each, in the same order: plan, steps, implementations.
//!
//! A new operation is such a file and a line in `server::operations`. Each of its steps is an `async fn(&C, &Outputs) -> Result<T>`. What
//! it returns is its output: a type of its own that stands above it, derives serde's traits, and is kept in the journal with the step's
//! end; `()` where it finds out nothing. Later steps ask for it by that type, `outputs.get::<Image>()?`, and so does whoever ran the
//! operation. Undos use `find`, for they also run where the step never came to its end. The names of an output's fields stay as they are
//! once released, and new ones get a `#[serde(default)]`, because journals of earlier releases are gone on with.

mod definition;
mod driver;
mod lease;
mod log;
mod output;
mod step;
mod subscription;

pub use definition::*;
pub use driver::*;
pub use lease::*;
pub use log::*;
pub use output::*;
pub use step::*;
pub use subscription::*;
