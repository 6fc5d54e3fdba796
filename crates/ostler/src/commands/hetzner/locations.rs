//! `ostler hetzner locations`

use super::Project;
use crate::{
    cli::Global,
    output::{self, Table},
};
use ostler_core::Result;
use std::process::ExitCode;

/// Locations, with the zone that a private network reaches.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    project: Project,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: &Arguments) -> Result<ExitCode> {
    let locations = arguments.project.offers(global).await?.locations;
    output::data(global.output, &locations, || {
        let mut table = Table::new(&["LOCATION", "CITY", "NETWORK ZONE"]);
        locations.iter().for_each(|it| table.row(vec![it.name.clone(), it.city.clone(), it.zone.clone()]));
        table.render()
    });
    Ok(ExitCode::SUCCESS)
}
