//! One operation at a time per server.
//!
//! A lease belongs to one acquisition, which has a token of its own, not to a process: a process that asks twice is refused
//! the second time. Whether another holder still lives decides who may take its lease; the expiry only counts where that
//! can't be known, that is between machines which share a store.

use crate::{
    error::{Blame, Failure, Result},
    hint::{Hint, Next},
    ids::{LeaseToken, ServerName},
    ports::{Lease, LeaseAnswer, LeaseOwner, Liveness, Store},
    subject::{Subject, SubjectKind},
};
use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout_at};

/// How long a lease holds without renewal.
pub const LEASE_TTL: Duration = Duration::from_secs(60);

/// Pause between two looks at a lease that somebody holds for moments only.
const MOMENT: Duration = Duration::from_millis(200);

/// Who asks for leases, and what is known of others.
pub struct Leaser {
    /// Where leases are kept.
    pub store: Arc<dyn Store>,
    /// This process.
    pub owner: LeaseOwner,
    /// How long a lease holds without renewal; [`LEASE_TTL`] but in tests.
    pub ttl: Duration,
    /// Whether another process lives.
    pub liveness: Arc<dyn Fn(&LeaseOwner) -> Liveness + Send + Sync>,
}

impl Leaser {
    /// Does `work` while holding the lease on the server of this name, which need not exist yet, renewing it. If it is lost, the
    /// work is dropped.
    pub async fn hold<T>(&self, server: &ServerName, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.hold_named(SubjectKind::Server, server.as_str(), work).await
    }

    /// The same for whatever of this kind is called so.
    pub async fn hold_named<T>(
        &self,
        kind: SubjectKind,
        name: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.hold_soon((kind, name), Duration::ZERO, work).await
    }

    /// The same where others hold it for moments only, and are waited for.
    pub async fn hold_soon<T>(
        &self,
        (kind, name): (SubjectKind, &str),
        patience: Duration,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let held = Held::new();
        let (subject, asked) = self.take((kind, name), held.0, Instant::now() + patience).await?;
        let result = tokio::select! {
            result = work => result,
            lost = self.renew_until_lost((subject, name), held.0, asked + self.ttl) => Err(lost),
        };
        let released = self.store.release_lease(subject, held.0).await;
        // What went wrong first is what the user must hear of.
        let value = result?;
        released.map(|()| value)
    }

    /// Takes the lease on what is called so; returns also when it was asked for.
    ///
    /// Two who make something of the same name come to the same subject, for the name is given before the lease is asked for. It may
    /// have been taken away in between, because it was destroyed; who holds the lease can tell, for nobody else does that then.
    async fn take(
        &self,
        (kind, name): (SubjectKind, &str),
        token: LeaseToken,
        until: Instant,
    ) -> Result<(Subject, Instant)> {
        let mut instead = None;
        loop {
            let subject = self.store.claim_name(kind, name).await?;
            let asked = Instant::now();
            match self.store.acquire_lease(subject, token, &self.owner, self.ttl, instead.as_ref()).await? {
                LeaseAnswer::Granted => {}
                LeaseAnswer::HeldBy(lease) if self.is_free(&lease) => {
                    instead = Some(lease);
                    continue;
                }
                LeaseAnswer::HeldBy(_) if Instant::now() < until => {
                    instead = None;
                    sleep(MOMENT).await;
                    continue;
                }
                LeaseAnswer::HeldBy(lease) => return Err(held_by((kind, name), &lease.owner)),
            }
            if self.store.subject(kind, name).await? == Some(subject) {
                return Ok((subject, asked));
            }
            self.store.release_lease(subject, token).await?;
        }
    }

    fn is_free(&self, lease: &Lease) -> bool {
        if lease.owner.is_same_process(&self.owner) {
            // Work of this very process that was dropped could not give its lease back.
            return !lease.token.is_some_and(Held::has);
        }
        lease.is_free((self.liveness)(&lease.owner))
    }

    /// Renews the lease, which holds until `until`. A renewal that fails is tried again for as long as the lease holds.
    async fn renew_until_lost(
        &self,
        (subject, name): (Subject, &str),
        token: LeaseToken,
        mut until: Instant,
    ) -> Failure {
        let mut pause = self.ttl / 3;
        loop {
            sleep(pause).await;
            let asked = Instant::now();
            // Whoever was stopped or slept for longer than the lease held still gets an answer to one question.
            let answer_by = until.max(asked + self.ttl / 6);
            let failure = match timeout_at(answer_by, self.store.renew_lease(subject, token, self.ttl)).await {
                Ok(Ok(true)) => {
                    (until, pause) = (asked + self.ttl, self.ttl / 3);
                    continue;
                }
                Ok(Ok(false)) => {
                    return Failure::new(Blame::User, format!("the lease on {name} was taken over by another Ostler"));
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure::new(Blame::Bug, format!("the state did not answer within {:?}", asked.elapsed())),
            };
            pause = self.ttl / 20;
            if Instant::now() + pause >= until {
                return failure.because_of(format!("the lease on {name} can't be renewed"));
            }
        }
    }
}

/// Tokens of the leases that this process holds.
static HELD: Mutex<BTreeSet<LeaseToken>> = Mutex::new(BTreeSet::new());

/// A token that is among [`HELD`] while it lives.
struct Held(LeaseToken);

impl Held {
    fn new() -> Self {
        let token = LeaseToken::new();
        HELD.lock().unwrap_or_else(PoisonError::into_inner).insert(token);
        Self(token)
    }

    fn has(token: LeaseToken) -> bool {
        HELD.lock().unwrap_or_else(PoisonError::into_inner).contains(&token)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

fn held_by((kind, name): (SubjectKind, &str), owner: &LeaseOwner) -> Failure {
    let failure = Failure::new(
        Blame::User,
        format!("another Ostler is working on {name}: `{}`, process {} on {}", owner.doing, owner.pid, owner.host),
    );
    match ServerName::parse(name) {
        Ok(server) if kind == SubjectKind::Server => {
            failure.with_hint(Hint::from(Next::FollowLog(server)).with(" shows it; wait for its end"))
        }
        _ => failure.with_hint("wait for its end"),
    }
}
