//! Every environment variable and default path that Ostler knows, in one place.

use ostler_core::{Blame, Failure, Result};
use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    time::Duration,
};

/// The user's own ssh-agent.
pub fn ssh_agent() -> Option<PathBuf> {
    std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty()).map(PathBuf::from)
}

/// Names the state directory; `--state-dir` goes before it.
pub const STATE_DIR: &str = "OSTLER_STATE_DIR";
/// For how many days the events of operations that ended are kept; 0: for ever.
pub const KEEP_EVENTS_DAYS: &str = "OSTLER_KEEP_EVENTS_DAYS";
const USUAL_DAYS: u64 = 90;
/// Where Debian's images are pulled from instead of <https://cloud.debian.org/images/cloud>: a mirror of one's own.
pub const IMAGE_SITE: &str = "OSTLER_IMAGE_SITE";
/// Where the wizard and `ostler hetzner` find Hetzner's API instead of at its own address: a stand-in.
pub const HETZNER_ENDPOINT: &str = "OSTLER_HETZNER_ENDPOINT";

/// Where the wizard finds Cloudflare's API instead of at its own address: a stand-in.
pub const CLOUDFLARE_ENDPOINT: &str = "OSTLER_CLOUDFLARE_ENDPOINT";

/// Where Cloudflare's API is, if not at its own address.
pub fn cloudflare_endpoint() -> Option<String> {
    std::env::var(CLOUDFLARE_ENDPOINT).ok().filter(|url| !url.is_empty())
}

/// Where Hetzner's API is, if not at its own address.
pub fn hetzner_endpoint() -> Option<String> {
    std::env::var(HETZNER_ENDPOINT).ok().filter(|url| !url.is_empty())
}

/// How long the events of operations that ended are kept; `None`: for ever. Fails where the user said something else than a number of days.
pub fn keep_events() -> Result<Option<Duration>> {
    let said = std::env::var_os(KEEP_EVENTS_DAYS).filter(|value| !value.is_empty());
    let days = match &said {
        Some(said) => said.to_str().and_then(|days| days.parse::<u32>().ok()).map(u64::from),
        None => Some(USUAL_DAYS),
    };
    let days = days.ok_or_else(|| {
        Failure::new(Blame::User, format!("{KEEP_EVENTS_DAYS} is not a number of days"))
            .with_hint(format!("set it to a whole number, or to 0 to keep events for ever; unset, it is {USUAL_DAYS}"))
    })?;
    Ok((days > 0).then(|| Duration::from_secs(days * 24 * 60 * 60)))
}

/// Whether what goes to standard output may be coloured: it is a terminal, and `NO_COLOR` (no-color.org) is not set.
pub fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether questions are asked as plain lines: for screen readers (`ACCESSIBLE`), and where the cursor can't be moved.
pub fn plain_questions() -> bool {
    let accessible = std::env::var_os("ACCESSIBLE").is_some_and(|value| !value.is_empty() && value != "0");
    accessible || std::env::var_os("TERM").is_none_or(|terminal| terminal.is_empty() || terminal == "dumb")
}

/// `/var/lib/ostler` as root, else `$XDG_STATE_HOME/ostler`, by default `~/.local/state/ostler`.
pub fn default_state_dir() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/ostler"));
    }
    if let Some(state) = absolute("XDG_STATE_HOME") {
        return Ok(state.join("ostler"));
    }
    let home = home().ok_or_else(|| {
        Failure::new(Blame::User, "there is no home directory for the state")
            .with_hint(format!("set HOME, {STATE_DIR} or `--state-dir`"))
    })?;
    Ok(home.join(".local/state/ostler"))
}

/// The user's home directory.
pub fn home() -> Option<PathBuf> {
    absolute("HOME")
}

/// The private key that OpenSSH's own programs look for first.
pub fn default_key() -> Option<PathBuf> {
    home().map(|home| home.join(".ssh/id_ed25519"))
}

/// Folder for sockets that the login session made, if it did.
pub fn runtime_dir() -> Option<PathBuf> {
    absolute("XDG_RUNTIME_DIR")
}

/// Where programs are looked for.
pub fn search_path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into())
}

/// Where the JSON-line log goes: `/var/log/ostler` for root's default state, else `log/` in the state directory.
pub fn log_dir(state_dir: &Path) -> PathBuf {
    if state_dir == Path::new("/var/lib/ostler") { PathBuf::from("/var/log/ostler") } else { state_dir.join("log") }
}

/// A path as a word of a shell's command line.
pub fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=".contains(c);
    if path.starts_with(|c: char| plain(c) && c != '-') && path.chars().all(plain) {
        return path.into_owned();
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}
