//! The key file, and encryption with it.
//!
//! The cipher is XChaCha20-Poly1305. Its nonce of 24 bytes may be random for each message (draft-irtf-cfrg-xchacha, section 3.1).
//! The place of a secret is its associated data, so somebody who can write to the database but has no key can't swap two
//! secrets.

use crate::{
    entities::state,
    error::{Fault, StoreError},
};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Generate, Payload},
};
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, QuerySelect};
use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// A known text that the state row holds, encrypted with the key. It tells a wrong key from a damaged secret.
const CHECK: (&str, &[u8]) = ("ostler key check", b"the right key");

/// The key file. It is opened at its first use.
pub struct KeyFile {
    path: PathBuf,
    key: OnceCell<Key>,
}

impl KeyFile {
    /// Does not touch the file yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, key: OnceCell::new() }
    }

    /// The key, checked against the secrets in `db`. If `db` has no secrets yet and there is no file, this creates one.
    pub async fn key(&self, db: &DatabaseConnection) -> Result<&Key, Fault> {
        self.key.get_or_try_init(|| self.unlock(db)).await
    }

    async fn unlock(&self, db: &DatabaseConnection) -> Result<Key, Fault> {
        let mut check = stored_check(db).await?;
        let key = match read(&self.path)? {
            Some(key) => key,
            None if check.is_some() => return Err(StoreError::KeyMissing(self.path.clone()).into()),
            None => make(&self.path)?,
        };
        if check.is_none() {
            state::Entity::update_many()
                .set(state::ActiveModel { key_check: Set(Some(key.seal(CHECK.0, CHECK.1))), ..Default::default() })
                .filter(state::Column::Id.eq(state::ROW))
                .filter(state::Column::KeyCheck.is_null())
                .exec(db)
                .await?;
            // Another Ostler with another key file may have been faster.
            check = stored_check(db).await?;
        }
        let fits = check.and_then(|check| key.open(CHECK.0, &check)).is_some_and(|text| text.as_slice() == CHECK.1);
        if fits { Ok(key) } else { Err(Fault::KeyWrong(self.path.clone())) }
    }
}

/// A key. Its memory is wiped when it is dropped.
pub struct Key(XChaCha20Poly1305);

impl Key {
    /// Encrypts `text` for `place`, and returns nonce and ciphertext.
    pub fn seal(&self, place: &str, text: &[u8]) -> Vec<u8> {
        let nonce = XNonce::generate();
        let payload = Payload { msg: text, aad: place.as_bytes() };
        let ciphertext = self.0.encrypt(&nonce, payload).expect("a text of less than 256 GiB can be encrypted");
        [nonce.as_slice(), &ciphertext].concat()
    }

    /// Decrypts what [`Key::seal`] returned. `None` if the key, the place or any bit differs.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_BYTES)?;
        let nonce = XNonce::try_from(nonce).ok()?;
        let payload = Payload { msg: ciphertext, aad: place.as_bytes() };
        self.0.decrypt(&nonce, payload).ok().map(Zeroizing::new)
    }
}

async fn stored_check(db: &DatabaseConnection) -> Result<Option<Vec<u8>>, Fault> {
    let row = state::Entity::find_by_id(state::ROW).select_only().column(state::Column::KeyCheck);
    Ok(row.into_tuple::<Option<Vec<u8>>>().one(db).await?.flatten())
}

/// Reads the key. `None` if there is no file.
fn read(path: &Path) -> Result<Option<Key>, StoreError> {
    let failed = |source| StoreError::Path { path: path.to_owned(), source };
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(StoreError::KeyExposed { path: path.to_owned(), mode });
    }
    // One byte more than a key has, so that a longer file is noticed.
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    let cipher = XChaCha20Poly1305::new_from_slice(&bytes);
    cipher.map(|cipher| Some(Key(cipher))).map_err(|_| StoreError::KeyMalformed(path.to_owned()))
}

/// Creates the file atomically and durably. If another process was faster, returns that process's key.
fn make(path: &Path) -> Result<Key, StoreError> {
    let failed = |source| StoreError::Path { path: path.to_owned(), source };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let bytes = Zeroizing::new(<[u8; KEY_BYTES]>::generate());
    // tempfile creates it with mode 0600.
    let mut file = tempfile::Builder::new().prefix(".key-").tempfile_in(dir).map_err(failed)?;
    file.write_all(bytes.as_slice()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?,
        Err(taken) if taken.error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(other) => return Err(failed(other.error)),
    }
    read(path)?.ok_or_else(|| StoreError::KeyMissing(path.to_owned()))
}
