//! `ostler image list`

use crate::{
    cli::Global,
    output::{self, Table},
    wiring::Session,
};
use ostler_core::Result;
use std::process::ExitCode;

/// Show the images at hand.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Runs the command.
pub async fn run(global: &Global, session: &Session, _: &Arguments) -> Result<ExitCode> {
    let images = session.images.list()?;
    output::data(global.output, &images, || {
        if images.is_empty() {
            return "no images; `ostler image pull debian-13` gets one\n".into();
        }
        let mut table = Table::new(&["IMAGE", "SIZE", "ORIGIN", "FILE"]);
        for image in &images {
            let size = format!("{} MiB", image.size / 1_048_576);
            table.row(vec![image.name.clone(), size, image.origin.to_string(), image.path.display().to_string()]);
        }
        table.render()
    });
    Ok(ExitCode::SUCCESS)
}
