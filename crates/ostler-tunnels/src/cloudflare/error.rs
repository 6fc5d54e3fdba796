//! What goes wrong with Cloudflare's API, and what to do about it.

use ostler_core::{Blame, Failure};
use std::error::Error;

#[derive(Debug, thiserror::Error)]
pub(super) enum CloudflareError {
    #[error("the client of Cloudflare's API can't be set up")]
    Client(#[source] reqwest::Error),
    #[error("the token of tunnels.{name} is empty, or no text that a request could carry")]
    BadToken { name: String },
    #[error("Cloudflare does not know the token of tunnels.{name}: {message}")]
    Unknown { name: String, message: String },
    #[error("the token of tunnels.{name} is {status}")]
    Inactive { name: String, status: String },
    #[error("the token of tunnels.{name} lacks permissions: {}", missing.join(", "))]
    Missing { name: String, missing: Vec<&'static str> },
    #[error("the token of tunnels.{name} may not {what}: it lacks the permission {permission}")]
    Forbidden { name: String, what: String, permission: &'static str },
    #[error("{hostname} is in no zone that the token may see")]
    NoZone { hostname: String },
    #[error("{hostname} has a DNS record already: {kind} {content}")]
    RecordTaken { hostname: String, kind: String, content: String },
    #[error("the DNS record of {hostname}, which was there before, is not proxied, so it leads through no tunnel")]
    NotProxied { hostname: String },
    #[error("{hostname} is protected by the Access application `{app}`, which Ostler did not make")]
    AppTaken { hostname: String, app: String },
    #[error("{what}: there is no such thing")]
    NotFound { what: String },
    #[error("Cloudflare refuses {what}: {message} (status {status}, code {code})")]
    Refused { what: String, status: u16, code: u32, message: String },
    #[error("{what}: no answer")]
    NoAnswer {
        what: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{what}: the answer can't be read")]
    Garbled {
        what: String,
        #[source]
        source: serde_json::Error,
    },
}

impl From<CloudflareError> for Failure {
    fn from(error: CloudflareError) -> Self {
        use CloudflareError::*;
        let blame = match &error {
            BadToken { .. } | Unknown { .. } | Inactive { .. } | Missing { .. } | Forbidden { .. } | NoZone { .. } => {
                Blame::Configuration
            }
            RecordTaken { .. } | NotProxied { .. } | AppTaken { .. } => Blame::Configuration,
            Client(_) | NotFound { .. } | Refused { .. } | NoAnswer { .. } | Garbled { .. } => Blame::Provider,
        };
        let hint = match &error {
            BadToken { .. } | Unknown { .. } | Inactive { .. } => Some(
                "make an API token at dash.cloudflare.com/profile/api-tokens; the global key is none, and is never needed",
            ),
            Missing { .. } | Forbidden { .. } => Some(
                "add them to the token at dash.cloudflare.com/profile/api-tokens, for this account and the zone of the host name",
            ),
            NoZone { .. } => {
                Some("check `hostname`, and give the token `Zone Read` and `DNS Write` for the zone that it is in")
            }
            RecordTaken { .. } => {
                Some("choose another host name, or delete that record yourself: it may serve somebody")
            }
            NotProxied { .. } => Some("switch the proxy on for it, or delete it: a new one is made then"),
            AppTaken { .. } => Some("choose another host name, or delete that application yourself"),
            NoAnswer { .. } => Some("check the connection to the internet; nothing is half done"),
            _ => None,
        };
        let mut failure = Failure::new(blame, error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            failure.causes.push(cause.to_string());
            source = cause.source();
        }
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}
