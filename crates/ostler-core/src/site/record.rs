//! What is on record of a site.

use crate::{
    certificate::Order,
    error::{Blame, Failure, Result},
    hint::{Hint, Next},
    ids::{OperationId, ServerName, SiteName},
    ports::{DnsRecord, Document, SiteImage, SiteSettings, Store},
    spec::{Domain, SiteSpec, ZoneSpec},
    subject::{Subject, SubjectKind},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Releases that are kept, to go back to.
const KEPT: usize = 10;

/// One site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteRecord {
    /// Its name.
    pub name: SiteName,
    /// The spec that was last to be deployed.
    pub desired: SiteSpec,
    /// Number of the newest release that was ever begun.
    pub last: u32,
    /// Number of the release that has the traffic; `None`: there is none yet.
    pub current: Option<u32>,
    /// Releases that had the traffic, newest first.
    pub releases: Vec<Release>,
    /// Newest version of any secret.
    pub last_secret: u32,
    /// Newest version of each secret.
    pub secrets: BTreeMap<String, u32>,
    /// Records of the DNS that it needs, or is about to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<ZoneRecord>,
    /// Certificates that it needs, or is about to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Delivered>,
}

/// A certificate that a site needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// What it shall be.
    pub order: Order,
    /// Serial number of the one that its server serves; `None`: it has none yet.
    pub serial: Option<String>,
}

/// A record that a site needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneRecord {
    /// The zone that it is in.
    pub zone: ZoneSpec,
    /// What it says.
    pub record: DnsRecord,
}

/// A release that had the traffic once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its number.
    pub number: u32,
    /// When it got the traffic.
    pub at: jiff::Timestamp,
    /// The operation that made it, which is its mark, too.
    pub operation: OperationId,
    /// The image as the user named it.
    pub reference: String,
    /// What that was.
    pub image: SiteImage,
    /// What else it is.
    pub settings: SiteSettings,
    /// The release that it goes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<u32>,
}

impl SiteRecord {
    /// Of a site of which nothing is there yet.
    pub(super) fn new(spec: &SiteSpec) -> Self {
        Self {
            name: spec.name.clone(),
            desired: spec.clone(),
            last: 0,
            current: None,
            releases: Vec::new(),
            last_secret: 0,
            secrets: BTreeMap::new(),
            records: Vec::new(),
            certificates: Vec::new(),
        }
    }

    /// The server that it runs on.
    pub fn server(&self) -> &ServerName {
        &self.desired.server
    }

    /// The release of this number, if it is kept.
    pub fn release(&self, number: u32) -> Option<&Release> {
        self.releases.iter().find(|release| release.number == number)
    }

    /// The release that has the traffic.
    pub fn current(&self) -> Option<&Release> {
        self.release(self.current?)
    }

    /// Domains that lead to it or are about to.
    pub(super) fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.desired.domains.iter().chain(self.current().into_iter().flat_map(|release| &release.settings.domains))
    }

    /// Versions of secrets that a kept release has.
    pub(super) fn kept_secrets(&self) -> Vec<u32> {
        let mut kept: Vec<u32> = self.releases.iter().flat_map(|it| it.settings.secrets.values().copied()).collect();
        kept.extend(self.secrets.values());
        kept.sort_unstable();
        kept.dedup();
        kept
    }

    /// A new release has the traffic.
    pub(super) fn serves(&mut self, release: Release) {
        self.current = Some(release.number);
        self.releases.retain(|other| other.number != release.number);
        self.releases.insert(0, release);
        self.releases.truncate(KEPT);
    }
}

/// The site of this name.
pub async fn record(store: &dyn Store, name: &SiteName) -> Result<Option<(Subject, SiteRecord)>> {
    let Some(subject) = store.subject(SubjectKind::Site, name.as_str()).await? else { return Ok(None) };
    let Some(text) = store.document(subject).await? else { return Ok(None) };
    Ok(Some((subject, read(name.as_str(), &text)?)))
}

/// All sites, by name.
pub async fn records(store: &dyn Store) -> Result<Vec<(Subject, SiteRecord)>> {
    let documents = store.documents(SubjectKind::Site).await?;
    documents.into_iter().map(|Document { subject, name, text }| Ok((subject, read(&name, &text)?))).collect()
}

pub(super) async fn put(store: &dyn Store, subject: Subject, record: &SiteRecord) -> Result<()> {
    let text = serde_json::to_string(record).expect("plain data of this crate");
    store.put_document(&Document { subject, name: record.name.to_string(), text }).await
}

/// The failure that a name is which no site has.
pub fn unknown(name: &SiteName) -> Failure {
    Failure::new(Blame::User, format!("there is no record of a site `{name}`"))
        .with_hint(Hint::from(Next::ListSites).with(" lists the sites"))
}

fn read(name: &str, text: &str) -> Result<SiteRecord> {
    serde_json::from_str(text).map_err(|error| {
        Failure::new(Blame::Bug, error.to_string())
            .because_of(format!("the record of the site {name} can't be read"))
            .with_hint("was it written by another version of Ostler?")
    })
}
