//! `ostler site`

mod deploy;
mod exec;
mod list;
mod logs;
mod remove;
mod rollback;
mod show;
pub mod work;

use crate::{
    cli::Global,
    wiring::{Session, WaitArguments},
};
use ostler_core::{Result, ids::SiteName};
use std::process::ExitCode;

/// Deploy sites to servers that have Traefik, look at them, and take them away.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Bring a site to its spec; what serves goes on until the new release has answered.
    Deploy(deploy::Arguments),
    /// Show all sites.
    List(list::Arguments),
    /// Show a site: what runs, and its releases.
    Show(show::Arguments),
    /// Show what a site's program says.
    Logs(logs::Arguments),
    /// Run a command in a copy of a site.
    Exec(exec::Arguments),
    /// Go back to an earlier release.
    Rollback(rollback::Arguments),
    /// Take a site away, with all its releases and secrets.
    Remove(remove::Arguments),
}

/// Runs the command.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode> {
    let session = async |doing| Session::open(global, WaitArguments::default(), doing).await;
    match command {
        Command::Deploy(arguments) => deploy::run(global, session("site deploy").await?, arguments).await,
        Command::List(arguments) => list::run(global, &session("site list").await?, &arguments).await,
        Command::Show(arguments) => show::run(global, &session("site show").await?, &arguments).await,
        Command::Logs(arguments) => logs::run(&session("site logs").await?, &arguments).await,
        Command::Exec(arguments) => exec::run(&session("site exec").await?, &arguments).await,
        Command::Rollback(arguments) => rollback::run(global, &session("site rollback").await?, &arguments).await,
        Command::Remove(arguments) => remove::run(global, &session("site remove").await?, &arguments).await,
    }
}

/// For clap.
fn site_name(text: &str) -> std::result::Result<SiteName, String> {
    SiteName::parse(text).map_err(|error| error.to_string())
}
