//! `ostler catalog list`

use crate::{
    cli::Global,
    output::{self, Table},
};
use ostler_core::Result;
use std::{path::PathBuf, process::ExitCode};

/// Show the apps of a catalog.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A spec file that names it, or a folder with one [default: the catalog that ships with Ostler]
    file: Option<PathBuf>,
    /// Don't ask the catalog's server: use what was fetched last.
    #[arg(long)]
    offline: bool,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let catalog = super::named(global, arguments.file.as_deref(), arguments.offline).await?;
    output::data(global.output, &catalog.index.apps, || {
        if catalog.index.apps.is_empty() {
            return "no apps\n".into();
        }
        let mut table = Table::new(&["APP", "VERSION", "PORTS", "DEPENDS", "DESCRIPTION"]);
        for app in &catalog.index.apps {
            let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
            table.row(vec![
                app.name.clone(),
                or_dash(app.version.clone().unwrap_or_default()),
                or_dash(super::ports(app).join(", ")),
                or_dash(app.depends.join(", ")),
                app.description.clone(),
            ]);
        }
        table.render()
    });
    Ok(ExitCode::SUCCESS)
}
