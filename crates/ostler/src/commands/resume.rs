//! `ostler resume`

use crate::{
    cli::Global,
    commands::{
        spec_file,
        together::{self, ParallelArguments},
    },
    wiring::{Session, WaitArguments},
};
use ostler_core::{Result, ids::ServerName, ports::Store, server::destroy};
use ostler_service::Request;
use std::process::ExitCode;

/// Go on with a failed or interrupted operation, with the plan that it recorded.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The servers.
    #[arg(value_parser = spec_file::server_name, required_unless_present = "all")]
    names: Vec<ServerName>,
    /// All servers; those whose last operation succeeded, and whose machine is on, are left as they are.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    #[command(flatten)]
    parallel: ParallelArguments,
    #[command(flatten)]
    wait: WaitArguments,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let session = Session::open(global, arguments.wait, "resume").await?;
    let names: Vec<ServerName> = if arguments.all {
        session.store.overview().await?.into_iter().map(|server| server.name).collect()
    } else {
        together::distinct(arguments.names)
    };
    together::must_be_known(&session, &names, destroy::unknown).await?;
    let session = session.with_recorded_catalog(&names).await?;
    let requests = names.into_iter().map(Request::Resume).collect();
    together::work_on(&session, global.output, requests, arguments.parallel).await.map(ExitCode::from)
}
