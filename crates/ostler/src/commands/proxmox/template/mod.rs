//! `ostler proxmox template`

mod build;
mod list;

use crate::cli::Global;
use ostler_core::Result;
use std::process::ExitCode;

/// Keep provisioned machines on the node that servers are cloned from. `ostler destroy NAME` removes one.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make the templates that servers of a spec file would be cloned from.
    Build(build::Arguments),
    /// Show the templates that were made, and what they hold.
    List(list::Arguments),
}

/// Runs the command.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode> {
    match command {
        Command::Build(arguments) => build::run(global, arguments).await,
        Command::List(arguments) => list::run(global, &arguments).await,
    }
}
