//! What is on record of subjects that are no servers.

use sea_orm::{DatabaseBackend, DbErr, sea_query::*};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait::async_trait};

/// A table.
#[derive(sea_orm::DeriveMigrationName)]
pub struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut table = Table::create();
        table
            .table("documents")
            .col(ColumnDef::new("subject_id").char_len(36).not_null().primary_key())
            .col(ColumnDef::new("subject_kind").string_len(16).not_null())
            .col(ColumnDef::new("text").custom("longtext").not_null());
        if manager.get_database_backend() == DatabaseBackend::MySql {
            table.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
        }
        manager.create_table(table.if_not_exists().take()).await
    }
}
