//! Records in zones: which of them were made and which were only found, and that a fault at any call leaves none that nobody knows.

use crate::bench::{Bench, Process, empty_bench, process, this_owner, up};
use ostler_core::{
    Result,
    ids::OperationId,
    ports::{DnsRecord, RecordKind},
    spec::{DnsOptions, SecretRef, ZoneSpec},
    subject::{Subject, SubjectKind},
    zone::{self, Origin},
};
use ostler_testkit::world::{Call, Effect, FakeWorld, Fault, Faults, Moment};
use std::{sync::Arc, time::Duration};

fn at(name: &str) -> ZoneSpec {
    let token = SecretRef::Secret("cf".into());
    ZoneSpec { name: name.into(), dns: DnsOptions::Cloudflare { token, url: String::new() }, nameservers: Vec::new() }
}

fn a(name: &str, address: &str) -> DnsRecord {
    DnsRecord { name: name.into(), kind: RecordKind::A, value: address.into(), ttl: 300 }
}

fn wanted() -> [DnsRecord; 2] {
    [a("shop.example.com", "192.0.2.1"), a("www.shop.example.com", "192.0.2.1")]
}

async fn with_fault(bench: &Bench, fault: Option<Fault>) -> Process {
    process(bench.path(), this_owner(&up()), fault).await
}

async fn close(process: Process) {
    drop(process.world);
    process.store.store.clone().close().await;
}

async fn ensure(process: &Process, zone: &ZoneSpec, records: &[DnsRecord], user: &str) -> Result<()> {
    let subject = Subject { kind: SubjectKind::Zone, id: ostler_core::ids::SubjectId::new() };
    let reporter = process.world.log.scope_named(subject, &zone.name, OperationId::new());
    zone::ensure(&process.world, zone, records, user, &reporter, Duration::from_secs(1)).await
}

fn world(bench: &Bench) -> FakeWorld {
    FakeWorld { dir: bench.world(), faults: Arc::new(Faults::default()) }
}

/// Values and origins of the ledger's entries, and their users.
async fn known(bench: &Bench) -> Vec<(String, Origin, usize)> {
    let process = with_fault(bench, None).await;
    let ledgers = zone::ledgers(&process.world).await.unwrap();
    let entries = ledgers.into_iter().flat_map(|ledger| ledger.entries);
    let known = entries.map(|entry| (entry.record.name, entry.origin, entry.users.len())).collect();
    close(process).await;
    known
}

#[tokio::test]
async fn what_was_there_before_stays_and_what_others_need_too() {
    let bench = empty_bench().await;
    let (zone, [shop, www]) = (at("example.com"), wanted());
    world(&bench).add_dns_record(&shop);
    let process = with_fault(&bench, None).await;
    ensure(&process, &zone, &wanted(), "site shop").await.unwrap();
    ensure(&process, &zone, &wanted()[1..], "site blog").await.unwrap();
    assert_eq!(world(&bench).dns_records(), wanted());
    assert_eq!(zone::missing(&process.world, &zone, &wanted()).await.unwrap(), []);
    let expected = [(shop.name.clone(), Origin::Found, 1), (www.name.clone(), Origin::Made, 2)];
    assert_eq!(known(&bench).await, expected);

    let stays = zone::release(&process.world, &zone, &wanted(), "site shop").await.unwrap();
    assert_eq!(stays, ["shop.example.com. 300 A 192.0.2.1, which was there before"]);
    assert_eq!(world(&bench).dns_records(), wanted());
    assert_eq!(zone::release(&process.world, &zone, &wanted(), "site blog").await.unwrap(), [""; 0]);
    assert_eq!(world(&bench).dns_records(), [shop]);
    assert_eq!(known(&bench).await, []);
    close(process).await;
}

/// Also beside an address of ours: visitors would go to one of two places by chance.
#[tokio::test]
async fn a_name_that_others_lead_elsewhere_is_refused_before_anything_is_made() {
    let bench = empty_bench().await;
    let (zone, wanted) = (at("example.com"), wanted());
    let old = a("www.shop.example.com", "198.51.100.7");
    world(&bench).add_dns_record(&old);
    let process = with_fault(&bench, None).await;
    let refused = "www.shop.example.com leads elsewhere already: www.shop.example.com. 300 A 198.51.100.7";
    assert_eq!(zone::missing(&process.world, &zone, &wanted).await.unwrap_err().message, refused);
    assert_eq!(ensure(&process, &zone, &wanted, "site shop").await.unwrap_err().message, refused);
    assert_eq!(world(&bench).dns_records(), [old]);
    assert_eq!(known(&bench).await, []);

    // From one server to another, both addresses are ours for a while.
    let moved = [a("shop.example.com", "192.0.2.2")];
    ensure(&process, &zone, &wanted[..1], "site shop").await.unwrap();
    ensure(&process, &zone, &moved, "site shop").await.unwrap();
    zone::release(&process.world, &zone, &wanted[..1], "site shop").await.unwrap();
    assert_eq!(world(&bench).dns_records()[1..], moved);
    close(process).await;
}

/// Whoever made a record first: once it was gone, it was Ostler who made the one that is there.
#[tokio::test]
async fn what_was_found_and_went_is_made_and_taken_away() {
    let bench = empty_bench().await;
    let (zone, [shop, _]) = (at("example.com"), wanted());
    world(&bench).add_dns_record(&shop);
    let process = with_fault(&bench, None).await;
    ensure(&process, &zone, std::slice::from_ref(&shop), "site shop").await.unwrap();
    process.world.dns.remove(&zone, &shop).await.unwrap();
    ensure(&process, &zone, std::slice::from_ref(&shop), "site shop").await.unwrap();
    assert_eq!(known(&bench).await, [(shop.name.clone(), Origin::Made, 1)]);
    assert_eq!(zone::release(&process.world, &zone, std::slice::from_ref(&shop), "site shop").await.unwrap(), [""; 0]);
    assert_eq!(world(&bench).dns_records(), []);
    close(process).await;
}

#[tokio::test]
async fn disturbed_at_each_call_and_done_again() {
    let (zone, wanted) = (at("example.com"), wanted());
    // More than there are; the last ones strike nowhere.
    for number in 0..14 {
        for moment in [Moment::Before, Moment::After] {
            let bench = empty_bench().await;
            let fault = Fault { call: Call::Number(number), moment, effect: Effect::Fail };
            let process = with_fault(&bench, Some(fault.clone())).await;
            drop(ensure(&process, &zone, &wanted, "site shop").await);
            close(process).await;
            // Whatever is there is known, and counts as ours.
            let there = world(&bench).dns_records();
            let known_then = known(&bench).await;
            assert!(
                there.iter().all(|record| known_then
                    .iter()
                    .any(|(name, origin, _)| *name == record.name && *origin == Origin::Made)),
                "{fault}: {there:?} of {known_then:?}"
            );
            let process = with_fault(&bench, None).await;
            ensure(&process, &zone, &wanted, "site shop").await.unwrap();
            close(process).await;
            assert_eq!(world(&bench).dns_records(), wanted, "{fault}");

            let process = with_fault(&bench, Some(fault.clone())).await;
            drop(zone::release(&process.world, &zone, &wanted, "site shop").await);
            close(process).await;
            let process = with_fault(&bench, None).await;
            zone::release(&process.world, &zone, &wanted, "site shop").await.unwrap();
            assert_eq!(world(&bench).dns_records(), [], "{fault}");
            assert_eq!(known(&bench).await, [], "{fault}");
            close(process).await;
        }
    }
}

#[tokio::test]
async fn names_lie_in_the_innermost_zone() {
    let zones = [at("example.com"), at("eu.example.com")];
    let of = |name: &str| zone::zone_of(&zones, name).map(|zone| zone.name.as_str());
    assert_eq!(of("shop.eu.example.com").unwrap(), "eu.example.com");
    assert_eq!(of("*.eu.example.com").unwrap(), "eu.example.com");
    assert_eq!(of("notexample.com").unwrap_err().message, "notexample.com lies in no zone that the spec names");
    assert_eq!(of("example.com").unwrap(), "example.com");
}
