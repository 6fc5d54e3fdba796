//! Zones of the DNS in the spec, and who answers for them.

use crate::SecretRef;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// A zone that records are made in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneSpec {
    /// Its name, in lower case and without a dot at the end.
    pub name: String,
    /// Who takes its records.
    pub dns: DnsOptions,
    /// Authoritative servers to look at; empty: those that the zone's NS records name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<SocketAddr>,
}

/// Who takes a zone's records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum DnsOptions {
    /// Cloudflare's DNS.
    Cloudflare {
        /// API token that may read the zone and write its DNS.
        token: SecretRef,
        /// Where the API answers.
        url: String,
    },
    /// The DNS of Hetzner Cloud.
    Hetzner {
        /// API token of the project that the zone is in.
        token: SecretRef,
        /// Where the API answers.
        url: String,
    },
    /// A server that takes dynamic updates (RFC 2136), signed by TSIG (RFC 8945).
    Rfc2136 {
        /// Where it answers.
        server: SocketAddr,
        /// Name of the key.
        key: String,
        /// Its algorithm, such as `hmac-sha256`.
        algorithm: String,
        /// The key, in base64.
        secret: SecretRef,
    },
    /// A person.
    Manual,
}
