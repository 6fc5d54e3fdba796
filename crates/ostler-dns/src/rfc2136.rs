//! Dynamic updates (RFC 2136) of a zone, signed by TSIG (RFC 8945). They go by TCP, so one that is answered was not lost.

use crate::{Patience, Writer, error::DnsError, query, seen};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use hickory_proto::{
    op::{Message, ResponseCode, UpdateMessage, update_message},
    rr::{DNSClass, Record, RecordSet, RecordType, TSigner, rdata::tsig::TsigAlgorithm},
};
use ostler_core::{
    ports::{Added, DnsRecord},
    secret::Secret,
    spec::ZoneSpec,
};
use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

pub struct Updates<'a> {
    pub zone: &'a ZoneSpec,
    pub server: SocketAddr,
    pub signer: TSigner,
    pub patience: Patience,
}

/// Seconds that the clocks may differ by (RFC 8945, section 10).
const FUDGE: u16 = 300;

/// What signs the updates of a zone.
pub fn signer(zone: &ZoneSpec, key: &str, algorithm: &str, secret: &Secret) -> Result<TSigner, DnsError> {
    let bad = || DnsError::BadAlgorithm { zone: zone.name.clone(), algorithm: algorithm.to_owned() };
    let algorithm = match algorithm {
        "hmac-sha256" => TsigAlgorithm::HmacSha256,
        "hmac-sha384" => TsigAlgorithm::HmacSha384,
        "hmac-sha512" => TsigAlgorithm::HmacSha512,
        _ => return Err(bad()),
    };
    let secret = STANDARD.decode(secret.expose().trim()).map_err(|_| DnsError::BadKey { zone: zone.name.clone() })?;
    TSigner::new(secret, algorithm, query::name_of(key)?, FUDGE).map_err(|_| bad())
}

impl Updates<'_> {
    async fn send(&self, mut message: Message) -> Result<(), DnsError> {
        let zone = || self.zone.name.clone();
        let silent = |said: String| DnsError::Silent { server: self.server.to_string(), name: zone(), said };
        let refused = |code: String| DnsError::UpdateRefused { server: self.server.to_string(), zone: zone(), code };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let verifier = message.finalize(&self.signer, now).map_err(|error| silent(error.to_string()))?;
        let bytes = message.to_vec().map_err(|error| silent(error.to_string()))?;
        let answer = query::by_stream(self.server, &bytes, self.patience.query * 3).await;
        let answer = answer.map_err(|error| silent(error.to_string()))?;
        let read = Message::from_vec(&answer).map_err(|error| silent(error.to_string()))?;
        // A server that does not know the key can't sign its answer, and says so in it.
        if read.metadata.response_code != ResponseCode::NoError {
            let why = match read.signature() {
                Some(signature) => signature.data.error.map(|error| format!(" ({error:?})")).unwrap_or_default(),
                None => String::new(),
            };
            return Err(refused(format!("{}{why}", read.metadata.response_code)));
        }
        if let Some(mut verifier) = verifier {
            verifier.verify(&answer).map_err(|error| refused(format!("an answer that it did not sign: {error}")))?;
        }
        Ok(())
    }

    fn set(record: &DnsRecord) -> Result<RecordSet, DnsError> {
        let record = query::write(record)?;
        let mut set = RecordSet::with_ttl(record.name.clone(), record.data.record_type(), record.ttl);
        set.insert(record, 0);
        Ok(set)
    }

    /// Updates name a zone by its origin, and may be about names in it only.
    fn origin(&self, record: &DnsRecord) -> Result<hickory_proto::rr::Name, DnsError> {
        let origin = query::name_of(&self.zone.name)?;
        match origin.zone_of(&query::name_of(&record.name)?) {
            true => Ok(origin),
            false => Err(DnsError::Outside { name: record.name.clone(), zone: self.zone.name.clone() }),
        }
    }
}

#[async_trait]
impl Writer for Updates<'_> {
    /// An update that changes nothing, on condition that the zone is there.
    async fn check(&self) -> Result<(), DnsError> {
        let origin = query::name_of(&self.zone.name)?;
        let mut message = update_message::delete_rrset(
            Record::update0(query::name_of(&format!("_ostler-check.{}", self.zone.name))?, 0, RecordType::TXT)
                .into_record_of_rdata(),
            origin.clone(),
            false,
        );
        let mut there = Record::update0(origin, 0, RecordType::SOA);
        there.dns_class = DNSClass::ANY;
        message.add_pre_requisite(there.into_record_of_rdata());
        self.send(message).await
    }

    async fn records(&self, name: &str) -> Result<Vec<DnsRecord>, DnsError> {
        seen::of_name(&[self.server], name, self.patience).await
    }

    async fn add(&self, record: &DnsRecord) -> Result<Added, DnsError> {
        let origin = self.origin(record)?;
        if self.records(&record.name).await?.iter().any(|other| other.is_same(record)) {
            return Ok(Added::Found);
        }
        self.send(update_message::append(Self::set(record)?, origin, false, false)).await?;
        Ok(Added::Made)
    }

    async fn remove(&self, record: &DnsRecord) -> Result<(), DnsError> {
        self.send(update_message::delete_by_rdata(Self::set(record)?, self.origin(record)?, false)).await
    }
}
