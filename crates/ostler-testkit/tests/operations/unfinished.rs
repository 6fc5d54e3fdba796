//! What becomes of a server that can't be finished: it stays and is listed, or is destroyed where that was asked for.

use crate::{
    bench::{Bench, Verb, empty, finished, up, web, with_module},
    cases::{advice, at, block_on, each, faults_around, steps_of},
};
use ostler_core::{
    Blame,
    model::{OperationKind, StepState},
};
use ostler_testkit::world::{Effect, Fault, Moment, set_step};

fn or_nothing() -> Verb {
    Verb::UpOrNothing(Box::new(web()))
}

/// A failure in each step of creation and first application.
fn failures() -> Vec<Fault> {
    let around = |kind| {
        steps_of(kind)
            .into_iter()
            .flat_map(move |step| faults_around(kind, step, StepState::Started, StepState::Done))
            .filter(|fault| fault.effect == Effect::Fail)
    };
    [OperationKind::Create, OperationKind::Apply].into_iter().flat_map(around).collect()
}

/// Whether the machine is there, which is what a failure must say.
fn machines(bench: &Bench) -> Vec<String> {
    bench.world().machine("web").map(|machine| format!("machine {}", machine.name)).into_iter().collect()
}

#[test]
fn it_stays_and_is_listed() {
    let start = empty();
    each(&failures(), async |fault| {
        let bench = start.copy();
        let failure = bench.run(&up(), Some(fault.clone())).await.result.expect_err("it fails");
        assert_eq!(failure.left.to_vec(), machines(&bench));
        assert!(bench.is_recorded().await);
    });
}

#[test]
fn it_is_destroyed_where_that_was_asked_for() {
    let start = empty();
    each(&failures(), async |fault| {
        let bench = start.copy();
        let failure = bench.run(&or_nothing(), Some(fault.clone())).await.result.expect_err("it fails");
        assert!(format!("{failure:?}").contains("injected"), "it says why: {failure:?}");
        let hint = advice(&failure);
        assert!(hint.ends_with("What was made of web has been destroyed; up creates it from scratch"), "{hint}");
        assert!(!hint.contains("resume"), "{hint}");
        assert_eq!(failure.left.to_vec(), [""; 0]);
        bench.assert_nothing_left().await;
        bench.assert_events_end().await;
        bench.must(&up()).await;
    });
}

#[test]
fn a_server_that_was_there_before_stays() {
    let bench = finished();
    block_on(async {
        let more = Verb::UpOrNothing(Box::new(with_module(web(), "fail2ban")));
        let fault = at("engine.run", Moment::Before, Effect::Fail);
        bench.run(&more, Some(fault)).await.result.expect_err("it fails");
        assert_eq!(machines(&bench), ["machine web"]);
        bench.must(&more).await;
    });
    // Also one that an earlier run could not finish.
    let bench = empty();
    block_on(async {
        let fault = at("provider.start", Moment::Before, Effect::Fail);
        bench.run(&up(), Some(fault.clone())).await.result.expect_err("it fails");
        let failure = bench.run(&or_nothing(), Some(fault)).await.result.expect_err("it fails again");
        assert_eq!(failure.left.to_vec(), ["machine web"]);
        bench.must(&up()).await;
        bench.assert_log(1..=1);
    });
}

#[test]
fn what_was_stopped_on_request_stays() {
    let bench = empty();
    block_on(async {
        let boot = set_step(OperationKind::Create, "boot", StepState::Started);
        let fault = at(&boot, Moment::Before, Effect::Interrupt);
        let failure = bench.run(&or_nothing(), Some(fault)).await.result.expect_err("it was stopped");
        assert_eq!((failure.blame, failure.left.to_vec()), (Blame::Interrupted, vec!["machine web".to_owned()]));
        bench.must(&Verb::Resume).await;
        bench.assert_log(1..=1);
    });
}
