//! Child processes that may outlive their Ostler. One process that works on two subjects has two rows.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "children")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub boot: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub pid: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub start_ticks: i64,
    pub subject_kind: String,
    pub run: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
