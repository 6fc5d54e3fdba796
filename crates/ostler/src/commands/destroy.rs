//! `ostler destroy`

use crate::{
    cli::Global,
    commands::{
        spec_file,
        together::{self, ParallelArguments},
    },
    wiring::{Session, WaitArguments},
};
use ostler_core::{
    Blame, Failure, Result,
    ids::ServerName,
    server::{
        destroy,
        parting::{self, Course},
    },
    text::plain,
};
use ostler_service::Request;
use std::{
    io::{BufRead, IsTerminal, Write},
    process::ExitCode,
};

/// Undo everything that was created for servers.
///
/// Volumes of a cloud, and named addresses, are kept.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The servers.
    #[arg(value_parser = spec_file::server_name, required = true)]
    names: Vec<ServerName>,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
    /// Also delete volumes that Ostler made for them, with all data on them.
    #[arg(long)]
    volumes: bool,
    #[command(flatten)]
    parallel: ParallelArguments,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let names = together::distinct(arguments.names);
    let session = Session::open(global, WaitArguments::default(), "destroy").await?;
    together::must_be_known(&session, &names, destroy::unknown).await?;
    let Course { chains, warnings } = session.with_world(async |world| parting::course(world, &names).await).await?;
    if !arguments.yes {
        confirm(global, if arguments.volumes { "destroy --volumes" } else { "destroy" }, &names, &warnings)?;
    }
    let request = if arguments.volumes { Request::DestroyWithVolumes } else { Request::Destroy };
    let requests = |chain: Vec<ServerName>| chain.into_iter().map(request).collect();
    together::work_in_order(&session, global.output, chains.into_iter().map(requests).collect(), arguments.parallel)
        .await
        .map(ExitCode::from)
}

/// Says the warnings and asks for the names, so that nobody answers out of habit.
pub(super) fn confirm(global: &Global, command: &str, names: &[ServerName], warnings: &[String]) -> Result<()> {
    let names = names.iter().map(ServerName::as_str).collect::<Vec<_>>().join(" ");
    confirm_typed(global, &format!("{command} {names}"), (&names, "and all data on it", "destroyed"), warnings)
}

/// The same of anything: what is to be typed, what goes with it, and what becomes of both.
pub(super) fn confirm_typed(
    global: &Global,
    command: &str,
    (names, lost, fate): (&str, &str, &str),
    warnings: &[String],
) -> Result<()> {
    if global.non_interactive || !std::io::stdin().is_terminal() {
        return Err(Failure::new(Blame::User, format!("{names} {lost} would be {fate}"))
            .with_lines(warnings.to_vec())
            .with_hint(format!("`ostler {command} --yes` does it without asking")));
    }
    let warnings: String = warnings.iter().map(|warning| format!("warning: {}\n", plain(warning))).collect();
    let question = format!("{warnings}{names} {lost} will be {fate}. Type `{names}` to go on: ");
    let _ = std::io::stderr().write_all(question.as_bytes()); // where nobody reads it, nobody answers
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && answer.split_whitespace().eq(names.split(' ')) {
        return Ok(());
    }
    Err(Failure::new(Blame::User, format!("{names}: nothing is done, because this was not typed")))
}
