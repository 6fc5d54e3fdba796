//! VMIDs: which one is next, and whether one is free.

use super::{client::Client, error::ProxmoxError, form::Form, wire};
use serde_json::Value;

/// The endpoint that answers both, for whoever asks by `vmid`.
pub const PATH: &str = "/cluster/nextid";

/// The next VMID that is free.
pub async fn next(client: &Client) -> Result<u32, ProxmoxError> {
    read(&client.get(PATH, &Form::new()).await?)
}

/// Whether neither VM nor container has this one.
pub async fn is_free(client: &Client, vmid: u32) -> Result<bool, ProxmoxError> {
    freedom(client.get(PATH, &Form::new().with("vmid", vmid)).await)
}

/// The number in an answer.
pub fn read(answer: &Value) -> Result<u32, ProxmoxError> {
    let number = wire::lenient_number(answer).and_then(|number| u32::try_from(number).ok());
    let source = || serde::de::Error::custom("no number");
    number.ok_or_else(|| ProxmoxError::Garbled { what: format!("GET {PATH}"), source: source() })
}

/// What an answer says of the VMID that was asked for: one that is taken is a parameter at fault, also for `pvesh`.
pub fn freedom(answer: Result<Value, ProxmoxError>) -> Result<bool, ProxmoxError> {
    match answer {
        Ok(_) => Ok(true),
        Err(ProxmoxError::Refused { status: 400, .. } | ProxmoxError::Program { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
