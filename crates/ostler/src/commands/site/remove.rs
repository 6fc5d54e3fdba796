//! `ostler site remove`

use super::{site_name, work};
use crate::{cli::Global, commands::destroy, wiring::Session};
use ostler_core::{Result, ids::SiteName, site};
use std::process::ExitCode;

/// Take a site away, with all its releases and secrets.
///
/// Images stay on the server.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The site.
    #[arg(value_parser = site_name)]
    name: SiteName,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
pub async fn run(global: &Global, session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let name = &arguments.name;
    site::record(&session.store, name).await?.ok_or_else(|| site::unknown(name))?;
    if !arguments.yes {
        let lost = "and all its releases and secrets";
        destroy::confirm_typed(global, &format!("site remove {name}"), (name.as_str(), lost, "removed"), &[])?;
    }
    let code = work::work_on(session, global.output, name, async |world| {
        site::deploy::remove(world, name).await.map(|()| None)
    });
    Ok(ExitCode::from(code.await))
}
