//! What can go wrong at Hetzner Cloud.

use ostler_core::{
    error::{Blame, Classify},
    hint::{Hint, Next},
    ids::ServerName,
};
use std::{io, time::Duration};

/// What went wrong at Hetzner Cloud.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum HetznerError {
    /// The record of a machine is not one of ours.
    #[error("the record of a machine can't be read: {record}")]
    BadRecord { record: String, source: serde_json::Error },
    /// The order has no options of Hetzner Cloud.
    #[error("the order says nothing to Hetzner Cloud")]
    NoOptions,
    /// No header can carry the token.
    #[error("the token of `{0}` holds characters that no token has")]
    BadToken(String),
    /// HTTP can't be prepared.
    #[error("can't prepare for HTTPS")]
    Client(#[source] reqwest::Error),
    /// The file in which requests are counted.
    #[error("requests to Hetzner can't be counted in `{path}`")]
    Bucket { path: String, source: io::Error },
    /// Nobody there.
    #[error("{url} can't be reached")]
    Unreachable { url: String, source: reqwest::Error },
    /// No answer in time, or a connection that broke.
    #[error("no answer to `{what}`")]
    NoAnswer { what: String, source: reqwest::Error },
    /// The answer is not what the API is documented to say.
    #[error("the answer to `{what}` can't be understood")]
    Garbled { what: String, source: serde_json::Error },
    /// The token is not known.
    #[error("`{name}` does not accept the token: {message}")]
    Unauthorized { name: String, message: String },
    /// The token may only read.
    #[error("the token of `{0}` may only read")]
    ReadOnly(String),
    /// The API refused.
    #[error("`{what}` was refused ({code}): {message}")]
    Refused { what: String, code: String, message: String },
    /// An action ended badly.
    #[error("to {what} failed at Hetzner ({code}): {message}")]
    Action { what: String, code: String, message: String },
    /// An action does not end.
    #[error("to {what} has not ended at Hetzner after {} s", waited.as_secs())]
    ActionTooLong { what: String, waited: Duration },
    /// The name is another server's.
    #[error("the project has a server `{0}` already, which Ostler did not make for this state")]
    NameTaken(ServerName),
    /// Nothing that the spec allows can be had.
    #[error("none of these can be had at Hetzner now: {}", tried.join(", "))]
    NoStock { tried: Vec<String> },
    /// More than the vendor takes.
    #[error("the user-data of `{server}` has {bytes} bytes, and Hetzner takes 32768")]
    TooMuchUserData { server: ServerName, bytes: usize },
    /// A volume that another server has.
    #[error("the volume `{volume}` is attached to another server")]
    VolumeTaken { volume: String },
    /// A load balancer of somebody else.
    #[error("the project has a load balancer `{0}` already, which Ostler did not make for this state")]
    BalancerTaken(String),
    /// The image is not there.
    #[error("Hetzner has no image `{name}` for {architecture}")]
    NoImage { name: String, architecture: String },
    /// The machine is not there.
    #[error("the server `{0}` is not there")]
    Absent(ServerName),
}

/// How a request that was refused may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Never.
    No,
    /// Some times, for it may do better soon.
    Soon,
    /// Until what holds it is over: an action on the same resource, or too many requests.
    Waits,
}

impl HetznerError {
    /// Whether and how to ask again.
    pub(crate) fn again(&self) -> Again {
        match self {
            Self::Unreachable { .. } | Self::NoAnswer { .. } => Again::Soon,
            Self::Refused { code, .. } => match code.as_str() {
                "conflict" | "bad_gateway" | "timeout" | "unavailable" => Again::Soon,
                "rate_limit_exceeded" | "locked" => Again::Waits,
                _ => Again::No,
            },
            _ => Again::No,
        }
    }

    /// The code that the API refused with.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } | Self::Action { code, .. } => code,
            _ => "",
        }
    }

    /// Whether another type or location may do.
    pub(crate) fn is_no_stock(&self) -> bool {
        matches!(self.code(), "resource_unavailable" | "placement_error" | "precondition_failed")
    }
}

impl Classify for HetznerError {
    fn blame(&self) -> Blame {
        match self {
            Self::BadRecord { .. } | Self::NoOptions => Blame::Bug,
            Self::BadToken(_)
            | Self::Unauthorized { .. }
            | Self::ReadOnly(_)
            | Self::NameTaken(_)
            | Self::NoImage { .. }
            | Self::VolumeTaken { .. }
            | Self::BalancerTaken(_)
            | Self::TooMuchUserData { .. } => Blame::Configuration,
            _ => Blame::Provider,
        }
    }

    fn hints(&self) -> Vec<Hint> {
        let hint: Hint = match self {
            Self::BadToken(_) | Self::Unauthorized { .. } => {
                Hint::from("make a token with read and write access in the project's console, under Security; ")
                    .with(Next::SetSecret(None))
                    .with(" keeps it")
            }
            Self::ReadOnly(_) => "make one with read and write access in the project's console, under Security".into(),
            Self::Unreachable { .. } => "check the network, and `endpoint` in the spec if there is one".into(),
            Self::NameTaken(_) | Self::BalancerTaken(_) => {
                "give this one another name, or remove the other one in the console".into()
            }
            Self::NoStock { .. } => "allow more types or locations, or try again later".into(),
            Self::TooMuchUserData { .. } => "name fewer or shorter keys under `authorized_keys`".into(),
            Self::VolumeTaken { .. } => "detach it there first, or name another volume".into(),
            Self::NoImage { .. } => "allow a type of another architecture".into(),
            Self::Absent(server) => Hint::from("clear what is left with ")
                .with(Next::Destroy(server.clone()))
                .with("; then ")
                .with(Next::UpAgain)
                .with(" creates it from scratch"),
            Self::Refused { code, .. } | Self::Action { code, .. } => match code.as_str() {
                "resource_limit_exceeded" => {
                    "the project is at its limit: remove something, or ask Hetzner in the console for more".into()
                }
                "rate_limit_exceeded" => "the project's 3600 requests an hour are used up: try again in a while".into(),
                "resource_locked" => "Hetzner's support has locked it: ask there".into(),
                "protected" => "it is protected: take that off in the console".into(),
                "maintenance" | "unavailable" | "bad_gateway" | "timeout" | "conflict" | "locked" => {
                    "Hetzner is busy: try again in a while".into()
                }
                _ => return Vec::new(),
            },
            Self::NoAnswer { .. } | Self::ActionTooLong { .. } => "Hetzner is busy: try again in a while".into(),
            _ => return Vec::new(),
        };
        vec![hint]
    }
}
