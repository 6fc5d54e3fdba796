//! `ostler secret set`

use crate::{cli::Global, wiring::Session};
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
pub async fn run(global: &Global, session: &Session, arguments: Arguments) -> Result<ExitCode> {
    let unreadable = |error: std::io::Error| {
        Failure::new(Blame::User, error.to_string()).because_of("the secret can't be read from standard input")
    };
    let text = if std::io::stdin().is_terminal() {
        if global.non_interactive {
            return Err(Failure::new(Blame::User, "a secret is read from standard input, which is a terminal")
                .with_hint(format!("`ostler secret set {} < FILE`", arguments.name)));
        }
        rpassword::prompt_password(format!("value of {}: ", arguments.name)).map_err(unreadable)?
    } else {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(unreadable)?;
        text
    };
    let secret = Secret::new(text.strip_suffix('\n').unwrap_or(&text));
    if secret.expose().is_empty() {
        return Err(Failure::new(Blame::User, "an empty secret keeps nothing"));
    }
    session.store.put_secret(None, &arguments.name, &secret).await?;
    Ok(ExitCode::SUCCESS)
}
