//! What was decided is done: the file written, secrets kept, a token made, the server made by the very command that does so.

use super::Outcome;
use crate::{
    cli::Global,
    commands::{key::new::make, proxmox, up},
    wiring::{Session, WaitArguments},
};
use ostler_core::{Blame, Failure, Result, ports::Store};
use ostler_providers::proxmox::Host;
use std::{fs, process::ExitCode};

/// Does it.
pub async fn finish(global: &Global, host: &Host, outcome: Outcome) -> Result<ExitCode> {
    let Outcome { text, file, go, secrets, key, setup } = outcome;
    let shown = file.display().to_string();
    if let Some(key) = key {
        eprintln!("ssh-keygen makes {} now; an empty passphrase is none", key.display());
        let hint = "nothing was written; `ostler` starts again";
        make(&key, true).map_err(|failure| failure.because_of("there is no key yet").with_hint(hint))?;
    }
    fs::write(&file, text).map_err(|error| {
        Failure::new(Blame::User, error.to_string()).because_of(format!("{shown} can't be written"))
    })?;
    eprintln!("wrote {shown}");
    if !secrets.is_empty() || setup.is_some() {
        let session = Session::open(global, WaitArguments::default(), "wizard").await?;
        for (name, secret) in secrets {
            session.store.put_secret(None, &name, &secret).await?;
            eprintln!("kept the secret `{name}`");
        }
        if let Some((setup, name)) = setup {
            proxmox::make_token(&session, host, &setup, Some(name.clone())).await.map_err(|failure| {
                let hint = format!("{shown} is written; `ostler proxmox setup`, then `ostler up {shown}`");
                failure.because_of("no token could be made on this host").with_hint(hint)
            })?;
            eprintln!("made a token, and kept it as the secret `{name}`");
        }
    }
    if go {
        return up::run(global, up::Arguments::of(file)).await;
    }
    eprintln!("\nhint: `ostler plan {shown}` shows what that would do, `ostler up {shown}` does it");
    Ok(ExitCode::SUCCESS)
}
