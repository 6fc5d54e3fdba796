//! `ostler secret list`

use crate::{cli::Global, output, wiring::Session};
use ostler_core::{Result, ports::Store};
use std::process::ExitCode;

/// Show the names of the secrets.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Runs the command.
pub async fn run(global: &Global, session: &Session, _: &Arguments) -> Result<ExitCode> {
    let names = session.store.secret_names().await?;
    output::data(global.output, &names, || names.iter().map(|name| format!("{name}\n")).collect());
    Ok(ExitCode::SUCCESS)
}
