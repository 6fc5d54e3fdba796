//! `ostler secret`

mod list;
mod rm;
mod set;

use crate::{
    cli::Global,
    wiring::{Session, WaitArguments},
};
use ostler_core::Result;
use std::process::ExitCode;

/// Store the secrets that spec files name, encrypted.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Store a secret, read from standard input.
    Set(set::Arguments),
    /// Show the names of the secrets.
    List(list::Arguments),
    /// Forget a secret.
    Rm(rm::Arguments),
}

/// Runs the command.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode> {
    let session = Session::open(global, WaitArguments::default(), "secret").await?;
    match command {
        Command::Set(arguments) => set::run(&session, arguments).await,
        Command::List(arguments) => list::run(global, &session, &arguments).await,
        Command::Rm(arguments) => rm::run(&session, arguments).await,
    }
}
