//! One work: the task that does it, how it is stopped, and how its end is heard of.

use crate::{Inner, Request, not_begun};
use ostler_core::{
    Blame, Failure, Result,
    ids::ServerName,
    operation::{Interrupt, Leaser},
    ports::LeaseOwner,
    server::up::Resumed,
    world::World,
};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::AbortHandle};

/// Which work of this process, in the order of their start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkId(pub u64);

impl fmt::Display for WorkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A work that was started. Dropping this stops nothing.
#[derive(Clone, Debug)]
pub struct Work {
    id: WorkId,
    server: ServerName,
    ended: watch::Receiver<Option<Ended>>,
}

/// How a work ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What it came to.
    pub result: Result<Resumed>,
    /// How long it took, without the time that it waited its turn.
    pub time: Duration,
}

impl Work {
    /// By which it can be stopped.
    pub fn id(&self) -> WorkId {
        self.id
    }

    /// What it works on.
    pub fn server(&self) -> &ServerName {
        &self.server
    }

    /// Returns once it is over: then all its events are told, and the server is free for other work.
    pub async fn ended(&mut self) -> Ended {
        let gone = || Ended { result: Err(Interrupt::failure()), time: Duration::ZERO };
        match self.ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or_else(gone),
            Err(_) => gone(),
        }
    }
}

/// A work on the service's list.
pub(crate) struct Entry {
    pub server: ServerName,
    pub doing: &'static str,
    pub since: jiff::Timestamp,
    interrupt: watch::Sender<bool>,
    task: AbortHandle,
    stopped: bool,
}

impl Entry {
    pub fn cancel(&self) {
        self.interrupt.send_replace(true);
    }

    /// Its task is dropped as soon as it comes to an await.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.task.abort();
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped
    }
}

/// Starts the task; the caller puts the entry on the list.
pub(crate) fn begin(service: &Arc<Inner>, id: WorkId, request: Request) -> (Entry, Work) {
    let (interrupt, asked) = Interrupt::new();
    let (telling, ended) = watch::channel(None);
    let (server, doing) = (request.server().clone(), request.doing());
    let world = World { interrupt: asked, leaser: leaser_for(&service.world, doing), ..service.world.clone() };
    let course = Course { service: Arc::clone(service), id, ended: telling };
    let task = tokio::spawn(course.run(world, request)).abort_handle();
    let entry = Entry { server: server.clone(), doing, since: jiff::Timestamp::now(), interrupt, task, stopped: false };
    (entry, Work { id, server, ended })
}

/// Others are told what this very work does.
fn leaser_for(world: &World, doing: &str) -> Arc<Leaser> {
    let Leaser { store, owner, ttl, liveness } = &*world.leaser;
    let owner = LeaseOwner { doing: doing.to_owned(), ..owner.clone() };
    Arc::new(Leaser { store: store.clone(), owner, ttl: *ttl, liveness: liveness.clone() })
}

/// A work while it lasts. However it ends, also where its task is dropped, it leaves the list and then tells its end.
struct Course {
    service: Arc<Inner>,
    id: WorkId,
    ended: watch::Sender<Option<Ended>>,
}

impl Course {
    async fn run(self, world: World, request: Request) {
        let server = request.server();
        let permit = tokio::select! {
            biased;
            permit = self.service.permits.acquire() => permit.ok(),
            () = world.interrupt.wait() => None,
        };
        let begun = Instant::now();
        if permit.is_none() || world.interrupt.is_set() {
            return self.end(Ended { result: Err(not_begun(server)), time: Duration::ZERO });
        }
        let expected = world.engine.expect(server);
        let result = world.leaser.hold(server, request.perform(&world)).await;
        drop((expected, permit));
        self.end(Ended { result, time: begun.elapsed() });
    }

    fn end(&self, ended: Ended) {
        self.service.works().under_way.remove(&self.id);
        self.service.over.notify_waiters();
        self.ended.send_replace(Some(ended));
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        if self.ended.borrow().is_some() {
            return;
        }
        let stopped = self.service.works().under_way.get(&self.id).is_none_or(Entry::is_stopped);
        let failure = match stopped {
            true => Interrupt::failure(),
            false => Failure::new(Blame::Bug, "the work broke off, for a reason that it did not tell"),
        };
        self.end(Ended { result: Err(failure), time: Duration::ZERO });
    }
}
