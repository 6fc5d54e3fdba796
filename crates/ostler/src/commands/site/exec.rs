//! `ostler site exec`

use super::{site_name, work};
use crate::wiring::Session;
use ostler_core::{Result, ids::SiteName, ports::Look};
use std::{io::IsTerminal, process::ExitCode};

/// Run a command in a copy of a site.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The site.
    #[arg(value_parser = site_name)]
    name: SiteName,
    /// Program and arguments.
    #[arg(last = true, value_name = "CMD", required = true)]
    command: Vec<String>,
}

/// Runs the command. Its exit status becomes ours.
pub async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let look = Look::Exec { command: &arguments.command, terminal };
    work::look_at(session, &arguments.name, &look, terminal).await
}
