//! Every registered operation, failed, killed and cut off from power around each step and at each call of a port, then gone on with;
//! each of its undos, done twice; and what its steps
//! find out. A new operation needs no more than a line in [`scenario`].

use crate::{
    bench::{Bench, Verb, balanced, clustered, empty, finished, found, up, web, with_module, with_tunnel},
    cases::{after_each, at, block_on, cases, each, faults_around, with_power_cuts},
    creating::disturb,
    templates::template,
};
use ostler_core::{
    event::EventKind,
    ids::EventNumber,
    model::{OperationKind, OperationRecord, StepState},
    operation::Definition,
    ports::{EventFilter, Store},
    server::operations,
};
use ostler_testkit::world::{Effect, Moment, set_step};
use std::{collections::BTreeSet, ops::RangeInclusive};

/// Where an operation begins, and what lets it.
struct Scenario {
    start: Bench,
    verb: Verb,
    /// How many machines may be made until it has come to its end.
    made: RangeInclusive<usize>,
    /// Ostler made the machine: it removes it in the end, and starts it after a power cut.
    owned: bool,
    /// The operation is a part of destroying the server.
    destroys: bool,
}

fn scenario(operation: &Definition) -> Scenario {
    let (owned, destroys) = (true, false);
    match operation.name {
        "create" => Scenario { start: empty(), verb: up(), made: 1..=1, owned, destroys },
        "adopt" => {
            let (start, verb) = found();
            Scenario { start, verb, made: 0..=0, owned: false, destroys }
        }
        "apply" => {
            let verb = Verb::Up(Box::new(with_module(web(), "fail2ban")));
            Scenario { start: finished(), verb, made: 1..=1, owned, destroys }
        }
        "rebuild" => {
            let start = empty();
            block_on(start.must(&Verb::Up(Box::new(balanced(web())))));
            Scenario { start, verb: Verb::Rebuild, made: 1..=1, owned, destroys }
        }
        "apply with a tunnel" => {
            let verb = Verb::Up(Box::new(with_tunnel(web())));
            Scenario { start: finished(), verb, made: 1..=1, owned, destroys }
        }
        "leave the tunnel" => {
            let start = finished();
            block_on(start.must(&Verb::Up(Box::new(with_tunnel(web())))));
            Scenario { start, verb: up(), made: 1..=1, owned, destroys }
        }
        "leave" => {
            let start = clustered(&[("db", true), ("web", true)]);
            Scenario { start, verb: Verb::Destroy, made: 1..=1, owned, destroys: true }
        }
        "template" => {
            // Its server is made and applied already.
            let start = empty();
            let first = set_step(operation.kind, operation.steps[0].name, StepState::Started);
            let stopped = block_on(start.run(&template(), Some(at(&first, Moment::Before, Effect::Fail))));
            stopped.result.expect_err("it failed");
            // One that was cut off while its identity was taken away is made anew.
            Scenario { start, verb: template(), made: 1..=2, owned, destroys }
        }
        name => panic!("operation `{name}` needs a scenario to be tested in"),
    }
}

impl Scenario {
    /// How it ends where nothing disturbs it.
    fn expected(&self) -> String {
        block_on(async {
            let undisturbed = self.start.copy();
            undisturbed.must(&self.verb).await;
            undisturbed.assert_events_end().await;
            undisturbed.snapshot().await
        })
    }

    /// Whether a power cut does not keep it from its end: servers that were destroyed don't start those that stay.
    fn survives_power_cuts(&self) -> bool {
        self.owned && !self.destroys
    }

    /// Nothing of what Ostler made is there, and what it found stays.
    async fn assert_left(&self, bench: &Bench) {
        if self.owned {
            return bench.assert_nothing_left().await;
        }
        assert!(!bench.is_recorded().await, "the server's record is left");
        let machine = bench.world().machine("web").expect("a server that Ostler did not make stays");
        let keys = machine.guest.expect("it runs").authorized_keys;
        assert!(keys.is_empty(), "Ostler's key is left");
    }
}

/// The server's newest operation of this kind.
async fn journal(bench: &Bench, operation: &Definition) -> Option<OperationRecord> {
    let store = bench.store().await;
    let server = store.server(&web().name).await.unwrap();
    let found = match server {
        Some(server) if operation.kind == OperationKind::Create => store.operation(server.created_by).await.unwrap(),
        // It is followed by another, or the server is gone.
        _ if [OperationKind::Rebuild, OperationKind::Leave].contains(&operation.kind) => {
            let events = store.events(EventNumber(0), &EventFilter::default(), u32::MAX).await.unwrap();
            let is_begin = |kind: &EventKind| matches!(kind, EventKind::OperationStarted { operation_kind, .. } if *operation_kind == operation.kind);
            let begun = events.into_iter().rev().find(|event| is_begin(&event.kind));
            match begun.and_then(|event| event.operation) {
                Some(id) => store.operation(id).await.unwrap(),
                None => None,
            }
        }
        Some(server) => store.latest_operation(server.subject()).await.unwrap(),
        None => None,
    };
    store.close().await;
    found.filter(|found| found.kind == operation.kind)
}

/// What steps had found out that were done, whoever goes on with the operation finds again.
async fn assert_outputs_stay(bench: &Bench, operation: &Definition, before: &OperationRecord) {
    let store = bench.store().await;
    let now = store.operation(before.id).await.unwrap().expect("operations stay as history");
    store.close().await;
    let stay = operation.steps.iter().filter(|step| !step.again).map(|step| step.name);
    for name in stay {
        let step_of = |record: &OperationRecord| record.steps.iter().find(|step| step.name == name).cloned();
        if let Some(done) = step_of(before).filter(|step| step.state == StepState::Done) {
            assert_eq!(step_of(&now).and_then(|step| step.output), done.output, "what `{name}` found out");
        }
    }
}

fn each_operation(check: impl Fn(&Definition, Scenario)) {
    for operation in operations() {
        println!("operation {}", operation.name);
        check(&operation, scenario(&operation));
    }
}

#[test]
fn disturbed_around_each_step_and_gone_on_with() {
    each_operation(|operation, scenario| {
        let expected = scenario.expected();
        let around = |step: &str| faults_around(operation.kind, step, StepState::Started, StepState::Done);
        let faults = operation.steps.iter().flat_map(|step| around(step.name)).collect();
        let thens = [Verb::Resume, scenario.verb.clone(), Verb::Destroy];
        let cases = cases(faults, &thens);
        let cases = if scenario.survives_power_cuts() { with_power_cuts(cases) } else { cases };
        each(&cases, async |case| {
            let bench = scenario.start.copy();
            disturb(&bench, &scenario.verb, &case.fault).await;
            if case.power_cut {
                bench.world().power_cut();
            }
            let before = journal(&bench, operation).await;
            bench.must(&case.then).await;
            if let Some(before) = before {
                assert_outputs_stay(&bench, operation, &before).await;
            }
            if matches!(case.then, Verb::Destroy) && !scenario.destroys {
                return scenario.assert_left(&bench).await;
            }
            bench.assert_log(scenario.made.clone());
            assert_eq!(bench.snapshot().await, expected);
        });
    });
}

#[test]
fn what_each_step_finds_out_is_in_the_journal() {
    each_operation(|operation, scenario| {
        let types: Vec<_> = operation.steps.iter().filter_map(|step| step.output).collect();
        let different: BTreeSet<_> = types.iter().collect();
        assert_eq!(different.len(), types.len(), "two steps find out the same: {types:?}");
        block_on(scenario.start.must(&scenario.verb));
        let journal = block_on(journal(&scenario.start, operation)).expect("it was run");
        for (step, recorded) in operation.steps.iter().zip(journal.steps) {
            assert_eq!((step.name, step.output.is_some()), (recorded.name.as_str(), recorded.output.is_some()));
        }
    });
}

#[test]
fn disturbed_at_each_call_and_done_again() {
    each_operation(|_, scenario| {
        let expected = scenario.expected();
        let mut calls = block_on(scenario.start.copy().run(&scenario.verb, None)).calls;
        if scenario.destroys {
            // Then there is nothing that could be destroyed again.
            calls.truncate(calls.iter().position(|call| call == "store.remove_server").unwrap());
        }
        let faults = [Effect::Fail, Effect::Kill].into_iter().flat_map(|effect| after_each(&calls, effect)).collect();
        let cases = cases(faults, std::slice::from_ref(&scenario.verb));
        let cases = if scenario.survives_power_cuts() { with_power_cuts(cases) } else { cases };
        each(&cases, async |case| {
            let bench = scenario.start.copy();
            if case.fault.effect == Effect::Kill {
                bench.killed(&scenario.verb, &case.fault);
                if case.power_cut {
                    bench.world().power_cut();
                }
                bench.must(&case.then).await;
            } else {
                let ran = bench.run(&scenario.verb, Some(case.fault.clone())).await;
                assert!(ran.struck, "{} did not happen", case.fault);
                // Some calls may fail with a warning: the log on the server, and what is recorded once more at the end of a run.
                if ran.result.is_err() {
                    bench.must(&case.then).await;
                }
            }
            bench.assert_log(scenario.made.clone());
            assert_eq!(bench.snapshot().await, expected);
        });
    });
}

/// Where the process dies between an undo and its entry in the journal, the undo is done twice.
#[test]
fn each_undo_fails_is_killed_and_is_done_twice() {
    each_operation(|operation, scenario| {
        let undos: Vec<_> = operation.steps.iter().rev().filter(|step| step.has_undo).collect();
        if undos.is_empty() {
            return;
        }
        let made = scenario.start.copy();
        block_on(made.must(&scenario.verb));
        let around = |step: &str| faults_around(operation.kind, step, StepState::Undoing, StepState::Undone);
        let faults: Vec<_> = undos.iter().flat_map(|step| around(step.name)).collect();
        each(&faults, async |fault| {
            let bench = made.copy();
            disturb(&bench, &Verb::Destroy, fault).await;
            bench.must(&Verb::Destroy).await;
            scenario.assert_left(&bench).await;
        });
    });
}
