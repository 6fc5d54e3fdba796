//! `ostler dns`

mod records;

use crate::{
    cli::Global,
    wiring::{Session, WaitArguments},
};
use ostler_core::Result;
use std::process::ExitCode;

/// Look at the records of zones.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show the records that sites need: who made each, and whether the zone's servers have it.
    Records(records::Arguments),
}

/// Runs the command.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode> {
    match command {
        Command::Records(arguments) => {
            let session = Session::open(global, WaitArguments::default(), "dns records").await?;
            records::run(global, &session, &arguments).await
        }
    }
}
