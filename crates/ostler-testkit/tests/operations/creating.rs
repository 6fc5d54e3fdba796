//! `up` from nothing and `up` again, disturbed, then gone on with.

use crate::{
    bench::{Bench, Verb, empty, finished, up, web, with_memory, with_module},
    cases::{after_each, at, block_on, each, faults_around, steps_of},
};
use ostler_core::model::{OperationKind, StepState};
use ostler_testkit::world::{Effect, Fault, Moment, set_step};

/// A disturbance of an `up`, and how it is gone on with.
pub struct Case {
    pub fault: Fault,
    power_cut: bool,
    pub then: Verb,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let then = format!("{:?}", self.then);
        let cut = if self.power_cut { " and a power cut" } else { "" };
        write!(f, "{}{cut}, then {}", self.fault, then.split('(').next().unwrap_or_default())
    }
}

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
        if case.power_cut {
            bench.world().power_cut();
        }
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
    assert!(failure.hint.is_some(), "it does not say how to go on: {failure:?}");
    bench.assert_events_end().await;
}

pub fn cases(faults: Vec<Fault>, thens: &[Verb]) -> Vec<Case> {
    let all = faults.into_iter().flat_map(|fault| thens.iter().map(move |then| (fault.clone(), then.clone())));
    all.map(|(fault, then)| Case { fault, power_cut: false, then }).collect()
}

fn around_steps(kind: OperationKind) -> Vec<Fault> {
    let around = |step| faults_around(kind, step, StepState::Started, StepState::Done);
    steps_of(kind).into_iter().flat_map(around).collect()
}

#[test]
fn creating_disturbed_at_each_step() {
    let cases = cases(around_steps(OperationKind::Create), &[Verb::Resume, Verb::Destroy]);
    comes_to_the_same(&empty(), &up(), &cases);
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
fn application_to_a_finished_server_disturbed_at_each_step() {
    let more = Verb::Up(Box::new(with_module(web(), "fail2ban")));
    let cases = cases(around_steps(OperationKind::Apply), &[Verb::Resume, more.clone()]);
    comes_to_the_same(&finished(), &more, &cases);
}

#[test]
fn change_of_size_disturbed_at_each_step() {
    let bigger = Verb::Up(Box::new(with_memory(web(), 2)));
    let cases = cases(around_steps(OperationKind::Apply), &[Verb::Resume, bigger.clone()]);
    comes_to_the_same(&finished(), &bigger, &cases);
}

#[test]
fn power_cut_at_each_step() {
    let kills = [OperationKind::Create, OperationKind::Apply].into_iter().flat_map(around_steps);
    let kills = kills.filter(|fault| (fault.moment, fault.effect) == (Moment::Before, Effect::Kill)).collect();
    let mut cases = cases(kills, &[Verb::Resume]);
    cases.iter_mut().for_each(|case| case.power_cut = true);
    comes_to_the_same(&empty(), &up(), &cases);
}

#[test]
fn half_done_calls() {
    let halves =
        ["provider.create", "engine.run"].map(|call| [Effect::Fail, Effect::Kill].map(|e| at(call, Moment::Middle, e)));
    let cases = cases(halves.into_iter().flatten().collect(), &[Verb::Resume, up(), Verb::Destroy]);
    comes_to_the_same(&empty(), &up(), &cases);
}

#[test]
fn creating_killed_at_each_call_and_done_again() {
    let calls = block_on(Bench::new().run(&up(), None)).calls;
    comes_to_the_same(&empty(), &up(), &cases(after_each(&calls, Effect::Kill), &[up()]));
}

#[test]
fn creating_failed_at_each_call_and_done_again() {
    let calls = block_on(Bench::new().run(&up(), None)).calls;
    let faults = after_each(&calls, Effect::Fail);
    let expected = block_on(finished().snapshot());
    each(&faults, async |fault| {
        let bench = Bench::new();
        let ran = bench.run(&up(), Some(fault.clone())).await;
        assert!(ran.struck, "{fault} did not happen");
        // Some calls may fail with a warning: the log on the server, and what is recorded once more at the end of a run.
        if ran.result.is_err() {
            bench.must(&up()).await;
        }
        assert_eq!(bench.snapshot().await, expected);
        bench.assert_log(1..=1);
    });
}
