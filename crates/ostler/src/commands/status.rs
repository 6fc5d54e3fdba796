//! `ostler status`

use crate::{
    cli::Global,
    commands::spec_file,
    output::{self, Table, hints},
    wiring::{Session, WaitArguments},
};
use futures::future::join_all;
use ostler_core::{
    Blame, Failure, Result,
    ids::{OperationId, ServerName, SubjectId},
    model::{Observed, OperationKind, OperationOverview, OperationState, Phase, Power, ServerOverview, Verification},
    ports::Store,
    server::destroy,
    subject::Subject,
};
use serde::Serialize;
use std::{collections::HashMap, process::ExitCode};

/// Show servers: phase, address, last operation.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only these servers; one alone is shown in detail.
    #[arg(value_parser = spec_file::server_name)]
    names: Vec<ServerName>,
}

#[derive(Serialize)]
struct Row {
    id: SubjectId,
    name: ServerName,
    phase: Phase,
    power: Option<Power>,
    address: Option<std::net::SocketAddr>,
    forwards: Vec<(std::net::SocketAddr, u16)>,
    detail: String,
    verified: Option<Verification>,
    operation: Option<LastOperation>,
}

#[derive(Serialize)]
struct LastOperation {
    id: OperationId,
    kind: OperationKind,
    state: OperationState,
    /// `Running` or `Unwinding` in the journal, but its Ostler is dead.
    interrupted: bool,
    step: Option<String>,
    started: jiff::Timestamp,
    failure: Option<Failure>,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let session = Session::open(global, WaitArguments::default(), "status").await?;
    let mut servers = session.store.overview().await?;
    let names = &arguments.names;
    if let Some(unknown) = names.iter().find(|name| servers.iter().all(|server| server.name != **name)) {
        return Err(destroy::unknown(unknown));
    }
    servers.retain(|server| names.is_empty() || names.contains(&server.name));
    let rows = rows(&session, servers).await?;
    output::data(global.output, &rows, || if names.len() == 1 { detail(&rows[0]) } else { table(&rows) });
    Ok(ExitCode::SUCCESS)
}

async fn rows(session: &Session, servers: Vec<ServerOverview>) -> Result<Vec<Row>> {
    let (observed, unseen) = observe(session, &servers).await?;
    let mut rows = Vec::new();
    for server in servers {
        let (seen, subject) = (observed.get(&server.name), server.subject());
        let operation = match server.operation {
            Some(operation) => Some(last_operation(session, subject, operation).await?),
            None => None,
        };
        rows.push(Row {
            id: server.id,
            phase: server.phase,
            power: seen.map(|seen| seen.power),
            address: seen.and_then(|seen| seen.ssh),
            forwards: seen.map(|seen| seen.forwards.clone()).unwrap_or_default(),
            detail: seen
                .map(|seen| seen.detail.clone())
                .or_else(|| unseen.get(&server.name).cloned())
                .unwrap_or_default(),
            operation,
            verified: server.verified,
            name: server.name,
        });
    }
    Ok(rows)
}

/// What the machines do, asking each provider once; and why of some nothing can be said, such as that their provider is out of
/// reach. That keeps nobody from seeing the others.
async fn observe(session: &Session, servers: &[ServerOverview]) -> Result<(Seen, Unseen)> {
    let (mut all, mut unseen) = (Seen::new(), Unseen::new());
    for (kind, provider) in session.providers() {
        let own: Vec<_> = servers
            .iter()
            .filter(|server| server.provider == kind)
            .filter_map(|server| server.machine.as_ref().map(|machine| (&server.name, machine)))
            .collect();
        let machines: Vec<_> = own.iter().map(|(_, machine)| *machine).collect();
        if let Ok(seen) = provider.observe(&machines).await {
            all.extend(own.into_iter().map(|(name, _)| name.clone()).zip(seen));
            continue;
        }
        let provider = provider.as_ref();
        let each = own.into_iter().map(|(name, machine)| async move { (name, provider.observe(&[machine]).await) });
        for (name, seen) in join_all(each).await {
            match seen {
                Ok(seen) => all.extend(seen.into_iter().map(|seen| (name.clone(), seen))),
                Err(failure) if failure.blame == Blame::Bug => return Err(failure),
                Err(failure) => drop(unseen.insert(name.clone(), failure.message)),
            }
        }
    }
    Ok((all, unseen))
}

type Seen = HashMap<ServerName, Observed>;
type Unseen = HashMap<ServerName, String>;

async fn last_operation(session: &Session, subject: Subject, operation: OperationOverview) -> Result<LastOperation> {
    use ostler_core::model::StepState;
    let at_work = matches!(operation.state, OperationState::Running | OperationState::Unwinding);
    // Only an operation that claims to be at work needs a look at its lease.
    let interrupted = at_work && !session.is_at_work(subject).await?;
    let step = operation
        .steps
        .iter()
        .find(|step| step.state != StepState::Done)
        .filter(|_| at_work || operation.failure.is_some())
        .map(|step| step.name.clone());
    Ok(LastOperation {
        id: operation.id,
        kind: operation.kind,
        state: operation.state,
        interrupted,
        step,
        started: operation.started,
        failure: operation.failure.map(|failure| failure.in_words(hints::command)),
    })
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no servers; `ostler up FILE` makes some\n".into();
    }
    let mut table = Table::new(&["SERVER", "PHASE", "POWER", "SSH", "VERIFIED", "LAST OPERATION"]);
    for row in rows {
        table.row(vec![
            row.name.to_string(),
            row.phase.as_str().into(),
            power(row),
            row.address.map_or_else(|| "-".into(), |address| address.to_string()),
            row.verified.as_ref().map_or_else(|| "-".into(), verified),
            row.operation.as_ref().map_or_else(|| "-".into(), sentence),
        ]);
    }
    table.render()
}

fn power(row: &Row) -> String {
    match row.power {
        Some(Power::On) => "on",
        Some(Power::Off) => "off",
        Some(Power::Absent) => "gone",
        None => "-",
    }
    .into()
}

/// `12 kept, 3 minutes ago`
fn verified(verified: &Verification) -> String {
    let seconds = jiff::Timestamp::now().duration_since(verified.at).as_secs().max(0);
    let (count, unit) = match seconds {
        ..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{}, {count} {unit}{} ago", verified.summary(), if count == 1 { "" } else { "s" })
}

fn sentence(operation: &LastOperation) -> String {
    let kind = match operation.kind {
        OperationKind::Create => "create",
        OperationKind::Apply => "apply",
        OperationKind::Rebuild => "rebuild",
        OperationKind::Leave => "leave",
        OperationKind::Template => "template",
        OperationKind::Deploy => "deploy",
        OperationKind::Rollback => "roll back",
        OperationKind::Remove => "remove",
    };
    let state = match operation.state {
        OperationState::Running | OperationState::Unwinding if operation.interrupted => "interrupted",
        OperationState::Running => "running",
        OperationState::Succeeded => "succeeded",
        OperationState::Failed => "failed",
        OperationState::Unwinding => "unwinding",
        OperationState::Undone => "undone",
        OperationState::Stuck => "stuck",
    };
    let step = operation.step.as_ref().map(|step| format!(" at `{step}`")).unwrap_or_default();
    format!("{kind} {state}{step}, {}", operation.started.strftime("%Y-%m-%d %H:%M:%S UTC"))
}

fn detail(row: &Row) -> String {
    let mut lines = vec![
        format!("server     {}", row.name),
        format!("phase      {}", row.phase.as_str()),
        format!("power      {}", power(row)),
        format!("machine    {}", row.detail),
    ];
    lines.extend(row.address.map(|address| format!("ssh        {address}")));
    lines.extend(row.forwards.iter().map(|(here, there)| format!("forward    {here} -> {there}")));
    lines.extend(row.verified.as_ref().map(|table| format!("verified   {}", verified(table))));
    if let Some(table) = &row.verified {
        let broken = table.broken();
        lines.extend(broken.map(|(promise, why)| format!("broken     {}: {}: {why}", promise.about, promise.says)));
    }
    if let Some(operation) = &row.operation {
        lines.push(format!("operation  {} ({})", sentence(operation), operation.id));
        if let Some(failure) = &operation.failure {
            lines.push(format!("failure    {failure}"));
            lines.extend(failure.causes.iter().map(|cause| format!("           {cause}")));
            lines.extend(hints::of(failure).map(|hint| format!("hint       {hint}")));
        }
        if operation.interrupted {
            lines.push(format!("hint       `ostler resume {}` goes on", row.name));
        }
    }
    lines.join("\n") + "\n"
}
