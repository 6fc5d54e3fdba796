//! The append-only log.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i64,
    /// Its `EventId`; `NULL` where an Ostler wrote it that gave none.
    pub id: Option<String>,
    /// Microseconds since 1970.
    pub time: i64,
    pub subject_kind: Option<String>,
    pub subject_id: Option<String>,
    /// What the subject was called then.
    pub name: Option<String>,
    pub operation: Option<String>,
    /// The tag of the body, for searches by hand.
    pub kind: String,
    /// JSON of an `EventKind`, tag included.
    pub body: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
