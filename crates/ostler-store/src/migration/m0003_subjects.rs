//! What operations, events, leases, children and secrets are about gets an id, and the names stand in a table of their own.
//!
//! Each server gets an id, and so does each that was destroyed and still has a history; all generations of a name that is gone count as one.
//! Operations and events keep the name beside the id, for people. Tables whose primary key was a name are made anew. Secrets stay sealed
//! under the name, for this has no key; see `secrets.rs`.

use ostler_core::ids::SubjectId;
use sea_orm::{ConnectionTrait, DatabaseBackend, DbErr, Statement, sea_query::*};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait::async_trait};

/// Subjects with ids.
#[derive(sea_orm::DeriveMigrationName)]
pub struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager, subjects()).await?;
        if !manager.has_index("subjects", "subjects_name").await? {
            let mut index = Index::create();
            index.name("subjects_name").table("subjects").col("kind").col("project").col("name").unique();
            manager.create_index(index).await?;
        }
        give_ids(manager).await?;

        add_columns(
            manager,
            "operations",
            [kind("subject_kind").default("server").take(), id("subject_id").default("").take()],
        )
        .await?;
        add_columns(manager, "events", [kind("subject_kind").null().take(), id("subject_id").null().take()]).await?;
        for (table, unset) in
            [("operations", "subject_id = ''"), ("events", "server IS NOT NULL AND subject_id IS NULL")]
        {
            // The name is the last thing to change: where it has, all rows have their ids.
            if manager.has_column(table, "server").await? {
                let id = format!("SELECT s.id FROM subjects s WHERE {}", is_called(&format!("{table}.server")));
                run(manager, &format!("UPDATE {table} SET subject_kind = 'server', subject_id = ({id}) WHERE {unset}"))
                    .await?;
                manager.alter_table(Table::alter().table(table).rename_column("server", "name").take()).await?;
            }
        }
        for (table, name, first, second) in [
            ("operations", "operations_subject", "latest", "subject_id"),
            ("events", "events_subject", "subject_id", "number"),
        ] {
            if !manager.has_index(table, name).await? {
                manager.create_index(Index::create().name(name).table(table).col(first).col(second).take()).await?;
            }
        }

        let rest = "provider, phase, login_user, created_by, desired, machine, machine_next, host_keys, client_key, \
                    pending_handlers, unclean";
        make_anew(manager, servers(), ("servers", "name"), &format!("id, {rest}"), &format!("s.id, {rest}")).await?;
        let rest = "token, host, machine, boot, pid, start_ticks, doing, expires";
        let (into, from) = (format!("subject_id, subject_kind, {rest}"), format!("s.id, 'server', {rest}"));
        make_anew(manager, leases(), ("leases", "server"), &into, &from).await?;
        let rest = "boot, pid, start_ticks, run";
        let (into, from) = (format!("subject_id, subject_kind, {rest}"), format!("s.id, 'server', {rest}"));
        make_anew(manager, children(), ("children", "server"), &into, &from).await?;
        let owner = "COALESCE(s.id, ''), CASE WHEN o.owner = '' THEN '' ELSE 'server' END";
        let (into, from) = ("owner_id, owner_kind, name, sealed", format!("{owner}, o.name, sealed"));
        make_anew(manager, secrets(), ("secrets", "owner"), into, &from).await?;

        // A name that is only history is free. One that is leased is about to be somebody's.
        run(
            manager,
            "DELETE FROM subjects WHERE id NOT IN (SELECT id FROM servers) AND id NOT IN (SELECT subject_id FROM leases)",
        )
        .await
    }
}

/// Gives each name an id that has none.
async fn give_ids(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let tables = ["servers", "operations", "events", "leases", "children", "secrets"];
    let columns = ["name", "server", "server", "server", "server", "owner"];
    for (table, column) in tables.into_iter().zip(columns) {
        for table in [table.to_owned(), former(table)] {
            if !manager.has_table(&table).await? || !manager.has_column(&table, column).await? {
                continue;
            }
            let unknown = format!(
                "SELECT DISTINCT o.{column} FROM {table} o WHERE o.{column} <> '' AND NOT EXISTS \
                 (SELECT 1 FROM subjects s WHERE {})",
                is_called(&format!("o.{column}"))
            );
            let db = manager.get_connection();
            for row in db.query_all_raw(Statement::from_string(manager.get_database_backend(), unknown)).await? {
                let name: String = row.try_get_by_index(0)?;
                let insert = Query::insert()
                    .into_table("subjects")
                    .columns(["id", "kind", "project", "name"])
                    .values_panic([SubjectId::new().to_string().into(), "server".into(), "".into(), name.into()])
                    .take();
                manager.execute(insert).await?;
            }
        }
    }
    Ok(())
}

/// Whether the subject `s` is the server whose name is in a column.
fn is_called(column: &str) -> String {
    format!("s.kind = 'server' AND s.project = '' AND s.name = {column}")
}

/// Makes a table anew whose primary key was the server's name in a column; of its rows, `o`, and their subjects, `s`, comes what is
/// selected.
///
/// The old table is moved aside, and goes once all its rows are in the new one, so a crash leaves it whole in one place or the other.
async fn make_anew(
    manager: &SchemaManager<'_>,
    new: TableCreateStatement,
    (table, column): (&'static str, &'static str),
    into: &str,
    selected: &str,
) -> Result<(), DbErr> {
    let former = former(table);
    // `secrets` and `servers` have or had a column `name`, so what tells the shapes apart is the old key.
    if manager.has_table(table).await? && manager.has_column(table, column).await? {
        manager.rename_table(Table::rename().table(table, former.clone()).take()).await?;
    }
    create(manager, new).await?;
    if manager.has_table(&former).await? {
        run(manager, &format!("DELETE FROM {table}")).await?;
        let subject = format!("LEFT JOIN subjects s ON {}", is_called(&format!("o.{column}")));
        run(manager, &format!("INSERT INTO {table} ({into}) SELECT {selected} FROM {former} o {subject}")).await?;
        manager.drop_table(Table::drop().table(former).take()).await?;
    }
    Ok(())
}

/// Where a table stands aside until its rows are in the new one.
fn former(table: &str) -> String {
    format!("{table}_m0002")
}

async fn create(manager: &SchemaManager<'_>, mut table: TableCreateStatement) -> Result<(), DbErr> {
    if manager.get_database_backend() == DatabaseBackend::MySql {
        // Names are compared byte by byte, as SQLite does.
        table.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
    }
    manager.create_table(table.if_not_exists().take()).await
}

async fn add_columns(manager: &SchemaManager<'_>, table: &'static str, columns: [ColumnDef; 2]) -> Result<(), DbErr> {
    for column in columns {
        if !manager.has_column(table, column.get_column_name()).await? {
            manager.alter_table(Table::alter().table(table).add_column(column).take()).await?;
        }
    }
    Ok(())
}

async fn run(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    manager.get_connection().execute_unprepared(sql).await.map(drop)
}

fn subjects() -> TableCreateStatement {
    Table::create()
        .table("subjects")
        .col(id("id").primary_key())
        .col(kind("kind"))
        .col(ColumnDef::new("project").string_len(36).not_null())
        .col(ColumnDef::new("name").string_len(255).not_null())
        .take()
}

fn servers() -> TableCreateStatement {
    Table::create()
        .table("servers")
        .col(id("id").primary_key())
        .col(kind("provider"))
        .col(kind("phase"))
        .col(ColumnDef::new("login_user").string_len(255).not_null())
        .col(id("created_by"))
        .col(ColumnDef::new("desired").custom("longtext").not_null())
        .col(ColumnDef::new("machine").custom("longtext"))
        .col(ColumnDef::new("machine_next").custom("longtext"))
        .col(ColumnDef::new("host_keys").text().not_null())
        .col(ColumnDef::new("client_key").text())
        .col(ColumnDef::new("pending_handlers").text().not_null())
        .col(ColumnDef::new("unclean").boolean().not_null())
        .take()
}

fn leases() -> TableCreateStatement {
    Table::create()
        .table("leases")
        .col(id("subject_id").primary_key())
        .col(kind("subject_kind"))
        .col(ColumnDef::new("token").char_len(36))
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
        .col(id("subject_id"))
        .col(ColumnDef::new("boot").string_len(64).not_null())
        .col(ColumnDef::new("pid").big_integer().not_null())
        .col(ColumnDef::new("start_ticks").big_integer().not_null())
        .col(kind("subject_kind"))
        .col(id("run"))
        .primary_key(Index::create().col("subject_id").col("boot").col("pid").col("start_ticks"))
        .take()
}

fn secrets() -> TableCreateStatement {
    Table::create()
        .table("secrets")
        // Empty: the user's own. So not of a fixed length, which MariaDB would fill up.
        .col(ColumnDef::new("owner_id").string_len(36).not_null())
        .col(ColumnDef::new("name").string_len(255).not_null())
        .col(kind("owner_kind"))
        .col(ColumnDef::new("sealed").custom("mediumblob").not_null())
        .primary_key(Index::create().col("owner_id").col("name"))
        .take()
}

/// A UUID in its usual spelling.
fn id(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).char_len(36).not_null().take()
}

/// A variant of an enum, in the word that serde gives it.
fn kind(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).string_len(16).not_null().take()
}
