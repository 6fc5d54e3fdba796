//! Which methods of authentication sshd offers to somebody.
//!
//! It tells them when `none` is asked for (RFC 4252, section 5.2), which every client does first. Nothing is tried after that, so sshd
//! counts no failed login, and no fail2ban bans us.

use crate::{args, connect_error, error::one_line, launch::Launcher};
use ostler_core::{
    ports::{ConnectError, LET_IN},
    secret::Secret,
};

/// Asks by a connection of its own. `trust`: options of every client; `expected`: fingerprints of the pinned host keys.
pub(crate) async fn ask(
    launcher: Launcher,
    (trust, environment): (&[String], &[(&'static str, Secret)]),
    login: (&str, &str, u16),
    expected: &[String],
) -> Result<Vec<String>, ConnectError> {
    let argv = args::question(trust, login);
    let output = launcher.output_with(&argv, environment).await;
    let output = output.map_err(|source| ConnectError::Broken(one_line(&Launcher::failed(&argv, source))))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(vec![LET_IN.to_owned()]);
    }
    match told(&said) {
        methods if methods.is_empty() => Err(connect_error::classify(&said, expected)),
        methods => Ok(methods),
    }
}

/// The methods in what ssh says at level DEBUG1.
pub(crate) fn told(said: &str) -> Vec<String> {
    let line =
        said.lines().find_map(|line| line.trim_end().strip_prefix("debug1: Authentications that can continue: "));
    line.map(|methods| methods.split(',').map(str::to_owned).collect()).unwrap_or_default()
}
