//! The DNS: `records.json`, for all zones alike.

use super::FakeWorld;
use async_trait::async_trait;
use ostler_core::{
    Blame, Failure, Result,
    ports::{Added, Dns, DnsRecord, RecordKind},
    spec::{DnsOptions, ZoneSpec},
};
use std::time::Duration;

const FILE: &str = "records.json";

#[async_trait]
impl Dns for FakeWorld {
    async fn check(&self, _: &ZoneSpec) -> Result<()> {
        Ok(())
    }

    async fn records(&self, _: &ZoneSpec, name: &str) -> Result<Vec<DnsRecord>> {
        Ok(self.dns_records().into_iter().filter(|record| record.name == name).collect())
    }

    async fn add(&self, zone: &ZoneSpec, record: &DnsRecord) -> Result<Added> {
        self.faults
            .around("dns.add", async {
                let mut all = self.dns_records();
                if all.iter().any(|other| other.is_same(record)) {
                    return Ok(Added::Found);
                }
                if zone.dns == DnsOptions::Manual {
                    return Ok(Added::ByHand);
                }
                all.push(record.clone());
                self.dir.write(FILE, &all);
                Ok(Added::Made)
            })
            .await
    }

    async fn remove(&self, _: &ZoneSpec, record: &DnsRecord) -> Result<()> {
        self.faults
            .around("dns.remove", async {
                let mut all = self.dns_records();
                all.retain(|other| !other.is_same(record));
                self.dir.write(FILE, &all);
                Ok(())
            })
            .await
    }

    async fn settle(&self, zone: &ZoneSpec, record: &DnsRecord, _: Duration) -> Result<()> {
        match self.dns_records().iter().any(|other| other.is_same(record)) {
            true => Ok(()),
            false => Err(Failure::new(Blame::Provider, format!("no server of {} has {}", zone.name, record.name))),
        }
    }

    async fn lookup(&self, _: Option<&ZoneSpec>, name: &str, kind: RecordKind) -> Result<Vec<DnsRecord>> {
        Ok(self.dns_records().into_iter().filter(|record| record.name == name && record.kind == kind).collect())
    }
}

impl FakeWorld {
    /// All records that there are.
    pub fn dns_records(&self) -> Vec<DnsRecord> {
        self.dir.read(FILE).unwrap_or_default()
    }

    /// Makes one, as somebody else does.
    pub fn add_dns_record(&self, record: &DnsRecord) {
        let all: Vec<DnsRecord> = self.dns_records().into_iter().chain([record.clone()]).collect();
        self.dir.write(FILE, &all);
    }
}
