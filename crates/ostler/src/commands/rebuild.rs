//! `ostler rebuild`

use crate::{
    cli::Global,
    commands::{
        destroy::confirm,
        spec_file,
        together::{self, ParallelArguments},
    },
    wiring::{Session, WaitArguments},
};
use ostler_core::{Result, ids::ServerName, server::destroy};
use ostler_service::Request;
use std::process::ExitCode;

/// Make servers anew in their place, with the spec on record.
///
/// The disk is lost. Address, price, volumes and private network stay. It boots with a new host key, which Ostler knows before the first
/// connection.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The servers.
    #[arg(value_parser = spec_file::server_name, required = true)]
    names: Vec<ServerName>,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    wait: WaitArguments,
    #[command(flatten)]
    parallel: ParallelArguments,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let names = together::distinct(arguments.names);
    let session = Session::open(global, arguments.wait, "rebuild").await?;
    together::must_be_known(&session, &names, destroy::unknown).await?;
    if !arguments.yes {
        confirm(global, "rebuild", &names, &[])?;
    }
    let session = session.with_recorded_catalog(&names).await?;
    let requests = names.into_iter().map(Request::Rebuild).collect();
    together::work_on(&session, global.output, requests, arguments.parallel).await.map(ExitCode::from)
}
