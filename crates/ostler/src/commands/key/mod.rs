//! `ostler key`

pub mod new;

use crate::cli::Global;
use ostler_core::Result;
use std::process::ExitCode;

/// Make a key pair that lets you in.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a key pair with ssh-keygen; an existing file is never touched.
    New(new::Arguments),
}

/// Runs the command.
pub fn run(global: &Global, command: Command) -> Result<ExitCode> {
    match command {
        Command::New(arguments) => new::run(global, arguments),
    }
}
