//! What Ostler knows of the records of a zone.

use crate::{
    error::{Blame, Failure, Result},
    ports::{Added, DnsRecord, Document},
    spec::ZoneSpec,
    subject::SubjectKind,
    world::World,
};
use serde::{Deserialize, Serialize};

/// The records of one zone that something of ours needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The zone as it was when something was last done in it.
    pub zone: ZoneSpec,
    /// In the order in which they were needed first.
    pub entries: Vec<Entry>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it says.
    pub record: DnsRecord,
    /// Who made it.
    pub origin: Origin,
    /// What needs it, such as `site shop`.
    pub users: Vec<String>,
}

/// Who made a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Ostler, or it was about to when it was last seen.
    Made,
    /// Somebody else, before Ostler needed it.
    Found,
    /// Somebody whom Ostler asked for it.
    ByHand,
}

impl Ledger {
    /// Notes that `user` needs a record; one that is new and there was made by somebody else, and one that is not there is about to be made,
    /// whoever made it before. Whether anything changes.
    pub(super) fn enter(&mut self, record: &DnsRecord, user: &str, there: bool) -> bool {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.record.is_same(record)) {
            let is_new = !entry.users.iter().any(|other| other == user);
            if is_new {
                entry.users.push(user.to_owned());
            }
            let becomes_ours = !there && entry.origin != Origin::Made;
            if becomes_ours {
                entry.origin = Origin::Made;
            }
            return is_new || becomes_ours;
        }
        let origin = if there { Origin::Found } else { Origin::Made };
        self.entries.push(Entry { record: record.clone(), origin, users: vec![user.to_owned()] });
        true
    }

    /// Whether the record stands in it.
    pub(super) fn knows(&self, record: &DnsRecord) -> bool {
        self.entries.iter().any(|entry| entry.record.is_same(record))
    }

    /// Notes what came of the wish for a record. That it was there after all tells nothing: an earlier try may have made it.
    pub(super) fn added(&mut self, record: &DnsRecord, added: Added) -> bool {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.record.is_same(record)) else { return false };
        let changes = added == Added::ByHand && entry.origin != Origin::ByHand;
        if changes {
            entry.origin = Origin::ByHand;
        }
        changes
    }

    /// Notes that `user` needs a record no more.
    pub(super) fn leave(&mut self, record: &DnsRecord, user: &str) -> Option<Entry> {
        let entry = self.entries.iter_mut().find(|entry| entry.record.is_same(record))?;
        entry.users.retain(|other| other != user);
        Some(entry.clone())
    }

    pub(super) fn forget(&mut self, record: &DnsRecord) {
        self.entries.retain(|entry| !entry.record.is_same(record));
    }
}

/// The ledger of a zone; an empty one where nothing was ever done in it.
pub async fn ledger(world: &World, zone: &ZoneSpec) -> Result<Ledger> {
    let subject = world.store.subject(SubjectKind::Zone, &zone.name).await?;
    let text = match subject {
        Some(subject) => world.store.document(subject).await?,
        None => None,
    };
    let entries = text.map(|text| read(&zone.name, &text)).transpose()?.map(|ledger| ledger.entries);
    Ok(Ledger { zone: zone.clone(), entries: entries.unwrap_or_default() })
}

/// Those of all zones, by name.
pub async fn ledgers(world: &World) -> Result<Vec<Ledger>> {
    let documents = world.store.documents(SubjectKind::Zone).await?;
    documents.iter().map(|document| read(&document.name, &document.text)).collect()
}

/// Keeps it; one without entries is none. The caller holds the lease on the zone.
pub(super) async fn put(world: &World, ledger: &Ledger) -> Result<()> {
    let subject = world.store.claim_name(SubjectKind::Zone, &ledger.zone.name).await?;
    if ledger.entries.is_empty() {
        return world.store.remove_document(subject).await;
    }
    let text = serde_json::to_string(ledger).expect("plain data of this crate");
    world.store.put_document(&Document { subject, name: ledger.zone.name.clone(), text }).await
}

fn read(name: &str, text: &str) -> Result<Ledger> {
    serde_json::from_str(text).map_err(|error| {
        Failure::new(Blame::Bug, error.to_string()).because_of(format!("the ledger of zone {name} can't be read"))
    })
}
