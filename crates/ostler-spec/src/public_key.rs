//! Public keys of authorized_keys format, see sshd(8): blank lines and comments aside, each line is `[options] type base64 [comment]`.
//!
//! What sshd would silently pass over is refused here with its reason: nobody could log in with such a key.

use super::{
    fault::{Problem, nearest, quote},
    hint::{Hint, Next},
};
use base64::{Engine, engine::general_purpose::STANDARD};

/// Key types that Debian 13's sshd takes by default. DSA is gone from it.
const TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Options that stand alone, and, after them, those that want a value.
const FLAGS: [&str; 14] = [
    "agent-forwarding",
    "cert-authority",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-touch-required",
    "no-user-rc",
    "no-X11-forwarding",
    "port-forwarding",
    "pty",
    "restrict",
    "user-rc",
    "verify-required",
    "X11-forwarding",
];
const WITH_VALUE: [&str; 8] =
    ["command", "environment", "expiry-time", "from", "permitlisten", "permitopen", "principals", "tunnel"];

/// A line that holds no key that sshd takes.
#[derive(Debug)]
pub(super) struct BadLine {
    /// From 1.
    pub number: usize,
    /// What it is instead, if that can be said.
    pub problem: Option<Problem>,
}

/// The lines with keys, as sshd wants them.
pub(super) fn read(text: &str) -> Result<Vec<String>, BadLine> {
    // A byte order mark stands within a text where files were put together.
    let blank = |c: char| c.is_whitespace() || c == '\u{feff}';
    let lines = text.lines().map(|line| line.trim_matches(blank)).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(index, line)| match check(line) {
            Ok(()) => Ok(line.to_owned()),
            Err(problem) => Err(BadLine { number: index + 1, problem }),
        })
        .collect()
}

/// Whether a text is meant to be a key, and no path.
pub(super) fn looks_like_one(text: &str) -> bool {
    let mut words = text.trim_start_matches('\u{feff}').split_whitespace();
    let first = words.clone().next().unwrap_or_default();
    let many = words.clone().nth(1).is_some();
    ["ssh-", "ecdsa-", "sk-", "----"].iter().any(|start| first.starts_with(start)) && many
        || words.any(|word| TYPES.contains(&word))
}

/// `None`: there is nothing better to say than that it is no key.
fn check(line: &str) -> Result<(), Option<Problem>> {
    if line.contains(|c: char| c.is_control() && c != '\t') {
        return Err(None);
    }
    if let Some(problem) = another_format(line) {
        return Err(Some(problem));
    }
    let first = first_word(line);
    let key = if is_type(first) {
        line
    } else {
        let rest = line[first.len()..].trim_start();
        if !is_type(first_word(rest)) {
            return Err(None);
        }
        options(first)?;
        rest
    };
    let mut words = key.split_whitespace();
    let (kind, blob) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if kind.ends_with(CERTIFICATE) {
        return Err(Some(
            Problem::new("a certificate is not a key").hint("name the key that it was made for, without `-cert`"),
        ));
    }
    if kind == DSA {
        let problem = Problem::new("OpenSSH no longer accepts DSA keys");
        return Err(Some(problem.hint(accepted())));
    }
    let parts = parts(blob).filter(|parts| parts.len() > 1 && parts[0] == kind.as_bytes()).ok_or(None)?;
    match rsa_bits(&parts) {
        Some(bits) if bits < LEAST_RSA_BITS => {
            let problem = Problem::new(format!("an RSA key of {bits} bits: sshd accepts none below {LEAST_RSA_BITS}"));
            Err(Some(problem.hint(accepted())))
        }
        _ => Ok(()),
    }
}

fn accepted() -> Hint {
    Hint::from(Next::MakeKey { elsewhere: false }).with(" makes one that it accepts")
}

const CERTIFICATE: &str = "-cert-v01@openssh.com";
const DSA: &str = "ssh-dss";
/// OpenSSH's own least, which `RequiredRSASize` can only raise.
const LEAST_RSA_BITS: usize = 1024;

fn is_type(word: &str) -> bool {
    TYPES.contains(&word) || word == DSA || word.ends_with(CERTIFICATE)
}

/// What other programs call a public key.
fn another_format(line: &str) -> Option<Problem> {
    let (message, hint) = match line {
        line if line.starts_with("---- BEGIN SSH2 PUBLIC KEY") => {
            ("a public key in the format of RFC 4716", "`ssh-keygen -i -f FILE` prints it in that of OpenSSH")
        }
        line if line.starts_with("-----BEGIN PUBLIC KEY") => {
            ("a public key in PEM", "`ssh-keygen -i -m PKCS8 -f FILE` prints it in the format of OpenSSH")
        }
        line if line.starts_with("-----BEGIN RSA PUBLIC KEY") => {
            ("a public key in PEM", "`ssh-keygen -i -m PEM -f FILE` prints it in the format of OpenSSH")
        }
        line if line.starts_with("-----BEGIN") => {
            ("not a public key of OpenSSH", "one begins with `ssh-ed25519` or similar")
        }
        _ => return None,
    };
    Some(Problem::new(message).hint(hint))
}

/// Up to the first blank outside of quotes, in which `\"` is one more character.
fn first_word(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    let end = line.find(|c: char| {
        let ends = !quoted && (c == ' ' || c == '\t');
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    &line[..end.unwrap_or(line.len())]
}

/// Refuses options that sshd does not know: it would pass over the whole line.
fn options(text: &str) -> Result<(), Option<Problem>> {
    let (mut quoted, mut escaped) = (false, false);
    let options = text.split(|c: char| {
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        !quoted && c == ','
    });
    for option in options {
        let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
        let is_in = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        let in_quotes = |value: &str| value.len() > 1 && value.starts_with('"') && value.ends_with('"');
        if is_in(&WITH_VALUE) && !value.is_some_and(in_quotes) {
            let problem = Problem::new(format!("the option {} needs a value in quotes", quote(name)));
            return Err(Some(problem.hint(format!("for example `{name}=\"…\"`"))));
        }
        if !(is_in(&WITH_VALUE) || is_in(&FLAGS) && value.is_none()) {
            let hint = nearest(name, FLAGS.into_iter().chain(WITH_VALUE));
            let problem = Problem::new(format!("sshd knows no key option {}", quote(option)));
            return Err(Some(problem.hints(hint)));
        }
    }
    Ok(())
}

/// RFC 4253, section 6.6: a key is its parts, each with its length before it, and the first is its type.
fn parts(blob: &str) -> Option<Vec<Vec<u8>>> {
    let bytes = STANDARD.decode(blob).ok()?;
    let mut rest = bytes.as_slice();
    let mut parts = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (part, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        parts.push(part.to_vec());
        rest = after;
    }
    rest.is_empty().then_some(parts)
}

/// Length of an RSA key: the modulus is its third part.
fn rsa_bits(parts: &[Vec<u8>]) -> Option<usize> {
    if parts[0] != b"ssh-rsa" {
        return None;
    }
    let modulus = parts.get(2)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros)?;
    Some((modulus.len() - zeros) * 8 - first.leading_zeros() as usize)
}
