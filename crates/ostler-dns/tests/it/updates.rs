//! A real BIND that takes dynamic updates.

use crate::{record, reference, zones};
use ostler_core::{
    ports::{Added, Dns, RecordKind::*},
    spec::{DnsOptions, ZoneSpec},
};
use ostler_testkit::nameserver::{Nameserver, SECRET};
use std::{net::UdpSocket, time::Duration};

const SOON: Duration = Duration::from_millis(600);

#[tokio::test]
async fn records_are_made_seen_and_taken_away() {
    let Some(server) = Nameserver::start(&["example.com"]) else { return };
    let (zone, dns) = (server.zone("example.com", reference()), zones(SECRET));
    dns.check(&zone).await.unwrap();
    let all = [
        record("shop.example.com", A, "192.0.2.1"),
        record("shop.example.com", Aaaa, "2001:db8::1"),
        record("www.example.com", Cname, "shop.example.com"),
        record("_acme-challenge.shop.example.com", Txt, &format!("one \"quoted\" {}", "x".repeat(400))),
        record("*.example.com", A, "192.0.2.2"),
        record("example.com", Caa, "0 issue \"ca.example\""),
    ];
    for wanted in &all {
        assert_eq!(dns.add(&zone, wanted).await.unwrap(), Added::Made);
        assert_eq!(dns.add(&zone, wanted).await.unwrap(), Added::Found);
        dns.settle(&zone, wanted, SOON).await.unwrap();
    }
    // Another of the same name and kind stands beside the first.
    let second = record("shop.example.com", A, "192.0.2.9");
    assert_eq!(dns.add(&zone, &second).await.unwrap(), Added::Made);
    let mut shop = dns.records(&zone, "shop.example.com").await.unwrap();
    shop.sort();
    let mut expected = vec![all[0].clone(), second.clone(), all[1].clone()];
    expected.sort();
    assert_eq!(shop, expected);
    let behind = dns.lookup(Some(&zone), "www.example.com", A).await.unwrap();
    assert_eq!(behind.len(), 2, "an alias is followed: {behind:?}");
    assert_eq!(dns.records(&zone, "www.example.com").await.unwrap(), all[2..3]);

    dns.remove(&zone, &all[0]).await.unwrap();
    dns.remove(&zone, &all[0]).await.unwrap();
    let left = dns.records(&zone, "shop.example.com").await.unwrap();
    assert!(left.contains(&second) && !left.contains(&all[0]), "{left:?}");
    assert_eq!(dns.lookup(Some(&zone), "nothing.here.example.com", Txt).await.unwrap(), []);
}

#[tokio::test]
async fn refusals_say_why() {
    let Some(server) = Nameserver::start(&["example.com"]) else { return };
    let zone = server.zone("example.com", reference());
    let wrong = zones("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").check(&zone).await.unwrap_err();
    assert!(
        wrong.message.contains("refuses an update of example.com: ") && wrong.message.contains("BadSig"),
        "{wrong}"
    );
    let other = |change: &dyn Fn(&mut DnsOptions)| {
        let mut zone = zone.clone();
        change(&mut zone.dns);
        zone
    };
    let of = |zone: ZoneSpec| async move { zones(SECRET).check(&zone).await.unwrap_err().message };
    let named = other(&|dns| {
        let DnsOptions::Rfc2136 { key, .. } = dns else { unreachable!() };
        *key = "another".into();
    });
    let said = of(named).await;
    assert!(said.contains("BadKey"), "{said}");
    let said = of(ZoneSpec { name: "example.org".into(), ..zone.clone() }).await;
    assert!(
        said.ends_with("refuses an update of example.org: Not Authoritative")
            || said.contains("NotAuth")
            || said.contains("authori"),
        "{said}"
    );
    let said = zones("no base64").check(&zone).await.unwrap_err().message;
    assert_eq!(said, "the key of dns.example.com is not in base64");
    let elsewhere = record("shop.example.org", A, "192.0.2.1");
    let said = zones(SECRET).add(&zone, &elsewhere).await.unwrap_err().message;
    assert_eq!(said, "shop.example.org is not in the zone example.com");
}

#[tokio::test]
async fn what_never_settles_says_who_has_what() {
    let Some(server) = Nameserver::start(&["example.com"]) else { return };
    let Some(stale) = Nameserver::start(&["example.com"]) else { return };
    // Nobody answers there.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (mut zone, dns) = (server.zone("example.com", reference()), zones(SECRET));
    let (old, wanted) = (record("a.example.com", Txt, "old"), record("a.example.com", Txt, "new"));
    dns.add(&zone, &wanted).await.unwrap();
    dns.add(&stale.zone("example.com", reference()), &old).await.unwrap();
    zone.nameservers = vec![server.address(), stale.address()];
    let failure = dns.settle(&zone, &wanted, SOON).await.unwrap_err();
    let expected = format!(
        "not every authoritative server of example.com has TXT a.example.com after 0 s: {} has old",
        stale.address()
    );
    assert_eq!(failure.message, expected);
    zone.nameservers = vec![server.address(), silent.local_addr().unwrap()];
    let failure = dns.settle(&zone, &wanted, SOON).await.unwrap_err();
    assert!(failure.message.contains("does not answer for a.example.com: nothing came within 0.5 s"), "{failure}");
    let first = ZoneSpec { nameservers: vec![silent.local_addr().unwrap(), server.address()], ..zone };
    assert_eq!(dns.lookup(Some(&first), "a.example.com", Txt).await.unwrap(), [wanted], "the next one is asked");
}

#[tokio::test]
async fn what_a_person_makes_is_found() {
    let Some(server) = Nameserver::start(&["example.com"]) else { return };
    let (zone, dns) = (server.zone("example.com", reference()), zones(SECRET));
    let by_hand = ZoneSpec { dns: DnsOptions::Manual, ..zone.clone() };
    let wanted = record("a.example.com", A, "192.0.2.1");
    dns.check(&by_hand).await.unwrap();
    assert_eq!(dns.add(&by_hand, &wanted).await.unwrap(), Added::ByHand);
    dns.add(&zone, &wanted).await.unwrap();
    assert_eq!(dns.add(&by_hand, &wanted).await.unwrap(), Added::Found);
    dns.remove(&by_hand, &wanted).await.unwrap();
    assert_eq!(dns.records(&by_hand, "a.example.com").await.unwrap(), [wanted]);
}
