//! `ostler proxmox template build`

use crate::{
    cli::Global,
    commands::{
        spec_file,
        together::{self, ParallelArguments},
    },
    wiring::{Session, WaitArguments},
};
use ostler_core::{Blame, Failure, Result, ids::ServerName, server::template, spec::ServerSpec};
use ostler_service::Request;
use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

/// Make the templates that servers of a spec file would be cloned from. One that is there is left alone.
///
/// A template holds the image, the modules and those apps that make no secrets. It is made on the network of the first server that it
/// is for, with the least of their disks; a fixed address must be free meanwhile. `ostler up` uses it by itself.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The spec file.
    file: PathBuf,
    /// For these servers of it [default: all that are on Proxmox VE]
    #[arg(value_parser = spec_file::server_name)]
    names: Vec<ServerName>,
    /// Don't ask the catalog's server: use what was fetched last.
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
    let mut servers = spec_file::chosen(spec, &arguments.names)?;
    let session = Session::open(global, arguments.wait, "template build").await?.with_catalog(catalog);
    let providers = session.providers();
    let makes_templates = |server: &ServerSpec| providers[&server.provider.kind()].templates().is_some();
    if arguments.names.is_empty() {
        servers.retain(makes_templates);
    }
    if let Some(other) = servers.iter().find(|server| !makes_templates(server)) {
        return Err(Failure::new(Blame::User, format!("{} is not on Proxmox VE", other.name))
            .with_hint("only servers there can be cloned from a template"));
    }
    if servers.is_empty() {
        return Err(Failure::new(Blame::User, format!("{} has no server on Proxmox VE", arguments.file.display())));
    }
    let world = session.world();
    let mut templates: BTreeMap<ServerName, ServerSpec> = BTreeMap::new();
    for server in &servers {
        let wanted = template::server_for(&world, server);
        let known = templates.entry(wanted.name.clone()).or_insert_with(|| wanted.clone());
        known.size.disk = known.size.disk.min(wanted.size.disk);
    }
    let requests = templates.into_values().map(|spec| Request::Template(Box::new(spec))).collect();
    together::work_on(&session, global.output, requests, arguments.parallel).await.map(ExitCode::from)
}
