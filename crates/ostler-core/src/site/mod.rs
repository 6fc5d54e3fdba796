//! Sites: what is served under which domains, from which server, in which release.
//!
//! Whatever changes of a site makes a new release, also a rollback and another number of copies. It runs beside the one before it, which
//! serves until the new one has answered by host name, through what stands in front of both. So there is one way by which a site changes, and
//! a failure on it leaves what was there.

use crate::{model::OperationKind, operation::Definition};

pub mod certificates;
pub mod deploy;
mod entrance;
pub mod list;
mod names;
pub mod plan;
mod record;
mod release;
pub mod remove;
mod secrets;

pub use record::{Delivered, Release, SiteRecord, ZoneRecord, record, records, unknown};

/// Every operation of sites. A new one gets its line here; the tests of operations go over all of them.
pub fn operations() -> Vec<Definition> {
    vec![
        Definition::new("deploy", OperationKind::Deploy, &release::steps()),
        Definition::new("roll back", OperationKind::Rollback, &release::steps()),
        Definition::new("remove", OperationKind::Remove, &remove::steps()),
    ]
}
