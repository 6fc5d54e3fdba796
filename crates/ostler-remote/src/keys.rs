//! Keys: made here, so that no `ssh-keygen` writes one to disk.

use crate::RemoteError;
use ostler_core::{model::KeyPair, secret::Secret};
use ssh_key::{
    Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, authorized_keys, private::KeypairData, rand_core::OsRng,
};
use std::str::FromStr;

/// A new ed25519 pair from the system's random numbers.
pub(crate) fn generate() -> Result<KeyPair, RemoteError> {
    let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(RemoteError::Generate)?;
    let private = key.to_openssh(LineEnding::LF).map_err(RemoteError::Generate)?;
    let public = key.public_key().to_openssh().map_err(RemoteError::Generate)?;
    Ok(KeyPair { private: Secret::new(private.as_str()), public })
}

/// Reads the private key that logs in to `server`.
pub(crate) fn parse_private(server: &str, key: &Secret) -> Result<PrivateKey, RemoteError> {
    let key = PrivateKey::from_openssh(key.expose())
        .map_err(|source| RemoteError::PrivateKey { server: server.to_owned(), source })?;
    match key.key_data() {
        KeypairData::Ed25519(_) => Ok(key),
        _ => Err(RemoteError::PrivateKeyKind { server: server.to_owned() }),
    }
}

/// Reads a public key. What follows it is a comment and is dropped.
pub(crate) fn parse_public(text: &str) -> Result<PublicKey, RemoteError> {
    let mut key = PublicKey::from_openssh(text.trim())
        .map_err(|source| RemoteError::PublicKey { text: text.to_owned(), source })?;
    key.set_comment("");
    Ok(key)
}

/// The key in a line of authorized_keys, which may begin with options.
pub(crate) fn in_authorized_line(line: &str) -> Option<PublicKey> {
    let mut key = authorized_keys::Entry::from_str(line).ok()?.public_key().clone();
    key.set_comment("");
    Some(key)
}

/// `SHA256:` and 43 characters of base64, as `ssh-keygen -l` prints it.
pub(crate) fn fingerprint(text: &str) -> Result<String, RemoteError> {
    Ok(parse_public(text)?.fingerprint(HashAlg::Sha256).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_pair_is_one_pair() {
        let pair = generate().unwrap();
        let private = parse_private("web-1", &pair.private).unwrap();
        assert_eq!(private.public_key().to_openssh().unwrap(), pair.public);
        assert!(pair.public.starts_with("ssh-ed25519 AAAA"));
        assert_ne!(pair.public, generate().unwrap().public);
    }

    #[test]
    fn a_fingerprint_is_that_of_ssh_keygen() {
        // Key and fingerprint as published at https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/githubs-ssh-key-fingerprints
        let github = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl github.com";
        assert_eq!(fingerprint(github).unwrap(), "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU");
    }

    #[test]
    fn what_is_no_key_is_refused_by_name() {
        let error = fingerprint("ssh-ed25519 nonsense").unwrap_err();
        assert_eq!(error.to_string(), "`ssh-ed25519 nonsense` is not a public key in OpenSSH format");
    }
}
