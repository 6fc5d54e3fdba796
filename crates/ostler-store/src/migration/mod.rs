//! The schema's history. A released migration is never changed; a new one is added below it.
//!
//! Migrations name tables and columns as text, not through the entities, because the entities show today's schema. A crash may
//! interrupt a migration half-way (MySQL has no transactions for DDL), so each one can run again on its own partial result.

mod m0001_initial;
mod m0002_event_ids_and_lease_tokens;
mod m0003_subjects;
mod m0004_forgetting;
mod m0005_verified;
mod m0006_documents;

use crate::{database, error::Fault};
use sea_orm::{DatabaseBackend, DatabaseConnection, EntityTrait, QuerySelect};
use sea_orm_migration::{MigrationTrait, MigratorTrait, seaql_migrations};

/// Brings the schema up to date. If it already is, this takes only one query.
pub async fn ensure(db: &DatabaseConnection) -> Result<(), Fault> {
    if is_current(db).await? {
        return Ok(());
    }
    if db.get_database_backend() == DatabaseBackend::Sqlite {
        // The caller holds the lock of the state directory.
        return Ok(Migrator::up(db, None).await?);
    }
    let lock = database::SchemaLock::acquire(db).await?;
    let done = Migrator::up(db, None).await;
    lock.release().await?;
    Ok(done?)
}

/// Whether every known migration has run. Fails if the database has an unknown one, which a newer Ostler has run.
async fn is_current(db: &DatabaseConnection) -> Result<bool, Fault> {
    let applied = seaql_migrations::Entity::find()
        .select_only()
        .column(seaql_migrations::Column::Version)
        .into_tuple::<String>()
        .all(db)
        .await;
    // If there is no such table, nothing has run yet. Any other error occurs again when the migrator runs the same query, which
    // reports it.
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
            Box::new(m0004_forgetting::Migration),
            Box::new(m0005_verified::Migration),
            Box::new(m0006_documents::Migration),
        ]
    }
}
