//! Events get ids, so that storing one twice leaves it there once, and leases the token of their acquisition.
//!
//! Older rows have neither. Their events are never stored again, and their leases end with their owners.

use sea_orm::{DbErr, sea_query::*};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait::async_trait};

/// Events get ids, leases get tokens.
#[derive(sea_orm::DeriveMigrationName)]
pub struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in [("events", "id"), ("leases", "token")] {
            if !manager.has_column(table, column).await? {
                let column = ColumnDef::new(column).char_len(36).take();
                manager.alter_table(Table::alter().table(table).add_column(column).take()).await?;
            }
        }
        if !manager.has_index("events", "events_id").await? {
            manager.create_index(Index::create().name("events_id").table("events").col("id").unique().take()).await?;
        }
        Ok(())
    }
}
