//! The one row about the state itself.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "state")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    /// Always [`ROW`].
    pub id: i32,
    pub state_id: String,
    /// Number of the newest event. A writer locks this row first, so events are numbered in the order of commits.
    pub last_event: i64,
    /// A known text, encrypted with the key. It tells a wrong key file from a damaged secret. `NULL` until the first secret.
    pub key_check: Option<Vec<u8>>,
    /// When old events were forgotten last, in microseconds since 1970.
    pub last_forgetting: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Primary key of the only row.
pub const ROW: i32 = 1;
