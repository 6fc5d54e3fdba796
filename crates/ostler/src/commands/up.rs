//! `ostler up`

use crate::{
    cli::Global,
    commands::{
        spec_file,
        together::{self, ParallelArguments},
    },
    wiring::{Session, WaitArguments},
};
use ostler_core::{
    Result,
    ids::ServerName,
    ops::up::{self, Resumed},
    spec::ServerSpec,
};
use std::{collections::HashMap, path::PathBuf, process::ExitCode};

/// Create or converge what a spec file says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The spec file.
    file: PathBuf,
    /// Only these servers of it.
    #[arg(value_parser = spec_file::server_name)]
    names: Vec<ServerName>,
    /// Don't ask the catalog's server: take what was fetched last.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    parallel: ParallelArguments,
    #[command(flatten)]
    wait: WaitArguments,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let (spec, catalog) = spec_file::read(global, &arguments.file, arguments.offline).await?;
    let servers = spec_file::chosen(spec, &arguments.names)?;
    let session = Session::open(global, arguments.wait, "up").await?.with_catalog(catalog);
    let names: Vec<ServerName> = servers.iter().map(|server| server.name.clone()).collect();
    let specs: HashMap<&ServerName, &ServerSpec> = servers.iter().map(|server| (&server.name, server)).collect();
    together::work_on(&session, global.output, &names, arguments.parallel, async |world, name| {
        up::up(world, specs[name]).await.map(Resumed::Up)
    })
    .await
}
