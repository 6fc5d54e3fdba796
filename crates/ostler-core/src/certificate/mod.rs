//! Certificates: ordered of an authority for names whose DNS is ours to write, kept with their keys, renewed in time.
//!
//! One stands on record under its first name. An order is on record before the authority hears of it, so orders that a crash ended count, too.
//! TXT records that prove a name go through the ledgers of their zones; what a crash left of them is taken away by the next order.

mod deliver;
mod schedule;

pub use deliver::{Place, TRAEFIK, deliver, withdraw};
pub use schedule::{pause, renewal};

use crate::{
    error::{Blame, Failure, Result},
    event::{EventKind, Level},
    operation::ScopedReporter,
    ports::{
        AcmeOrder, CertificateAuthority, CertificateProfile, DnsRecord, Document, IssuedCertificate, RecordKind,
        RenewalWindow, Reporter, Validation,
    },
    secret::Secret,
    spec::ZoneSpec,
    subject::{Subject, SubjectKind},
    world::World,
    zone,
};
use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a record may take until every authoritative server has it, where nobody says anything else.
const SETTLE: Duration = Duration::from_secs(10 * 60);
/// How long others may take with the same certificate or account.
const TURN: Duration = Duration::from_secs(10 * 60);
/// Let's Encrypt's name in CAA records. Of other authorities it is not known; theirs is then looked at by them alone.
const LETS_ENCRYPT: &str = "letsencrypt.org";
const ACCOUNT: &str = "account";

/// What a certificate shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Names in lower case, wildcards too. The first one names the certificate.
    pub names: Vec<String>,
    /// The zones that the names lie in.
    pub zones: Vec<ZoneSpec>,
    /// Who issues it.
    pub authority: CertificateAuthority,
    /// Which kind; `None`: the authority's usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<CertificateProfile>,
}

/// What is on record of a certificate. Its key is a secret of the same subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// What it shall be.
    pub order: Order,
    /// What it is; `None`: no order has succeeded yet.
    pub issued: Option<IssuedCertificate>,
    /// What it was ordered as.
    pub ordered: Option<Order>,
    /// When the authority wishes it to be renewed, where it says so.
    pub window: Option<RenewalWindow>,
    /// Orders of the last days, oldest first.
    pub attempts: Vec<Attempt>,
    /// What became of the newest order, if it failed.
    pub last_failure: Option<FailedOrder>,
}

/// One order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it was sent.
    pub at: Timestamp,
    /// Whether it failed, or nobody knows.
    pub failed: bool,
    /// Whether it renewed a certificate because the authority wished so.
    pub wished: bool,
}

/// Why an order failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedOrder {
    /// When.
    pub at: Timestamp,
    /// The authority's words among the causes.
    pub failure: Failure,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// All names that it is for.
    pub names: Vec<String>,
    /// The certificate.
    pub issued: IssuedCertificate,
    /// Its key, in PEM.
    pub key: Secret,
}

impl Order {
    /// What the certificate is called.
    pub fn name(&self) -> &str {
        &self.names[0]
    }

    /// Whether a certificate that was ordered so serves for this order. Where records are made is another matter.
    pub fn is_met_by(&self, other: &Self) -> bool {
        let sorted = |order: &Self| {
            let mut names = order.names.clone();
            names.sort();
            names
        };
        (sorted(self), &self.authority.url, self.profile) == (sorted(other), &other.authority.url, other.profile)
    }
}

impl CertificateRecord {
    /// Of a certificate that was never ordered.
    pub fn new(order: Order) -> Self {
        Self { order, issued: None, ordered: None, window: None, attempts: Vec::new(), last_failure: None }
    }

    /// What was issued, if it is what shall be.
    fn fitting(&self) -> Option<&IssuedCertificate> {
        self.ordered.as_ref().filter(|ordered| self.order.is_met_by(ordered)).and(self.issued.as_ref())
    }
}

/// Those on record, by name.
pub async fn all(world: &World) -> Result<Vec<(Subject, CertificateRecord)>> {
    let documents = world.store.documents(SubjectKind::Certificate).await?;
    documents.iter().map(|document| Ok((document.subject, read(&document.name, &document.text)?))).collect()
}

/// The certificate on record under a name; `None`: there is none, or it was not issued yet.
pub async fn get(world: &World, name: &str) -> Result<Option<Certificate>> {
    let Some(subject) = world.store.subject(SubjectKind::Certificate, name).await? else { return Ok(None) };
    let Some(text) = world.store.document(subject).await? else { return Ok(None) };
    let record = read(name, &text)?;
    if record.issued.is_none() {
        return Ok(None);
    }
    with_key(world, subject, &record).await.map(Some)
}

async fn with_key(world: &World, subject: Subject, record: &CertificateRecord) -> Result<Certificate> {
    let missing =
        |what: &str| Failure::new(Blame::Bug, format!("{what} of {} is missing from the state", record.order.name()));
    let issued = record.issued.clone().ok_or_else(|| missing("the certificate"))?;
    let key = world.store.secret(Some(subject), &key_name(&issued)).await?.ok_or_else(|| missing("the key"))?;
    Ok(Certificate { names: record.order.names.clone(), key, issued })
}

/// Takes a certificate from the record, with its key, so that it is renewed no more. None there: fine.
pub async fn forget(world: &World, name: &str) -> Result<()> {
    let work = async {
        match world.store.subject(SubjectKind::Certificate, name).await? {
            Some(subject) => world.store.remove_document(subject).await,
            None => Ok(()),
        }
    };
    world.leaser.hold_soon((SubjectKind::Certificate, name), TURN, work).await
}

/// The certificate on record if it is what was asked for and needs no renewal, else a new one. Where a renewal fails and the old one still
/// counts, that is told, and the old one serves.
pub async fn ensure(world: &World, order: &Order, reporter: &ScopedReporter<'_>) -> Result<Certificate> {
    world
        .leaser
        .hold_soon((SubjectKind::Certificate, order.name()), TURN, async {
            let mut work = Work::open(world, order.name(), Some(order), reporter).await?;
            if !work.is_due().await {
                return work.certificate().await;
            }
            let Err(failure) = work.obtain().await else { return work.certificate().await };
            match work.record.fitting() {
                Some(issued) if issued.not_after > Timestamp::now() => {
                    let message =
                        format!("{}, which serves until {}, is not renewed: {failure}", order.name(), issued.not_after);
                    reporter.report(EventKind::Notice { level: Level::Warning, message }).await;
                    work.certificate().await
                }
                _ => Err(failure),
            }
        })
        .await
}

/// Renews a certificate on record, with `only_due` only if it is time. Returns whether a new one came.
pub async fn renew(world: &World, name: &str, only_due: bool, reporter: &ScopedReporter<'_>) -> Result<bool> {
    world
        .leaser
        .hold_soon((SubjectKind::Certificate, name), TURN, async {
            let mut work = Work::open(world, name, None, reporter).await?;
            if !work.is_due().await && only_due {
                return Ok(false);
            }
            work.obtain().await.map(|()| true)
        })
        .await
}

/// The work on one certificate, under its lease.
struct Work<'w> {
    world: &'w World,
    reporter: &'w ScopedReporter<'w>,
    subject: Subject,
    record: CertificateRecord,
}

impl<'w> Work<'w> {
    async fn open(
        world: &'w World,
        name: &str,
        order: Option<&Order>,
        reporter: &'w ScopedReporter<'w>,
    ) -> Result<Self> {
        let subject = world.store.claim_name(SubjectKind::Certificate, name).await?;
        let known = world.store.document(subject).await?.map(|text| read(name, &text)).transpose()?;
        let record = match (known, order) {
            // What failed with other names, or at another authority, says nothing of this order.
            (Some(known), Some(order)) if !known.order.is_met_by(order) => {
                CertificateRecord { order: order.clone(), attempts: Vec::new(), window: None, ..known }
            }
            (Some(known), Some(order)) => CertificateRecord { order: order.clone(), ..known },
            (Some(known), None) => known,
            (None, Some(order)) => CertificateRecord::new(order.clone()),
            (None, None) => return Err(Failure::new(Blame::User, format!("there is no certificate `{name}`"))),
        };
        Ok(Self { world, reporter, subject, record })
    }

    /// Whether a new one is needed now. Asks the authority first if it is time for that; where it does not answer, what it said before counts.
    async fn is_due(&mut self) -> bool {
        let Some(issued) = self.record.fitting().cloned() else { return true };
        let now = Timestamp::now();
        if self.record.window.is_none_or(|window| window.ask_again <= now) {
            let asked = self.world.acme.renewal_window(&self.record.order.authority, &issued).await;
            if let Ok(window) = asked
                && window != self.record.window
            {
                self.record.window = window;
                let _ = self.put().await; // it is asked again then
            }
        }
        renewal(&self.record).is_none_or(|time| time <= now)
    }

    async fn obtain(&mut self) -> Result<()> {
        self.clear().await?;
        let now = Timestamp::now();
        let authority = self.record.order.authority.clone();
        let mut others = Vec::new();
        for (subject, record) in all(self.world).await? {
            if subject != self.subject && record.order.authority.url == authority.url {
                others.extend(record.attempts);
            }
        }
        if let Some((until, why)) = pause(&self.record.attempts, &others, now) {
            let name = self.record.order.name();
            let mut failure =
                Failure::new(Blame::Provider, format!("no certificate for {name} is ordered before {until}: {why}"));
            failure.causes.extend(self.record.last_failure.iter().map(|last| last.failure.message.clone()));
            return Err(failure);
        }
        self.check().await?;
        // By its wish only if it is time by its window; otherwise it counts as any other.
        let wished = self.record.fitting().is_some() && self.record.window.is_some_and(|window| window.start <= now);
        self.record.attempts = schedule::remembered(&self.record.attempts, now);
        self.record.attempts.push(Attempt { at: now, failed: true, wished });
        self.put().await?;
        let result = self.order().await;
        let cleared = self.clear().await;
        match result {
            Ok((issued, key)) => {
                self.world.store.put_secret(Some(self.subject), &key_name(&issued), &key).await?;
                let old = self.record.issued.replace(issued);
                self.record.ordered = Some(self.record.order.clone());
                (self.record.window, self.record.last_failure) = (None, None);
                self.record.attempts.last_mut().expect("pushed above").failed = false;
                self.put().await?;
                if let Some(old) = old {
                    self.world.store.remove_secret(Some(self.subject), &key_name(&old)).await?;
                }
                cleared
            }
            Err(failure) => {
                self.record.last_failure = Some(FailedOrder { at: Timestamp::now(), failure: failure.clone() });
                self.put().await?;
                Err(failure)
            }
        }
    }

    /// Fails where the order can't succeed, before the authority hears of it.
    async fn check(&self) -> Result<()> {
        let Order { names, zones, authority, .. } = &self.record.order;
        for name in names {
            self.world.dns.check(zone::zone_of(zones, name)?).await?;
            if authority.url.contains(LETS_ENCRYPT) {
                zone::may_issue(self.world, zones, name, LETS_ENCRYPT).await?;
            }
        }
        Ok(())
    }

    async fn order(&self) -> Result<(IssuedCertificate, Secret)> {
        let Self { world, record, .. } = self;
        let url = &record.order.authority.url;
        let account_subject = world.store.claim_name(SubjectKind::Account, url).await?;
        let account = world.store.secret(Some(account_subject), ACCOUNT).await?;
        let order = AcmeOrder {
            authority: &record.order.authority,
            names: &record.order.names,
            profile: record.order.profile,
            account: account.as_ref(),
            replaces: record.fitting(),
        };
        let proof = Proof { work: self, account: account_subject };
        if account.is_some() {
            return world.acme.obtain(order, &proof).await;
        }
        // One at a time makes an account; the others wait, and take it.
        world
            .leaser
            .hold_soon((SubjectKind::Account, url), TURN, async {
                let account = world.store.secret(Some(account_subject), ACCOUNT).await?;
                world.acme.obtain(AcmeOrder { account: account.as_ref(), ..order }, &proof).await
            })
            .await
    }

    /// Takes away TXT records of this certificate that are still there.
    async fn clear(&self) -> Result<()> {
        let user = user(&self.record.order);
        for ledger in zone::ledgers(self.world).await? {
            let ours = ledger.entries.iter().filter(|entry| entry.users.contains(&user));
            let ours: Vec<DnsRecord> = ours.map(|entry| entry.record.clone()).collect();
            if !ours.is_empty() {
                zone::release(self.world, &ledger.zone, &ours, &user).await?;
            }
        }
        Ok(())
    }

    async fn certificate(&self) -> Result<Certificate> {
        with_key(self.world, self.subject, &self.record).await
    }

    async fn put(&self) -> Result<()> {
        let text = serde_json::to_string(&self.record).expect("plain data of this crate");
        let document = Document { subject: self.subject, name: self.record.order.name().to_owned(), text };
        self.world.store.put_document(&document).await
    }
}

/// Proves names by their DNS.
struct Proof<'p> {
    work: &'p Work<'p>,
    account: Subject,
}

impl Proof<'_> {
    fn record(name: &str, value: &str) -> DnsRecord {
        DnsRecord { name: name.to_lowercase(), kind: RecordKind::Txt, value: value.to_owned(), ttl: 60 }
    }
}

#[async_trait]
impl Validation for Proof<'_> {
    async fn publish(&self, name: &str, value: &str) -> Result<()> {
        let Work { world, reporter, record, .. } = self.work;
        let zone = zone::zone_of(&record.order.zones, name)?;
        let records = [Self::record(name, value)];
        let patience = if world.wait.exact { world.wait.timeout } else { SETTLE };
        zone::ensure(world, zone, &records, &user(&record.order), reporter, patience).await
    }

    async fn withdraw(&self, name: &str, value: &str) -> Result<()> {
        let Work { world, record, .. } = self.work;
        let zone = zone::zone_of(&record.order.zones, name)?;
        zone::release(world, zone, &[Self::record(name, value)], &user(&record.order)).await.map(drop)
    }

    async fn keep_account(&self, account: &Secret) -> Result<()> {
        let Work { world, record, .. } = self.work;
        let name = record.order.authority.url.clone();
        world.store.put_document(&Document { subject: self.account, name, text: "{}".into() }).await?;
        world.store.put_secret(Some(self.account), ACCOUNT, account).await
    }
}

/// What ledgers of zones call a certificate.
fn user(order: &Order) -> String {
    format!("certificate {}", order.name())
}

/// Each key has its own name, so the old one is there until the new certificate stands on record.
fn key_name(issued: &IssuedCertificate) -> String {
    format!("key-{}", &issued.fingerprint[..issued.fingerprint.len().min(16)])
}

fn read(name: &str, text: &str) -> Result<CertificateRecord> {
    serde_json::from_str(text).map_err(|error| {
        Failure::new(Blame::Bug, error.to_string())
            .because_of(format!("the record of certificate {name} can't be read"))
    })
}
