//! Zones of Hetzner Cloud (<https://docs.hetzner.cloud/reference/cloud#zones>). Records are added to their sets and removed from them; a set is
//! never set as a whole, for others may have records in it.

use crate::{Writer, error::DnsError, http::Client, query};
use async_trait::async_trait;
use ostler_core::{
    ports::{Added, DnsRecord, RecordKind},
    spec::ZoneSpec,
};
use serde_json::{Value, json};
use std::time::Instant;

pub struct Hetzner<'a> {
    pub zone: &'a ZoneSpec,
    pub http: Client,
}

/// Shortest TTL that the API takes (`ttl` of its schema: minimum 60).
const SHORTEST: u32 = 60;

impl Hetzner<'_> {
    /// The name as the API has it: below the zone, or `@`.
    fn below(&self, name: &str) -> Result<String, DnsError> {
        let below = match name.strip_suffix(&self.zone.name) {
            Some("") => "@",
            Some(below) => below.strip_suffix('.').unwrap_or_default(),
            None => "",
        };
        if below.is_empty() {
            Err(DnsError::Outside { name: name.to_owned(), zone: self.zone.name.clone() })
        } else {
            Ok(below.to_owned())
        }
    }

    fn value(record: &DnsRecord) -> String {
        match record.kind {
            RecordKind::Txt => query::quoted(&record.value),
            RecordKind::Cname => format!("{}.", record.value),
            _ => record.value.clone(),
        }
    }

    /// Waits until nothing changes the zone any more: what an earlier request began, whose answer was lost, is not to be seen in it yet.
    async fn settled(&self) -> Result<(), DnsError> {
        let begun = Instant::now();
        let path = format!("zones/{}/actions?status=running", self.zone.name);
        while self.http.get(&path).await?["actions"].as_array().is_some_and(|running| !running.is_empty()) {
            if begun.elapsed() > self.http.patience.answer {
                let message = "another change does not come to its end".to_owned();
                return Err(DnsError::ActionFailed { what: path, message });
            }
            tokio::time::sleep(self.http.patience.pause / 2).await;
        }
        Ok(())
    }

    /// Asks for a change of a set, and waits for its end.
    async fn change(&self, record: &DnsRecord, verb: &str, body: Value) -> Result<(), DnsError> {
        let kind = record.kind;
        let path = format!("zones/{}/rrsets/{}/{kind}/actions/{verb}", self.zone.name, self.below(&record.name)?);
        let begun = Instant::now();
        let mut action = self.http.post(&path, &body).await?["action"].take();
        loop {
            let failed =
                |message: &str| DnsError::ActionFailed { what: path.clone(), message: DnsError::words(message) };
            match action["status"].as_str() {
                Some("success") => return Ok(()),
                Some("error") => {
                    return Err(failed(action["error"]["message"].as_str().unwrap_or("no reason is given")));
                }
                _ if begun.elapsed() > self.http.patience.answer => return Err(failed("it does not come to its end")),
                _ => tokio::time::sleep(self.http.patience.pause / 2).await,
            }
            let id = action["id"].as_u64().unwrap_or_default();
            action = self.http.get(&format!("actions/{id}")).await?["action"].take();
        }
    }
}

#[async_trait]
impl Writer for Hetzner<'_> {
    async fn check(&self) -> Result<(), DnsError> {
        let name = &self.zone.name;
        let found = self.http.get(&format!("zones?name={name}")).await?;
        match found["zones"][0]["mode"].as_str() {
            Some("secondary") => Err(DnsError::Secondary { zone: name.clone() }),
            Some(_) => Ok(()),
            None => Err(DnsError::NoZone { zone: name.clone() }),
        }
    }

    async fn records(&self, name: &str) -> Result<Vec<DnsRecord>, DnsError> {
        let path = format!("zones/{}/rrsets?name={}&per_page=50", self.zone.name, self.below(name)?);
        let sets = match self.http.get(&path).await {
            Err(DnsError::Refused { status: 404, .. }) => {
                return Err(DnsError::NoZone { zone: self.zone.name.clone() });
            }
            other => other?["rrsets"].take(),
        };
        let mut all = Vec::new();
        for set in sets.as_array().into_iter().flatten() {
            let Some(kind) = set["type"].as_str().and_then(query::kind_of) else { continue };
            let ttl = set["ttl"].as_u64().and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or(0);
            for value in set["records"].as_array().into_iter().flatten().filter_map(|it| it["value"].as_str()) {
                let value = match kind {
                    RecordKind::Txt => query::unquoted(value),
                    RecordKind::Cname => match value.strip_suffix('.') {
                        Some(whole) => whole.to_ascii_lowercase(),
                        None => format!("{value}.{}", self.zone.name).to_ascii_lowercase(),
                    },
                    RecordKind::Caa => query::caa(value),
                    RecordKind::A | RecordKind::Aaaa => query::address(value),
                };
                all.push(DnsRecord { name: name.to_owned(), kind, value, ttl });
            }
        }
        Ok(all)
    }

    async fn add(&self, record: &DnsRecord) -> Result<Added, DnsError> {
        self.settled().await?;
        let there = self.records(&record.name).await?;
        if there.iter().any(|other| other.is_same(record)) {
            return Ok(Added::Found);
        }
        let mut body = json!({ "records": [{ "value": Self::value(record) }] });
        // A set has one TTL, and one that is there keeps its own.
        if !there.iter().any(|other| other.kind == record.kind) {
            body["ttl"] = json!(record.ttl.max(SHORTEST));
        }
        self.change(record, "add_records", body).await?;
        Ok(Added::Made)
    }

    async fn remove(&self, record: &DnsRecord) -> Result<(), DnsError> {
        self.settled().await?;
        if !self.records(&record.name).await?.iter().any(|other| other.is_same(record)) {
            return Ok(());
        }
        match self.change(record, "remove_records", json!({ "records": [{ "value": Self::value(record) }] })).await {
            Err(DnsError::Refused { status: 404, .. }) => Ok(()),
            other => other,
        }
    }
}
