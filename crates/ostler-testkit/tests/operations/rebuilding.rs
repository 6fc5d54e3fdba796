//! A server is made anew in its place.

use crate::{
    bench::{Verb, finished, found, up},
    cases::{advice, at, block_on},
};
use ostler_core::model::{OperationKind, StepState};
use ostler_testkit::world::{Effect, Moment, set_step};

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
        // Before anything is lost, everything else goes on as ever.
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
