//! `ostler catalog`

mod check;
mod list;
mod new;
mod show;
mod sync;

use crate::{cli::Global, commands::spec_file, output::hints};
use ostler_ansible::Catalog;
use ostler_core::{
    Result,
    spec::{AppMeta, Proto, Scope},
};
use std::{path::Path, process::ExitCode};

/// Fetch, show, check and create catalogs of apps.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Fetch a catalog from Git now, as `up` and `plan` do.
    Sync(sync::Arguments),
    /// Show the apps of a catalog.
    List(list::Arguments),
    /// Show one app: ports, dependencies, parameters.
    Show(show::Arguments),
    /// Make a catalog of your own, with an example.
    New(new::Arguments),
    /// Report everything that is wrong with a catalog's files.
    Check(check::Arguments),
}

/// Runs the command.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode> {
    match command {
        Command::Sync(arguments) => sync::run(global, arguments).await,
        Command::List(arguments) => list::run(global, arguments).await,
        Command::Show(arguments) => show::run(global, arguments).await,
        Command::New(arguments) => new::run(global, &arguments),
        Command::Check(arguments) => check::run(global, &arguments),
    }
}

/// The catalog that a spec file names or that lies in a folder; without either, the one that ships with Ostler.
pub async fn named(global: &Global, path: Option<&Path>, offline: bool) -> Result<Catalog> {
    match path {
        None => Ok(Catalog::shipped()?),
        Some(folder) if folder.is_dir() => {
            Ok(Catalog::in_folder(folder).map_err(|error| error.in_words(hints::command))?)
        }
        Some(file) => spec_file::catalog(global, file, offline).await,
    }
}

/// `80/tcp`, and who may reach it unless everybody may.
pub fn ports(app: &AppMeta) -> Vec<String> {
    let port = |port: &ostler_core::spec::AppPort| {
        let proto = if port.proto == Proto::Tcp { "tcp" } else { "udp" };
        let scope = match port.scope {
            Scope::Public => "",
            Scope::Lan => " (lan)",
            Scope::Local => " (local)",
        };
        format!("{}/{proto}{scope}", port.port)
    };
    app.ports.iter().map(port).collect()
}
