//! `ostler site logs`

use super::{site_name, work};
use crate::wiring::Session;
use ostler_core::{Result, ids::SiteName, ports::Look};
use std::process::ExitCode;

/// Show what a site's program says.
///
/// `ostler logs` shows what happened to servers.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The site.
    #[arg(value_parser = site_name)]
    name: SiteName,
    /// Keep showing what it says, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// How many lines of each copy.
    #[arg(long, short = 'n', default_value_t = 100)]
    lines: u32,
}

/// Runs the command.
pub async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let look = Look::Logs { lines: arguments.lines, follow: arguments.follow };
    work::look_at(session, &arguments.name, &look, false).await
}
