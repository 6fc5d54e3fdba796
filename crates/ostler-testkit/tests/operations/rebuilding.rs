//! A server is made anew in its place.

use crate::{
    bench::{Bench, Verb, empty, fenced, finished, found, process, spec, this_owner, up, web, with_tunnel},
    cases::{advice, at, block_on, each, steps_of},
};
use ostler_core::{
    Failure,
    model::{OperationKind, StepState},
    ports::Store,
    server::rebuild,
    spec::{Settings, Value},
};
use ostler_testkit::world::{Effect, Moment, set_step};
use serde_json::json;
use std::sync::Arc;

#[test]
fn it_has_a_host_key_that_no_seed_carried_before_and_what_the_spec_says() {
    let bench = finished();
    block_on(async {
        let guest = || bench.world().machine("web").and_then(|machine| machine.guest).expect("it runs");
        let (before, snapshot) = (guest(), bench.snapshot().await);
        bench.must(&Verb::Rebuild).await;
        let after = guest();
        assert_ne!(before.host_key, after.host_key);
        assert_eq!((before.authorized_keys, bench.snapshot().await), (after.authorized_keys, snapshot));
        assert!(bench.world().log().contains(&"rebuilt web".to_owned()));
        bench.must(&up()).await;
        bench.assert_log(1..=1);
    });
}

#[test]
fn one_that_is_refused_locks_nobody_out_and_one_that_was_cut_off_is_gone_on_with() {
    let bench = finished();
    block_on(async {
        let snapshot = bench.snapshot().await;
        // Before it begins, and before anything is lost, everything else goes on as ever.
        let fault = at("provider.preflight_rebuild", Moment::Before, Effect::Fail);
        bench.run(&Verb::Rebuild, Some(fault)).await.result.unwrap_err();
        assert_eq!(bench.snapshot().await, snapshot);
        let first = set_step(OperationKind::Rebuild, "key", StepState::Started);
        bench.run(&Verb::Rebuild, Some(at(&first, Moment::After, Effect::Fail))).await.result.unwrap_err();
        bench.must(&up()).await;
        assert_eq!(bench.snapshot().await, snapshot);
        // From then on nothing else is done.
        let fault = at("provider.rebuild", Moment::After, Effect::Fail);
        bench.run(&Verb::Rebuild, Some(fault)).await.result.unwrap_err();
        let refusal = bench.run(&up(), None).await.result.unwrap_err();
        assert_eq!(refusal.message, "web is being rebuilt, and that has not come to its end");
        assert_eq!(advice(&refusal), "resume web goes on with it");
        bench.must(&Verb::Resume).await;
        assert_eq!(bench.snapshot().await, snapshot);
    });
}

#[test]
fn a_server_that_ostler_did_not_make_is_not_rebuilt() {
    let (bench, take_over) = found();
    block_on(async {
        bench.must(&take_over).await;
        let refusal = bench.run(&Verb::Rebuild, None).await.result.unwrap_err();
        assert_eq!(refusal.message, "the provider of web can't rebuild a server in its place");
    });
}

#[test]
fn where_only_a_tunnel_led_in_the_providers_firewall_opens_before_anything_is_lost_and_closes_again() {
    let bench = empty();
    let up = Verb::Up(Box::new(with_tunnel(fenced(web()))));
    let fence = |bench: &Bench| bench.world().machine("web").and_then(|machine| machine.fence).expect("a firewall");
    block_on(async {
        bench.must(&up).await;
        assert!(!fence(&bench).contains(&22), "{:?}", fence(&bench));
        let snapshot = bench.snapshot().await;
        for moment in [Moment::Before, Moment::After] {
            bench.run(&Verb::Rebuild, Some(at("provider.rebuild", moment, Effect::Fail))).await.result.unwrap_err();
            assert!(fence(&bench).contains(&22), "{moment:?} it is rebuilt, {:?}", fence(&bench));
        }
        bench.must(&Verb::Resume).await;
        assert_eq!(bench.snapshot().await, snapshot, "the tunnel is the only way in again");
        assert!(!fence(&bench).contains(&22), "{:?}", fence(&bench));
        let steps = steps_of(OperationKind::Rebuild);
        each(&steps, async |step| {
            let bench = bench.copy();
            let kill = at(&set_step(OperationKind::Rebuild, step, StepState::Done), Moment::Before, Effect::Kill);
            bench.killed(&Verb::Rebuild, &kill);
            bench.must(&Verb::Resume).await;
            assert_eq!(bench.snapshot().await, snapshot);
        });
    });
}

/// Who joined whom, and what is said where one of them is rebuilt.
async fn refused(bench: &Bench, name: &str, joined: Option<&str>) -> Failure {
    let mut process = process(bench.path(), this_owner(&Verb::Rebuild), None).await;
    let app = json!({ "name": "swarm", "role": "swarm", "peer": { "param": "join", "asks": "true" } });
    process.world.catalog = Arc::new(serde_json::from_value(json!({ "apps": [app] })).unwrap());
    for (server, other) in [(name, joined), ("web", None)] {
        let Some(mut record) = process.store.server(&spec(server).name).await.unwrap() else { continue };
        record.desired.apps = vec!["swarm".into()];
        let join = Value::String(other.unwrap_or_default().to_owned());
        record.desired.app_params.insert("swarm".into(), Settings::from([("join".to_owned(), join)]));
        process.store.put_server(&record).await.unwrap();
    }
    let log = bench.world().log();
    let failure = rebuild::rebuild(&process.world, &spec(name).name).await.unwrap_err();
    assert_eq!(bench.world().log(), log, "nothing is done");
    process.store.store.clone().close().await;
    failure
}

#[test]
fn a_member_of_a_cluster_and_one_that_others_joined_are_not_rebuilt() {
    let bench = finished();
    block_on(async {
        bench.run_on("db", &Verb::Up(Box::new(spec("db"))), None).await.result.unwrap();
        let failure = refused(&bench, "db", Some("web")).await;
        assert_eq!(failure.message, "db can't be rebuilt while it is a member");
        assert_eq!(failure.causes, ["db has joined the swarm of web, and would be a stranger to it afterwards"]);
        assert_eq!(advice(&failure), "destroy db, then up makes a new one, which joins");
        let failure = refused(&bench, "web", None).await;
        assert_eq!(failure.message, "web can't be rebuilt while it has members");
        assert_eq!(failure.causes, ["db joined the swarm of web, which would begin another one afterwards"]);
    });
}
