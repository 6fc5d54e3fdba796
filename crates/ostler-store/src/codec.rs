//! Converts between core's records and the columns of the tables.

use crate::error::Fault;
use jiff::Timestamp;
use serde::{
    Serialize,
    de::{DeserializeOwned, Error as _, IntoDeserializer, value::StrDeserializer},
};
use std::fmt::Display;

/// JSON for a text column. Records have only string keys and plain values, so this can't fail.
pub fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("records are plain data")
}

/// The name that serde gives a variant.
pub fn word<T: Serialize>(value: &T) -> String {
    json(value).trim_matches('"').to_owned()
}

/// Reads the columns of one row. Errors name the row.
pub struct Row<'r> {
    /// What the row is, for error messages: `server`, `operation`.
    pub noun: &'static str,
    /// Primary key.
    pub key: &'r dyn Display,
}

impl Row<'_> {
    /// Reads what [`json`] wrote.
    pub fn json<T: DeserializeOwned>(&self, text: &str) -> Result<T, Fault> {
        serde_json::from_str(text).map_err(|source| self.corrupt(source))
    }

    /// Reads what [`word`] wrote.
    pub fn word<T: DeserializeOwned>(&self, text: &str) -> Result<T, Fault> {
        let deserializer: StrDeserializer<'_, serde_json::Error> = text.into_deserializer();
        T::deserialize(deserializer).map_err(|source| self.corrupt(source))
    }

    /// Reads what `to_string` wrote, or a name.
    pub fn parse<T: std::str::FromStr<Err: Display>>(&self, text: &str) -> Result<T, Fault> {
        text.parse().map_err(|error| self.corrupt(serde_json::Error::custom(error)))
    }

    /// Converts to a narrower integer type. Fails if the number does not fit.
    pub fn number<T: TryFrom<i64, Error: Display>>(&self, number: i64) -> Result<T, Fault> {
        T::try_from(number).map_err(|error| self.corrupt(serde_json::Error::custom(error)))
    }

    /// Reads a time in microseconds since 1970.
    pub fn time(&self, microseconds: i64) -> Result<Timestamp, Fault> {
        Timestamp::from_microsecond(microseconds).map_err(|error| self.corrupt(serde_json::Error::custom(error)))
    }

    fn corrupt(&self, source: serde_json::Error) -> Fault {
        Fault::Corrupt { row: format!("{} {}", self.noun, self.key), source }
    }
}
