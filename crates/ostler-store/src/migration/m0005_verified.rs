//! What came of trying a server's promises last.

use sea_orm::{DbErr, sea_query::*};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait::async_trait};

/// A column of servers.
#[derive(sea_orm::DeriveMigrationName)]
pub struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if !manager.has_column("servers", "verified").await? {
            let column = ColumnDef::new("verified").custom("longtext").null().take();
            manager.alter_table(Table::alter().table("servers").add_column(column).take()).await?;
        }
        Ok(())
    }
}
