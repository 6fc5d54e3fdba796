//! Who works on what.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "leases")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject_id: String,
    pub subject_kind: String,
    /// Which acquisition it is; `NULL` where an Ostler wrote it that knew no tokens.
    pub token: Option<String>,
    pub host: String,
    pub machine: String,
    pub boot: String,
    pub pid: i64,
    pub start_ticks: i64,
    pub doing: String,
    /// Microseconds since 1970, by the clock that `leases.rs` names.
    pub expires: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
