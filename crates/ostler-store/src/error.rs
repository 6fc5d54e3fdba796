//! Errors of the store.
//!
//! The modules for each noun return a [`Fault`], which does not know where the database is. The store adds that, and turns it into a
//! [`StoreError`].

#![allow(missing_docs, reason = "the message of a variant says what its fields are")]

use ostler_core::{
    Blame, Classify,
    hint::{Hint, Next},
    ids::OperationId,
};
use std::{fmt, io, path::PathBuf};

/// An error of the store; most name the database or the file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The state directory, or a file in it, can't be made, opened or locked.
    #[error("can't use {}", path.display())]
    Path {
        /// The directory or file.
        path: PathBuf,
        source: io::Error,
    },
    /// The URL of the MySQL server is malformed. It may contain a password, so it isn't shown.
    #[error("the URL of the state's database is not of the form mysql://USER:PASSWORD@HOST:PORT/DATABASE")]
    Url { source: DatabaseError },
    /// The MySQL server can't be reached, or refuses the login.
    #[error("can't connect to {place}")]
    Connect {
        /// `mysql HOST:PORT/DATABASE`.
        place: String,
        source: DatabaseError,
    },
    /// The database exists, but can't be used.
    #[error("can't open the state in {place}")]
    Open {
        /// The database: a path, or `mysql HOST:PORT/DATABASE`.
        place: String,
        source: DatabaseError,
    },
    /// A newer Ostler has changed the schema.
    #[error("the state in {place} was written by a newer Ostler (schema {version})")]
    Newer {
        /// The database: a path, or `mysql HOST:PORT/DATABASE`.
        place: String,
        /// The first migration that this Ostler does not know.
        version: String,
    },
    /// A query failed.
    #[error("can't read or write the state in {place}")]
    Database {
        /// The database: a path, or `mysql HOST:PORT/DATABASE`.
        place: String,
        source: DatabaseError,
    },
    /// A row contains something that this Ostler can't read.
    #[error("{row} in {place} can't be read")]
    Corrupt {
        /// Table and key.
        row: String,
        /// The database: a path, or `mysql HOST:PORT/DATABASE`.
        place: String,
        source: serde_json::Error,
    },
    /// The journal has no such operation.
    #[error("operation {0} is not in the journal")]
    NoOperation(OperationId),
    /// The operation has no such step.
    #[error("operation {operation} has no step {index}")]
    NoStep {
        /// The operation.
        operation: OperationId,
        /// Index, from 0.
        index: usize,
    },
    /// Two subjects of one kind can't have the same name.
    #[error("the name `{0}` is already taken")]
    NameTaken(String),
    /// The name of a secret is too long, or contains characters that are invisible.
    #[error("`{0}` can't be the name of a secret (1-255 characters, no control characters, no space at either end)")]
    SecretName(String),
    /// There are secrets, but the key file is gone.
    #[error("the key file {} is missing", .0.display())]
    KeyMissing(PathBuf),
    /// Others can read the key file.
    #[error("the key file {} can be read by others (mode {mode:o})", path.display())]
    KeyExposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file does not have the size of a key.
    #[error("the key file {} does not hold 32 bytes", .0.display())]
    KeyMalformed(PathBuf),
    /// The key file is not the one that the secrets were encrypted with.
    #[error("the key file {} does not match the secrets in {place}", path.display())]
    KeyWrong {
        /// The key file.
        path: PathBuf,
        /// The database: a path, or `mysql HOST:PORT/DATABASE`.
        place: String,
    },
    /// The key is right, but the row was changed or moved.
    #[error("secret `{name}` in {place} is damaged")]
    SecretDamaged {
        /// Its name, prefixed with its server.
        name: String,
        /// The database: a path, or `mysql HOST:PORT/DATABASE`.
        place: String,
    },
}

impl Classify for StoreError {
    fn blame(&self) -> Blame {
        match self {
            StoreError::Url { .. } | StoreError::Connect { .. } => Blame::Configuration,
            StoreError::Path { .. }
            | StoreError::Newer { .. }
            | StoreError::NoOperation(_)
            | StoreError::SecretName(_)
            | StoreError::KeyMissing(_)
            | StoreError::KeyExposed { .. }
            | StoreError::KeyMalformed(_)
            | StoreError::KeyWrong { .. } => Blame::User,
            _ => Blame::Bug,
        }
    }

    fn hints(&self) -> Vec<Hint> {
        let hint: Hint = match self {
            StoreError::Path { .. } => {
                Hint::from("the state needs a folder of your own with space in it: use another with ")
                    .with(Next::MoveState)
            }
            StoreError::Newer { .. } => "upgrade this Ostler, or use the one that wrote the state".into(),
            StoreError::KeyExposed { path, .. } => format!("run `chmod 600 {}`", path.display()).into(),
            StoreError::KeyMissing(path) | StoreError::KeyMalformed(path) | StoreError::KeyWrong { path, .. } => {
                format!("restore the key file of this state to {} from your backup", path.display()).into()
            }
            StoreError::SecretDamaged { .. } => "store the secret again, or restore the state from a backup".into(),
            _ => return Vec::new(),
        };
        vec![hint]
    }
}

/// Shows only the innermost message of a database error, because the outer layers repeat it.
#[derive(Debug)]
pub struct DatabaseError(sea_orm::DbErr);

impl From<sea_orm::DbErr> for DatabaseError {
    fn from(error: sea_orm::DbErr) -> Self {
        Self(error)
    }
}

impl From<sea_orm::sqlx::Error> for DatabaseError {
    fn from(error: sea_orm::sqlx::Error) -> Self {
        Self(sea_orm::DbErr::Conn(sea_orm::RuntimeErr::SqlxError(error.into())))
    }
}

impl std::error::Error for DatabaseError {}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut innermost: &dyn std::error::Error = &self.0;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        match sqlx_error(&self.0).and_then(|error| error.as_database_error()) {
            Some(error) => f.write_str(error.message()),
            None => fmt::Display::fmt(innermost, f),
        }
    }
}

/// An error without the place of the database, which [`Fault::at`] adds.
#[derive(Debug)]
pub enum Fault {
    Database(sea_orm::DbErr),
    Newer(String),
    Corrupt { row: String, source: serde_json::Error },
    KeyWrong(PathBuf),
    SecretDamaged(String),
    Whole(StoreError),
}

impl Fault {
    /// The complete error, for the database at `place`.
    pub fn at(self, place: &str) -> StoreError {
        let place = place.to_owned();
        match self {
            Fault::Database(error) => StoreError::Database { place, source: error.into() },
            Fault::Newer(version) => StoreError::Newer { place, version },
            Fault::Corrupt { row, source } => StoreError::Corrupt { row, place, source },
            Fault::KeyWrong(path) => StoreError::KeyWrong { path, place },
            Fault::SecretDamaged(name) => StoreError::SecretDamaged { name, place },
            Fault::Whole(error) => error,
        }
    }

    /// Whether a retry may succeed, because the database rolled this back in favour of another transaction.
    pub fn is_transient(&self) -> bool {
        let Fault::Database(error) = self else { return false };
        let Some(error) = sqlx_error(error).and_then(|error| error.as_database_error()) else { return false };
        if let Some(error) = error.try_downcast_ref::<sea_orm::SqlxMySqlError>() {
            // https://mariadb.com/docs/server/reference/error-codes: ER_CHECKREAD, ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK
            return matches!(error.number(), 1020 | 1205 | 1213);
        }
        // https://sqlite.org/rescode.html: the low byte of an extended code is the primary code, and 5 is SQLITE_BUSY.
        error.code().and_then(|code| code.parse::<i32>().ok()).is_some_and(|code| code & 0xff == 5)
    }
}

impl From<sea_orm::DbErr> for Fault {
    fn from(error: sea_orm::DbErr) -> Self {
        Fault::Database(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Fault::Whole(error)
    }
}

fn sqlx_error(error: &sea_orm::DbErr) -> Option<&sea_orm::sqlx::Error> {
    use sea_orm::{DbErr, RuntimeErr};
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}
