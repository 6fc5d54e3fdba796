//! `up` on a server that is there already, disturbed, then gone on with.

use crate::{
    bench::{Bench, Verb, found},
    cases::{after_each, block_on, each},
};
use ostler_core::spec::{ExistingOptions, ProviderOptions};
use ostler_testkit::world::{Effect, Fault};

/// Every call of an undisturbed take-over, failed and killed after.
fn faults() -> Vec<Fault> {
    let (bench, up) = found();
    let calls = block_on(bench.run(&up, None)).calls;
    [Effect::Fail, Effect::Kill].into_iter().flat_map(|effect| after_each(&calls, effect)).collect()
}

async fn disturb(bench: &Bench, up: &Verb, fault: &Fault) {
    match fault.effect {
        Effect::Kill => bench.killed(up, fault),
        _ => assert!(bench.run(up, Some(fault.clone())).await.struck, "{fault} did not happen"),
    }
}

#[test]
fn disturbed_at_each_call_and_left_again() {
    let (start, up) = found();
    each(&faults(), async |fault| {
        let bench = start.copy();
        disturb(&bench, &up, fault).await;
        // Before the journal has anything, there is nothing to leave.
        let recorded = bench.is_recorded().await;
        let ran = bench.run(&Verb::Destroy, None).await;
        assert_eq!(ran.result.is_ok(), recorded, "{:?}", ran.result);
        let machine = bench.world().machine("web").expect("a server that Ostler did not make stays");
        assert!(machine.on);
        assert_eq!(machine.guest.unwrap().authorized_keys, [""; 0], "Ostler's key is left");
        assert!(!bench.is_recorded().await);
    });
}

#[test]
fn a_way_in_that_was_mended_is_the_one_that_is_taken() {
    let (bench, up) = found();
    let Verb::Up(good) = &up else { unreachable!("it is `up`") };
    let mut wrong = good.clone();
    let way_in = wrong.provider.way_in().expect("a way in").clone();
    wrong.provider = ProviderOptions::Existing(ExistingOptions { user: "nobody".into(), ..way_in });
    block_on(async {
        let failure = bench.run(&Verb::Up(wrong), None).await.result.expect_err("nobody is let in by that name");
        assert!(failure.message.contains("nobody"), "{failure:?}");
        bench.must(&up).await;
    });
}
