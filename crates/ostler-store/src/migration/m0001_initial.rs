//! The first schema.

use sea_orm::{DatabaseBackend, DbErr, sea_query::*};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait::async_trait};

/// The first schema.
#[derive(sea_orm::DeriveMigrationName)]
pub struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        for mut table in [state(), servers(), operations(), events(backend), leases(), children(), secrets()] {
            if backend == DatabaseBackend::MySql {
                // Compares names byte by byte, as SQLite does.
                table.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
            }
            manager.create_table(table.if_not_exists().take()).await?;
        }
        for (table, name, columns) in [
            ("operations", "operations_latest", ["latest", "server"]),
            ("events", "events_server", ["server", "number"]),
            ("events", "events_operation", ["operation", "number"]),
        ] {
            if !manager.has_index(table, name).await? {
                let [first, second] = columns;
                manager.create_index(Index::create().name(name).table(table).col(first).col(second).take()).await?;
            }
        }
        let row = Query::insert()
            .into_table("state")
            .columns(["id", "state_id", "last_event"])
            .values_panic([1.into(), ostler_core::ids::StateId::new().to_string().into(), 0.into()])
            .on_conflict(OnConflict::column("id").do_nothing_on(["id"]).to_owned())
            .take();
        manager.execute(row).await
    }
}

fn state() -> TableCreateStatement {
    Table::create()
        .table("state")
        .col(ColumnDef::new("id").integer().not_null().primary_key())
        .col(id("state_id"))
        .col(ColumnDef::new("last_event").big_integer().not_null())
        .col(ColumnDef::new("key_check").blob())
        .take()
}

fn servers() -> TableCreateStatement {
    Table::create()
        .table("servers")
        .col(server("name").primary_key())
        .col(word("provider"))
        .col(word("phase"))
        .col(ColumnDef::new("login_user").string_len(255).not_null())
        .col(id("created_by"))
        .col(long_text("desired").not_null())
        .col(long_text("machine"))
        .col(long_text("machine_next"))
        .col(ColumnDef::new("host_keys").text().not_null())
        .col(ColumnDef::new("client_key").text())
        .col(ColumnDef::new("pending_handlers").text().not_null())
        .col(ColumnDef::new("unclean").boolean().not_null())
        .take()
}

fn operations() -> TableCreateStatement {
    Table::create()
        .table("operations")
        .col(id("id").primary_key())
        .col(server("server"))
        .col(ColumnDef::new("latest").boolean().not_null())
        .col(word("kind"))
        .col(word("state"))
        .col(long_text("plan").not_null())
        .col(long_text("outputs").not_null())
        .col(long_text("steps").not_null())
        .col(long_text("failure"))
        .col(ColumnDef::new("started").big_integer().not_null())
        .col(ColumnDef::new("ended").big_integer())
        .take()
}

fn events(backend: DatabaseBackend) -> TableCreateStatement {
    let mut number = ColumnDef::new("number");
    match backend {
        // Only a column of exactly this type is SQLite's row id; any other type would get a separate index.
        DatabaseBackend::Sqlite => number.integer(),
        _ => number.big_integer(),
    };
    Table::create()
        .table("events")
        .col(number.not_null().primary_key())
        .col(ColumnDef::new("time").big_integer().not_null())
        .col(ColumnDef::new("server").string_len(63))
        .col(ColumnDef::new("operation").char_len(36))
        .col(ColumnDef::new("kind").string_len(32).not_null())
        .col(long_text("body").not_null())
        .take()
}

fn leases() -> TableCreateStatement {
    Table::create()
        .table("leases")
        .col(server("server").primary_key())
        .col(ColumnDef::new("host").text().not_null())
        .col(ColumnDef::new("machine").text().not_null())
        .col(ColumnDef::new("boot").text().not_null())
        .col(ColumnDef::new("pid").big_integer().not_null())
        .col(ColumnDef::new("start_ticks").big_integer().not_null())
        .col(ColumnDef::new("doing").text().not_null())
        .col(ColumnDef::new("expires").big_integer().not_null())
        .take()
}

fn children() -> TableCreateStatement {
    Table::create()
        .table("children")
        .col(server("server"))
        .col(ColumnDef::new("boot").string_len(64).not_null())
        .col(ColumnDef::new("pid").big_integer().not_null())
        .col(ColumnDef::new("start_ticks").big_integer().not_null())
        .col(id("run"))
        .primary_key(Index::create().col("server").col("boot").col("pid").col("start_ticks"))
        .take()
}

fn secrets() -> TableCreateStatement {
    Table::create()
        .table("secrets")
        .col(server("owner"))
        .col(ColumnDef::new("name").string_len(255).not_null())
        .col(ColumnDef::new("sealed").custom("mediumblob").not_null())
        .primary_key(Index::create().col("owner").col("name"))
        .take()
}

/// A UUID in its usual notation.
fn id(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).char_len(36).not_null().take()
}

/// The name of a server: a host label.
fn server(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).string_len(63).not_null().take()
}

/// A variant of an enum, by the name that serde gives it.
fn word(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).string_len(16).not_null().take()
}

/// Text with no practical limit. MySQL's `text` ends at 64 KiB; SQLite accepts any type with `text` in its name.
fn long_text(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).custom("longtext").take()
}
