//! `ostler verify`

use crate::{
    cli::{Global, Output},
    commands::{spec_file, together},
    output::{self, Table, hints, preview::failure_lines},
    wiring::{Session, WaitArguments},
};
use ostler_ansible::Catalog;
use ostler_core::{
    Failure, Result,
    ids::ServerName,
    model::{Outcome, Verification},
    ports::Store,
    server::{destroy, verify},
};
use serde::Serialize;
use std::process::ExitCode;

/// Try what servers promise, on the servers and from here; nothing is changed.
///
/// Who gets in and who does not, which ports are open and closed on IPv4 and IPv6, and what modules and apps promise. What can't be
/// tried from here is said to be unknown. The exit code is 5 where a promise is broken, and 0 where none is.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The servers [default: all]
    #[arg(value_parser = spec_file::server_name)]
    names: Vec<ServerName>,
    #[command(flatten)]
    wait: WaitArguments,
}

/// What is shown of one server.
#[derive(Serialize)]
struct Row {
    server: ServerName,
    #[serde(flatten)]
    verified: Option<Verification>,
    /// Why it could not be verified, or that a promise is broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let session = Session::open(global, arguments.wait, "verify").await?;
    let names: Vec<ServerName> = if arguments.names.is_empty() {
        session.store.overview().await?.into_iter().map(|server| server.name).collect()
    } else {
        together::distinct(arguments.names)
    };
    together::must_be_known(&session, &names, destroy::unknown).await?;
    let mut rows = Vec::new();
    // Each server has the promises of the catalog that it was planned with.
    let mut session = session;
    for name in names {
        session = session.with_catalog(Catalog::shipped()?).with_recorded_catalog(std::slice::from_ref(&name)).await?;
        let tried =
            session.with_world(async |world| Ok(world.leaser.hold(&name, verify::verify(world, &name)).await)).await?;
        let row = match tried {
            Ok(verified) => Row { failure: verify::failure(&name, &verified), server: name, verified: Some(verified) },
            Err(failure) => Row { server: name, verified: None, failure: Some(failure) },
        };
        if global.output == Output::Human {
            session.stage.print(&text(&row));
        }
        rows.push(row);
        if session.interrupted() {
            break;
        }
    }
    let worst = rows.iter().filter_map(|row| Some(row.failure.as_ref()?.blame.exit_code())).max();
    match global.output {
        Output::Human => {}
        Output::Json => {
            let in_words =
                |row: Row| Row { failure: row.failure.map(|failure| failure.in_words(hints::command)), ..row };
            let rows: Vec<Row> = rows.into_iter().map(in_words).collect();
            output::data(global.output, &rows, String::new);
        }
        Output::Quiet => {
            let failures = rows.iter().filter_map(|row| row.failure.as_ref());
            failures.for_each(|failure| output::print_failure(global.output, failure));
        }
    }
    Ok(ExitCode::from(worst.unwrap_or(0)))
}

/// The table of a server, a promise a line, and the sum below it.
fn text(row: &Row) -> String {
    let Some(verified) = &row.verified else {
        return row
            .failure
            .as_ref()
            .map(|failure| failure_lines(&row.server, "not verified", failure))
            .unwrap_or_default();
    };
    let mut table = Table::new(&["SERVER", "RESULT", "ABOUT", "PROMISE"]);
    for promise in &verified.promises {
        let (word, why) = match &promise.outcome {
            Outcome::Kept => ("kept", String::new()),
            Outcome::Broken(why) => ("BROKEN", format!(": {why}")),
            Outcome::Unknown(why) => ("unknown", format!(": {why}")),
        };
        let says = ostler_core::text::plain(&format!("{}{why}", promise.says));
        table.row(vec![row.server.to_string(), word.into(), promise.about.clone(), says]);
    }
    format!("{}{}  {}\n", table.render(), row.server, verified.summary())
}
