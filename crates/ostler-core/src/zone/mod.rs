//! Records in zones: which of them Ostler made, and which it only found.
//!
//! A record that was there before stays when what it was needed for goes. Each zone has a ledger, which says of a record that it is being made
//! before the request is sent; so after a crash nothing is there that the ledger does not know.

mod authority;
mod ledger;

pub use authority::may_issue;
pub use ledger::{Entry, Ledger, Origin, ledger, ledgers};

use crate::{
    error::{Blame, Failure, Result},
    event::{EventKind, Level},
    operation::ScopedReporter,
    ports::{Added, DnsRecord, RecordKind, Reporter},
    spec::ZoneSpec,
    subject::SubjectKind,
    world::World,
};
use ledger::put;
use std::time::Duration;

/// How long to wait for others who change records of the same zone.
const TURN: Duration = Duration::from_secs(120);

/// The zone of a spec that a name lies in; of several, the innermost.
pub fn zone_of<'a>(zones: &'a [ZoneSpec], name: &str) -> Result<&'a ZoneSpec> {
    zones.iter().filter(|zone| zone.holds(name)).max_by_key(|zone| zone.name.len()).ok_or_else(|| {
        let name = name.strip_prefix("*.").unwrap_or(name);
        Failure::new(Blame::Configuration, format!("{name} lies in no zone that the spec names"))
            .with_hint("name the zone under `dns`; `{ kind: manual }` if you make its records yourself")
    })
}

/// Sees to it that records are there for `user`, such as a site, and that all authoritative servers have them.
///
/// What has to be made by hand is said, and waited for. Records that somebody else made stay theirs; a name that they lead elsewhere is
/// refused before anything is made, for its visitors would go to one place or the other by chance.
pub async fn ensure(
    world: &World,
    zone: &ZoneSpec,
    records: &[DnsRecord],
    user: &str,
    reporter: &ScopedReporter<'_>,
    patience: Duration,
) -> Result<()> {
    let entered = enter(world, zone, records, user, reporter);
    world.leaser.hold_soon((SubjectKind::Zone, &zone.name), TURN, entered).await?;
    for record in records {
        world.dns.settle(zone, record, patience).await?;
    }
    Ok(())
}

async fn enter(
    world: &World,
    zone: &ZoneSpec,
    records: &[DnsRecord],
    user: &str,
    reporter: &ScopedReporter<'_>,
) -> Result<()> {
    let mut ledger = ledger(world, zone).await?;
    let there = are_there(world, zone, &ledger, records).await?;
    for (record, there) in records.iter().zip(there) {
        // One that this made, and that somebody took away, is made again.
        if ledger.enter(record, user, there) {
            put(world, &ledger).await?;
        }
        if there {
            continue;
        }
        let added = world.dns.add(zone, record).await?;
        if added == Added::ByHand {
            let message = format!("make this record in the zone {}: {}", zone.name, in_words(record));
            reporter.report(EventKind::Notice { level: Level::Warning, message }).await;
        }
        if ledger.added(record, added) {
            put(world, &ledger).await?;
        }
    }
    Ok(())
}

/// Whether each record is there. Fails where one would stand beside what leads elsewhere.
async fn are_there(world: &World, zone: &ZoneSpec, ledger: &Ledger, records: &[DnsRecord]) -> Result<Vec<bool>> {
    let mut are_there = Vec::new();
    for record in records {
        let all = world.dns.records(zone, &record.name).await?;
        not_elsewhere(ledger, &all, records, record)?;
        are_there.push(all.iter().any(|other| other.is_same(record)));
    }
    Ok(are_there)
}

/// Whether visitors go where it says.
fn leads(record: &DnsRecord) -> bool {
    matches!(record.kind, RecordKind::A | RecordKind::Aaaa | RecordKind::Cname)
}

/// Fails where a record that leads somewhere would stand beside one of somebody else that leads elsewhere.
fn not_elsewhere(ledger: &Ledger, there: &[DnsRecord], wanted: &[DnsRecord], record: &DnsRecord) -> Result<()> {
    let is_wanted = |other: &DnsRecord| wanted.iter().any(|wanted| wanted.is_same(other));
    let strange = there.iter().filter(|other| leads(other) && !is_wanted(other) && !ledger.knows(other));
    let strange: Vec<_> = strange.map(in_words).collect();
    if !leads(record) || strange.is_empty() {
        return Ok(());
    }
    let message = format!("{} leads elsewhere already: {}", record.name, strange.join("; "));
    Err(Failure::new(Blame::Configuration, message).with_hint(
        "if that is of no use any more, take it away where the zone is kept; what Ostler did not make it never changes",
    ))
}

/// `user` needs these records no more. What Ostler made, what nobody else needs and what still says the same is taken away; returns what
/// stays, and why, for people.
pub async fn release(world: &World, zone: &ZoneSpec, records: &[DnsRecord], user: &str) -> Result<Vec<String>> {
    let work = async {
        let (mut ledger, mut stays) = (ledger(world, zone).await?, Vec::new());
        for record in records {
            let Some(entry) = ledger.leave(record, user) else { continue };
            if entry.users.is_empty() {
                match entry.origin {
                    Origin::Made => world.dns.remove(zone, record).await?,
                    Origin::Found => stays.push(format!("{}, which was there before", in_words(record))),
                    Origin::ByHand => stays.push(format!("{}, which was made by hand", in_words(record))),
                }
                ledger.forget(record);
            }
            put(world, &ledger).await?;
        }
        Ok(stays)
    };
    world.leaser.hold_soon((SubjectKind::Zone, &zone.name), TURN, work).await
}

/// What [`ensure`] would make: the records that are not there. Fails where that would refuse. Changes nothing.
pub async fn missing(world: &World, zone: &ZoneSpec, records: &[DnsRecord]) -> Result<Vec<DnsRecord>> {
    world.dns.check(zone).await?;
    let there = are_there(world, zone, &ledger(world, zone).await?, records).await?;
    Ok(records.iter().zip(there).filter(|(_, there)| !there).map(|(record, _)| record.clone()).collect())
}

/// A record as a zone file has it.
pub fn in_words(record: &DnsRecord) -> String {
    let value = match record.kind {
        RecordKind::Txt => format!("\"{}\"", record.value),
        RecordKind::Cname => format!("{}.", record.value),
        _ => record.value.clone(),
    };
    format!("{}. {} {} {value}", record.name, record.ttl, record.kind)
}
