//! `ostler cert renew`

use crate::{
    cli::{Global, Output},
    output,
    wiring::Session,
};
use ostler_core::{
    Blame, Failure, Result, certificate, event::EventKind, ids::OperationId, operation::Interrupt, ports::EventFilter,
    site, subject::Subject, world::World,
};
use serde::Serialize;
use std::{convert::Infallible, process::ExitCode, time::Duration};

/// Time until events that can't be read are asked for again.
const PAUSE: Duration = Duration::from_millis(500);

/// Renew certificates, one after the other, and bring them to the servers of the sites that need them. One that fails keeps no other from its turn.
///
/// Either one by its name, due or not, or all that are due. The authorities' limits are respected: after several failures, or many orders, it says until when to wait.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The first name of a certificate, as `ostler cert list` shows it
    #[arg(required_unless_present = "due")]
    name: Option<String>,
    /// Only those that are due: the authority says so, or a third of the lifetime is left, of a short one half.
    #[arg(long)]
    due: bool,
    /// Longest wait until every authoritative server has a record that proves a name [default: 600]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(super) timeout: Option<u64>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Renewed,
    NotDue,
    /// It is on the server of a site that needs it.
    Delivered,
    Failed,
}

impl Outcome {
    fn words(self) -> &'static str {
        match self {
            Self::Renewed => "renewed",
            Self::NotDue => "not due",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// What became of one.
#[derive(Serialize)]
struct Row {
    /// The certificate's, or that of a site whose server got it.
    name: String,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
}

/// Runs the command.
pub async fn run(global: &Global, session: &Session, arguments: Arguments) -> Result<ExitCode> {
    let rows = session.with_world(async |world| renew(global.output, world, &arguments).await).await?;
    output::data(global.output, &rows, || {
        let done = rows.iter().filter(|row| row.failure.is_none());
        done.map(|row| format!("{}: {}\n", row.name, row.outcome.words())).collect()
    });
    let failures: Vec<&Failure> = rows.iter().filter_map(|row| row.failure.as_ref()).collect();
    if global.output != Output::Json {
        failures.iter().for_each(|failure| output::print_failure(global.output, failure));
    }
    Ok(ExitCode::from(failures.iter().map(|failure| failure.blame.exit_code()).max().unwrap_or(0)))
}

async fn renew(output: Output, world: &World, arguments: &Arguments) -> Result<Vec<Row>> {
    let mut chosen: Vec<(Subject, String)> = certificate::all(world)
        .await?
        .into_iter()
        .map(|(subject, record)| (subject, record.order.names[0].clone()))
        .collect();
    if let Some(name) = &arguments.name {
        chosen.retain(|(_, other)| other == name);
        if chosen.is_empty() {
            return Err(Failure::new(Blame::User, format!("there is no certificate `{name}`"))
                .with_hint("`ostler cert list` shows those that there are"));
        }
    }
    let mut rows = Vec::new();
    for (subject, name) in chosen {
        if world.interrupt.is_set() {
            return Err(Interrupt::failure());
        }
        let operation = OperationId::new();
        let reporter = world.log.scope_named(subject, &name, operation);
        let work = certificate::renew(world, &name, arguments.due, &reporter);
        let result = tokio::select! {
            result = work => result,
            never = show_notices(output, world, operation) => match never {},
        };
        rows.push(match result {
            Ok(true) => Row { name, outcome: Outcome::Renewed, failure: None },
            Ok(false) => Row { name, outcome: Outcome::NotDue, failure: None },
            Err(failure) => Row { name, outcome: Outcome::Failed, failure: Some(failure) },
        });
    }
    // Also what an earlier call renewed, and could not deliver.
    for (site, delivered) in site::certificates::deliver_renewed(world).await? {
        let (outcome, failure) = match delivered {
            Ok(()) => (Outcome::Delivered, None),
            Err(failure) => (Outcome::Failed, Some(failure)),
        };
        rows.push(Row { name: format!("site {site}"), outcome, failure });
    }
    Ok(rows)
}

/// Shows what a person has to do or know meanwhile, such as a record to be made by hand.
async fn show_notices(output: Output, world: &World, operation: OperationId) -> Infallible {
    let filter = EventFilter { operation: Some(operation), ..EventFilter::default() };
    let mut events = world.log.follow(world.store.last_event().await.unwrap_or_default(), filter);
    loop {
        match events.next().await {
            Ok(events) => {
                for event in events {
                    if let EventKind::Notice { message, .. } = event.kind {
                        output::print_warning(output, &message);
                    }
                }
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
