//! `ostler image pull`

use super::show_getting;
use crate::{cli::Global, wiring::Session};
use ostler_core::Result;
use std::process::ExitCode;

/// The image.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Its name.
    #[arg(default_value = "debian-13")]
    name: String,
}

/// Runs the command.
pub async fn run(global: &Global, session: &Session, arguments: Arguments) -> Result<ExitCode> {
    show_getting(global, session, async |reporter| Ok(session.images.pull(&arguments.name, reporter).await?)).await
}
