//! Events of long ago are forgotten: when that was done last, and what finds the newest operation of each kind quickly.

use sea_orm::{DbErr, sea_query::*};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait::async_trait};

/// A column of the state, and an index of operations.
#[derive(sea_orm::DeriveMigrationName)]
pub struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if !manager.has_column("state", "last_forgetting").await? {
            let column = ColumnDef::new("last_forgetting").big_integer().null().take();
            manager.alter_table(Table::alter().table("state").add_column(column).take()).await?;
        }
        if !manager.has_index("operations", "operations_kind").await? {
            let mut index = Index::create();
            index.name("operations_kind").table("operations").col("subject_id").col("kind").col("id");
            manager.create_index(index).await?;
        }
        Ok(())
    }
}
