//! The schema's history. A migration that was released is never changed; a new one is added below it.
//!
//! Migrations name tables and columns as text, not by the entities: these are of today, a migration is of its day. Each one
//! may have been cut off half-way by a crash (MySQL has no transactions for DDL), so each may run again over its own traces.

mod m0001_initial;
mod m0002_event_ids_and_lease_tokens;
mod m0003_subjects;

use crate::{database, error::Fault};
use sea_orm::{DatabaseBackend, DatabaseConnection, EntityTrait, QuerySelect};
use sea_orm_migration::{MigrationTrait, MigratorTrait, seaql_migrations};

/// Brings the schema up to date. Asks only one query of a database that is.
pub async fn ensure(db: &DatabaseConnection) -> Result<(), Fault> {
    if is_current(db).await? {
        return Ok(());
    }
    if db.get_database_backend() == DatabaseBackend::Sqlite {
        // Whoever opens a state directory holds its lock.
        return Ok(Migrator::up(db, None).await?);
    }
    let lock = database::SchemaLock::acquire(db).await?;
    let done = Migrator::up(db, None).await;
    lock.release().await?;
    Ok(done?)
}

/// Whether every migration known here was made. One that is not known here was made by a newer Ostler: an error.
async fn is_current(db: &DatabaseConnection) -> Result<bool, Fault> {
    let applied = seaql_migrations::Entity::find()
        .select_only()
        .column(seaql_migrations::Column::Version)
        .into_tuple::<String>()
        .all(db)
        .await;
    // No such table: nothing was made yet. Any other trouble comes back, and is reported, when the migrator asks the same.
    let Ok(applied) = applied else { return Ok(false) };
    let known: Vec<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    match applied.iter().find(|version| !known.contains(version)) {
        Some(version) => Err(Fault::Newer(version.clone())),
        None => Ok(applied.len() == known.len()),
    }
}

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_initial::Migration),
            Box::new(m0002_event_ids_and_lease_tokens::Migration),
            Box::new(m0003_subjects::Migration),
        ]
    }
}
