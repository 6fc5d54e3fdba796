//! The hash that a password goes over the wire as.

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
pub(super) fn hash(owner: StateId, server: &str, user: &str, password: &Secret) -> Result<Secret> {
    let salt = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{owner}/{server}/{user}").as_bytes());
    ShaCrypt::SHA512
        .hash_password_with_salt(password.expose().as_bytes(), salt.as_bytes())
        .map(|hash| Secret::new(hash.to_string()))
        .map_err(|error| {
            Failure::new(Blame::Configuration, error.to_string()).because_of("the password can't be hashed")
        })
}
