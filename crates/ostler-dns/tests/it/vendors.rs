//! The DNS of Cloudflare and of Hetzner Cloud, as their fakes answer.

use crate::{record, reference, zones};
use ostler_core::{
    ports::{Added, Dns, DnsRecord, RecordKind::*},
    spec::{DnsOptions, ZoneSpec},
};
use ostler_testkit::{cloudflare, hcloud};
use serde_json::json;

const ZONE: &str = cloudflare::ZONE;

fn at_cloudflare(fake: &cloudflare::FakeCloudflare) -> ZoneSpec {
    ZoneSpec {
        name: ZONE.into(),
        dns: DnsOptions::Cloudflare { token: reference(), url: fake.url() },
        nameservers: Vec::new(),
    }
}

async fn at_hetzner(mode: &str) -> (hcloud::FakeCloud, ZoneSpec) {
    // Fails only if there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (fake, _) = hcloud::FakeCloud::start().await.expect("the fake starts");
    let zone = ZoneSpec {
        name: ZONE.into(),
        dns: DnsOptions::Hetzner { token: reference(), url: fake.url() },
        nameservers: Vec::new(),
    };
    let mut body = json!({ "name": ZONE, "mode": mode });
    if mode == "secondary" {
        body["primary_nameservers"] = json!([{ "address": "192.0.2.53" }]);
    }
    let made = reqwest::Client::new().post(format!("{}/zones", fake.url())).bearer_auth(hcloud::TOKEN);
    let made = made.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
    assert_eq!(made.status(), 201, "{}", made.text().await.unwrap());
    (fake, zone)
}

fn wanted() -> [DnsRecord; 5] {
    [
        record(&format!("shop.{ZONE}"), A, "192.0.2.1"),
        record(&format!("shop.{ZONE}"), A, "192.0.2.2"),
        record(&format!("shop.{ZONE}"), Aaaa, "2001:db8::1"),
        record(&format!("www.{ZONE}"), Cname, &format!("shop.{ZONE}")),
        record(&format!("_acme-challenge.shop.{ZONE}"), Txt, "a \"quoted\" text"),
    ]
}

/// Each is made once, stands beside others of its name, and goes alone.
async fn keeps_its_records(dns: &impl Dns, zone: &ZoneSpec) {
    dns.check(zone).await.unwrap();
    for wanted in &wanted() {
        assert_eq!(dns.add(zone, wanted).await.unwrap(), Added::Made);
        assert_eq!(dns.add(zone, wanted).await.unwrap(), Added::Found);
    }
    let mut shop = dns.records(zone, &format!("shop.{ZONE}")).await.unwrap();
    shop.sort();
    assert!(shop.iter().zip(&wanted()[..3]).all(|(one, other)| one.is_same(other)) && shop.len() == 3, "{shop:?}");
    let text = dns.records(zone, &format!("_acme-challenge.shop.{ZONE}")).await.unwrap();
    assert!(text.len() == 1 && text[0].is_same(&wanted()[4]), "{text:?}");
    let alias = dns.records(zone, &format!("www.{ZONE}")).await.unwrap();
    assert!(alias.len() == 1 && alias[0].is_same(&wanted()[3]), "{alias:?}");
    for wanted in &wanted()[1..] {
        dns.remove(zone, wanted).await.unwrap();
        dns.remove(zone, wanted).await.unwrap();
    }
    let left = dns.records(zone, &format!("shop.{ZONE}")).await.unwrap();
    assert!(left.len() == 1 && left[0].is_same(&wanted()[0]), "{left:?}");
}

#[tokio::test]
async fn records_at_cloudflare() {
    let fake = cloudflare::FakeCloudflare::start().await.expect("the fake starts");
    keeps_its_records(&zones(cloudflare::TOKEN), &at_cloudflare(&fake)).await;
    assert_eq!(fake.resources("dns_records").len(), 1);
}

#[tokio::test]
async fn records_at_hetzner() {
    let (fake, zone) = at_hetzner("primary").await;
    keeps_its_records(&zones(hcloud::TOKEN), &zone).await;
    // A TTL that is too short for it, and a set that somebody else has a record in.
    let short = DnsRecord { ttl: 1, ..record(&format!("a.{ZONE}"), Txt, "x") };
    assert_eq!(zones(hcloud::TOKEN).add(&zone, &short).await.unwrap(), Added::Made);
    let of_zone = record(ZONE, A, "192.0.2.7");
    assert_eq!(zones(hcloud::TOKEN).add(&zone, &of_zone).await.unwrap(), Added::Made);
    assert!(zones(hcloud::TOKEN).records(&zone, ZONE).await.unwrap().iter().any(|other| other.is_same(&of_zone)));
    drop(fake);
}

#[tokio::test]
async fn what_a_zone_can_not_do_is_said_before_anything_is_made() {
    let (_fake, zone) = at_hetzner("secondary").await;
    let dns = zones(hcloud::TOKEN);
    let said = dns.check(&zone).await.unwrap_err();
    let secondary = format!("the zone {ZONE} is a copy of another server's, so no record can be made in it");
    assert_eq!(said.message, secondary);
    assert_eq!(dns.add(&zone, &wanted()[0]).await.unwrap_err().message, secondary);
    let other = ZoneSpec { name: "example.net".into(), ..zone.clone() };
    assert_eq!(dns.check(&other).await.unwrap_err().message, "there is no zone example.net that the token may see");
    let said = zones("wrong").check(&zone).await.unwrap_err();
    assert!(said.message.starts_with(&format!("the token of dns.{ZONE} is refused: ")), "{said}");
    assert!(!said.message.contains("wrong"), "{said}");

    let fake = cloudflare::FakeCloudflare::start().await.expect("the fake starts");
    let zone = at_cloudflare(&fake);
    let said = zones(&fake.token(&["Zone Read"])).check(&zone).await.unwrap_err();
    assert!(said.message.starts_with(&format!("the token of dns.{ZONE} is refused: ")), "{said}");
    // The same address, but nobody sees it.
    let id = fake.resources("zones")[0]["id"].as_str().unwrap().to_owned();
    let proxied = json!({ "name": "shop", "type": "A", "content": "192.0.2.1", "ttl": 1, "proxied": true });
    let (status, _) = fake.call(cloudflare::TOKEN, "POST", &format!("zones/{id}/dns_records"), proxied);
    assert_eq!(status, 200);
    let said = zones(cloudflare::TOKEN).records(&zone, &wanted()[0].name).await.unwrap_err().message;
    assert!(said.starts_with(&format!("shop.{ZONE} leads through Cloudflare's proxy")), "{said}");
    let other = ZoneSpec { name: "example.net".into(), ..zone };
    let said = zones(cloudflare::TOKEN).check(&other).await.unwrap_err().message;
    assert_eq!(said, "there is no zone example.net that the token may see");
}

/// Requests that are lost before or after they are done, and too many of them: the next call is right.
#[tokio::test]
async fn cut_off_and_asked_again() {
    let fake = cloudflare::FakeCloudflare::start().await.expect("the fake starts");
    let (dns, zone, wanted) = (zones(cloudflare::TOKEN), at_cloudflare(&fake), &wanted()[0]);
    let post = "POST /zones/{zone_id}/dns_records";
    fake.fail(post, cloudflare::Fault::Error(429, 10000));
    assert_eq!(dns.add(&zone, wanted).await.unwrap(), Added::Made, "too many requests are waited for");
    dns.remove(&zone, wanted).await.unwrap();
    for fault in [cloudflare::Fault::Drop, cloudflare::Fault::ActAndDrop] {
        fake.fail(post, fault);
        dns.add(&zone, wanted).await.unwrap_err();
        dns.add(&zone, wanted).await.unwrap();
        assert_eq!(fake.resources("dns_records").len(), 1);
        fake.fail("DELETE /zones/{zone_id}/dns_records/{dns_record_id}", fault);
        dns.remove(&zone, wanted).await.unwrap_err();
        dns.remove(&zone, wanted).await.unwrap();
        assert_eq!(fake.resources("dns_records").len(), 0);
    }

    let (fake, zone) = at_hetzner("primary").await;
    let dns = zones(hcloud::TOKEN);
    let add = "POST /zones/{id_or_name}/rrsets/{rr_name}/{rr_type}/actions/add_records";
    fake.fail(add, hcloud::Fault::Error("rate_limit_exceeded", "too many requests"));
    assert_eq!(dns.add(&zone, wanted).await.unwrap(), Added::Made);
    dns.remove(&zone, wanted).await.unwrap();
    for fault in [hcloud::Fault::Drop, hcloud::Fault::ActAndDrop] {
        fake.fail(add, fault);
        dns.add(&zone, wanted).await.unwrap_err();
        dns.add(&zone, wanted).await.unwrap();
        let there = dns.records(&zone, &wanted.name).await.unwrap();
        assert!(there.len() == 1 && there[0].is_same(wanted), "{there:?}");
        dns.remove(&zone, wanted).await.unwrap();
    }
}
