//! `ostler cert`

mod list;
mod renew;

use crate::{
    cli::Global,
    wiring::{Session, WaitArguments},
};
use ostler_core::Result;
use std::process::ExitCode;

/// Show certificates, and renew them.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show certificates: names, authority, expiry, next renewal, last failure.
    List(list::Arguments),
    /// Renew certificates.
    Renew(renew::Arguments),
}

/// Runs the command.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode> {
    let wait = match &command {
        Command::List(_) => WaitArguments::default(),
        Command::Renew(arguments) => WaitArguments::up_to(arguments.timeout),
    };
    let session = Session::open(global, wait, "cert").await?;
    match command {
        Command::List(arguments) => list::run(global, &session, &arguments).await,
        Command::Renew(arguments) => renew::run(global, &session, arguments).await,
    }
}
