//! The hash that a password goes over the wire as. It is the only place that makes one: the user's password is that of the console,
//! too.

use crate::{
    error::{Blame, Failure, Result},
    ids::StateId,
    secret::Secret,
};
use sha_crypt::{PasswordHasher, ShaCrypt};

/// `crypt(3)` hash of a password, SHA-512 (`$6$`).
///
/// The salt is made from the state's id and the server's and user's names, so that the same password gives the same hash
/// and a second run changes nothing. A salt need not be secret, only different from place to place.
///
/// 12 bytes become 16 characters, the most that crypt(5) uses: it gives a longer salt back cut, and as PAM compares the whole text,
/// no password would ever be right.
pub(crate) fn hash(owner: StateId, server: &str, user: &str, password: &Secret) -> Result<Secret> {
    let salt = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{owner}/{server}/{user}").as_bytes());
    ShaCrypt::SHA512
        .hash_password_with_salt(password.expose().as_bytes(), &salt.as_bytes()[..12])
        .map(|hash| Secret::new(hash.to_string()))
        .map_err(|error| {
            Failure::new(Blame::Configuration, error.to_string()).because_of("the password can't be hashed")
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, process::Command};

    /// What PAM does: crypt(3) of the password with the stored text as the setting must give the stored text. Perl's is libcrypt's.
    #[test]
    fn crypt_finds_each_password_right() {
        let owner = StateId::new();
        let mut hashes = BTreeSet::new();
        for password in ["abc12345", "correct horse battery staple", "p\u{e4}ssw\u{f6}rd $6$", &"long ".repeat(40)] {
            for (server, user) in [("web1", "ops"), ("db-with-a-longer-name", "a.b")] {
                let hash = hash(owner, server, user, &Secret::new(password)).unwrap();
                let perl = ["-e", "print crypt($ARGV[0], $ARGV[1])", password, hash.expose()];
                let output = Command::new("perl").args(perl).output().expect("perl runs");
                assert_eq!(String::from_utf8_lossy(&output.stdout), hash.expose(), "for `{password}`");
                hashes.insert(hash.expose().to_owned());
            }
        }
        assert_eq!(hashes.len(), 8, "salts differ from server to server");
    }
}
