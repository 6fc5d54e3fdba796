//! Records in zones: at vendors, at a server that takes dynamic updates, or made by a person; and what authoritative servers answer.

mod cloudflare;
mod error;
mod hetzner;
mod http;
mod query;
mod rfc2136;
mod seen;

use async_trait::async_trait;
use error::DnsError;
use ostler_core::{
    error::Result,
    ports::{Added, Dns, DnsRecord, RecordKind},
    secret::Secret,
    spec::{DnsOptions, SecretRef, ZoneSpec},
};
use std::time::Duration;

/// Where tokens and keys come from.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// The one that the spec names.
    async fn token(&self, reference: &SecretRef) -> Result<Secret>;
}

/// How long requests bear with APIs and servers.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For an answer of an API.
    pub answer: Duration,
    /// Attempts of what may be asked again.
    pub attempts: u32,
    /// Pause after the first attempt; it doubles.
    pub pause: Duration,
    /// For an answer of a DNS server; it is asked three times.
    pub query: Duration,
    /// Longest pause between two looks at whether a record is there.
    pub look: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(60),
            attempts: 6,
            pause: Duration::from_secs(1),
            query: Duration::from_secs(3),
            look: Duration::from_secs(10),
        }
    }
}

/// The zones of a spec, whoever takes their records.
pub struct Zones {
    tokens: Box<dyn Tokens>,
    patience: Patience,
}

impl Zones {
    /// With tokens and keys from there.
    pub fn new(tokens: Box<dyn Tokens>) -> Self {
        Self { tokens, patience: Patience::default() }
    }

    /// The same with another patience.
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    async fn writer<'a>(&self, zone: &'a ZoneSpec) -> Result<Box<dyn Writer + 'a>> {
        Ok(match &zone.dns {
            DnsOptions::Cloudflare { token, url } => {
                let token = self.tokens.token(token).await?;
                Box::new(cloudflare::Cloudflare { zone, http: http::Client::new(zone, url, &token, self.patience)? })
            }
            DnsOptions::Hetzner { token, url } => {
                let token = self.tokens.token(token).await?;
                Box::new(hetzner::Hetzner { zone, http: http::Client::new(zone, url, &token, self.patience)? })
            }
            DnsOptions::Rfc2136 { server, key, algorithm, secret } => {
                let secret = self.tokens.token(secret).await?;
                let signer = rfc2136::signer(zone, key, algorithm, &secret)?;
                Box::new(rfc2136::Updates { zone, server: *server, signer, patience: self.patience })
            }
            DnsOptions::Manual => Box::new(ByHand { zone, patience: self.patience }),
        })
    }
}

/// Who takes the records of one zone.
#[async_trait]
trait Writer: Send + Sync {
    async fn check(&self) -> Result<(), DnsError>;
    async fn records(&self, name: &str) -> Result<Vec<DnsRecord>, DnsError>;
    async fn add(&self, record: &DnsRecord) -> Result<Added, DnsError>;
    async fn remove(&self, record: &DnsRecord) -> Result<(), DnsError>;
}

#[async_trait]
impl Dns for Zones {
    async fn check(&self, zone: &ZoneSpec) -> Result<()> {
        Ok(self.writer(zone).await?.check().await?)
    }

    async fn records(&self, zone: &ZoneSpec, name: &str) -> Result<Vec<DnsRecord>> {
        Ok(self.writer(zone).await?.records(name).await?)
    }

    async fn add(&self, zone: &ZoneSpec, record: &DnsRecord) -> Result<Added> {
        Ok(self.writer(zone).await?.add(record).await?)
    }

    async fn remove(&self, zone: &ZoneSpec, record: &DnsRecord) -> Result<()> {
        Ok(self.writer(zone).await?.remove(record).await?)
    }

    async fn settle(&self, zone: &ZoneSpec, record: &DnsRecord, timeout: Duration) -> Result<()> {
        Ok(seen::settle(zone, record, timeout, self.patience).await?)
    }

    async fn lookup(&self, zone: Option<&ZoneSpec>, name: &str, kind: RecordKind) -> Result<Vec<DnsRecord>> {
        Ok(seen::lookup(zone, name, kind, self.patience).await?)
    }
}

/// A zone whose records a person makes.
struct ByHand<'a> {
    zone: &'a ZoneSpec,
    patience: Patience,
}

#[async_trait]
impl Writer for ByHand<'_> {
    async fn check(&self) -> Result<(), DnsError> {
        seen::authorities(self.zone, self.patience).await.map(drop)
    }

    async fn records(&self, name: &str) -> Result<Vec<DnsRecord>, DnsError> {
        let authorities = seen::authorities(self.zone, self.patience).await?;
        seen::of_name(&authorities, name, self.patience).await
    }

    async fn add(&self, record: &DnsRecord) -> Result<Added, DnsError> {
        let there = self.records(&record.name).await?;
        Ok(if there.iter().any(|other| other.is_same(record)) { Added::Found } else { Added::ByHand })
    }

    async fn remove(&self, _: &DnsRecord) -> Result<(), DnsError> {
        Ok(())
    }
}
