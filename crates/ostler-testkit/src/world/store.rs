//! A store whose calls can go wrong.

use super::Faults;
use async_trait::async_trait;
use jiff::Timestamp;
use ostler_core::{
    Failure, Result,
    event::{Event, NewEvent},
    ids::{EventNumber, LeaseToken, OperationId, ServerName, StateId},
    model::{OperationKind, OperationRecord, OperationState, ServerOverview, ServerRecord, StepRecord, StepState},
    ports::{ChildRecord, Document, EventFilter, Lease, LeaseAnswer, LeaseOwner, Store},
    secret::Secret,
    subject::{Subject, SubjectKind},
};
use std::{sync::Arc, time::Duration};

/// A real store, and what goes wrong with its writes. Reads change nothing, so there a fault has nothing to show.
pub struct FaultyStore<S> {
    /// The real one.
    pub store: S,
    /// What goes wrong.
    pub faults: Arc<Faults>,
}

#[async_trait]
impl<S: Store> Store for FaultyStore<S> {
    async fn state_id(&self) -> Result<StateId> {
        self.store.state_id().await
    }

    async fn subject(&self, kind: SubjectKind, name: &str) -> Result<Option<Subject>> {
        self.store.subject(kind, name).await
    }

    async fn claim_name(&self, kind: SubjectKind, name: &str) -> Result<Subject> {
        // One that is given already is only read.
        match self.store.subject(kind, name).await? {
            Some(known) => Ok(known),
            None => self.faults.around("store.claim_name", self.store.claim_name(kind, name)).await,
        }
    }

    async fn server(&self, name: &ServerName) -> Result<Option<ServerRecord>> {
        self.store.server(name).await
    }

    async fn overview(&self) -> Result<Vec<ServerOverview>> {
        self.store.overview().await
    }

    async fn put_server(&self, server: &ServerRecord) -> Result<()> {
        self.faults.around("store.put_server", self.store.put_server(server)).await
    }

    async fn remove_server(&self, server: Subject) -> Result<()> {
        self.faults.around("store.remove_server", self.store.remove_server(server)).await
    }

    async fn document(&self, subject: Subject) -> Result<Option<String>> {
        self.store.document(subject).await
    }

    async fn documents(&self, kind: SubjectKind) -> Result<Vec<Document>> {
        self.store.documents(kind).await
    }

    async fn put_document(&self, document: &Document) -> Result<()> {
        self.faults.around("store.put_document", self.store.put_document(document)).await
    }

    async fn remove_document(&self, subject: Subject) -> Result<()> {
        self.faults.around("store.remove_document", self.store.remove_document(subject)).await
    }

    async fn begin_operation(&self, operation: &OperationRecord) -> Result<()> {
        self.faults.around("store.begin_operation", self.store.begin_operation(operation)).await
    }

    async fn operation(&self, id: OperationId) -> Result<Option<OperationRecord>> {
        self.store.operation(id).await
    }

    async fn latest_operation(&self, subject: Subject) -> Result<Option<OperationRecord>> {
        self.store.latest_operation(subject).await
    }

    async fn latest_operation_called(&self, kind: SubjectKind, name: &str) -> Result<Option<OperationRecord>> {
        self.store.latest_operation_called(kind, name).await
    }

    async fn set_operation_state(
        &self,
        id: OperationId,
        state: OperationState,
        failure: Option<&Failure>,
        events: &[NewEvent],
    ) -> Result<Vec<Event>> {
        let call = format!("store.set_operation_state {state:?}");
        self.faults.around(&call, self.store.set_operation_state(id, state, failure, events)).await
    }

    async fn replace_steps(&self, id: OperationId, steps: &[StepRecord]) -> Result<()> {
        self.faults.around("store.replace_steps", self.store.replace_steps(id, steps)).await
    }

    async fn set_step(
        &self,
        id: OperationId,
        index: usize,
        state: StepState,
        output: Option<&str>,
        events: &[NewEvent],
    ) -> Result<Vec<Event>> {
        let operation = self.store.operation(id).await?.expect("a step of an operation that was begun");
        let call = set_step(operation.kind, &operation.steps[index].name, state);
        self.faults.around(&call, self.store.set_step(id, index, state, output, events)).await
    }

    async fn append_events(&self, events: &[NewEvent]) -> Result<Vec<Event>> {
        self.faults.around("store.append_events", self.store.append_events(events)).await
    }

    async fn events(&self, after: EventNumber, filter: &EventFilter, limit: u32) -> Result<Vec<Event>> {
        self.store.events(after, filter, limit).await
    }

    async fn last_event(&self) -> Result<EventNumber> {
        self.store.last_event().await
    }

    async fn operations_to_forget(&self, before: Timestamp) -> Result<Vec<OperationId>> {
        self.store.operations_to_forget(before).await
    }

    async fn forget_events(&self, operation: OperationId, limit: u32) -> Result<u32> {
        self.faults.around("store.forget_events", self.store.forget_events(operation, limit)).await
    }

    async fn has_forgotten(&self, kind: SubjectKind, name: &str) -> Result<bool> {
        self.store.has_forgotten(kind, name).await
    }

    async fn last_forgetting(&self) -> Result<Option<Timestamp>> {
        self.store.last_forgetting().await
    }

    async fn set_last_forgetting(&self, time: Timestamp) -> Result<()> {
        self.store.set_last_forgetting(time).await
    }

    async fn acquire_lease(
        &self,
        subject: Subject,
        token: LeaseToken,
        owner: &LeaseOwner,
        ttl: Duration,
        instead: Option<&Lease>,
    ) -> Result<LeaseAnswer> {
        let work = self.store.acquire_lease(subject, token, owner, ttl, instead);
        self.faults.around("store.acquire_lease", work).await
    }

    async fn renew_lease(&self, subject: Subject, token: LeaseToken, ttl: Duration) -> Result<bool> {
        self.faults.around("store.renew_lease", self.store.renew_lease(subject, token, ttl)).await
    }

    async fn release_lease(&self, subject: Subject, token: LeaseToken) -> Result<()> {
        self.faults.around("store.release_lease", self.store.release_lease(subject, token)).await
    }

    async fn lease(&self, subject: Subject) -> Result<Option<Lease>> {
        self.store.lease(subject).await
    }

    async fn put_child(&self, child: &ChildRecord) -> Result<()> {
        self.faults.around("store.put_child", self.store.put_child(child)).await
    }

    async fn children(&self, subject: Subject) -> Result<Vec<ChildRecord>> {
        self.store.children(subject).await
    }

    async fn remove_child(&self, child: &ChildRecord) -> Result<()> {
        self.faults.around("store.remove_child", self.store.remove_child(child)).await
    }

    async fn put_secret(&self, owner: Option<Subject>, name: &str, secret: &Secret) -> Result<()> {
        self.faults.around("store.put_secret", self.store.put_secret(owner, name, secret)).await
    }

    async fn secret(&self, owner: Option<Subject>, name: &str) -> Result<Option<Secret>> {
        self.store.secret(owner, name).await
    }

    async fn secret_names(&self) -> Result<Vec<String>> {
        self.store.secret_names().await
    }

    async fn remove_secret(&self, owner: Option<Subject>, name: &str) -> Result<bool> {
        self.faults.around("store.remove_secret", self.store.remove_secret(owner, name)).await
    }
}

/// Name of the call that journals a step: `store.set_step Create machine Done`.
pub fn set_step(kind: OperationKind, step: &str, state: StepState) -> String {
    format!("store.set_step {kind:?} {step} {state:?}")
}
