//! `ostler hetzner images`

use super::Project;
use crate::{
    cli::Global,
    output::{self, Table},
};
use ostler_core::{Result, spec::NAMED_IMAGES};
use std::process::ExitCode;

/// Images of Hetzner that servers can be made of.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    project: Project,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: &Arguments) -> Result<ExitCode> {
    let images = arguments.project.offers(global).await?.images;
    output::data(global.output, &images, || {
        let mut table = Table::new(&["IMAGE", "FOR", "", "OSTLER"]);
        for image in &images {
            let ends = image.ends.as_ref().map_or_else(String::new, |day| format!("until {day}"));
            let known = NAMED_IMAGES.contains(&image.name.as_str());
            let known = if known { "makes servers of it" } else { "-" };
            table.row(vec![image.name.clone(), image.architectures.join(" "), ends, known.to_owned()]);
        }
        table.render()
    });
    Ok(ExitCode::SUCCESS)
}
