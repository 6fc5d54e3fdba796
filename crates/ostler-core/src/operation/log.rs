//! The event log as an operation writes it; [`Subscription`] is how a frontend follows it.
//!
//! A transaction costs the same for one event as for many, and there is one writer at a time. So while one event is being
//! stored, those of other operations gather, and whoever is next stores them all. Each report still returns only once its
//! event is durable, and one operation alone waits for nobody.
//!
//! An event stays among the gathered until the store has said that it has it. Where a report is dropped in between, or the
//! store fails, nobody knows whether it has, so the event is stored again: its id keeps it from being there twice. What changes
//! the journal, and the event that tells of it, are one transaction: neither is ever there without the other.
//!
//! Once an event is stored it is told to all who follow the log in this process, with its number. Progress is told, too, and not stored.

use crate::{
    error::{Blame, Failure, Result},
    event::{Event, EventKind, NewEvent},
    ids::{EventNumber, OperationId, ServerName},
    model::{OperationState, StepState},
    operation::Subscription,
    ports::{EventFilter, Reporter, Store},
    subject::Subject,
};
use async_trait::async_trait;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::{Mutex as Turn, broadcast};

/// Appends events, and tells them to those who follow it in this process.
pub struct EventLog {
    store: Arc<dyn Store>,
    gathered: Mutex<Vec<NewEvent>>,
    /// Whoever stores has it.
    turn: Turn<()>,
    live: broadcast::Sender<Arc<Event>>,
}

/// A change of the journal.
pub(super) enum Change<'c> {
    /// Where the operation stands.
    State(OperationState, Option<&'c Failure>),
    /// Where a step stands, and its output where it has found it out.
    Step(usize, StepState, Option<&'c str>),
}

/// Time until the store is asked again that has failed; the next time it is twice as long.
const PAUSE: Duration = Duration::from_millis(50);
/// How many events a subscriber may be behind before it reads them from the store.
const BACKLOG: usize = 1024;
/// How often the store is asked to note the end of an operation.
const TRIES: u32 = 5;

impl EventLog {
    /// Over a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, gathered: Mutex::default(), turn: Turn::default(), live: broadcast::Sender::new(BACKLOG) }
    }

    /// A reporter for one subject.
    pub fn scope(&self, about: Option<(Subject, &ServerName)>, operation: Option<OperationId>) -> ScopedReporter<'_> {
        let about = about.map(|(subject, server)| (subject, server.to_string()));
        ScopedReporter { log: self, about, operation }
    }

    /// The same for a subject of any kind.
    pub fn scope_named(&self, subject: Subject, name: &str, operation: OperationId) -> ScopedReporter<'_> {
        ScopedReporter { log: self, about: Some((subject, name.to_owned())), operation: Some(operation) }
    }

    /// Follows the log: the events after `after`, then those that come.
    pub fn follow(self: &Arc<Self>, after: EventNumber, filter: EventFilter) -> Subscription {
        Subscription::new(Arc::clone(self), self.live.subscribe(), after, filter)
    }

    pub(super) async fn stored_events(
        &self,
        after: EventNumber,
        filter: &EventFilter,
        limit: usize,
    ) -> Result<Vec<Event>> {
        self.store.events(after, filter, u32::try_from(limit).unwrap_or(u32::MAX)).await
    }

    /// Stores what could not be stored before. Fails if the store still does not take all of it.
    pub async fn flush(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let Err(mut failure) = self.store_gathered().await else { return Ok(()) };
        // One that can't be stored keeps back no other. Two in a row: it is not the events' fault.
        let mut in_a_row = 0;
        let events = self.gathered().clone();
        for event in events {
            match self.store.append_events(std::slice::from_ref(&event)).await {
                Ok(appended) => {
                    self.stored(&[event], appended);
                    in_a_row = 0;
                }
                Err(again) => (failure, in_a_row) = (again, in_a_row + 1),
            }
            if in_a_row == 2 {
                break;
            }
        }
        match self.gathered().len() {
            0 => Ok(()),
            1 => Err(failure.because_of("an event could not be stored and is missing from the log")),
            count => {
                Err(failure.because_of(format!("{count} events could not be stored and are missing from the log")))
            }
        }
    }

    /// Returns once the event is stored, together with all that were gathered until it was its turn. Where the store fails
    /// it is kept for the next one's turn.
    async fn append(&self, event: NewEvent) {
        if !event.kind.is_stored() {
            return self.tell([Event::placed(EventNumber::default(), jiff::Timestamp::now(), event)]);
        }
        let id = event.id;
        self.gathered().push(event);
        let _turn = self.turn.lock().await;
        if self.gathered().iter().any(|event| event.id == id) {
            // Kept, and told by `flush`.
            let _ = self.store_gathered().await;
        }
    }

    /// Stores the event in one transaction with the change that it tells of, after all that were gathered.
    async fn journal(&self, operation: OperationId, change: &Change<'_>, event: Option<NewEvent>) -> Result<()> {
        let events: Vec<NewEvent> = event.into_iter().collect();
        let _turn = self.turn.lock().await;
        // Kept, and told by `flush`.
        let _ = self.store_gathered().await;
        match change {
            Change::Step(index, state, output) => {
                self.tell(self.store.set_step(operation, *index, *state, *output, &events).await?);
            }
            Change::State(state, failure) => {
                let mut tries = if state.is_end() { TRIES } else { 1 };
                let mut pause = PAUSE;
                let appended = loop {
                    match self.store.set_operation_state(operation, *state, *failure, &events).await {
                        Ok(appended) => break appended,
                        Err(failure) if tries == 1 => return Err(failure),
                        Err(_) => tokio::time::sleep(pause).await,
                    }
                    (tries, pause) = (tries - 1, pause * 2);
                };
                self.tell(appended);
            }
        }
        Ok(())
    }

    /// Stores all that are gathered, in their order; the caller has the turn. Where the store fails again, all of them stay.
    async fn store_gathered(&self) -> Result<()> {
        let events = self.gathered().clone();
        if events.is_empty() {
            return Ok(());
        }
        let appended = match self.store.append_events(&events).await {
            Ok(appended) => appended,
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                self.store.append_events(&events).await?
            }
        };
        self.stored(&events, appended);
        Ok(())
    }

    /// The store has them; `appended` are those that it did not have already.
    fn stored(&self, events: &[NewEvent], appended: Vec<Event>) {
        self.gathered().retain(|gathered| events.iter().all(|event| event.id != gathered.id));
        self.tell(appended);
    }

    /// Tells those who follow. Whoever tells of stored events has the turn, so they are told in their order.
    fn tell(&self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            let _ = self.live.send(Arc::new(event)); // it may be that nobody follows
        }
    }

    fn gathered(&self) -> std::sync::MutexGuard<'_, Vec<NewEvent>> {
        self.gathered.lock().expect("no panic while held")
    }
}

/// Reports events of one subject.
pub struct ScopedReporter<'a> {
    log: &'a EventLog,
    about: Option<(Subject, String)>,
    operation: Option<OperationId>,
}

impl ScopedReporter<'_> {
    /// Journals that the operation came to an end, and tells it.
    pub async fn end(&self, state: OperationState, failure: Option<&Failure>, seconds: f64) -> Result<()> {
        let ended = EventKind::OperationEnded { state, failure: failure.cloned(), seconds };
        self.journal(&Change::State(state, failure), Some(ended)).await
    }

    /// Changes the operation's journal, and tells it.
    pub(super) async fn journal(&self, change: &Change<'_>, kind: Option<EventKind>) -> Result<()> {
        let operation = self.operation.ok_or_else(|| Failure::new(Blame::Bug, "only an operation has a journal"))?;
        self.log.journal(operation, change, kind.map(|kind| self.event(kind))).await
    }

    fn event(&self, kind: EventKind) -> NewEvent {
        NewEvent::about(self.about.clone(), self.operation, kind)
    }
}

#[async_trait]
impl Reporter for ScopedReporter<'_> {
    async fn report(&self, kind: EventKind) {
        self.log.append(self.event(kind)).await;
    }
}
