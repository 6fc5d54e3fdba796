//! The operations of servers: create, adopt, apply, rebuild and destroy one, take it out of a cluster, make a template of it; `up`, which
//! decides between them; and a look at what `up` would change.
//!
//! Each file has the same sections in the same order: plan, steps, implementations; what a step finds out stands above its function.

use crate::{model::OperationKind, operation::Definition};

mod adopt;
pub mod apply;
mod balancing;
pub mod create;
pub mod destroy;
pub mod drift;
pub mod leave;
pub mod orphans;
pub mod parting;
pub mod rebuild;
pub mod rescue;
pub mod template;
pub mod up;
pub mod verify;

/// Every operation of servers. A new one gets its line here; the tests of operations go over all of them.
pub fn operations() -> Vec<Definition> {
    vec![
        Definition::new("create", OperationKind::Create, &create::steps()),
        Definition::new("adopt", OperationKind::Create, &adopt::steps()),
        Definition::new("apply", OperationKind::Apply, &apply::steps()),
        Definition::new("rebuild", OperationKind::Rebuild, &rebuild::steps()),
        Definition::new("apply with a tunnel", OperationKind::Apply, &apply::steps_with_tunnel()),
        Definition::new("leave the tunnel", OperationKind::Apply, &apply::steps_leaving_tunnel()),
        Definition::new("leave", OperationKind::Leave, &leave::steps()),
        Definition::new("template", OperationKind::Template, &template::steps()),
    ]
}
