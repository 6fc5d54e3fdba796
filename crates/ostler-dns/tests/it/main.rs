//! Zones where they really are, and where vendors answer for them.

mod updates;
mod vendors;

use ostler_core::{
    Result,
    ports::{DnsRecord, RecordKind},
    secret::Secret,
    spec::SecretRef,
};
use ostler_dns::{Patience, Tokens, Zones};
use std::time::Duration;

/// One token for everything.
struct Token(String);

#[async_trait::async_trait]
impl Tokens for Token {
    async fn token(&self, _: &SecretRef) -> Result<Secret> {
        Ok(Secret::new(self.0.clone()))
    }
}

fn zones(token: &str) -> Zones {
    let millis = Duration::from_millis;
    let patience =
        Patience { answer: millis(2000), attempts: 3, pause: millis(20), query: millis(500), look: millis(100) };
    Zones::new(Box::new(Token(token.to_owned()))).with_patience(patience)
}

fn record(name: &str, kind: RecordKind, value: &str) -> DnsRecord {
    DnsRecord { name: name.to_owned(), kind, value: value.to_owned(), ttl: 60 }
}

fn reference() -> SecretRef {
    SecretRef::Secret("dns".into())
}
