//! `ostler up`

use crate::{
    cli::Global,
    commands::{
        site::work,
        spec_file,
        together::{self, ParallelArguments},
    },
    wiring::{Session, WaitArguments},
};
use ostler_core::{Result, ids::ServerName, server::up::OnFailure, site, world::World};
use ostler_service::Request;
use std::{path::PathBuf, process::ExitCode};

/// Create the servers of a spec file, or bring them in line with it; then deploy its sites.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The spec file.
    file: PathBuf,
    /// Only these servers of the file, and the sites on them.
    #[arg(value_parser = spec_file::server_name)]
    names: Vec<ServerName>,
    /// Don't ask the catalog's server: use what was fetched last.
    #[arg(long)]
    offline: bool,
    /// What happens to a server that this run began to make and can't finish. One that was there before always stays.
    #[arg(long, value_enum, default_value_t = Unfinished::Keep)]
    on_failure: Unfinished,
    #[command(flatten)]
    parallel: ParallelArguments,
    #[command(flatten)]
    wait: WaitArguments,
}

/// What becomes of an unfinished server.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Unfinished {
    /// What was made is listed, and stays: `ostler resume` goes on.
    Keep,
    /// What was made is removed, as by `ostler destroy`.
    Destroy,
}

impl From<Unfinished> for OnFailure {
    fn from(unfinished: Unfinished) -> Self {
        match unfinished {
            Unfinished::Keep => Self::Keep,
            Unfinished::Destroy => Self::Destroy,
        }
    }
}

impl Arguments {
    /// Those of `ostler up FILE`.
    pub fn of(file: PathBuf) -> Self {
        Self {
            file,
            names: Vec::new(),
            offline: false,
            on_failure: Unfinished::Keep,
            parallel: ParallelArguments::default(),
            wait: WaitArguments::default(),
        }
    }
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let (spec, catalog) = spec_file::read(global, &arguments.file, arguments.offline).await?;
    let elsewhere = spec.elsewhere.clone();
    let sites = spec_file::sites_on(&spec, &arguments.names);
    let servers = spec_file::chosen(spec, &arguments.names)?;
    let session = Session::open(global, arguments.wait, "up").await?;
    spec_file::must_be_known(&session, &arguments.file, elsewhere).await?;
    let session = session.with_catalog(catalog).with_spec_file(&arguments.file);
    let on_failure = arguments.on_failure.into();
    let requests: Vec<_> = servers.into_iter().map(|spec| Request::Up { spec: Box::new(spec), on_failure }).collect();
    let mut codes = Vec::new();
    if !requests.is_empty() {
        codes.push(together::work_on(&session, global.output, requests, arguments.parallel).await?);
    }
    for site in sites {
        if session.interrupted() {
            break;
        }
        let deploy = async |world: &World| site::deploy::deploy(world, &site).await.map(Some);
        codes.push(work::work_on(&session, global.output, &site.name, deploy).await);
    }
    Ok(ExitCode::from(codes.into_iter().max().unwrap_or(0)))
}
