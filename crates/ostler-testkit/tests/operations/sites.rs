//! Sites: every operation on them failed and killed at each call of a port, then done again; and what a release that does not come up leaves.

use crate::{
    bench::{Bench, Ran, Verb, empty, process, shop, this_owner, web},
    cases::{after_each, at, block_on, each},
};
use ostler_core::{
    Failure,
    model::OperationState,
    operation::Definition,
    ports::{DnsRecord, Store, Traffic},
    site::{self, SiteRecord, operations, plan::SitePlan},
    spec::{Domain, Forward, LocalOptions, ProviderOptions, ServerSpec, SiteSource, SiteSpec},
    subject::SubjectKind,
};
use ostler_testkit::world::{Effect, FakeRelease, FakeWorld, Fault, Faults, Moment};
use serde_json::json;
use std::sync::Arc;

fn spec(image: &str) -> SiteSpec {
    named("shop", image, &["shop.example.com", "www.shop.example.com"])
}

fn named(name: &str, image: &str, domains: &[&str]) -> SiteSpec {
    serde_json::from_value(json!({
        "name": name, "server": "web", "domains": domains, "source": { "image": image }, "port": 3000,
        "health": { "path": "/up", "within": 5 }, "replicas": 2, "env": {}, "secrets": { "KEY": { "secret": "key" } },
        "deploy_before": ["migrate"], "deploy_after": ["warm"],
        "zones": [{ "name": "example.com", "dns": { "kind": "rfc2136", "server": "192.0.2.53:53", "key": "k", "algorithm": "hmac-sha256", "secret": { "secret": "key" } } }],
        "certificate": { "authority": "https://ca.example/directory" },
    }))
    .unwrap()
}

fn deploy(image: &str) -> Verb {
    Verb::Deploy(Box::new(spec(image)))
}

/// A bench whose server can serve sites, and which has the secret of the site.
fn with_server() -> Bench {
    let bench = empty();
    block_on(async {
        let forward = vec![Forward { host: Some(443), guest: 443 }];
        let provider = ProviderOptions::Local(LocalOptions { forward });
        bench.must(&Verb::Up(Box::new(ServerSpec { apps: vec!["traefik".into()], provider, ..web() }))).await;
        set_secret(&bench, "one").await;
    });
    bench
}

/// A bench with these releases of the site, one after the other.
fn deployed(images: &[&str]) -> Bench {
    let bench = with_server();
    images.iter().for_each(|image| block_on(bench.must(&deploy(image))));
    bench
}

async fn set_secret(bench: &Bench, value: &str) {
    let store = bench.store().await;
    store.put_secret(None, "key", &ostler_core::secret::Secret::new(value)).await.unwrap();
    store.close().await;
}

async fn record(bench: &Bench) -> Option<SiteRecord> {
    let store = bench.store().await;
    let record = site::record(&store, &shop()).await.unwrap();
    store.close().await;
    record.map(|(_, record)| record)
}

async fn plan(bench: &Bench, spec: &SiteSpec) -> SitePlan {
    let process = process(bench.path(), this_owner(&Verb::Resume), None).await;
    let plan = site::plan::plan(&process.world, spec).await.unwrap();
    drop(process.world);
    process.store.store.clone().close().await;
    plan
}

/// Records that there are in zones.
fn records(bench: &Bench) -> Vec<DnsRecord> {
    FakeWorld { dir: bench.world(), faults: Arc::new(Faults::default()) }.dns_records()
}

/// What serves, less what differs from one good run to the next; and that record and world agree.
async fn snapshot(bench: &Bench) -> String {
    let (record, all) = (record(bench).await, bench.world().site("shop"));
    assert!(bench.world().names("hooks").is_empty(), "a hook is left");
    let mut names: Vec<_> = records(bench).iter().map(|it| format!("{} {} {}", it.name, it.kind, it.value)).collect();
    names.sort();
    let Some(record) = record else {
        assert_eq!(names, [""; 0], "a record is left in a zone");
        assert_eq!(all, [], "a release is left of a site that nobody knows");
        let store = bench.store().await;
        assert_eq!(
            store.documents(SubjectKind::Certificate).await.unwrap(),
            [],
            "a certificate is left that nobody needs"
        );
        store.close().await;
        return "nothing".into();
    };
    let store = bench.store().await;
    let subject = store.subject(SubjectKind::Site, "shop").await.unwrap().unwrap();
    let latest = store.latest_operation(subject).await.unwrap().unwrap();
    assert_eq!(store.lease(subject).await.unwrap(), None, "the lease is left");
    store.close().await;
    let [FakeRelease { number, traffic: Traffic::All, image, settings, secrets, .. }] = all.as_slice() else {
        panic!("not one release with all traffic: {all:?}");
    };
    assert_eq!(Some(*number), record.current);
    let [delivered] = record.certificates.as_slice() else { panic!("not one certificate: {:?}", record.certificates) };
    assert!(delivered.serial.is_some() && delivered.order.names[0] == settings.domains[0].as_str(), "{delivered:?}");
    format!("{image:?} {} {secrets:?} {names:?} {:?}", settings.domains[0], latest.state)
}

fn served_throughout(bench: &Bench) {
    let log = bench.world().log();
    assert!(!log.iter().any(|line| line == "shop is served by nobody"), "{log:?}");
}

fn scenario(operation: &Definition) -> (Bench, Verb) {
    match operation.name {
        "deploy" => (deployed(&["one"]), deploy("two")),
        "roll back" => (deployed(&["one", "two"]), Verb::RollBack(1)),
        "remove" => (deployed(&["one", "two"]), Verb::RemoveSite),
        name => panic!("operation `{name}` needs a scenario to be tested in"),
    }
}

#[test]
fn each_operation_is_disturbed_at_each_call_and_done_again() {
    for operation in operations() {
        println!("operation {}", operation.name);
        let (start, verb) = scenario(&operation);
        let undisturbed = start.copy();
        let Ran { calls, result, .. } = block_on(undisturbed.run(&verb, None));
        result.unwrap();
        block_on(undisturbed.assert_events_end());
        let expected = block_on(snapshot(&undisturbed));
        let faults: Vec<Fault> =
            [Effect::Fail, Effect::Kill].into_iter().flat_map(|effect| after_each(&calls, effect)).collect();
        each(&faults, async |fault| {
            let bench = start.copy();
            if fault.effect == Effect::Kill {
                bench.killed(&verb, fault);
            } else {
                let ran = bench.run(&verb, Some(fault.clone())).await;
                assert!(ran.struck, "{fault} did not happen");
            }
            bench.must(&verb).await;
            assert_eq!(snapshot(&bench).await, expected);
            if !matches!(verb, Verb::RemoveSite) {
                served_throughout(&bench);
            }
        });
    }
}

fn failure(bench: &Bench, verb: &Verb) -> Failure {
    block_on(bench.run(verb, None)).result.expect_err("it fails")
}

#[test]
fn a_release_that_does_not_come_up_is_taken_away_and_the_one_before_serves() {
    let bench = deployed(&["one"]);
    let before = block_on(snapshot(&bench));
    for (image, why) in [
        ("crashing", "its copies end again and again: exit code 1"),
        ("deaf", "nothing answers on port 3000 of its container"),
        ("missing", "there is no image `missing`"),
    ] {
        let failure = failure(&bench, &deploy(image));
        let said = format!("{failure} {:?}", failure.causes);
        assert!(said.contains(why), "{image}: {said}");
        assert!(said.contains("release 1 of shop serves as before"), "{said}");
        assert!(!format!("{failure:?}").contains("I have one"), "a secret is shown: {failure:?}");
        assert_eq!(block_on(snapshot(&bench)).replace("Undone", "Succeeded"), before);
    }
    served_throughout(&bench);
    // It is as if it had never been tried.
    block_on(bench.must(&deploy("two")));
    served_throughout(&bench);
    block_on(bench.assert_events_end());
}

#[test]
fn hooks_run_once_for_a_new_release_and_say_what_came_of_them() {
    let hooks = |bench: &Bench| {
        let log = bench.world().log();
        log.into_iter().filter(|line| line.starts_with("deploy_")).collect::<Vec<_>>()
    };
    let bench = deployed(&["one", "one"]);
    assert_eq!(hooks(&bench), ["deploy_before migrate", "deploy_after warm"]);
    let before = block_on(snapshot(&bench));
    let mut two = spec("two");
    two.deploy_before = vec!["false".into()];
    let failed = failure(&bench, &Verb::Deploy(Box::new(two.clone())));
    assert_eq!((failed.message.as_str(), failed.causes[0].as_str()), ("`deploy_before` of shop failed", "exit code 1"));
    assert_eq!(block_on(snapshot(&bench)).replace("Undone", "Succeeded"), before);

    (two.deploy_before, two.deploy_after) = (Vec::new(), vec!["false".into()]);
    let failed = failure(&bench, &Verb::Deploy(Box::new(two)));
    assert_eq!(
        (failed.message.as_str(), failed.causes[0].as_str()),
        ("release 3 of shop serves", "`deploy_after` of shop failed")
    );
    assert_eq!(block_on(record(&bench)).unwrap().current, Some(3));
    // What is gone back to ran its own when it was new.
    let so_far = hooks(&bench);
    block_on(bench.must(&Verb::RollBack(1)));
    assert_eq!(hooks(&bench), so_far);
    served_throughout(&bench);
}

#[test]
fn what_is_the_same_is_left_alone_and_whatever_differs_is_foretold() {
    let bench = deployed(&["one"]);
    block_on(async {
        assert_eq!(plan(&bench, &spec("one")).await.changes, []);
        bench.must(&deploy("one")).await;
        assert_eq!(record(&bench).await.unwrap().current, Some(1), "a release was made of nothing");

        let what = async |spec: &SiteSpec| {
            plan(&bench, spec).await.changes.into_iter().map(|change| change.what).collect::<Vec<_>>()
        };
        let mut other = spec("two");
        other.replicas = 3;
        other.env.insert("MODE".into(), "fast".into());
        assert_eq!(what(&other).await, ["replicas", "env.MODE", "image"]);
        set_secret(&bench, "two").await;
        assert_eq!(what(&spec("one")).await, ["secrets.KEY"]);
        bench.must(&deploy("one")).await;
        let [release] = &bench.world().site("shop")[..] else { panic!("one release") };
        assert_eq!((release.number, release.secrets["KEY"].as_str()), (2, "two"));
        assert_eq!(what(&spec("one")).await, [""; 0]);

        // Back to what it was, with the secret that it had.
        bench.must(&Verb::RollBack(1)).await;
        let [release] = &bench.world().site("shop")[..] else { panic!("one release") };
        assert_eq!((release.number, release.secrets["KEY"].as_str()), (3, "one"));
        served_throughout(&bench);
    });
}

#[test]
fn the_plan_of_a_new_site_names_its_records_and_its_certificate() {
    let bench = with_server();
    let of = |wanted: &str| {
        let changes = block_on(plan(&bench, &spec("one"))).changes;
        changes.into_iter().find(|change| change.what == wanted).and_then(|change| change.to)
    };
    assert_eq!(of("records").unwrap(), "those that lead shop.example.com, www.shop.example.com to web");
    let from = "for shop.example.com, www.shop.example.com from https://ca.example/directory";
    assert_eq!(of("certificate").unwrap(), from);
    assert_eq!(records(&bench), [], "a plan makes nothing");
}

#[test]
fn a_domain_leads_to_one_site() {
    let bench = deployed(&["one"]);
    block_on(async {
        let blog = named("blog", "one", &["blog.example.com", "www.shop.example.com"]);
        let refused = plan(&bench, &blog).await.refused.expect("it is refused");
        assert_eq!(refused.message, "www.shop.example.com belongs to the site shop, so blog can't have it");
        let mut shop = spec("one");
        let domain: Domain = serde_json::from_value(json!("shop.example.com")).unwrap();
        shop.domains = vec![domain];
        bench.must(&Verb::Deploy(Box::new(shop))).await;
        assert_eq!(plan(&bench, &blog).await.refused, None);
    });
}

#[test]
fn each_domain_is_led_to_the_server_as_long_as_it_is_the_site_s() {
    let names = |bench: &Bench| {
        let mut names: Vec<_> = records(bench).into_iter().map(|it| format!("{} {}", it.kind, it.name)).collect();
        names.sort();
        names
    };
    let bench = deployed(&["one"]);
    assert_eq!(names(&bench), ["A shop.example.com", "A www.shop.example.com"]);
    let mut fewer = spec("one");
    fewer.domains.truncate(1);
    assert_eq!(
        failure(&bench, &Verb::Deploy(Box::new(named("shop", "deaf", &["new.example.com"])))).blame,
        ostler_core::Blame::Target
    );
    assert_eq!(
        names(&bench),
        ["A shop.example.com", "A www.shop.example.com"],
        "those of a release that never served are left"
    );
    block_on(bench.must(&Verb::Deploy(Box::new(fewer.clone()))));
    assert_eq!(names(&bench), ["A shop.example.com"]);
    assert_eq!(block_on(plan(&bench, &fewer)).changes, []);
    block_on(bench.must(&Verb::RemoveSite));
    assert_eq!(names(&bench), [""; 0]);
}

#[test]
fn ctrl_c_leaves_what_serves_and_nothing_else() {
    let bench = deployed(&["one"]);
    let before = block_on(snapshot(&bench));
    let stopped = block_on(bench.run(&deploy("two"), Some(at("runtime.start", Moment::After, Effect::Interrupt))));
    assert_eq!(stopped.result.expect_err("it was stopped").blame, ostler_core::Blame::Interrupted);
    assert_eq!(block_on(snapshot(&bench)), before.replace("Succeeded", "Undone"));
    let store = block_on(bench.store());
    let latest = block_on(store.latest_operation_called(SubjectKind::Site, "shop")).unwrap().unwrap();
    assert_eq!(latest.state, OperationState::Undone);
    assert_eq!(block_on(record(&bench)).unwrap().desired.source, SiteSource::Image("two".into()));
}
