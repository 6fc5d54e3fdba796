//! Which host key a server shows, before anything is known of it.
//!
//! ssh itself asks, and breaks off before it logs in: one key exchange is one connection, where ssh-keyscan(1) opens one for each
//! kind of key, and firewalls and sshd count connections.

use crate::{connect_error, keys, launch::Launcher};
use ostler_core::ports::{ConnectError, HostKey};
use std::{net::SocketAddr, time::Duration};

/// Names of kinds in keys, each with the algorithms that prove them, best first.
const KINDS: [(&str, &str); 3] = [
    ("ssh-ed25519", "ssh-ed25519"),
    ("ecdsa-", "ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521"),
    ("ssh-rsa", "rsa-sha2-512,rsa-sha2-256"),
];

/// Begins the line with the key that is shown.
const SHOWN: &str = "ostler-host-key ";

/// The best key that the server has; where that is not `wanted`, a fingerprint, the others as well, until it is found.
pub(crate) async fn ask(
    launcher: Launcher,
    address: SocketAddr,
    wanted: Option<&str>,
    timeout: Duration,
) -> Result<Vec<HostKey>, ConnectError> {
    let mut kinds = KINDS.to_vec();
    let mut found: Vec<HostKey> = Vec::new();
    while !kinds.is_empty() && !found.iter().any(|found| wanted.is_none_or(|wanted| found.fingerprint == wanted)) {
        let algorithms: Vec<_> = kinds.iter().map(|(_, algorithms)| *algorithms).collect();
        let said = match tokio::time::timeout(timeout, exchange(launcher, address, &algorithms.join(","))).await {
            Ok(said) => said?,
            Err(_) => return Err(ConnectError::NoAnswer(format!("no key exchange with {address} within {timeout:?}"))),
        };
        match shown(&said) {
            Some(key) => {
                kinds.retain(|(kind, _)| !key.key.starts_with(kind));
                found.push(key);
            }
            // It has none of the kinds that are left.
            None if !found.is_empty() => break,
            None => return Err(connect_error::classify(&said, &[])),
        }
    }
    Ok(found)
}

/// What ssh says while it gets to know the server and, for it knows no key, breaks off.
async fn exchange(launcher: Launcher, address: SocketAddr, algorithms: &str) -> Result<String, ConnectError> {
    let mut argv: Vec<String> = ["ssh", "-F", "none"].map(str::to_owned).to_vec();
    for option in [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "UserKnownHostsFile=/dev/null",
        "GlobalKnownHostsFile=/dev/null",
        // ssh starts it with the key in words of its own making; it says that none is known.
        &format!("KnownHostsCommand=/bin/sh -c 'echo {SHOWN}%t %K >&2'"),
        &format!("HostKeyAlgorithms={algorithms}"),
        "IdentityFile=none",
        "IdentityAgent=none",
        "ConnectTimeout=30",
        "LogLevel=DEBUG1",
    ] {
        argv.extend(["-o".to_owned(), option.to_owned()]);
    }
    argv.extend(["-p".to_owned(), address.port().to_string(), "-l".to_owned(), "ostler".to_owned()]);
    argv.extend(["--".to_owned(), address.ip().to_string()]);
    let output = launcher.output(&argv).await;
    let output =
        output.map_err(|source| ConnectError::Broken(crate::error::one_line(&Launcher::failed(&argv, source))))?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn shown(said: &str) -> Option<HostKey> {
    said.lines().filter_map(|line| line.trim().strip_prefix(SHOWN)).find_map(|key| {
        // ssh also asks which kinds are known: `NONE NONE`.
        let fingerprint = keys::fingerprint(key).ok()?;
        Some(HostKey { key: key.to_owned(), fingerprint })
    })
}
