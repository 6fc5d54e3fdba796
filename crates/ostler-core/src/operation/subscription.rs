//! The event log as a frontend follows it: first what is stored, then what happens, each event once and in the order of its number.
//!
//! Numbers have no gaps, so whoever has seen number 7 and hears of 9 knows that something is missing: an event of another process, or one
//! whose reporter was dropped. It is then read from the store, as is all that came while a subscriber was slow. What another process
//! stores while nothing happens in this one is found by asking from time to time.

use crate::{error::Result, event::Event, ids::EventNumber, operation::EventLog, ports::EventFilter};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::broadcast::{Receiver, error::TryRecvError},
    time::timeout,
};

/// How long to wait for an event of this process before the store is asked for those of others.
const PATIENCE: Duration = Duration::from_millis(500);
/// Most events that are read at once.
const BATCH: usize = 500;

/// Follows the events that a filter lets through. It owns what it needs, and may be slow: nobody waits for it.
pub struct Subscription {
    log: Arc<EventLog>,
    filter: EventFilter,
    live: Receiver<Arc<Event>>,
    /// All events up to this one were returned, or are not wanted.
    after: EventNumber,
    /// All events up to this one are in the store for certain.
    stored: EventNumber,
    /// There may be some in the store that were not heard of.
    behind: bool,
}

impl Subscription {
    pub(super) fn new(log: Arc<EventLog>, live: Receiver<Arc<Event>>, after: EventNumber, filter: EventFilter) -> Self {
        Self { log, filter, live, after, stored: after, behind: true }
    }

    /// What happens next: at least one event. The future may be dropped at any time, and nothing is lost by that.
    ///
    /// Progress is not in the log. It has the number of the event before it, so a reader that begins anew after any number that it saw
    /// misses no event.
    ///
    /// Fails if the store can't be read; the next call goes on where this one stood.
    pub async fn next(&mut self) -> Result<Vec<Event>> {
        loop {
            let events = self.at_hand().await?;
            if !events.is_empty() {
                return Ok(events);
            }
            match timeout(PATIENCE, self.live.recv()).await {
                Ok(Ok(event)) => {
                    if let Some(event) = self.heard(&event) {
                        return Ok(vec![event]);
                    }
                }
                _ => self.behind = true,
            }
        }
    }

    /// What happened until now and was not returned yet, or a part of it; nothing once all of it was. Does not wait.
    pub async fn rest(&mut self) -> Result<Vec<Event>> {
        let events = self.at_hand().await?;
        if !events.is_empty() {
            return Ok(events);
        }
        self.behind = true;
        self.at_hand().await
    }

    async fn at_hand(&mut self) -> Result<Vec<Event>> {
        loop {
            if self.behind {
                let events = self.read().await?;
                if !events.is_empty() {
                    return Ok(events);
                }
            }
            match self.live.try_recv() {
                Ok(event) => {
                    if let Some(event) = self.heard(&event) {
                        return Ok(vec![event]);
                    }
                }
                Err(TryRecvError::Lagged(_)) => self.behind = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(Vec::new()),
            }
        }
    }

    /// The event, if it is the next one and wanted.
    fn heard(&mut self, event: &Event) -> Option<Event> {
        let wanted = self.filter.lets_through(event);
        if !event.kind.is_stored() {
            return wanted.then(|| Event { number: self.after, ..event.clone() });
        }
        self.stored = self.stored.max(event.number);
        if event.number.0 != self.after.0 + 1 {
            self.behind |= event.number > self.after;
            return None;
        }
        self.after = event.number;
        wanted.then(|| event.clone())
    }

    /// The next ones from the store. Where that has no more, all up to the last one heard of were among them, for events are stored in
    /// the order of their numbers.
    async fn read(&mut self) -> Result<Vec<Event>> {
        let events = self.log.stored_events(self.after, &self.filter, BATCH).await?;
        if events.len() < BATCH {
            self.behind = false;
            self.after = self.after.max(self.stored);
        }
        self.after = self.after.max(events.last().map_or(self.after, |event| event.number));
        Ok(events)
    }
}
