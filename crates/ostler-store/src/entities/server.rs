//! Servers under management.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "servers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    /// Of the subject, which has the name.
    pub id: String,
    pub provider: String,
    pub phase: String,
    pub login_user: String,
    pub created_by: String,
    /// JSON of a `ServerSpec`.
    pub desired: String,
    /// JSON that only the provider reads.
    pub machine: Option<String>,
    /// The same for where sshd is to listen next.
    pub machine_next: Option<String>,
    /// JSON list.
    pub host_keys: String,
    pub client_key: Option<String>,
    /// JSON list of pairs.
    pub pending_handlers: String,
    pub unclean: bool,
    /// JSON of a `Verification`.
    pub verified: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
