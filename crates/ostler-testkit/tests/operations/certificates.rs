//! Certificates: one is ordered if there is none that fits, and a fault at any call leaves nothing that the next order does not clear.

use crate::bench::{Bench, Process, empty_bench, process, this_owner, up};
use jiff::{SignedDuration, Timestamp};
use ostler_core::{
    Result,
    certificate::{self, Certificate, Order},
    ids::{OperationId, SubjectId},
    ports::{CertificateAuthority, Document},
    spec::{DnsOptions, SecretRef, ZoneSpec},
    subject::{Subject, SubjectKind},
    zone,
};
use ostler_testkit::world::{Call, Effect, FakeWorld, Fault, Faults, Moment};
use std::sync::Arc;

fn order(names: &[&str]) -> Order {
    let dns = DnsOptions::Cloudflare { token: SecretRef::Secret("cf".into()), url: String::new() };
    Order {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        zones: vec![ZoneSpec { name: "example.com".into(), dns, nameservers: Vec::new() }],
        authority: CertificateAuthority { url: "https://ca.example/dir".into(), root: None },
        profile: None,
    }
}

async fn with_fault(bench: &Bench, fault: Option<Fault>) -> Process {
    process(bench.path(), this_owner(&up()), fault).await
}

async fn close(process: Process) {
    drop(process.world);
    process.store.store.clone().close().await;
}

async fn ensure(process: &Process, order: &Order) -> Result<Certificate> {
    let subject = Subject { kind: SubjectKind::Certificate, id: SubjectId::new() };
    let reporter = process.world.log.scope_named(subject, order.name(), OperationId::new());
    certificate::ensure(&process.world, order, &reporter).await
}

fn world(bench: &Bench) -> FakeWorld {
    FakeWorld { dir: bench.world(), faults: Arc::new(Faults::default()) }
}

#[tokio::test]
async fn one_that_fits_serves_and_other_names_are_ordered_anew() {
    let bench = empty_bench().await;
    let process = with_fault(&bench, None).await;
    let shop = order(&["shop.example.com", "*.shop.example.com"]);
    let first = ensure(&process, &shop).await.unwrap();
    let turned = order(&["shop.example.com", "*.shop.example.com"]);
    assert_eq!(ensure(&process, &turned).await.unwrap(), first);
    assert_eq!(world(&bench).certificates(), 1);
    let more = order(&["shop.example.com", "www.example.com"]);
    assert_ne!(ensure(&process, &more).await.unwrap().issued, first.issued);
    assert_eq!(world(&bench).certificates(), 2);
    assert_eq!(world(&bench).dns_records(), []);
    let outside = ensure(&process, &order(&["shop.example.net"])).await.unwrap_err();
    assert_eq!(outside.message, "shop.example.net lies in no zone that the spec names");
    close(process).await;
}

#[tokio::test]
async fn where_a_renewal_fails_the_old_one_serves() {
    let bench = empty_bench().await;
    let shop = order(&["shop.example.com"]);
    let process = with_fault(&bench, None).await;
    let first = ensure(&process, &shop).await.unwrap();
    let (subject, mut record) = certificate::all(&process.world).await.unwrap().remove(0);
    let issued = record.issued.as_mut().unwrap();
    (issued.not_before, issued.not_after) =
        (Timestamp::now() - SignedDuration::from_hours(48), Timestamp::now() + SignedDuration::from_hours(1));
    let text = serde_json::to_string(&record).unwrap();
    let document = Document { subject, name: "shop.example.com".into(), text };
    process.world.store.put_document(&document).await.unwrap();
    close(process).await;
    let fault = Fault { call: Call::Named("acme.obtain".into()), moment: Moment::Before, effect: Effect::Fail };
    let process = with_fault(&bench, Some(fault)).await;
    let served = ensure(&process, &shop).await.unwrap();
    assert_eq!(served.issued.serial, first.issued.serial);
    let (_, record) = certificate::all(&process.world).await.unwrap().remove(0);
    assert!(record.last_failure.is_some());
    close(process).await;
}

#[tokio::test]
async fn disturbed_at_each_call_and_done_again() {
    let shop = order(&["shop.example.com", "*.shop.example.com"]);
    // More than there are; the last ones strike nowhere.
    for number in 0..10 {
        for moment in [Moment::Before, Moment::After] {
            let bench = empty_bench().await;
            let fault = Fault { call: Call::Number(number), moment, effect: Effect::Fail };
            let process = with_fault(&bench, Some(fault.clone())).await;
            drop(ensure(&process, &shop).await);
            close(process).await;
            let process = with_fault(&bench, None).await;
            ensure(&process, &shop).await.unwrap();
            assert_eq!(world(&bench).dns_records(), [], "{fault}");
            assert_eq!(zone::ledgers(&process.world).await.unwrap(), [], "{fault}");
            close(process).await;
        }
    }
}
