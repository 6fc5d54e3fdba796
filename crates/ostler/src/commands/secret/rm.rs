//! `ostler secret rm`

use crate::wiring::Session;
use ostler_core::{Blame, Failure, Result, ports::Store};
use std::process::ExitCode;

/// Forget a secret.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Its name.
    name: String,
}

/// Runs the command.
pub async fn run(session: &Session, arguments: Arguments) -> Result<ExitCode> {
    if session.store.remove_secret(None, &arguments.name).await? {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(Blame::User, format!("there is no secret `{}`", arguments.name))
        .with_hint("`ostler secret list` names them"))
}
