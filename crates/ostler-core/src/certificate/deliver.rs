//! A certificate on its way to the Traefik of a server.
//!
//! Traefik watches its settings, and not the certificates that these name. So each certificate has files of its own, by its fingerprint, and
//! the settings are replaced to name them. The old files go once the port really serves the new one.

use super::Certificate;
use crate::{
    error::{Blame, Failure, Result},
    ports::Session,
    text::one_line,
};

const WITHDRAW: &str = include_str!("scripts/withdraw.sh");
const DELIVER: &str = include_str!("scripts/deliver.sh");

/// Where a Traefik takes its settings and certificates from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'p> {
    /// Folder on the server with `dynamic` and `certificates`.
    pub folder: &'p str,
    /// What Traefik calls that folder.
    pub seen_as: &'p str,
    /// Where it serves TLS.
    pub port: u16,
    /// How a shell's words begin there that need root.
    pub root: &'p str,
}

/// That of the catalog's role.
pub const TRAEFIK: Place<'_> =
    Place { folder: "/etc/ostler/traefik", seen_as: "/etc/traefik", port: 443, root: "sudo -n " };

/// Puts the certificate in place of the one that was delivered under the same first name, and returns once the port serves it for each of its
/// names. Done again, it changes nothing. The key goes over the session's standard input, and is readable for root and Traefik only.
pub async fn deliver(session: &dyn Session, certificate: &Certificate, place: &Place<'_>) -> Result<()> {
    let Certificate { names, issued, key } = certificate;
    // Every word is one of a shell's as it is: names of the DNS, hex, numbers, and paths of ours.
    let hosts: Vec<String> = names.iter().map(|name| name.replace('*', "ostler-check")).collect();
    let file = file_of(&names[0]);
    let fingerprint = issued.fingerprint.get(..16).unwrap_or(&issued.fingerprint);
    let Place { folder, seen_as, port, root } = place;
    let words = format!("{folder} {seen_as} {port} {file} {fingerprint} {} {}", issued.serial, hosts.join(" "));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " ./-_".contains(c);
    if !words.chars().all(is_plain) {
        return Err(Failure::new(Blame::Bug, format!("{} can't be names of a certificate", names.join(", "))));
    }
    // The script is an argument, so that the key alone is the input.
    let script = format!("exec {root}sh -c '{}' sh {words}", DELIVER.replace('\'', r"'\''"));
    let input = crate::secret::Secret::new(format!("{}\n{}", key.expose().trim_end(), issued.chain));
    let output = session.run(&script, input.expose().as_bytes()).await?;
    match output.status {
        0 => Ok(()),
        _ => Err(Failure::new(Blame::Target, one_line(&output.stderr))
            .because_of(format!("the certificate for {} is not served", names.join(", ")))),
    }
}

/// Takes away what was delivered under a first name. Nothing there: fine.
pub async fn withdraw(session: &dyn Session, name: &str, place: &Place<'_>) -> Result<()> {
    let Place { folder, root, .. } = place;
    let output = session.run(&format!("exec {root}sh -s -- {folder} {}", file_of(name)), WITHDRAW.as_bytes()).await?;
    match output.status {
        0 => Ok(()),
        _ => Err(Failure::new(Blame::Target, one_line(&output.stderr))
            .because_of(format!("the certificate for {name} can't be taken from the server"))),
    }
}

/// What files of a certificate are called. Names of the DNS have nothing else that a shell could take for something.
fn file_of(name: &str) -> String {
    name.replace('*', "_")
}
