//! `ostler secret set`

use crate::wiring::Session;
use ostler_core::{Blame, Failure, Result, ports::Store, secret::Secret};
use std::{
    io::{IsTerminal, Read},
    process::ExitCode,
};

/// Store a secret, read from standard input.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Its name, as `{ secret: NAME }` in a spec.
    name: String,
}

/// Runs the command.
pub async fn run(session: &Session, arguments: Arguments) -> Result<ExitCode> {
    let name = &arguments.name;
    let secret = if std::io::stdin().is_terminal() {
        let question = format!("value of {name}");
        let typed = session.with_world(async |world| world.ask.secret(&question).await).await?;
        typed.ok_or_else(|| {
            Failure::new(Blame::User, "a secret is read from standard input, which is a terminal")
                .with_hint(format!("`ostler secret set {name} < FILE`"))
        })?
    } else {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| {
            Failure::new(Blame::User, error.to_string()).because_of("the secret can't be read from standard input")
        })?;
        Secret::new(text.strip_suffix('\n').unwrap_or(&text))
    };
    if secret.expose().is_empty() {
        return Err(Failure::new(Blame::User, "the secret is empty"));
    }
    session.store.put_secret(None, name, &secret).await?;
    Ok(ExitCode::SUCCESS)
}
