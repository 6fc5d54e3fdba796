//! What goes wrong with zones, and what to do about it.

use ostler_core::{Blame, Classify, hint::Hint, ports::RecordKind, text::one_line};

#[derive(Debug, thiserror::Error)]
pub(super) enum DnsError {
    #[error("the token of dns.{zone} is empty, or no text that a request could carry")]
    BadToken { zone: String },
    #[error("the key of dns.{zone} is not in base64")]
    BadKey { zone: String },
    #[error("the algorithm `{algorithm}` of dns.{zone} is none that updates are signed by here")]
    BadAlgorithm { zone: String, algorithm: String },
    #[error("there is no zone {zone} that the token may see")]
    NoZone { zone: String },
    #[error("the zone {zone} is a copy of another server's, so no record can be made in it")]
    Secondary { zone: String },
    #[error("{name} is no name that the DNS takes")]
    BadName { name: String },
    #[error("{name} is not in the zone {zone}")]
    Outside { name: String, zone: String },
    #[error("{name} leads through Cloudflare's proxy, so the world does not see what its record says")]
    Proxied { name: String },
    #[error("`{value}` is no value of a record of type {kind}")]
    BadValue { kind: RecordKind, value: String },
    #[error("the token of dns.{zone} is refused: {message} (status {status})")]
    Unauthorized { zone: String, status: u16, message: String },
    #[error("{what} is refused: {message} (status {status}, code {code})")]
    Refused { what: String, status: u16, code: String, message: String },
    #[error("{what}: the change failed: {message}")]
    ActionFailed { what: String, message: String },
    #[error("{what}: no answer")]
    NoAnswer {
        what: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{what}: the answer can't be read: {about}")]
    Garbled { what: String, about: String },
    #[error("the client of the API can't be set up")]
    Client(#[source] reqwest::Error),
    #[error("{server} refuses an update of {zone}: {code}")]
    UpdateRefused { server: String, zone: String, code: String },
    #[error("{server} does not answer for {name}: {said}")]
    Silent { server: String, name: String, said: String },
    #[error("{server} answers for {name} with {code}")]
    BadAnswer { server: String, name: String, code: String },
    #[error("the authoritative servers of {zone} are not known: {said}")]
    NoAuthorities { zone: String, said: String },
    #[error("not every authoritative server of {zone} has {record} after {seconds} s: {said}")]
    NotSettled { zone: String, record: String, seconds: u64, said: String },
}

impl DnsError {
    /// Words of somebody else, fit to be shown.
    pub fn words(text: &str) -> String {
        one_line(text)
    }
}

impl Classify for DnsError {
    fn blame(&self) -> Blame {
        use DnsError::*;
        match self {
            BadToken { .. }
            | BadKey { .. }
            | BadAlgorithm { .. }
            | NoZone { .. }
            | Secondary { .. }
            | BadName { .. }
            | Outside { .. }
            | Proxied { .. }
            | BadValue { .. }
            | Unauthorized { .. }
            | UpdateRefused { .. }
            | NoAuthorities { .. } => Blame::Configuration,
            Refused { .. }
            | ActionFailed { .. }
            | NoAnswer { .. }
            | Garbled { .. }
            | Client(_)
            | Silent { .. }
            | BadAnswer { .. }
            | NotSettled { .. } => Blame::Provider,
        }
    }

    fn hints(&self) -> Vec<Hint> {
        use DnsError::*;
        let words = match self {
            BadToken { .. } | Unauthorized { .. } => "make a token that may read the zone and write its DNS",
            BadKey { .. } => "it is what `tsig-keygen` prints after `secret`",
            BadAlgorithm { .. } => "`hmac-sha256`, `hmac-sha384` or `hmac-sha512`",
            NoZone { .. } => {
                "check the name under `dns`: it is the zone's own, such as `example.com`, and the token must be for it"
            }
            Secondary { .. } => "make the records where the zone comes from, and name that under `dns`",
            UpdateRefused { .. } => {
                "check the key's name, algorithm and secret, that the server's clock is right, and that the zone lets this key change it"
            }
            NoAuthorities { .. } => {
                "name them under `nameservers`, or see to it that the zone's NS records can be looked up from here"
            }
            NotSettled { .. } => {
                "a vendor's servers may take minutes; where they never get it, the zone is delegated to others than `dns` says"
            }
            Proxied { .. } => "switch the proxy off for it (`DNS only`), or take it away: a new record is made then",
            NoAnswer { .. } | Silent { .. } => "check the connection; nothing is half done",
            _ => return Vec::new(),
        };
        vec![words.into()]
    }
}
