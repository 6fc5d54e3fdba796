//! What the role of an app has to hear from another server before it can run, as the catalog declares it ([`Peer`]).
//!
//! The other server is asked over a session of its own, and what it says goes to Ansible as secret variables: none of it is ever on a disk,
//! in an argument or in an event. Servers of one spec are worked on at the same time, so as long as somebody works on the other one it is
//! asked again. A role that turns out to need no answer, because its server is a member already, runs without one: so a server that is down
//! keeps nobody else from being converged.

use crate::{
    error::Result,
    event::Level,
    ids::{OperationId, ServerName},
    model::{Phase, Power, ServerRecord},
    ports::{ConnectError, Session},
    reach::{RUN_AS_ROOT, wait},
    secret::Secret,
    spec::{AppMeta, Peer, Value},
    subject::SubjectKind,
    text::one_line,
    world::{Context, World},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long another server may be worked on before it can answer, where the machine is not emulated.
const LIMIT: Duration = Duration::from_secs(600);
/// Between two questions.
const PAUSE: Duration = Duration::from_secs(2);
/// How long one login may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What other servers say, for the roles of this one: `APP_peer_WORD` for each line `WORD TEXT` of an answer, and `APP_peer_fault` where
/// there is none.
#[derive(Default)]
pub(crate) struct Answers {
    /// Variables that nobody may see.
    pub(crate) secret: BTreeMap<String, Secret>,
    /// Those that anybody may.
    pub(crate) plain: BTreeMap<String, Value>,
}

/// Asks the servers that this one's parameters name.
pub(crate) async fn ask(ctx: &Context<'_>) -> Result<Answers> {
    let mut answers = Answers::default();
    for app in ctx.world.catalog.apps.iter().filter(|app| ctx.spec.apps.contains(&app.name)) {
        let Some(peer) = &app.peer else { continue };
        let Some(name) = ctx.spec.joins(app) else { continue };
        let prefix = format!("{}_peer", app.name.replace('-', "_"));
        match await_answer(ctx, app, peer, name).await? {
            Ok(text) => {
                for (word, text) in text.lines().filter_map(|line| line.split_once(' ')) {
                    let name = format!("{prefix}_{word}");
                    if peer.plain.iter().any(|plain| plain == word) {
                        answers.plain.insert(name, Value::String(text.to_owned()));
                    } else {
                        answers.secret.insert(name, Secret::new(text));
                    }
                }
            }
            Err(why) => {
                answers.plain.insert(format!("{prefix}_fault"), Value::String(why));
            }
        }
    }
    Ok(answers)
}

/// The answer, or why there is none.
async fn await_answer(ctx: &Context<'_>, app: &AppMeta, peer: &Peer, name: &str) -> Result<Result<String, String>> {
    let Ok(name) = ServerName::parse(name) else { return Ok(Err(format!("there is no server `{name}`"))) };
    if name == *ctx.server() {
        return Ok(Err(format!("{name} names itself")));
    }
    let (begun, mut session, mut told) = (Instant::now(), None, false);
    let limit = LIMIT * ctx.observe().await?.slowness.max(1);
    let answer = loop {
        // Looked at first: whoever has just ended its work can answer.
        let worked_on = is_worked_on(ctx, &name).await?;
        let answer = question(ctx, app, peer, &name, &mut session).await?;
        let Err(why) = &answer else { break answer };
        if !worked_on || begun.elapsed() > limit {
            break answer;
        }
        if !told {
            let message = format!("waiting for {name}, which is worked on: {why}");
            ctx.notice(Level::Info, message).await;
            told = true;
        }
        wait::pause(ctx, PAUSE).await?;
    };
    if let Some(session) = session {
        session.close().await;
    }
    Ok(answer)
}

/// Whether another operation is under way on the server of this name.
async fn is_worked_on(ctx: &Context<'_>, name: &ServerName) -> Result<bool> {
    let Some(subject) = ctx.world.store.subject(SubjectKind::Server, name.as_str()).await? else { return Ok(false) };
    let lease = ctx.world.store.lease(subject).await?;
    Ok(lease.is_some_and(|lease| !lease.is_free((ctx.world.leaser.liveness)(&lease.owner))))
}

/// Asks once, over `session` if there is one.
async fn question(
    ctx: &Context<'_>,
    app: &AppMeta,
    peer: &Peer,
    name: &ServerName,
    session: &mut Option<Box<dyn Session>>,
) -> Result<Result<String, String>> {
    let Some(record) = ctx.world.store.server(name).await? else {
        return Ok(Err(format!("there is no server `{name}`")));
    };
    if let Some(other) = record.desired.joins(app) {
        return Ok(Err(format!("{name} itself names {other}, so name that one")));
    }
    if record.machine.is_none() || matches!(record.phase, Phase::Create | Phase::Connect | Phase::Access) {
        return Ok(Err(format!("{name} is not set up yet")));
    }
    if session.is_none() {
        match log_in(ctx.world, &record, ctx.operation).await? {
            Ok(new) => *session = Some(new),
            Err(why) => return Ok(Err(why)),
        }
    }
    let Some(open) = session.as_ref() else { return Ok(Err(String::new())) };
    let said = open.run(RUN_AS_ROOT, peer.asks.as_bytes()).await?;
    if said.status == 0 {
        return Ok(Ok(said.stdout));
    }
    if said.status == crate::ports::SSH_FAILED {
        *session = None;
    }
    let last = said.stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it gives no reason").trim();
    Ok(Err(format!("{name} does not say what {} needs: {last}", app.name)))
}

/// Logs in to a server that somebody else may be working on; else says why that can't be done.
pub(crate) async fn log_in(
    world: &World,
    record: &ServerRecord,
    operation: OperationId,
) -> Result<Result<Box<dyn Session>, String>> {
    let name = &record.name;
    let other = Context::new(world, record.subject(), operation, record.desired.clone());
    let seen = match other.observe().await {
        Ok(seen) => seen,
        Err(failure) => return Ok(Err(format!("{name} can't be looked at: {}", one_line(&failure.message)))),
    };
    if seen.power != Power::On {
        return Ok(Err(format!("the machine of {name} does not run")));
    }
    let Some(address) = seen.ssh else { return Ok(Err(format!("{name} has no address: {}", seen.detail))) };
    let login = other.login(address, &record.login_user).await?;
    let connected = world.remote.connect(&login, PATIENCE * seen.slowness.max(1)).await;
    Ok(connected.map_err(|error| format!("{name} can't be logged in to: {}", words(&error))))
}

fn words(error: &ConnectError) -> String {
    error.words().map_or_else(|| "it shows another host key than the one on record".to_owned(), one_line)
}
