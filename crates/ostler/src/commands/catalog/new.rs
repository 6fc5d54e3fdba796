//! `ostler catalog new`

use crate::{cli::Global, output};
use ostler_core::Result;
use std::{path::PathBuf, process::ExitCode};

/// Make a catalog of your own, with an example.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A folder that is not there yet, or is empty.
    dir: PathBuf,
}

/// Runs the command.
pub fn run(global: &Global, arguments: &Arguments) -> Result<ExitCode> {
    ostler_ansible::new_catalog(&arguments.dir)?;
    let dir = arguments.dir.display();
    output::data(global.output, &serde_json::json!({ "catalog": arguments.dir }), || {
        format!("{dir}  made, with the app `example`; `ostler catalog check {dir}` checks what you make of it\n")
    });
    Ok(ExitCode::SUCCESS)
}
