//! `ostler logs`

use crate::{
    cli::Global,
    commands::spec_file,
    environment::KEEP_EVENTS_DAYS,
    output,
    wiring::{Session, WaitArguments},
};
use ostler_core::{
    Blame, Failure, Result,
    ids::{EventNumber, OperationId, ServerName},
    operation::EventLog,
    ports::{EventFilter, Store},
    subject::SubjectKind,
};
use std::{process::ExitCode, sync::Arc, time::Duration};

/// Show what happened to a server.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server; one that is destroyed still has its history.
    #[arg(value_parser = spec_file::server_name)]
    name: ServerName,
    /// Keep showing what happens, until nothing works on the server any more.
    #[arg(long, short)]
    follow: bool,
    /// Of this operation only [default: the newest one]
    #[arg(long, value_name = "ID")]
    operation: Option<OperationId>,
    /// Everything since the server was first created.
    #[arg(long, conflicts_with = "operation")]
    all: bool,
}

/// Before the first event.
const START: EventNumber = EventNumber(0);
/// How long an event of another process may go unnoticed.
const PATIENCE: Duration = Duration::from_millis(200);

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let session = Session::open(global, WaitArguments::default(), "logs").await?;
    let name = &arguments.name;
    let operation = match arguments.operation {
        Some(id) => session.store.operation(id).await?.filter(|operation| operation.name == name.as_str()),
        None => session.store.latest_operation_called(SubjectKind::Server, name.as_str()).await?,
    };
    let operation = operation.ok_or_else(|| match arguments.operation {
        Some(id) => Failure::new(Blame::User, format!("{name} has no operation {id}"))
            .with_hint(format!("`ostler logs {name} --all` shows them all")),
        None => Failure::new(Blame::User, format!("there is no record of a server `{name}`"))
            .with_hint("`ostler status` lists the servers"),
    })?;
    let of_server = EventFilter { server: Some(name.clone()), ..EventFilter::default() };
    let of_operation = EventFilter { operation: Some(operation.id), ..of_server.clone() };
    let mut after = START;
    // Following goes on from one operation to the next, as `up` does from making a server to applying its spec.
    let filter = match (arguments.all, arguments.follow && arguments.operation.is_none()) {
        (true, _) => of_server,
        (false, false) => of_operation.clone(),
        (false, true) => {
            let first = session.store.events(after, &of_operation, 1).await?;
            after = EventNumber(first.first().map_or(0, |event| event.number.0 - 1));
            of_server
        }
    };
    let log = Arc::new(EventLog::new(Arc::new(session.store.clone())));
    let mut subscription = log.follow(after, filter);
    let mut frontend = output::frontend(global.output, 1, &session.stage);
    let is_forgotten = match arguments.all {
        true => session.store.has_forgotten(SubjectKind::Server, name.as_str()).await?,
        false => operation.ended.is_some() && session.store.events(START, &of_operation, 1).await?.is_empty(),
    };
    if is_forgotten {
        frontend
            .warning(&format!("older events of {name} are forgotten; {KEEP_EVENTS_DAYS} says how long they are kept"));
    }
    loop {
        // Asked before the events are: what ends in between is shown, and then nobody is at work.
        let at_work = arguments.follow && is_at_work(&session, name).await?;
        let events = match at_work {
            true => tokio::time::timeout(PATIENCE, subscription.next()).await.ok().transpose()?,
            false => None,
        };
        let events = match events {
            Some(events) => events,
            None => subscription.rest().await?,
        };
        events.iter().for_each(|event| frontend.event(event));
        // Nobody waits for this one: it goes as fast as it is read, and ends with its reader.
        session.stage.written().await;
        if !session.stage.is_read() {
            return Ok(ExitCode::SUCCESS);
        }
        if events.is_empty() && !at_work {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Whether somebody works on what is called so now.
async fn is_at_work(session: &Session, name: &ServerName) -> Result<bool> {
    match session.store.subject(SubjectKind::Server, name.as_str()).await? {
        Some(subject) => session.is_at_work(subject).await,
        None => Ok(false),
    }
}
