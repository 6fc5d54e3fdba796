//! `ostler proxmox`

mod setup;
mod template;

pub use setup::make_token;

use crate::cli::Global;
use ostler_core::Result;
use std::process::ExitCode;

/// Prepare a Proxmox VE host for Ostler, and keep templates there.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// On the host, as root: make roles, a user and a token for Ostler, and keep the token.
    Setup(setup::Arguments),
    /// Keep provisioned machines on the node that servers are cloned from.
    #[command(subcommand)]
    Template(template::Command),
}

/// Runs the command.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode> {
    match command {
        Command::Setup(arguments) => setup::run(global, arguments).await,
        Command::Template(command) => template::run(global, command).await,
    }
}
