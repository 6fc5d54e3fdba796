//! One operation at a time per server.

use crate::{
    error::{Blame, Failure, Result},
    ids::ServerName,
    ports::{LeaseAnswer, LeaseOwner, Store},
};
use std::{future::Future, time::Duration};

/// How long a lease holds without renewal. Only an owner on another machine is ever waited for that long: a dead owner on
/// this machine is noticed at once.
pub const LEASE_TTL: Duration = Duration::from_secs(60);

/// Who asks for leases, and how to see that another owner is dead.
pub struct Leaser<'a> {
    /// Where leases are kept.
    pub store: &'a dyn Store,
    /// This process.
    pub owner: LeaseOwner,
    /// Whether another owner is dead for certain.
    pub is_dead: &'a (dyn Fn(&LeaseOwner) -> bool + Send + Sync),
}

impl Leaser<'_> {
    /// Does `work` while holding the lease on `server`, renewing it. If it is lost, the work is dropped.
    pub async fn hold<T>(&self, server: &ServerName, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.store.acquire_lease(server, &self.owner, LEASE_TTL, self.is_dead).await? {
            LeaseAnswer::Granted => {}
            LeaseAnswer::HeldBy(owner) => return Err(held_by(server, &owner)),
        }
        let result = tokio::select! {
            result = work => result,
            lost = self.renew_until_lost(server) => Err(lost),
        };
        let released = self.store.release_lease(server, &self.owner).await;
        // What went wrong first is what the user must hear of.
        let value = result?;
        released.map(|()| value)
    }

    async fn renew_until_lost(&self, server: &ServerName) -> Failure {
        loop {
            tokio::time::sleep(LEASE_TTL / 3).await;
            match self.store.renew_lease(server, &self.owner, LEASE_TTL).await {
                Ok(true) => {}
                Ok(false) => {
                    return Failure::new(
                        Blame::User,
                        format!("the lease on {server} was taken over by another Ostler"),
                    );
                }
                Err(failure) => return failure.because_of(format!("the lease on {server} can't be renewed")),
            }
        }
    }
}

fn held_by(server: &ServerName, owner: &LeaseOwner) -> Failure {
    Failure::new(
        Blame::User,
        format!("{server} is at work already: `ostler {}`, process {} on {}", owner.doing, owner.pid, owner.host),
    )
    .with_hint(format!("`ostler logs {server} --follow` shows it; wait for its end"))
}
