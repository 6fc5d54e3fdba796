//! `ostler schema`

use crate::{cli::Global, commands::catalog};
use ostler_core::{Result, spec};
use std::{path::PathBuf, process::ExitCode};

/// Print the JSON Schema of the spec file, for editors.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// With the apps of this catalog: a spec file that names it, or a folder with one [default: the catalog that ships]
    #[arg(long, value_name = "PATH")]
    catalog: Option<PathBuf>,
    /// Don't ask the catalog's server: use what was fetched last.
    #[arg(long)]
    offline: bool,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let catalog = catalog::named(global, arguments.catalog.as_deref(), arguments.offline).await?;
    let schema = spec::json_schema(&ostler_ansible::module_catalog()?, &catalog.index)?;
    crate::output::print(&format!("{schema:#}\n"));
    Ok(ExitCode::SUCCESS)
}
