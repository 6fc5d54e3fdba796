//! Which host keys a server shows, before anything is known of it.

use crate::{RemoteError, keys, launch::Launcher};
use ostler_core::ports::HostKey;
use std::{net::SocketAddr, process::Stdio, time::Duration};

/// Kinds, best first.
const KINDS: [&str; 3] = ["ed25519", "ecdsa", "rsa"];

/// Asks with ssh-keyscan(1), which writes `HOST TYPE KEY` for each.
pub(crate) async fn scan(
    launcher: Launcher,
    address: SocketAddr,
    timeout: Duration,
) -> Result<Vec<HostKey>, RemoteError> {
    let (seconds, port, host) =
        (timeout.as_secs().max(1).to_string(), address.port().to_string(), address.ip().to_string());
    let argv = ["ssh-keyscan", "-T", &seconds, "-p", &port, "-t", &KINDS.join(","), "--", &host].map(str::to_owned);
    let mut command = launcher.command(&argv);
    let output = command.stdout(Stdio::piped()).output().await.map_err(|source| Launcher::failed(&argv, source))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some((_, key)) = line.split_once(' ')
            && let Ok(fingerprint) = keys::fingerprint(key)
        {
            found.push(HostKey { key: key.trim().to_owned(), fingerprint });
        }
    }
    found.sort_by_key(|found| KINDS.iter().position(|kind| found.key.contains(kind)));
    Ok(found)
}
