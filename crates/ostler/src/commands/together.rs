//! Work on several servers at once: each has its own lease and operation, and one that fails leaves the others alone.

use crate::{
    cli::Output,
    commands::follow::Follower,
    output::{self, Ended},
    wiring::Session,
};
use futures::{StreamExt, stream};
use ostler_core::{
    Failure, Result, ids::ServerName, operation::Interrupt, ports::Store, server::up::Resumed, world::World,
};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// How many servers are worked on at once.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ParallelArguments {
    /// Most servers that are worked on at the same time.
    #[arg(long, value_name = "N", default_value_t = PARALLEL, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
}

const PARALLEL: u16 = 8;

impl Default for ParallelArguments {
    fn default() -> Self {
        Self { parallel: PARALLEL }
    }
}

/// Does `work` on each of the servers, shows what happens, and says how the command ends: with the greatest of the exit codes
/// of those that failed, 0 if none did.
pub async fn work_on(
    session: &Session,
    output: Output,
    servers: &[ServerName],
    ParallelArguments { parallel }: ParallelArguments,
    work: impl AsyncFn(&World, &ServerName) -> Result<Resumed>,
) -> Result<ExitCode> {
    let mut frontend = output::frontend(output, servers.len(), &session.stage);
    let mut code = 0;
    let all = session
        .with_world(async |world| {
            let after = world.store.last_event().await?;
            let mut follower = Follower::of(&world.log, servers, after, frontend.as_mut(), session.log_file());
            let (ended, mut endings) = mpsc::unbounded_channel();
            let (ended, work) = (&ended, &work);
            let all = async move {
                let works = stream::iter(servers).map(|server| work_on_one(session, world, server, work));
                works.buffer_unordered(parallel.into()).for_each(async |ending| drop(ended.send(ending))).await;
            };
            // Both are driven all the time: what waits for the store in one may be held by the other.
            let show = async {
                for _ in servers {
                    let ending = tokio::select! {
                        biased;
                        never = follower.follow() => match never {},
                        Some(ending) = endings.recv() => ending,
                    };
                    follower.catch_up().await;
                    follower.leave(&ending.server);
                    if let Err(failure) = &ending.result {
                        code = code.max(failure.blame.exit_code());
                    }
                    follower.frontend().ended(ending);
                }
            };
            tokio::join!(all, show);
            Ok(())
        })
        .await;
    frontend.finish();
    all?;
    Ok(ExitCode::from(code))
}

async fn work_on_one(
    session: &Session,
    world: &World,
    server: &ServerName,
    work: &impl AsyncFn(&World, &ServerName) -> Result<Resumed>,
) -> Ended {
    let begun = Instant::now();
    let ended = |result, time: Duration, access| Ended { server: server.clone(), result, time, access };
    if world.interrupt.is_set() {
        let failure = Interrupt::failure().because_of(format!("{server} was not begun"));
        return ended(
            Err(failure.with_hint("the same command again takes it up")),
            Duration::ZERO,
            output::Access::default(),
        );
    }
    let expected = session.expect(server);
    let result = world.leaser.hold(server, work(world, server)).await;
    drop(expected);
    let time = begun.elapsed();
    let access = match session.store.server(server).await {
        Ok(Some(record)) if result.is_ok() => session.access_of(&record).await,
        _ => output::Access::default(),
    };
    ended(result, time, access)
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
