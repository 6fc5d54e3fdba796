//! Records of the DNS that lead a site's domains to its server, in those zones that the spec names.

use super::{
    record::{self, ZoneRecord},
    release::SiteContext,
};
use crate::{
    error::{Blame, Failure, Result},
    event::Level,
    ports::{DnsRecord, RecordKind},
    spec::{Domain, ZoneSpec},
    world::World,
    zone,
};
use std::{net::IpAddr, time::Duration};

/// Seconds for which others keep a record.
const TTL: u32 = 300;
/// How long until all authoritative servers have one; a person may have to make it.
const PATIENCE: Duration = Duration::from_secs(600);

/// Those domains that lie in zones.
pub(super) fn in_zones(zones: &[ZoneSpec], domains: &[Domain]) -> Vec<String> {
    let inside = domains.iter().filter(|domain| zone::zone_of(zones, domain.as_str()).is_ok());
    inside.map(ToString::to_string).collect()
}

/// The records that domains need; none for those that lie in no zone.
pub(super) fn wanted(zones: &[ZoneSpec], domains: &[Domain], addresses: &[IpAddr]) -> Vec<ZoneRecord> {
    let mut wanted = Vec::new();
    for domain in domains {
        let Ok(zone) = zone::zone_of(zones, domain.as_str()) else { continue };
        for address in addresses {
            let kind = if address.is_ipv4() { RecordKind::A } else { RecordKind::Aaaa };
            let record = DnsRecord { name: domain.to_string(), kind, value: address.to_string(), ttl: TTL };
            wanted.push(ZoneRecord { zone: zone.clone(), record });
        }
    }
    wanted
}

/// Has the records made, and waits until they are seen. The site's record names them before they are there.
pub(super) async fn ensure(ctx: &SiteContext<'_>, zones: &[ZoneSpec], domains: &[Domain]) -> Result<()> {
    let addresses = ctx.entrance().await?.addresses(ctx.world).await?;
    if addresses.is_empty() {
        let message = format!("port 443 of {} is not reached from here, so no name can be led to it", ctx.server());
        return Err(Failure::new(Blame::Target, message)
            .with_hint("open the port, or take the zone out of `dns` and make the records yourself"));
    }
    let wanted = wanted(zones, domains, &addresses);
    let mut site = ctx.record().await?;
    let new: Vec<_> = wanted.iter().filter(|new| !site.records.contains(new)).cloned().collect();
    site.records.extend(new);
    record::put(&*ctx.world.store, ctx.subject, &site).await?;
    for (zone, records) in by_zone(&wanted) {
        zone::ensure(ctx.world, zone, &records, &user(ctx), &ctx.reporter, PATIENCE).await?;
    }
    Ok(())
}

/// Has those records taken away that the release with the traffic does not need.
pub(super) async fn keep_those_of(ctx: &SiteContext<'_>) -> Result<()> {
    let site = ctx.record().await?;
    if site.records.is_empty() {
        return Ok(());
    }
    let domains = site.current().map(|release| release.settings.domains.clone()).unwrap_or_default();
    let addresses = ctx.entrance().await?.addresses(ctx.world).await?;
    let kept = wanted(&site.desired.zones, &domains, &addresses);
    forget(ctx, |record| !kept.contains(record)).await
}

/// Has all its records taken away.
pub(super) async fn forget_all(ctx: &SiteContext<'_>) -> Result<()> {
    forget(ctx, |_| true).await
}

async fn forget(ctx: &SiteContext<'_>, is_not_needed: impl Fn(&ZoneRecord) -> bool) -> Result<()> {
    let mut site = ctx.record().await?;
    let gone: Vec<ZoneRecord> = site.records.iter().filter(|record| is_not_needed(record)).cloned().collect();
    for (zone, records) in by_zone(&gone) {
        for stays in zone::release(ctx.world, zone, &records, &user(ctx)).await? {
            ctx.notice(Level::Info, format!("it stays: {stays}")).await;
        }
    }
    if !gone.is_empty() {
        site.records.retain(|record| !gone.contains(record));
        record::put(&*ctx.world.store, ctx.subject, &site).await?;
    }
    Ok(())
}

/// Those that are not there, as zone files have them.
pub(super) async fn missing(world: &World, wanted: &[ZoneRecord]) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for (zone, records) in by_zone(wanted) {
        missing.extend(zone::missing(world, zone, &records).await?.iter().map(zone::in_words));
    }
    Ok(missing)
}

fn user(ctx: &SiteContext<'_>) -> String {
    format!("site {}", ctx.site)
}

fn by_zone(records: &[ZoneRecord]) -> Vec<(&ZoneSpec, Vec<DnsRecord>)> {
    let mut all: Vec<(&ZoneSpec, Vec<DnsRecord>)> = Vec::new();
    for ZoneRecord { zone, record } in records {
        match all.iter_mut().find(|(other, _)| *other == zone) {
            Some((_, records)) => records.push(record.clone()),
            None => all.push((zone, vec![record.clone()])),
        }
    }
    all
}
