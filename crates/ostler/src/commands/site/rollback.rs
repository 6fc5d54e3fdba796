//! `ostler site rollback`

use super::{site_name, work};
use crate::{cli::Global, wiring::Session};
use ostler_core::{Result, ids::SiteName, site};
use std::process::ExitCode;

/// Go back to an earlier release.
///
/// What that was becomes a new release: its image, settings, environment, and the secrets that it had.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The site.
    #[arg(value_parser = site_name)]
    name: SiteName,
    /// Number of the release [default: the one before]
    release: Option<u32>,
}

/// Runs the command.
pub async fn run(global: &Global, session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let name = &arguments.name;
    let code = work::work_on(session, global.output, name, async |world| {
        site::deploy::roll_back(world, name, arguments.release).await.map(Some)
    });
    Ok(ExitCode::from(code.await))
}
