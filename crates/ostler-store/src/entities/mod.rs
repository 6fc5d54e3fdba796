//! The tables as SeaORM sees them: the same on SQLite and MySQL.
//!
//! What is searched, sorted or counted is a column of its own; the rest of a record is JSON in a text column. Ids are text
//! and times are microseconds since 1970 in a 64-bit integer, because MariaDB cuts its own timestamps to seconds.

pub mod child;
pub mod document;
pub mod event;
pub mod lease;
pub mod operation;
pub mod secret;
pub mod server;
pub mod state;
pub mod subject;
