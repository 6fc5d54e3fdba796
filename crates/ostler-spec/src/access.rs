//! Who gets in: the public keys, and the refusal of every policy under which nobody could log in.

use super::{
    SpecContext,
    fault::{Fault, Problem, quote},
    hint::{Hint, Next},
    public_key::{self, BadLine},
    walk::Found,
};
use std::io;

/// The list in either form of `authorized_keys`.
pub(super) fn list(found: &Found) -> &Found {
    found.get("keys").unwrap_or(found)
}

/// Lines of authorized_keys format of all entries of a list of keys.
pub(super) fn keys(found: &Found, context: &SpecContext<'_>, faults: &mut Vec<Fault>) -> Option<Vec<String>> {
    let mut all: Vec<String> = Vec::new();
    let mut good = true;
    for entry in found.list()? {
        let keys = match entry.text() {
            Some(text) => entry_keys(text, context).map_err(|problem| faults.push(entry.fault(problem))).ok(),
            None => None,
        };
        good &= keys.is_some();
        for key in keys.into_iter().flatten() {
            if !all.contains(&key) {
                all.push(key);
            }
        }
    }
    good.then_some(all)
}

/// Refuses what would lock the user out.
pub(super) fn check(server: &Found, faults: &mut Vec<Fault>) {
    let Some(ssh) = server.get("ssh") else { return };
    let get = |key| ssh.get(key);
    if let Some(enabled) = get("enabled").filter(|enabled| enabled.bool() == Some(false)) {
        let problem = Problem::new("without SSH there is no way into this server");
        faults.push(enabled.fault(problem.hint("this provider has no other way in: take it out")));
    }
    let Some(auth) = get("auth") else { return };
    let keys = server.get("authorized_keys").map(list).filter(|keys| keys.list().is_some_and(<[_]>::is_empty));
    let no_password = server.get("password").is_some_and(Found::is_null);
    match (auth.text(), keys) {
        (Some("key-only"), Some(keys)) => {
            let problem = Problem::new("nobody could log in: `auth` is `key-only`, and there is no key");
            faults.push(keys.fault(problem.hint("for example `authorized_keys: [ ~/.ssh/id_ed25519.pub ]`")));
        }
        (Some("key-and-password"), _) if no_password => {
            let problem = Problem::new("`key-and-password` needs a password");
            faults.push(auth.fault(problem.hint("for example `password: { env: OPS_PASSWORD }`")));
        }
        _ => {}
    }
}

/// The keys of one entry: it is a key itself, or the path of a file of them.
fn entry_keys(text: &str, context: &SpecContext<'_>) -> Result<Vec<String>, Problem> {
    if is_private(text) {
        return Err(Problem::new("this is a PRIVATE key, and it is in the spec")
            .hint("take it out, make a new key pair with `ssh-keygen -t ed25519`, and name its public half"));
    }
    if public_key::looks_like_one(text) {
        return public_key::read(text).map_err(|BadLine { number, problem }| {
            let place = if text.trim().contains('\n') { format!("line {number} is") } else { "this is".to_owned() };
            problem.unwrap_or_else(|| {
                Problem::new(format!("{place} not a whole public key"))
                    .hint("it may have been cut off when it was copied")
            })
        });
    }
    if text.starts_with("~/") && context.home.is_none() {
        return Err(Problem::new(format!("{} can't be found: there is no home directory", quote(text))));
    }
    if text.starts_with('~') && !text.starts_with("~/") {
        return Err(
            Problem::new(format!("{} can't be resolved", quote(text))).hint("only `~/` is, as your home directory")
        );
    }
    let path = context.resolve(text);
    let content = (context.read_file)(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let problem = Problem::new(format!("there is no file {}", quote(&path.to_string_lossy())));
            let default = context.home.as_ref().is_some_and(|home| path == home.join(DEFAULT_KEY));
            let make = Hint::from(Next::MakeKey { elsewhere: !default });
            problem.hint(make.with(if default { " makes it" } else { " makes a key pair" }))
        }
        io::ErrorKind::InvalidData => Problem::new(format!("{} does not hold public keys", quote(text))),
        _ => Problem::new(format!("{} can't be read: {error}", quote(&path.to_string_lossy()))),
    })?;
    if is_private(&content) {
        return Err(Problem::new(format!("{} is a PRIVATE key; it must never leave this machine", quote(text)))
            .hint(format!("name its public half: `{}.pub`", text.trim_end_matches(".pub"))));
    }
    match public_key::read(&content) {
        Ok(keys) if keys.is_empty() => Err(Problem::new(format!("{} holds no public key", quote(text)))),
        Ok(keys) => Ok(keys),
        Err(BadLine { number, problem: None }) => {
            Err(Problem::new(format!("line {number} of {} is not a public key", quote(text))))
        }
        Err(BadLine { number, problem: Some(Problem { message, hints }) }) => {
            Err(Problem { message: format!("line {number} of {}: {message}", quote(text)), hints })
        }
    }
}

/// The public half that `ssh-keygen` and `ostler key new` make unless told otherwise, in the home directory.
const DEFAULT_KEY: &str = ".ssh/id_ed25519.pub";

fn is_private(text: &str) -> bool {
    text.contains("PRIVATE KEY") || text.contains("PuTTY-User-Key-File")
}
