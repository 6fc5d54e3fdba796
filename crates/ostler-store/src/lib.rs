//! The state, kept by SeaORM in SQLite (as a rule) or in MySQL/MariaDB (where several machines share it).
//!
//! One set of entities and migrations serves both. Each noun has a module, and `database` has everything that differs between
//! the two. Every write is one transaction that is on disk when it returns: through `synchronous=FULL` on SQLite, and through
//! `innodb_flush_log_at_trx_commit=1`, the default, on MySQL. Several processes may have the same state open. They wait for one
//! another without a message.

mod children;
mod codec;
mod database;
mod documents;
mod entities;
mod error;
mod events;
mod forgetting;
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
use database::Connections;
use error::Fault;
use jiff::Timestamp;
use key::KeyFile;
use ostler_core::{
    error::{Failure, Result},
    event::{Event, NewEvent},
    ids::{EventNumber, LeaseToken, OperationId, ServerName, StateId},
    model::{OperationRecord, OperationState, ServerOverview, ServerRecord, StepRecord, StepState},
    ports::{ChildRecord, Document, EventFilter, Lease, LeaseAnswer, LeaseOwner, Store},
    secret::Secret,
    subject::{Subject, SubjectKind},
};
use sea_orm::{DatabaseBackend, DatabaseConnection, EntityTrait};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::task::JoinError;

/// The state in a database. A clone is another handle to the same database.
///
/// Each call runs in its own task. A caller that stops polling, or drops its future, therefore holds no connection back from others, and
/// a write that has begun still finishes.
#[derive(Clone)]
pub struct SeaStore {
    db: Connections,
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

    async fn with_schema(db: Connections, place: String, key_file: &Path) -> Result<Self, StoreError> {
        match migration::ensure(&db.writer).await {
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
        self.db.writer.get_database_backend() != DatabaseBackend::Sqlite
    }

    async fn write<T, W>(&self, work: impl FnOnce(DatabaseConnection) -> W) -> Result<T>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        self.answer(tokio::spawn(work(self.db.writer.clone())).await)
    }

    async fn read<T, W>(&self, work: impl FnOnce(DatabaseConnection) -> W) -> Result<T>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        self.answer(tokio::spawn(work(self.db.readers.clone())).await)
    }

    fn answer<T>(&self, answer: Result<Result<T, Fault>, JoinError>) -> Result<T> {
        match answer {
            Ok(answer) => answer.map_err(|fault| Failure::from(fault.at(&self.place))),
            // Nobody ends these tasks but a runtime that shuts down, and that polls nothing any more.
            Err(ended) => std::panic::resume_unwind(ended.into_panic()),
        }
    }
}

#[async_trait]
impl Store for SeaStore {
    async fn state_id(&self) -> Result<StateId> {
        self.read(|db| async move {
            let row = entities::state::Entity::find_by_id(entities::state::ROW).one(&db).await?;
            let id = row.map(|row| row.state_id).unwrap_or_default();
            codec::Row { noun: "state", key: &id }.parse(&id)
        })
        .await
    }

    async fn subject(&self, kind: SubjectKind, name: &str) -> Result<Option<Subject>> {
        let name = name.to_owned();
        self.read(|db| async move { subjects::get(&db, kind, &name).await }).await
    }

    async fn claim_name(&self, kind: SubjectKind, name: &str) -> Result<Subject> {
        let name = name.to_owned();
        self.write(|db| async move { subjects::claim(&db, kind, &name).await }).await
    }

    async fn server(&self, name: &ServerName) -> Result<Option<ServerRecord>> {
        let name = name.to_owned();
        self.read(|db| async move { servers::get(&db, &name).await }).await
    }

    async fn overview(&self) -> Result<Vec<ServerOverview>> {
        self.read(|db| async move { overview::all(&db).await }).await
    }

    async fn put_server(&self, server: &ServerRecord) -> Result<()> {
        let server = server.clone();
        self.write(|db| async move { servers::put(&db, &server).await }).await
    }

    async fn remove_server(&self, server: Subject) -> Result<()> {
        self.write(|db| async move { servers::remove(&db, server).await }).await
    }

    async fn document(&self, subject: Subject) -> Result<Option<String>> {
        self.read(|db| async move { documents::get(&db, subject).await }).await
    }

    async fn documents(&self, kind: SubjectKind) -> Result<Vec<Document>> {
        self.read(|db| async move { documents::all(&db, kind).await }).await
    }

    async fn put_document(&self, document: &Document) -> Result<()> {
        let document = document.clone();
        self.write(|db| async move { documents::put(&db, &document).await }).await
    }

    async fn remove_document(&self, subject: Subject) -> Result<()> {
        self.write(|db| async move { documents::remove(&db, subject).await }).await
    }

    async fn begin_operation(&self, operation: &OperationRecord) -> Result<()> {
        let operation = operation.clone();
        self.write(|db| async move { operations::begin_one(&db, &operation).await }).await
    }

    async fn operation(&self, id: OperationId) -> Result<Option<OperationRecord>> {
        self.read(|db| async move { operations::get(&db, id).await }).await
    }

    async fn latest_operation(&self, subject: Subject) -> Result<Option<OperationRecord>> {
        self.read(|db| async move { operations::latest(&db, subject).await }).await
    }

    async fn latest_operation_called(&self, kind: SubjectKind, name: &str) -> Result<Option<OperationRecord>> {
        let name = name.to_owned();
        self.read(|db| async move { operations::latest_called(&db, kind, &name).await }).await
    }

    async fn set_operation_state(
        &self,
        id: OperationId,
        state: OperationState,
        failure: Option<&Failure>,
        events: &[NewEvent],
    ) -> Result<Vec<Event>> {
        let (failure, events) = (failure.cloned(), events.to_vec());
        self.write(|db| async move { operations::set_state(&db, id, state, failure.as_ref(), &events).await }).await
    }

    async fn replace_steps(&self, id: OperationId, steps: &[StepRecord]) -> Result<()> {
        let steps = steps.to_vec();
        self.write(|db| async move { operations::replace_steps(&db, id, &steps).await }).await
    }

    async fn set_step(
        &self,
        id: OperationId,
        index: usize,
        state: StepState,
        output: Option<&str>,
        events: &[NewEvent],
    ) -> Result<Vec<Event>> {
        let (output, events) = (output.map(str::to_owned), events.to_vec());
        self.write(|db| async move { operations::set_step(&db, id, index, state, output.as_deref(), &events).await })
            .await
    }

    async fn append_events(&self, events: &[NewEvent]) -> Result<Vec<Event>> {
        let events = events.to_vec();
        self.write(|db| async move { events::append(&db, &events).await }).await
    }

    async fn events(&self, after: EventNumber, filter: &EventFilter, limit: u32) -> Result<Vec<Event>> {
        let filter = filter.clone();
        self.read(|db| async move { events::after(&db, after, &filter, limit).await }).await
    }

    async fn last_event(&self) -> Result<EventNumber> {
        self.read(|db| async move { Ok(events::last(&db).await?) }).await
    }

    async fn operations_to_forget(&self, before: Timestamp) -> Result<Vec<OperationId>> {
        self.read(|db| async move { forgetting::operations(&db, before).await }).await
    }

    async fn forget_events(&self, operation: OperationId, limit: u32) -> Result<u32> {
        self.write(|db| async move { forgetting::forget(&db, operation, limit).await }).await
    }

    async fn has_forgotten(&self, kind: SubjectKind, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.read(|db| async move { forgetting::has_forgotten(&db, kind, &name).await }).await
    }

    async fn last_forgetting(&self) -> Result<Option<Timestamp>> {
        self.read(|db| async move { forgetting::last(&db).await }).await
    }

    async fn set_last_forgetting(&self, time: Timestamp) -> Result<()> {
        self.write(|db| async move { forgetting::set_last(&db, time).await }).await
    }

    async fn acquire_lease(
        &self,
        subject: Subject,
        token: LeaseToken,
        owner: &LeaseOwner,
        ttl: Duration,
        instead: Option<&Lease>,
    ) -> Result<LeaseAnswer> {
        let (owner, instead) = (owner.clone(), instead.cloned());
        self.write(|db| async move { leases::acquire(&db, subject, token, &owner, ttl, instead.as_ref()).await }).await
    }

    async fn renew_lease(&self, subject: Subject, token: LeaseToken, ttl: Duration) -> Result<bool> {
        self.write(|db| async move { leases::renew(&db, subject, token, ttl).await }).await
    }

    async fn release_lease(&self, subject: Subject, token: LeaseToken) -> Result<()> {
        self.write(|db| async move { leases::release(&db, subject, token).await }).await
    }

    async fn lease(&self, subject: Subject) -> Result<Option<Lease>> {
        self.read(|db| async move { leases::get(&db, subject).await }).await
    }

    async fn put_child(&self, child: &ChildRecord) -> Result<()> {
        let child = child.clone();
        self.write(|db| async move { children::put(&db, &child).await }).await
    }

    async fn children(&self, subject: Subject) -> Result<Vec<ChildRecord>> {
        // On SQLite this waits behind earlier writes, also one whose caller was dropped while it recorded a child.
        self.write(|db| async move { children::of(&db, subject).await }).await
    }

    async fn remove_child(&self, child: &ChildRecord) -> Result<()> {
        let child = child.clone();
        self.write(|db| async move { children::remove(&db, &child).await }).await
    }

    async fn put_secret(&self, owner: Option<Subject>, name: &str, secret: &Secret) -> Result<()> {
        let (key, name, secret) = (self.key.clone(), name.to_owned(), secret.clone());
        self.write(|db| async move { secrets::put(&db, &key, owner, &name, &secret).await }).await
    }

    async fn secret(&self, owner: Option<Subject>, name: &str) -> Result<Option<Secret>> {
        let (key, name) = (self.key.clone(), name.to_owned());
        self.read(|db| async move { secrets::get(&db, &key, owner, &name).await }).await
    }

    async fn secret_names(&self) -> Result<Vec<String>> {
        self.read(|db| async move { secrets::names(&db).await }).await
    }

    async fn remove_secret(&self, owner: Option<Subject>, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.write(|db| async move { secrets::remove(&db, owner, &name).await }).await
    }
}
