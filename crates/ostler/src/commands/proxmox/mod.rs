//! `ostler proxmox`

mod setup;

pub use setup::make_token;

use crate::{
    cli::Global,
    wiring::{Session, WaitArguments},
};
use ostler_core::Result;
use std::process::ExitCode;

/// Prepare a Proxmox VE host for Ostler.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// On the host, as root: make roles, a user and a token for Ostler, and keep the token.
    Setup(setup::Arguments),
}

/// Runs the command.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode> {
    let session = Session::open(global, WaitArguments::default(), "proxmox").await?;
    match command {
        Command::Setup(arguments) => setup::run(global, &session, arguments).await,
    }
}
