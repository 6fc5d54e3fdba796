//! `destroy`, disturbed, then done again.

use crate::{
    bench::{Bench, Verb, finished, up, web},
    cases::{advice, after_each, at, block_on, each, faults_around},
};
use ostler_core::{
    Blame, Failure,
    model::{OperationKind, OperationState, StepState},
    operation::StepDefinition,
    server::operations,
};
use ostler_testkit::world::{Effect, Fault, Moment, set_step};

/// `destroy` of a finished server, disturbed by each fault, then done again, leaves nothing.
fn leaves_nothing(faults: &[Fault], again: &Verb) {
    let start = finished();
    each(faults, async |fault| {
        let bench = start.copy();
        match fault.effect {
            Effect::Kill => bench.killed(&Verb::Destroy, fault),
            _ => {
                let ran = bench.run(&Verb::Destroy, Some(fault.clone())).await;
                assert!(ran.struck, "{fault} did not happen");
                assert_stuck(&bench, &ran.result.expect_err("it failed")).await;
            }
        }
        bench.must(again).await;
        bench.assert_nothing_left().await;
    });
}

/// It says what is the matter and how to go on; the journal says so too; and `up` does not build on the ruin.
async fn assert_stuck(bench: &Bench, failure: &Failure) {
    assert_eq!(failure.message, "web is only partly destroyed");
    assert!(failure.causes.iter().any(|cause| cause.starts_with("injected")), "{failure:?}");
    assert!(advice(failure).contains("destroy web"), "{failure:?}");
    let store = bench.store().await;
    let creation = store_creation(&store).await;
    store.close().await;
    assert_eq!(creation.state, OperationState::Stuck);
    assert!(creation.failure.is_some_and(|failure| failure.message.starts_with("injected")));
    bench.assert_events_end().await;
    let refusal = bench.run(&up(), None).await.result.expect_err("half destroyed");
    assert_eq!((refusal.blame, refusal.message.as_str()), (Blame::User, "web is half destroyed"));
}

async fn store_creation(store: &impl ostler_core::ports::Store) -> ostler_core::model::OperationRecord {
    let server = store.server(&web().name).await.unwrap().unwrap();
    store.operation(server.created_by).await.unwrap().unwrap()
}

/// Only a step with an undo is journaled as being undone.
fn around_undos() -> Vec<Fault> {
    let creation = operations().into_iter().find(|operation| operation.name == "create").expect("it is registered");
    let around = |step: StepDefinition| {
        let begun = if step.has_undo { StepState::Undoing } else { StepState::Undone };
        faults_around(creation.kind, step.name, begun, StepState::Undone)
    };
    creation.steps.into_iter().rev().flat_map(around).collect()
}

#[test]
fn destroying_failed_at_each_step_and_resumed() {
    let failed = around_undos().into_iter().filter(|fault| fault.effect == Effect::Fail);
    leaves_nothing(&failed.collect::<Vec<_>>(), &Verb::Resume);
}

#[test]
fn destroying_stopped_on_request_ends_too() {
    let bench = finished();
    block_on(async {
        let call = set_step(OperationKind::Create, "machine", StepState::Undone);
        let ran = bench.run(&Verb::Destroy, Some(at(&call, Moment::Before, Effect::Interrupt))).await;
        assert_eq!(ran.result.expect_err("it was stopped").blame, Blame::Interrupted);
        bench.assert_events_end().await;
        bench.must(&Verb::Destroy).await;
        bench.assert_events_end().await;
        bench.assert_nothing_left().await;
    });
}

#[test]
fn a_removal_that_is_half_done() {
    let half = |effect| at("provider.remove", Moment::Middle, effect);
    leaves_nothing(&[half(Effect::Fail), half(Effect::Kill)], &Verb::Destroy);
}

#[test]
fn destroying_killed_at_each_call_and_done_again() {
    let calls = block_on(finished().run(&Verb::Destroy, None)).calls;
    // After the removal of the record there is nothing that could be destroyed again; the lease of the dead is taken over.
    let count = calls.iter().position(|call| call == "store.remove_server").unwrap();
    leaves_nothing(&after_each(&calls[..count], Effect::Kill), &Verb::Destroy);
}

#[test]
fn a_destroyed_server_is_made_anew() {
    let bench = finished();
    block_on(async {
        let expected = bench.snapshot().await;
        bench.must(&Verb::Destroy).await;
        bench.must(&up()).await;
        assert_eq!(bench.snapshot().await, expected);
        bench.assert_log(2..=2);
    });
}

#[test]
fn destroying_what_is_destroyed_says_so() {
    let bench = finished();
    block_on(async {
        bench.must(&Verb::Destroy).await;
        let failure = bench.run(&Verb::Destroy, None).await.result.expect_err("it is gone");
        assert_eq!((failure.blame, failure.message.as_str()), (Blame::User, "there is no server `web`"));
        bench.assert_nothing_left().await;
    });
}
