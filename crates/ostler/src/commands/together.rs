//! Work on several servers at once: each has its own lease and operation, and one that fails leaves the others alone.

use crate::{
    cli::Output,
    commands::follow::Follower,
    output::{self, Ended},
    wiring::Session,
};
use futures::{StreamExt, stream};
use ostler_core::{
    Failure, Result,
    ids::ServerName,
    ports::{EventFilter, Store},
};
use ostler_service::{Request, Work};
use std::time::Duration;

/// How many servers are worked on at once.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ParallelArguments {
    /// Work on at most this many servers at the same time.
    #[arg(long, value_name = "N", default_value_t = PARALLEL, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
}

const PARALLEL: u16 = 8;

impl Default for ParallelArguments {
    fn default() -> Self {
        Self { parallel: PARALLEL }
    }
}

/// Starts what is asked for, shows what happens, and says how the command ends: with the greatest of the exit codes of those that
/// failed, 0 if none did.
pub async fn work_on(
    session: &Session,
    output: Output,
    requests: Vec<Request>,
    parallel: ParallelArguments,
) -> Result<u8> {
    work_in_order(session, output, requests.into_iter().map(|request| vec![request]).collect(), parallel).await
}

/// The same, where what stands in one list is done one after the other, also after a failure: each is refused by itself where it needs
/// what came before it.
pub async fn work_in_order(
    session: &Session,
    output: Output,
    lists: Vec<Vec<Request>>,
    ParallelArguments { parallel }: ParallelArguments,
) -> Result<u8> {
    let servers: Vec<ServerName> = lists.iter().flatten().map(|request| request.server().clone()).collect();
    let mut frontend = output::frontend(output, servers.len(), &session.stage);
    let mut code = 0;
    let all = session
        .with_service(parallel, async |service| {
            let after = service.world().store.last_event().await?;
            let only = if let [only] = servers.as_slice() { Some(only.clone()) } else { None };
            let events = service.follow(after, EventFilter { server: only, ..EventFilter::default() });
            let mut follower = Follower::of(&servers, events, frontend.as_mut(), session.log_file());
            let start = |request: Request| {
                let (server, work) = (request.server().clone(), service.start(request));
                if let (true, Ok(work)) = (session.interrupted(), &work) {
                    service.cancel(work.id());
                }
                end_of(session, server, work)
            };
            let endings = lists.into_iter().filter(|list| !list.is_empty()).map(|mut list| {
                let first = start(list.remove(0));
                Box::pin(stream::once(first).chain(stream::iter(list).then(start)))
            });
            let mut endings = stream::select_all(endings);
            for _ in &servers {
                let ending = tokio::select! {
                    biased;
                    never = follower.follow() => match never {},
                    Some(ending) = endings.next() => ending,
                };
                follower.catch_up().await;
                follower.leave(&ending.server);
                if let Err(failure) = &ending.result {
                    code = code.max(failure.blame.exit_code());
                }
                follower.frontend().ended(ending);
            }
            Ok(())
        })
        .await;
    frontend.finish();
    all?;
    Ok(code)
}

/// How the work on a server ends, which may have been refused.
async fn end_of(session: &Session, server: ServerName, work: Result<Work>) -> Ended {
    let (result, time) = match work {
        Ok(mut work) => {
            let ostler_service::Ended { result, time } = work.ended().await;
            (result, time)
        }
        Err(refused) => (Err(refused), Duration::ZERO),
    };
    let access = match session.store.server(&server).await {
        Ok(Some(record)) if result.is_ok() => session.access_of(&record).await,
        _ => output::Access::default(),
    };
    Ended { server, result, time, access }
}

/// Each name once, in the order given.
pub fn distinct(names: Vec<ServerName>) -> Vec<ServerName> {
    let mut seen = std::collections::BTreeSet::new();
    names.into_iter().filter(|name| seen.insert(name.clone())).collect()
}

/// Fails unless all of them are known.
pub async fn must_be_known(
    session: &Session,
    names: &[ServerName],
    unknown: impl Fn(&ServerName) -> Failure,
) -> Result<()> {
    for name in names {
        if session.store.server(name).await?.is_none() {
            return Err(unknown(name));
        }
    }
    Ok(())
}
