//! ACME (RFC 8555): an authority issues certificates for names whose DNS shows that they are ours.

use crate::{error::Result, secret::Secret};
use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Who issues certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateAuthority {
    /// Address of its ACME directory.
    pub url: String,
    /// Certificate in PEM that its own HTTPS is held against; `None`: those that this machine trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
}

/// What kind of certificate, in words of Let's Encrypt (<https://letsencrypt.org/docs/profiles/>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertificateProfile {
    /// What everybody had before there were profiles.
    Classic,
    /// Only what a server needs.
    Tlsserver,
    /// A week.
    Shortlived,
}

impl CertificateProfile {
    /// Lower-case word, as the authority calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Tlsserver => "tlsserver",
            Self::Shortlived => "shortlived",
        }
    }
}

/// What is asked of an authority.
#[derive(Clone, Copy, Debug)]
pub struct AcmeOrder<'a> {
    /// Who is asked.
    pub authority: &'a CertificateAuthority,
    /// Names in lower case, wildcards too; at least one.
    pub names: &'a [String],
    /// Which kind; `None`: the authority's usual one.
    pub profile: Option<CertificateProfile>,
    /// The account there, as [`Validation::keep_account`] was given it; `None`: a new one.
    pub account: Option<&'a Secret>,
    /// The certificate that the new one takes the place of, by which the authority knows a renewal (RFC 9773, section 5).
    pub replaces: Option<&'a IssuedCertificate>,
}

/// A certificate, without its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificate {
    /// It and those of the authorities above it, in PEM, its own first.
    pub chain: String,
    /// Serial number in upper-case hex, as OpenSSL shows it.
    pub serial: String,
    /// SHA-256 of the certificate, in hex.
    pub fingerprint: String,
    /// From when it counts.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// What the authority calls it when it is asked when to renew it (RFC 9773, section 4.1).
    pub renewal_id: Option<String>,
}

/// When an authority wishes a certificate to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewalWindow {
    /// Not earlier.
    pub start: Timestamp,
    /// Not later.
    pub end: Timestamp,
    /// When to ask again, for that may change.
    pub ask_again: Timestamp,
}

/// What whoever orders does meanwhile.
#[async_trait]
pub trait Validation: Send + Sync {
    /// Has the TXT record at `name` say `value`, and returns once the world sees it.
    async fn publish(&self, name: &str, value: &str) -> Result<()>;

    /// The record has done its duty.
    async fn withdraw(&self, name: &str, value: &str) -> Result<()>;

    /// Keeps the account that was made, with its key.
    async fn keep_account(&self, account: &Secret) -> Result<()>;
}

/// Asks authorities.
#[async_trait]
pub trait Acme: Send + Sync {
    /// A certificate with a new key. Fails with the authority's own words; what `validation` published may still be there then. Dropping the
    /// future ends the order here; nothing stays on this machine.
    async fn obtain(&self, order: AcmeOrder<'_>, validation: &dyn Validation) -> Result<(IssuedCertificate, Secret)>;

    /// When the authority wishes a certificate to be renewed; `None` where it does not say.
    async fn renewal_window(
        &self,
        authority: &CertificateAuthority,
        certificate: &IssuedCertificate,
    ) -> Result<Option<RenewalWindow>>;
}
