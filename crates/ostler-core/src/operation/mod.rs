//! Operations: journaled, resumable, undoable pieces of long work.
//!
//! An operation is a list of [`Step`]s over a context. The [`Driver`] runs them and writes the journal; what an
//! operation does stands in `server/`, one file each, in the same order: plan and outputs, steps, implementations.

mod definition;
mod driver;
mod lease;
mod log;
mod step;
mod subscription;

pub use definition::*;
pub use driver::*;
pub use lease::*;
pub use log::*;
pub use step::*;
pub use subscription::*;
