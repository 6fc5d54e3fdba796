//! The operations of servers: create, adopt, apply and destroy one, make a template of it; `up`, which decides between them; and a
//! look at what `up` would change.
//!
//! Each file has the same sections in the same order: plan and outputs, steps, implementations.

mod adopt;
pub mod apply;
pub mod create;
pub mod destroy;
pub mod drift;
pub mod template;
pub mod up;
