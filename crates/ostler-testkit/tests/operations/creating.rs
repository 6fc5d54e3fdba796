//! Courses of `up` that no single operation has: a first application, a change of size, calls that are done by half.

use crate::{
    bench::{Bench, Verb, empty, finished, up, web, with_memory},
    cases::{Case, at, block_on, cases, each, faults_around, steps_of},
};
use ostler_core::model::{OperationKind, StepState};
use ostler_testkit::world::{Effect, Fault, Moment, set_step};

/// `verb` on a copy of `start`, disturbed by each fault, then gone on with, comes to the same as undisturbed.
fn comes_to_the_same(start: &Bench, verb: &Verb, cases: &[Case]) {
    let expected = block_on(async {
        let undisturbed = start.copy();
        undisturbed.must(verb).await;
        undisturbed.assert_events_end().await;
        undisturbed.snapshot().await
    });
    each(cases, async |case| {
        let bench = start.copy();
        disturb(&bench, verb, &case.fault).await;
        bench.must(&case.then).await;
        if matches!(case.then, Verb::Destroy) {
            // It may have been disturbed before any machine was made.
            bench.assert_log(0..=1);
            bench.assert_nothing_left().await;
            return;
        }
        bench.assert_log(1..=1);
        assert_eq!(bench.snapshot().await, expected);
    });
}

pub async fn disturb(bench: &Bench, verb: &Verb, fault: &Fault) {
    if fault.effect == Effect::Kill {
        return bench.killed(verb, fault);
    }
    let ran = bench.run(verb, Some(fault.clone())).await;
    assert!(ran.struck, "{fault} did not happen");
    let failure = ran.result.expect_err("it failed");
    assert!(!failure.hints.is_empty(), "it does not say how to go on: {failure:?}");
    bench.assert_events_end().await;
}

fn around_steps(kind: OperationKind) -> Vec<Fault> {
    let around = |step| faults_around(kind, step, StepState::Started, StepState::Done);
    steps_of(kind).into_iter().flat_map(around).collect()
}

#[test]
fn first_application_disturbed_at_each_step() {
    let created = empty();
    let first_step = set_step(OperationKind::Apply, steps_of(OperationKind::Apply)[0], StepState::Started);
    let stopped = block_on(created.run(&up(), Some(at(&first_step, Moment::Before, Effect::Fail))));
    stopped.result.expect_err("it failed");
    let cases = cases(around_steps(OperationKind::Apply), &[Verb::Resume, Verb::Destroy]);
    comes_to_the_same(&created, &up(), &cases);
}

#[test]
fn change_of_size_disturbed_at_each_step() {
    let bigger = Verb::Up(Box::new(with_memory(web(), 2)));
    let cases = cases(around_steps(OperationKind::Apply), &[Verb::Resume, bigger.clone()]);
    comes_to_the_same(&finished(), &bigger, &cases);
}

#[test]
fn half_done_calls() {
    let halves =
        ["provider.create", "engine.run"].map(|call| [Effect::Fail, Effect::Kill].map(|e| at(call, Moment::Middle, e)));
    let cases = cases(halves.into_iter().flatten().collect(), &[Verb::Resume, up(), Verb::Destroy]);
    comes_to_the_same(&empty(), &up(), &cases);
}
