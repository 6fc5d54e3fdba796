//! One command, one file: its arguments, whose doc comments are the help text, and one function.

pub mod catalog;
pub mod cert;
pub mod completions;
pub mod destroy;
pub mod dns;
pub mod doctor;
pub mod hetzner;
pub mod image;
pub mod key;
pub mod logs;
pub mod man;
pub mod orphans;
pub mod plan;
pub mod proxmox;
pub mod rebuild;
pub mod rescue;
pub mod resume;
pub mod schema;
pub mod secret;
pub mod site;
pub mod ssh;
pub mod status;
pub mod up;
pub mod verify;
pub mod wizard;

mod follow;
pub mod spec_file;
mod together;

use crate::cli::{Cli, Command};
use ostler_core::Result;
use std::process::ExitCode;

/// Runs the command.
pub async fn run(cli: Cli) -> Result<ExitCode> {
    let global = &cli.global;
    let Some(command) = cli.command else { return wizard::run_if_asked_for(global).await };
    match command {
        Command::Wizard(arguments) => wizard::run(global, arguments).await,
        Command::Up(arguments) => up::run(global, arguments).await,
        Command::Plan(arguments) => plan::run(global, arguments).await,
        Command::Verify(arguments) => verify::run(global, arguments).await,
        Command::Status(arguments) => status::run(global, arguments).await,
        Command::Resume(arguments) => resume::run(global, arguments).await,
        Command::Rebuild(arguments) => rebuild::run(global, arguments).await,
        Command::Destroy(arguments) => destroy::run(global, arguments).await,
        Command::Logs(arguments) => logs::run(global, arguments).await,
        Command::Ssh(arguments) => ssh::run(global, arguments).await,
        Command::Rescue(arguments) => rescue::run(global, arguments).await,
        Command::Image(command) => image::run(global, command).await,
        Command::Key(command) => key::run(global, command),
        Command::Secret(command) => secret::run(global, command).await,
        Command::Dns(command) => dns::run(global, command).await,
        Command::Site(command) => site::run(global, command).await,
        Command::Cert(command) => cert::run(global, command).await,
        Command::Proxmox(command) => proxmox::run(global, command).await,
        Command::Hetzner(command) => hetzner::run(global, command).await,
        Command::Orphans(arguments) => orphans::run(global, arguments).await,
        Command::Catalog(command) => catalog::run(global, command).await,
        Command::Schema(arguments) => schema::run(global, arguments).await,
        Command::Doctor(arguments) => doctor::run(global, arguments).await,
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
    }
}
