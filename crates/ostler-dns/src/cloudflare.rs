//! Cloudflare's DNS (<https://developers.cloudflare.com/api/resources/dns/>).

use crate::{Writer, error::DnsError, http::Client, query};
use async_trait::async_trait;
use ostler_core::{
    ports::{Added, DnsRecord, RecordKind},
    spec::ZoneSpec,
};
use serde_json::{Value, json};

pub struct Cloudflare<'a> {
    pub zone: &'a ZoneSpec,
    pub http: Client,
}

/// Cloudflare's own TTL for "automatic", which is 300 s.
const AUTOMATIC: u32 = 1;
/// Shortest TTL of others than its largest customers.
const SHORTEST: u32 = 60;
/// "An identical record already exists."
const IDENTICAL: &str = "81058";

impl Cloudflare<'_> {
    async fn id(&self) -> Result<String, DnsError> {
        let found = self.http.get(&format!("zones?name={}", self.zone.name)).await?;
        let id = found["result"][0]["id"].as_str();
        id.map(str::to_owned).ok_or_else(|| DnsError::NoZone { zone: self.zone.name.clone() })
    }

    /// Records of a name as the API has them.
    async fn of_name(&self, zone: &str, name: &str) -> Result<Vec<Value>, DnsError> {
        let (mut all, mut page) = (Vec::new(), 1);
        loop {
            let path = format!("zones/{zone}/dns_records?name.exact={name}&per_page=100&page={page}");
            let mut answer = self.http.get(&path).await?;
            let Value::Array(records) = answer["result"].take() else {
                return Err(DnsError::Garbled { what: "the list of records".into(), about: "it is no list".into() });
            };
            all.extend(records);
            if answer["result_info"]["total_pages"].as_u64().unwrap_or(1) <= page {
                return Ok(all);
            }
            page += 1;
        }
    }

    /// The same record, and its id.
    async fn find(&self, zone: &str, record: &DnsRecord) -> Result<Option<String>, DnsError> {
        let all = self.of_name(zone, &record.name).await?;
        let same = all.iter().find(|value| read(value).is_some_and(|other| other.is_same(record)));
        Ok(same.and_then(|value| value["id"].as_str()).map(str::to_owned))
    }
}

#[async_trait]
impl Writer for Cloudflare<'_> {
    async fn check(&self) -> Result<(), DnsError> {
        let id = self.id().await?;
        // What may not read records may not write them either.
        self.of_name(&id, &self.zone.name).await.map(drop)
    }

    async fn records(&self, name: &str) -> Result<Vec<DnsRecord>, DnsError> {
        let id = self.id().await?;
        let all = self.of_name(&id, name).await?;
        if all.iter().any(|record| record["proxied"] == true) {
            return Err(DnsError::Proxied { name: name.to_owned() });
        }
        Ok(all.iter().filter_map(read).collect())
    }

    async fn add(&self, record: &DnsRecord) -> Result<Added, DnsError> {
        let zone = self.id().await?;
        if self.find(&zone, record).await?.is_some() {
            return Ok(Added::Found);
        }
        let kind = record.kind;
        let ttl = if record.ttl < SHORTEST { AUTOMATIC } else { record.ttl };
        let mut body = json!({ "name": record.name, "type": kind.to_string(), "ttl": ttl, "proxied": false });
        match record.kind {
            RecordKind::Caa => {
                let bad = || DnsError::BadValue { kind, value: record.value.clone() };
                let mut parts = record.value.splitn(3, ' ');
                let (flags, tag, value) = (parts.next(), parts.next(), parts.next());
                let flags: u8 = flags.and_then(|flags| flags.parse().ok()).ok_or_else(bad)?;
                let (tag, value) = tag.zip(value).ok_or_else(bad)?;
                body["data"] = json!({ "flags": flags, "tag": tag, "value": value.trim_matches('"') });
            }
            RecordKind::Txt => body["content"] = json!(query::quoted(&record.value)),
            _ => body["content"] = json!(record.value),
        }
        if record.kind == RecordKind::Txt {
            body.as_object_mut().expect("it is one").remove("proxied");
        }
        match self.http.post(&format!("zones/{zone}/dns_records"), &body).await {
            Ok(_) => Ok(Added::Made),
            Err(DnsError::Refused { code, .. }) if code == IDENTICAL => Ok(Added::Found),
            Err(error) => Err(error),
        }
    }

    async fn remove(&self, record: &DnsRecord) -> Result<(), DnsError> {
        let zone = self.id().await?;
        let Some(id) = self.find(&zone, record).await? else { return Ok(()) };
        match self.http.delete(&format!("zones/{zone}/dns_records/{id}")).await {
            Err(DnsError::Refused { status: 404, .. }) => Ok(()),
            other => other,
        }
    }
}

/// A record of a type that we know.
fn read(value: &Value) -> Option<DnsRecord> {
    let kind = query::kind_of(value["type"].as_str()?)?;
    let content = value["content"].as_str()?;
    let value_of = match kind {
        RecordKind::Txt => query::unquoted(content),
        RecordKind::Cname => content.trim_end_matches('.').to_ascii_lowercase(),
        RecordKind::Caa => query::caa(content),
        RecordKind::A | RecordKind::Aaaa => query::address(content),
    };
    let ttl = value["ttl"].as_u64().and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or(AUTOMATIC);
    Some(DnsRecord { name: value["name"].as_str()?.to_ascii_lowercase(), kind, value: value_of, ttl })
}
