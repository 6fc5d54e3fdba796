//! The event log as an operation writes it and a face follows it.
//!
//! A transaction costs the same for one event as for many, and there is one writer at a time. So while one event is being
//! stored, those of other operations gather, and whoever is next stores them all. Each report still returns only once its
//! event is durable, and one operation alone waits for nobody.

use crate::{
    error::Result,
    event::{Event, EventKind, NewEvent},
    ids::{EventNumber, OperationId, ServerName},
    ports::{EventFilter, Reporter, Store},
};
use async_trait::async_trait;
use std::{sync::Mutex, time::Duration};
use tokio::sync::{Mutex as Turn, Notify};

/// Appends events, and wakes who follows them in this process.
pub struct EventLog<'a> {
    store: &'a dyn Store,
    gathered: Mutex<Gathered>,
    /// How many events are through, in the order in which they were gathered.
    through: Turn<u64>,
    appended: Notify,
}

/// Events that wait to be stored.
#[derive(Default)]
struct Gathered {
    events: Vec<NewEvent>,
    /// How many were ever gathered.
    count: u64,
}

impl<'a> EventLog<'a> {
    /// Over a store.
    pub fn new(store: &'a dyn Store) -> Self {
        Self { store, gathered: Mutex::default(), through: Turn::default(), appended: Notify::new() }
    }

    /// A reporter for one subject.
    pub fn scope(&self, server: Option<&ServerName>, operation: Option<OperationId>) -> ScopedReporter<'_> {
        ScopedReporter { log: self, server: server.cloned(), operation }
    }

    /// The events after `after`, waiting up to `patience` for the first one. Events of other processes are found at the
    /// latest when the patience ends, so keep it short when following another process.
    pub async fn next(&self, after: EventNumber, filter: &EventFilter, patience: Duration) -> Result<Vec<Event>> {
        let appended = self.appended.notified();
        let events = self.store.events(after, filter, 500).await?;
        if !events.is_empty() {
            return Ok(events);
        }
        let _ = tokio::time::timeout(patience, appended).await;
        self.store.events(after, filter, 500).await
    }

    /// Returns once the event is stored, together with all that were gathered until it was its turn.
    async fn append(&self, event: NewEvent) {
        let number = {
            let mut gathered = self.gathered();
            gathered.events.push(event);
            gathered.count += 1;
            gathered.count
        };
        let mut through = self.through.lock().await;
        if *through >= number {
            return;
        }
        let (events, count) = {
            let gathered = self.gathered();
            (gathered.events.clone(), gathered.count)
        };
        // Taken out only afterwards: if this is dropped now, the next one stores them.
        let stored = self.store.append_events(&events).await.is_ok();
        self.gathered().events.drain(..events.len());
        *through = count;
        drop(through);
        if stored {
            self.appended.notify_waiters();
        }
    }

    fn gathered(&self) -> std::sync::MutexGuard<'_, Gathered> {
        self.gathered.lock().expect("no panic while held")
    }
}

/// Reports events of one subject.
pub struct ScopedReporter<'a> {
    log: &'a EventLog<'a>,
    server: Option<ServerName>,
    operation: Option<OperationId>,
}

#[async_trait]
impl Reporter for ScopedReporter<'_> {
    async fn report(&self, kind: EventKind) {
        self.log.append(NewEvent { server: self.server.clone(), operation: self.operation, kind }).await;
    }
}
