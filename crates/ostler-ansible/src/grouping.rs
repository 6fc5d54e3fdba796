//! Runs for several servers, joined into one process of Ansible.
//!
//! A process of its own for each server costs its start, the reading of every role and about 100 MiB each time; see
//! `docs/benchmarks.md` for what joining saves. What is joined stays apart for whoever asked for it:
//!
//! - Each request hears of its own server only, is told how that one came out, and journals the process for it. The gate
//!   opens once all of them have done so.
//! - The process carries the ids of all of them, so that what is left of it is found from any of their journals. It is ended
//!   then, also for the others: they have died with the same Ostler. That an Ostler lives keeps others from it, for it holds
//!   the lease on each of these servers until their common process has ended.
//! - A server that fails, or whose request is given up, leaves the others alone: a request that is dropped takes its session
//!   with it, and so the only way to its server. The last one to be dropped takes the process with it.
//!
//! Ansible's `linear` strategy works task by task, and the slowest server holds up the others at each. Servers with the same
//! modules and apps do the same at the same time; those with others would only wait for one another, and are not joined.

mod share;

use crate::AnsibleEngine;
use async_trait::async_trait;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use ostler_core::{
    Result,
    event::AnsibleReport,
    ids::{RunId, ServerName},
    ports::{ChildRecord, Engine, Expected, RunHost, RunObserver, RunRequest, RunSummary},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

/// How long those that have arrived wait for the next one. One process more takes 0.8 s of a processor until its first task,
/// and then as much again for the roles.
const PATIENCE: Duration = Duration::from_secs(2);
/// Reports that one request may be behind. With more, Ansible waits for it.
const BACKLOG: usize = 16;

/// An [`Engine`] that joins runs which are asked for at about the same time.
pub struct GroupingEngine {
    player: Arc<dyn Player>,
    gatherings: Mutex<Vec<Gathering>>,
    /// Servers that are worked on, and whether their run has begun or waits to.
    under_way: watch::Sender<BTreeMap<ServerName, bool>>,
}

/// What plays a joined run.
#[async_trait]
pub(crate) trait Player: Engine {
    /// Plays `request`, which joins the runs `ids`; the first one is its own.
    async fn play(&self, ids: &[RunId], request: &RunRequest, observer: &dyn RunObserver) -> Result<RunSummary>;
}

/// A run that others may still join.
struct Gathering {
    run: WeakShared<BoxFuture<'static, Result<RunSummary>>>,
    members: Members,
}

/// `None` once it has begun.
type Members = Arc<Mutex<Option<Vec<Member>>>>;

/// One request of a joined run. It is given up when nobody hears it any more.
struct Member {
    request: RunRequest,
    words: mpsc::Sender<Word>,
}

/// What a request's observer is to be told.
enum Word {
    Started { pid: u32, start_ticks: u64, boot: String, recorded: oneshot::Sender<Result<()>> },
    Report(AnsibleReport),
}

impl GroupingEngine {
    /// Over the engine that runs Ansible.
    pub fn new(engine: AnsibleEngine) -> Self {
        Self::over(Arc::new(engine))
    }

    pub(crate) fn over(player: Arc<dyn Player>) -> Self {
        Self { player, gatherings: Mutex::default(), under_way: watch::Sender::default() }
    }

    /// Joins a gathering, or begins one.
    fn join(&self, member: Member) -> Shared<BoxFuture<'static, Result<RunSummary>>> {
        let mut gatherings = lock(&self.gatherings);
        gatherings.retain(|gathering| gathering.run.upgrade().is_some() && lock(&gathering.members).is_some());
        for Gathering { run, members } in &*gatherings {
            if let Some(run) = run.upgrade()
                && let Some(members) = lock(members).as_mut()
                && members.iter().all(|other| can_be_joined(&other.request, &member.request))
            {
                members.push(member);
                return run;
            }
        }
        let members: Members = Arc::new(Mutex::new(Some(vec![member])));
        let run = begin(Arc::clone(&self.player), Arc::clone(&members), self.under_way.subscribe()).boxed().shared();
        gatherings.extend(run.downgrade().map(|run| Gathering { run, members }));
        run
    }

    fn arrive(&self, hosts: &[RunHost]) -> Arrived {
        let servers: Vec<_> = hosts.iter().map(|host| host.name.clone()).collect();
        let arrived = Arrived { under_way: self.under_way.clone(), servers };
        arrived.set(true);
        arrived
    }
}

#[async_trait]
impl Engine for GroupingEngine {
    /// The runs of others wait a moment for that of `server`.
    fn expect(&self, server: &ServerName) -> Expected {
        self.under_way.send_modify(|servers| {
            servers.insert(server.clone(), false);
        });
        Box::new(OnItsWay { under_way: self.under_way.clone(), server: server.clone() })
    }

    async fn run(&self, request: RunRequest, observer: &dyn RunObserver) -> Result<RunSummary> {
        let _arrived = self.arrive(&request.hosts);
        let hosts: Vec<String> = request.hosts.iter().map(|host| host.name.to_string()).collect();
        let (words, mut heard) = mpsc::channel(BACKLOG);
        let mut run = self.join(Member { request, words });
        let summary = loop {
            tokio::select! {
                biased;
                Some(word) = heard.recv() => word.tell(observer).await,
                summary = &mut run => break summary?,
            }
        };
        while let Ok(word) = heard.try_recv() {
            word.tell(observer).await;
        }
        Ok(share::summary(summary, &hosts))
    }

    async fn end_leftovers(&self, child: &ChildRecord) -> Result<usize> {
        self.player.end_leftovers(child).await
    }

    fn pending_handlers(&self, before: &[(String, String)], reports: &[AnsibleReport]) -> Vec<(String, String)> {
        self.player.pending_handlers(before, reports)
    }
}

impl Word {
    async fn tell(self, observer: &dyn RunObserver) {
        match self {
            Self::Started { pid, start_ticks, boot, recorded } => {
                let _ = recorded.send(observer.child_started(pid, start_ticks, boot).await);
            }
            Self::Report(report) => observer.report(report).await,
        }
    }
}

/// Whether one process can do both. (A field that is new here has to be thought of, too.)
fn can_be_joined(one: &RunRequest, other: &RunRequest) -> bool {
    let RunRequest { playbook, run: _, hosts, strategy, catalog, check } = one;
    let same_work = |a: &RunHost, b: &RunHost| {
        a.name != b.name && ["modules", "apps"].iter().all(|name| a.vars.get(*name) == b.vars.get(*name))
    };
    (playbook, strategy, catalog, check) == (&other.playbook, &other.strategy, &other.catalog, &other.check)
        && hosts.iter().all(|host| other.hosts.iter().all(|another| same_work(host, another)))
}

/// Waits for those that are on their way, and then plays.
async fn begin(
    player: Arc<dyn Player>,
    members: Members,
    mut under_way: watch::Receiver<BTreeMap<ServerName, bool>>,
) -> Result<RunSummary> {
    while under_way.borrow_and_update().values().any(|arrived| !arrived)
        && matches!(timeout(PATIENCE, under_way.changed()).await, Ok(Ok(())))
    {}
    let members = lock(&members).take().unwrap_or_default();
    // Each of those that drive this is a member, so at least one is left.
    let members: Vec<_> = members.into_iter().filter(|member| !member.words.is_closed()).collect();
    let ids: Vec<RunId> = members.iter().map(|member| member.request.run).collect();
    let hosts = members.iter().flat_map(|member| member.request.hosts.iter().cloned()).collect();
    let request = RunRequest { hosts, ..members[0].request.clone() };
    let recipients = members.into_iter().map(|Member { request, words }| {
        let hosts = request.hosts.iter().map(|host| host.name.to_string()).collect();
        Recipient { hosts, words }
    });
    player.play(&ids, &request, &SharedObserver(recipients.collect())).await
}

/// The observer of a joined run: passes on to each request what is its own.
struct SharedObserver(Vec<Recipient>);

struct Recipient {
    hosts: Vec<String>,
    words: mpsc::Sender<Word>,
}

#[async_trait]
impl RunObserver for SharedObserver {
    async fn child_started(&self, pid: u32, start_ticks: u64, boot: String) -> Result<()> {
        let mut answers = Vec::new();
        for recipient in &self.0 {
            let (recorded, answer) = oneshot::channel();
            let word = Word::Started { pid, start_ticks, boot: boot.clone(), recorded };
            if recipient.words.send(word).await.is_ok() {
                answers.push(answer);
            }
        }
        for answer in answers {
            // Of a request that was given up in this moment there is nothing to wait for.
            answer.await.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    async fn report(&self, report: AnsibleReport) {
        if let [only] = self.0.as_slice() {
            let _ = only.words.send(Word::Report(report)).await;
            return;
        }
        for recipient in &self.0 {
            if let Some(part) =
                share::report(&report, &recipient.hosts, || self.0.iter().flat_map(|recipient| &recipient.hosts))
            {
                let _ = recipient.words.send(Word::Report(part)).await; // it may have been given up
            }
        }
    }
}

/// Keeps a server among those whose runs are waited for.
struct OnItsWay {
    under_way: watch::Sender<BTreeMap<ServerName, bool>>,
    server: ServerName,
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.under_way.send_modify(|servers| {
            servers.remove(&self.server);
        });
    }
}

/// Servers whose run has begun or waits to. Once it has ended they may ask for another.
struct Arrived {
    under_way: watch::Sender<BTreeMap<ServerName, bool>>,
    servers: Vec<ServerName>,
}

impl Arrived {
    fn set(&self, arrived: bool) {
        self.under_way.send_modify(|under_way| {
            for server in &self.servers {
                under_way.get_mut(server).into_iter().for_each(|entry| *entry = arrived);
            }
        });
    }
}

impl Drop for Arrived {
    fn drop(&mut self) {
        self.set(false);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
