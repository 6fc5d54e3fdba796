//! Secrets, encrypted.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "secrets")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    /// Id of the subject, or empty: the user's own. (A primary key holds no `NULL`.)
    pub owner_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// Kind of the subject, or empty.
    pub owner_kind: String,
    /// Nonce and ciphertext; see `secrets.rs`.
    pub sealed: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
