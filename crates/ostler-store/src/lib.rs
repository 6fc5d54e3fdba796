//! The state, kept by SeaORM in SQLite (as a rule) or in MySQL/MariaDB (where several machines share it).
//!
//! One set of entities and migrations serves both. Each noun has a module, and `database` has everything that differs between
//! the two. Every write is one transaction that is on disk when it returns: through `synchronous=FULL` on SQLite, and through
//! `innodb_flush_log_at_trx_commit=1`, the default, on MySQL. Several processes may have the same state open. They wait for one
//! another without a message.

mod children;
mod codec;
mod database;
mod entities;
mod error;
mod events;
mod key;
mod leases;
mod migration;
mod operations;
mod overview;
mod secrets;
mod servers;
mod subjects;

pub use error::{DatabaseError, StoreError};

use async_trait::async_trait;
use error::Fault;
use key::KeyFile;
use ostler_core::{
    error::{Failure, Result},
    event::{Event, NewEvent},
    ids::{EventNumber, LeaseToken, OperationId, ServerName, StateId},
    model::{OperationRecord, OperationState, ServerOverview, ServerRecord, StepRecord, StepState},
    ports::{ChildRecord, EventFilter, Lease, LeaseAnswer, LeaseOwner, Store},
    secret::Secret,
    subject::{Subject, SubjectKind},
};
use sea_orm::{DatabaseBackend, DatabaseConnection, EntityTrait};
use std::{path::Path, sync::Arc, time::Duration};

/// The state in a database. A clone is another handle to the same database.
#[derive(Clone)]
pub struct SeaStore {
    db: DatabaseConnection,
    /// Where the database is, for messages.
    place: String,
    key: Arc<KeyFile>,
}

impl SeaStore {
    /// Opens the state in a directory: `state.db`, and `key` for its secrets. Creates what is missing, for its owner alone: the
    /// directory with mode 0700, the files with 0600.
    ///
    /// Fails if the directory can't be used, or if a newer Ostler wrote the state.
    pub async fn open_sqlite(dir: &Path) -> Result<Self, StoreError> {
        let _lock = database::lock_dir(dir).await?;
        let db = database::open_sqlite(dir).await?;
        Self::with_schema(db, dir.join("state.db").display().to_string(), &dir.join("key")).await
    }

    /// Opens the state in a MySQL or MariaDB database, `mysql://USER:PASSWORD@HOST:PORT/DATABASE`. The database must exist;
    /// this creates its tables. `key_file` is created with the first secret; everybody who shares the database needs the same one.
    ///
    /// The connection itself is not encrypted, so use a tunnel over a network. (Secrets are encrypted before they are sent.)
    ///
    /// Fails if the server can't be reached, or if a newer Ostler wrote the state.
    pub async fn connect(url: &Secret, key_file: &Path) -> Result<Self, StoreError> {
        let (db, place) = database::connect_mysql(url).await?;
        Self::with_schema(db, place, key_file).await
    }

    async fn with_schema(db: DatabaseConnection, place: String, key_file: &Path) -> Result<Self, StoreError> {
        match migration::ensure(&db).await {
            Ok(()) => Ok(Self { db, place, key: Arc::new(KeyFile::new(key_file.to_owned())) }),
            Err(Fault::Database(error)) => Err(StoreError::Open { place, source: error.into() }),
            Err(fault) => Err(fault.at(&place)),
        }
    }

    /// Closes the connections and cleans up the WAL. Dropping the store is just as safe, but less tidy.
    pub async fn close(self) {
        // A failure here does not affect anything that was already answered.
        let _ = self.db.close().await;
    }

    /// Whether Ostlers on other machines may have the state open.
    pub fn is_shared(&self) -> bool {
        self.db.get_database_backend() != DatabaseBackend::Sqlite
    }

    fn answer<T>(&self, answer: Result<T, impl Into<Fault>>) -> Result<T> {
        answer.map_err(|fault| Failure::from(fault.into().at(&self.place)))
    }
}

#[async_trait]
impl Store for SeaStore {
    async fn state_id(&self) -> Result<StateId> {
        let row = self.answer(entities::state::Entity::find_by_id(entities::state::ROW).one(&self.db).await)?;
        let id = row.map(|row| row.state_id).unwrap_or_default();
        self.answer(codec::Row { noun: "state", key: &id }.parse(&id))
    }

    async fn subject(&self, kind: SubjectKind, name: &str) -> Result<Option<Subject>> {
        self.answer(subjects::get(&self.db, kind, name).await)
    }

    async fn claim_name(&self, kind: SubjectKind, name: &str) -> Result<Subject> {
        self.answer(subjects::claim(&self.db, kind, name).await)
    }

    async fn server(&self, name: &ServerName) -> Result<Option<ServerRecord>> {
        self.answer(servers::get(&self.db, name).await)
    }

    async fn overview(&self) -> Result<Vec<ServerOverview>> {
        self.answer(overview::all(&self.db).await)
    }

    async fn put_server(&self, server: &ServerRecord) -> Result<()> {
        self.answer(servers::put(&self.db, server).await)
    }

    async fn remove_server(&self, server: Subject) -> Result<()> {
        self.answer(servers::remove(&self.db, server).await)
    }

    async fn begin_operation(&self, operation: &OperationRecord) -> Result<()> {
        self.answer(operations::begin_one(&self.db, operation).await)
    }

    async fn operation(&self, id: OperationId) -> Result<Option<OperationRecord>> {
        self.answer(operations::get(&self.db, id).await)
    }

    async fn latest_operation(&self, subject: Subject) -> Result<Option<OperationRecord>> {
        self.answer(operations::latest(&self.db, subject).await)
    }

    async fn latest_operation_called(&self, kind: SubjectKind, name: &str) -> Result<Option<OperationRecord>> {
        self.answer(operations::latest_called(&self.db, kind, name).await)
    }

    async fn set_operation_state(
        &self,
        id: OperationId,
        state: OperationState,
        failure: Option<&Failure>,
        events: &[NewEvent],
    ) -> Result<()> {
        self.answer(operations::set_state(&self.db, id, state, failure, events).await)
    }

    async fn replace_steps(&self, id: OperationId, steps: &[StepRecord]) -> Result<()> {
        self.answer(operations::replace_steps(&self.db, id, steps).await)
    }

    async fn set_step(
        &self,
        id: OperationId,
        index: usize,
        state: StepState,
        outputs: &str,
        events: &[NewEvent],
    ) -> Result<()> {
        self.answer(operations::set_step(&self.db, id, index, state, outputs, events).await)
    }

    async fn append_events(&self, events: &[NewEvent]) -> Result<EventNumber> {
        self.answer(events::append(&self.db, events).await)
    }

    async fn events(&self, after: EventNumber, filter: &EventFilter, limit: u32) -> Result<Vec<Event>> {
        self.answer(events::after(&self.db, after, filter, limit).await)
    }

    async fn last_event(&self) -> Result<EventNumber> {
        self.answer(events::last(&self.db).await)
    }

    async fn acquire_lease(
        &self,
        subject: Subject,
        token: LeaseToken,
        owner: &LeaseOwner,
        ttl: Duration,
        is_free: &(dyn for<'l> Fn(&'l Lease) -> bool + Send + Sync),
    ) -> Result<LeaseAnswer> {
        self.answer(leases::acquire(&self.db, subject, token, owner, ttl, is_free).await)
    }

    async fn renew_lease(&self, subject: Subject, token: LeaseToken, ttl: Duration) -> Result<bool> {
        self.answer(leases::renew(&self.db, subject, token, ttl).await)
    }

    async fn release_lease(&self, subject: Subject, token: LeaseToken) -> Result<()> {
        self.answer(leases::release(&self.db, subject, token).await)
    }

    async fn lease(&self, subject: Subject) -> Result<Option<Lease>> {
        self.answer(leases::get(&self.db, subject).await)
    }

    async fn put_child(&self, child: &ChildRecord) -> Result<()> {
        self.answer(children::put(&self.db, child).await)
    }

    async fn children(&self, subject: Subject) -> Result<Vec<ChildRecord>> {
        self.answer(children::of(&self.db, subject).await)
    }

    async fn remove_child(&self, child: &ChildRecord) -> Result<()> {
        self.answer(children::remove(&self.db, child).await)
    }

    async fn put_secret(&self, owner: Option<Subject>, name: &str, secret: &Secret) -> Result<()> {
        self.answer(secrets::put(&self.db, &self.key, owner, name, secret).await)
    }

    async fn secret(&self, owner: Option<Subject>, name: &str) -> Result<Option<Secret>> {
        self.answer(secrets::get(&self.db, &self.key, owner, name).await)
    }

    async fn secret_names(&self) -> Result<Vec<String>> {
        self.answer(secrets::names(&self.db).await)
    }

    async fn remove_secret(&self, owner: Option<Subject>, name: &str) -> Result<bool> {
        self.answer(secrets::remove(&self.db, owner, name).await)
    }
}
