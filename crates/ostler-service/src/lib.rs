//! What every frontend stands on: starts work on servers, stops it, and shows what happens.
//!
//! Each [`Work`] is a task of its own, which holds the lease on its server, runs the operations that the request comes to, and ends with a
//! result. It goes on whether or not anybody waits for it. What it does is known by its events only ([`Service::follow`]).
//!
//! No adapter is known here: whoever starts Ostler joins them to a [`World`] and hands that over.

mod request;
mod retention;
mod work;

pub use request::Request;
pub use work::{Ended, Work, WorkId};

use ostler_core::{
    Blame, Failure, Result,
    hint::{Hint, Next},
    ids::{EventNumber, ServerName},
    operation::{Interrupt, Subscription},
    ports::EventFilter,
    world::World,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};
use tokio::sync::{Notify, Semaphore};

/// How much is done at once, and how long is remembered what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most servers that are worked on at the same time; further work waits its turn.
    pub at_once: u16,
    /// How long the events of operations that ended are kept; `None`: for ever.
    pub keep_events: Option<Duration>,
}

/// Starts work, and knows what is under way. A clone is another handle to the same service.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    world: World,
    keep_events: Option<Duration>,
    permits: Arc<Semaphore>,
    works: Mutex<Works>,
    /// Some work is over.
    over: Notify,
    forgetting: AtomicBool,
}

#[derive(Default)]
struct Works {
    last: u64,
    under_way: BTreeMap<WorkId, work::Entry>,
}

/// A work that is under way, or waits its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// By which it can be stopped.
    pub id: WorkId,
    /// What it works on.
    pub server: ServerName,
    /// What it does, as others are told who find the server's lease: `up`, `destroy`.
    pub doing: &'static str,
    /// When it was started.
    pub since: jiff::Timestamp,
}

impl Service {
    /// Over the world. Nothing is done before something is started.
    pub fn new(world: World, limits: Limits) -> Self {
        Self(Arc::new(Inner {
            world,
            keep_events: limits.keep_events,
            permits: Arc::new(Semaphore::new(usize::from(limits.at_once))),
            works: Mutex::default(),
            over: Notify::new(),
            forgetting: AtomicBool::new(false),
        }))
    }

    /// What all work is done with.
    pub fn world(&self) -> &World {
        &self.0.world
    }

    /// Starts a work. It is refused at once where this very service works on the server already; where another process does, the work
    /// ends with that. Events of long ago are forgotten meanwhile, where that is due.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub fn start(&self, request: Request) -> Result<Work> {
        let work = self.begin(request)?;
        self.forget_if_due();
        Ok(work)
    }

    fn begin(&self, request: Request) -> Result<Work> {
        let mut works = self.0.works();
        if let Some(other) = works.under_way.values().find(|other| other.server == *request.server()) {
            let message = format!("{} is at work already: {}", other.server, other.doing);
            let hint = Hint::from(Next::FollowLog(other.server.clone())).with(" shows it; wait for its end");
            return Err(Failure::new(Blame::User, message).with_hint(hint));
        }
        works.last += 1;
        let id = WorkId(works.last);
        // Its task can't take itself off the list before it stands there, for the list is locked until then.
        let (entry, work) = work::begin(&self.0, id, request);
        works.under_way.insert(id, entry);
        Ok(work)
    }

    /// What is under way or waits its turn, oldest first.
    pub fn list(&self) -> Vec<UnderWay> {
        let works = self.0.works();
        let under_way = works.under_way.iter().map(|(id, entry)| UnderWay {
            id: *id,
            server: entry.server.clone(),
            doing: entry.doing,
            since: entry.since,
        });
        under_way.collect()
    }

    /// Asks a work to stop at its next step boundary; one that waits its turn is not begun. `false` where it is over already.
    pub fn cancel(&self, id: WorkId) -> bool {
        let works = self.0.works();
        works.under_way.get(&id).inspect(|entry| entry.cancel()).is_some()
    }

    /// Asks all work to stop at its next step boundary.
    pub fn cancel_all(&self) {
        self.0.works().under_way.values().for_each(work::Entry::cancel);
    }

    /// Drops all work at once, and with it its children; returns when they are gone. What remains can be resumed, as after a crash.
    pub async fn stop_now(&self) {
        self.0.works().under_way.values_mut().for_each(work::Entry::stop);
        loop {
            let over = self.0.over.notified();
            if self.0.works().under_way.values().all(|entry| !entry.is_stopped()) {
                return;
            }
            over.await;
        }
    }

    /// The events after `after` that the filter lets through, then those that come, also of other processes.
    pub fn follow(&self, after: EventNumber, filter: EventFilter) -> Subscription {
        self.0.world.log.follow(after, filter)
    }
}

impl Inner {
    fn works(&self) -> MutexGuard<'_, Works> {
        self.works.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How work ends that was asked to stop before its turn came.
fn not_begun(server: &ServerName) -> Failure {
    let failure = Interrupt::failure().because_of(format!("work on {server} did not begin"));
    failure.with_hint("the same command again begins it")
}
