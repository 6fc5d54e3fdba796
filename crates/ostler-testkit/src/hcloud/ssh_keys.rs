//! SSH keys: unique by name and by fingerprint.

use super::{
    api::{Refusal, Reply, Request},
    state::{Kind, State},
};
use base64::Engine;
use md5::{Digest, Md5};
use serde_json::json;

pub(super) fn create(state: &mut State, request: &Request) -> Reply {
    let public_key = request.text("public_key").unwrap_or_default().trim();
    let fingerprint =
        fingerprint(public_key).ok_or_else(|| Refusal::input("public_key", "is not a valid SSH public key"))?;
    if state.all(Kind::SshKey).any(|(_, key)| key["fingerprint"] == fingerprint) {
        return Err(Refusal::not_unique("public_key", "SSH key with the same fingerprint already exists"));
    }
    let id = state.insert(
        Kind::SshKey,
        json!({
            "name": request.body["name"], "public_key": public_key, "fingerprint": fingerprint, "labels": request.body["labels"],
        }),
    );
    Ok(json!({ "ssh_key": state.view(Kind::SshKey, id)? }))
}

/// MD5 of a public key, as `ssh-keygen -E md5 -l` shows it, without the prefix.
fn fingerprint(public_key: &str) -> Option<String> {
    let mut words = public_key.split_whitespace();
    let kind = words.next()?;
    let blob = base64::engine::general_purpose::STANDARD.decode(words.next()?).ok()?;
    // The blob begins with the key's kind, after its length.
    let named = blob.get(4..4 + kind.len())?;
    let bytes: Vec<String> = Md5::digest(&blob).iter().map(|byte| format!("{byte:02x}")).collect();
    (named == kind.as_bytes()).then(|| bytes.join(":"))
}
