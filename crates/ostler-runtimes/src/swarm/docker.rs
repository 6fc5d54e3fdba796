//! Docker's API on a server, over a login there: questions go in by standard input, so nothing of them stands in an argument.

use super::error::SwarmError;
use ostler_core::{
    ports::{Place, SSH_FAILED},
    text::one_line,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const DOCKER: &str = include_str!("scripts/docker.py");
/// Seconds that an answer may take.
const USUAL: u32 = 30;
/// The same for an image that comes over the network.
const PULL: u32 = 1800;

/// One question.
#[derive(Clone, Debug)]
pub(super) struct Request {
    method: &'static str,
    path: String,
    body: Value,
    seconds: u32,
}

impl Request {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: "GET", path: path.into(), body: Value::Null, seconds: USUAL }
    }

    pub(super) fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: "POST", path: path.into(), body, seconds: USUAL }
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self { method: "DELETE", path: path.into(), body: Value::Null, seconds: USUAL }
    }

    /// It may take as long as an image does.
    pub(super) fn slow(self) -> Self {
        Self { seconds: PULL, ..self }
    }
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
}

impl Answer {
    /// What it says, where Docker did as asked; `doing` is for the failure otherwise.
    pub(super) fn well(self, doing: impl Into<String>) -> Result<Self, SwarmError> {
        match self.status {
            200..300 => Ok(self),
            status => Err(SwarmError::Refused { doing: doing.into(), status, words: self.words() }),
        }
    }

    /// Docker's own words for what went wrong.
    pub(super) fn words(&self) -> String {
        let message = serde_json::from_str::<Value>(&self.text).ok();
        let message = message.as_ref().and_then(|value| value["message"].as_str());
        one_line(message.unwrap_or(&self.text))
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, SwarmError> {
        serde_json::from_str(&self.text).map_err(|error| SwarmError::Unreadable(error.to_string()))
    }
}

/// Asks one question.
pub(super) async fn ask(place: &Place<'_>, request: Request) -> Result<Answer, SwarmError> {
    let script = format!("exec sudo -n python3 -I -c '{DOCKER}'");
    let Request { method, path, body, seconds } = request;
    let questions = json!([[method, path, body, seconds]]).to_string();
    let unasked = |words: &str| SwarmError::Unasked(one_line(words));
    let output = place.session.run(&script, questions.as_bytes()).await;
    let output = output.map_err(|failure| unasked(&failure.message))?;
    if output.status != 0 {
        let last = output.stderr.lines().rfind(|line| !line.trim().is_empty());
        return Err(unasked(match output.status {
            SSH_FAILED => "the connection to the server is lost",
            _ => last.unwrap_or("it gives no reason"),
        }));
    }
    let answers: Vec<(u16, String)> =
        serde_json::from_str(&output.stdout).map_err(|error| SwarmError::Unreadable(error.to_string()))?;
    let answer = answers.into_iter().next().ok_or_else(|| SwarmError::Unreadable("it is empty".into()))?;
    Ok(Answer { status: answer.0, text: answer.1 })
}

/// A path with filters, as Docker takes them.
pub(super) fn filtered(path: &str, filters: &Value) -> String {
    format!("{path}?filters={}", encoded(&filters.to_string()))
}

/// A text as a part of a query.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
