//! Several Ostlers, several servers, Ctrl-C, and a spec that changes while something is unfinished.

use crate::{
    bench::{Bench, Verb, finished, latest, spec, up, web, with_memory, with_module},
    cases::{advice, at, block_on, each, steps_of},
};
use ostler_core::{
    Blame,
    event::EventKind,
    ids::EventNumber,
    model::{OperationKind, OperationState, StepState},
    ports::{EventFilter, Store},
    spec::CatalogSource,
};
use ostler_testkit::world::{Effect, Moment, set_step};
use std::io::{BufRead, BufReader};

#[test]
fn a_second_ostler_is_told_who_is_at_work_and_takes_over_from_the_dead() {
    let bench = Bench::new();
    let mut first = bench.spawn(&up(), &at("engine.run", Moment::Middle, Effect::Hang));
    let mut said = BufReader::new(first.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("hanging")), "the first one came to an end");
    block_on(async {
        for verb in [up(), Verb::Resume, Verb::Destroy] {
            let failure = bench.run(&verb, None).await.result.expect_err("the first one is at work");
            assert_eq!(failure.blame, Blame::User);
            let wanted = format!("`up`, process {} on here", first.id());
            assert!(failure.message.contains(&wanted), "{failure:?}");
        }
        first.kill().unwrap();
        first.wait().unwrap();
        bench.must(&up()).await;
        bench.assert_log(1..=1);
        assert!(bench.world().log().contains(&"ended leftovers web".to_owned()), "the first one's run went on");
        assert_eq!(bench.snapshot().await, finished_snapshot().await);
    });
}

#[test]
fn the_commit_of_the_catalog_is_recorded_and_told() {
    block_on(async {
        let commit = "0123456789abcdef0123456789abcdef01234567".to_owned();
        let url = "https://git.example.org/catalog.git".to_owned();
        let source = CatalogSource { url, branch: "stable".into(), commit: Some(commit.clone()), vault_password: None };
        let mut spec = web();
        spec.catalog = Some(source.clone());
        spec.apps = vec!["example".into()];
        let bench = Bench::new();
        let ran = bench.run(&Verb::Up(Box::new(spec)), Some(at("engine.run", Moment::Before, Effect::Fail))).await;
        assert!(ran.struck && ran.result.is_err());
        bench.must(&Verb::Resume).await;
        let store = bench.store().await;
        let record = store.server(&web().name).await.unwrap().expect("a record");
        assert_eq!(record.desired.catalog, Some(source));
        let events = store.events(EventNumber(0), &EventFilter::default(), u32::MAX).await.unwrap();
        store.close().await;
        let tells = |kind: &EventKind| matches!(kind, EventKind::Notice { message, .. } if message.contains(&commit));
        assert_eq!(events.iter().filter(|event| tells(&event.kind)).count(), 2, "each run tells it");
    });
}

#[test]
fn ctrl_c_stops_at_the_end_of_a_step() {
    let kinds = [OperationKind::Create, OperationKind::Apply];
    let steps = kinds.into_iter().flat_map(|kind| steps_of(kind).into_iter().map(move |step| (kind, step)));
    let calls: Vec<_> = steps.map(|(kind, step)| set_step(kind, step, StepState::Done)).collect();
    let (last, all_but_last) = calls.split_last().unwrap();
    let expected = block_on(finished_snapshot());
    each(all_but_last, async |call| {
        let bench = Bench::new();
        let ran = bench.run(&up(), Some(at(call, Moment::Before, Effect::Interrupt))).await;
        assert!(ran.struck);
        let failure = ran.result.expect_err("it was asked to stop");
        assert_eq!(failure.blame, Blame::Interrupted);
        assert!(advice(&failure).contains("resume web"));
        let after = ran.calls.iter().skip_while(|made| *made != call).skip(1);
        let begun: Vec<_> = after.filter(|made| made.ends_with("Started")).collect();
        assert!(begun.is_empty(), "it went on with {begun:?}");
        bench.assert_events_end().await;
        bench.must(&Verb::Resume).await;
        bench.assert_log(1..=1);
        assert_eq!(bench.snapshot().await, expected);
    });
    // There is nothing left to stop.
    block_on(Bench::new().run(&up(), Some(at(last, Moment::Before, Effect::Interrupt)))).result.unwrap();
}

#[test]
fn another_size_while_the_creation_is_unfinished_undoes_it_and_makes_it_anew() {
    each(&steps_of(OperationKind::Create), async |step| {
        let bench = Bench::new();
        let call = set_step(OperationKind::Create, step, StepState::Done);
        bench.run(&up(), Some(at(&call, Moment::Before, Effect::Fail))).await.result.expect_err("it failed");
        let made = 1 + bench.world().log().iter().filter(|line| *line == "made web").count();
        bench.must(&Verb::Up(Box::new(with_memory(web(), 2)))).await;
        bench.assert_log(made..=made);
        let machines = bench.world().machines();
        assert_eq!(machines.iter().map(|machine| machine.size.memory >> 30).collect::<Vec<_>>(), [2]);
    });
}

#[test]
fn a_change_of_size_shuts_down_once() {
    let bench = finished();
    block_on(async {
        let bigger = Verb::Up(Box::new(with_memory(web(), 2)));
        let ran = bench.run(&bigger, Some(at("engine.run", Moment::Middle, Effect::Fail))).await;
        ran.result.expect_err("a task failed");
        bench.must(&Verb::Resume).await;
        let stops = bench.world().log().iter().filter(|line| *line == "stopped web").count();
        assert_eq!(stops, 1);
    });
}

#[test]
fn a_failed_run_leaves_its_handlers_to_the_next_one() {
    for effect in [Effect::Fail, Effect::Kill] {
        let bench = finished();
        let more = Verb::Up(Box::new(with_module(web(), "fail2ban")));
        let fault = at("engine.run", Moment::Middle, effect);
        block_on(async {
            match effect {
                Effect::Kill => bench.killed(&more, &fault),
                _ => {
                    let failure = bench.run(&more, Some(fault)).await.result.expect_err("a task failed");
                    assert_eq!(failure.blame, Blame::Target);
                    assert!(failure.message.contains("web failed at `service : break`"), "{failure:?}");
                }
            }
            let store = bench.store().await;
            let record = store.server(&web().name).await.unwrap().unwrap();
            store.close().await;
            assert_eq!(record.pending_handlers, [("service".to_owned(), "restart service".to_owned())]);
            bench.must(&more).await;
            let guest = bench.world().machine("web").unwrap().guest.unwrap();
            assert_eq!(guest.restarted_with, guest.config, "the service runs with its old configuration");
        });
    }
}

#[test]
fn a_server_that_another_up_does_not_name_is_left_alone() {
    let bench = finished();
    block_on(async {
        let before = bench.world().machine("web");
        let other = Verb::Up(Box::new(spec("other")));
        bench.run_on("other", &other, None).await.result.unwrap();
        assert_eq!(bench.world().machine("web"), before);
        bench.run_on("other", &Verb::Destroy, None).await.result.unwrap();
        assert_eq!(bench.world().machine("web"), before);
        assert_eq!(bench.world().machines().len(), 1);
    });
}

#[test]
fn a_machine_of_another_state_directory_is_neither_adopted_nor_removed() {
    let (bench, other) = (finished(), Bench::new());
    other.adopt_machines_of(&bench);
    let before = other.world().machines();
    block_on(async {
        let failure = other.run(&up(), None).await.result.expect_err("the name is taken");
        assert_eq!(failure.blame, Blame::Provider);
        let store = other.store().await;
        assert!(store.overview().await.unwrap().is_empty(), "something was recorded before it was refused");
        store.close().await;
    });
    assert_eq!(other.world().machines(), before);
}

#[test]
fn a_machine_that_vanished_is_not_made_anew_behind_the_users_back() {
    let bench = finished();
    std::fs::remove_file(bench.world().path("machines/web.json")).unwrap();
    block_on(async {
        let failure = bench.run(&up(), None).await.result.expect_err("it is gone");
        assert!(failure.message.contains("is gone, though Ostler did not remove it"), "{failure:?}");
        bench.must(&Verb::Destroy).await;
        bench.assert_nothing_left().await;
    });
}

#[test]
fn resuming_what_is_finished_does_nothing() {
    let bench = finished();
    block_on(async {
        let before = bench.snapshot().await;
        let ran = bench.run(&Verb::Resume, None).await;
        ran.result.unwrap();
        let looks = |call: &String| call.ends_with("_lease") || call == "provider.observe";
        assert!(ran.calls.iter().all(looks), "{:?}", ran.calls);
        assert_eq!(bench.snapshot().await, before);
        let store = bench.store().await;
        assert_eq!(latest(&store, &web().name).await.unwrap().state, OperationState::Succeeded);
        store.close().await;
    });
}

#[test]
fn resuming_after_a_power_cut_starts_the_machine() {
    let bench = finished();
    bench.world().power_cut();
    block_on(async {
        let before = finished_snapshot().await;
        bench.must(&Verb::Resume).await;
        assert_eq!(bench.snapshot().await, before);
    });
}

#[test]
fn an_undoing_that_was_stopped_is_what_happened_last() {
    let bench = finished();
    block_on(async {
        let stopped = bench.run(&Verb::Destroy, Some(at("provider.remove", Moment::Before, Effect::Fail))).await;
        stopped.result.expect_err("the removal fails");
        let store = bench.store().await;
        let latest = latest(&store, &web().name).await.unwrap();
        assert_eq!((latest.kind, latest.state), (OperationKind::Create, OperationState::Stuck));
        store.close().await;
    });
}

const FLEET: [&str; 8] = ["a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8"];

fn fleet() -> Verb {
    Verb::Together(FLEET.map(spec).into())
}

/// How the last operation of each server of the fleet ended.
async fn ends(bench: &Bench) -> Vec<(OperationState, Option<Blame>)> {
    let store = bench.store().await;
    let mut ends = Vec::new();
    for server in FLEET {
        let latest = latest(&store, &spec(server).name).await.expect("it was begun");
        ends.push((latest.state, latest.failure.map(|failure| failure.blame)));
    }
    store.close().await;
    ends
}

/// The fleet comes to what it would be had nothing disturbed it, and no machine was made twice.
async fn assert_goes_on(bench: &Bench, expected: &str) {
    bench.must(&fleet()).await;
    assert_eq!(bench.snapshot().await, expected);
    bench.assert_log(0..=0);
    let mut made: Vec<_> = bench.world().log().into_iter().filter(|line| line.starts_with("made ")).collect();
    made.sort();
    assert_eq!(made, FLEET.map(|server| format!("made {server}")));
}

async fn undisturbed_fleet() -> String {
    let bench = Bench::new();
    bench.must(&fleet()).await;
    bench.assert_events_end().await;
    bench.snapshot().await
}

#[test]
fn of_eight_servers_one_that_fails_leaves_the_others_alone() {
    let expected = block_on(undisturbed_fleet());
    let (before, middle, fail) = (Moment::Before, Moment::Middle, Effect::Fail);
    let faults =
        [at("provider.create", middle, fail), at("remote.connect", before, fail), at("engine.run", middle, fail)];
    each(&faults, async |fault| {
        let bench = Bench::new();
        bench.run(&fleet(), Some(fault.clone())).await.result.expect_err("one of them failed");
        let ends = ends(&bench).await;
        let well = ends.iter().filter(|end| **end == (OperationState::Succeeded, None)).count();
        let failed = ends.iter().filter(|(state, blame)| *state == OperationState::Failed && blame.is_some()).count();
        assert_eq!((well, failed), (7, 1), "{ends:?}");
        bench.assert_events_end().await;
        assert_goes_on(&bench, &expected).await;
    });
}

#[test]
fn ctrl_c_stops_eight_servers_at_the_end_of_their_steps() {
    let expected = block_on(undisturbed_fleet());
    let calls = [
        set_step(OperationKind::Create, "machine", StepState::Done),
        set_step(OperationKind::Apply, "leftovers", StepState::Done),
    ];
    each(&calls, async |call| {
        let bench = Bench::new();
        let ran = bench.run(&fleet(), Some(at(call, Moment::Before, Effect::Interrupt))).await;
        assert_eq!(ran.result.expect_err("it was asked to stop").blame, Blame::Interrupted);
        let ends = ends(&bench).await;
        let stopped = (OperationState::Failed, Some(Blame::Interrupted));
        assert!(ends.iter().all(|end| *end == stopped), "{ends:?}");
        bench.assert_events_end().await;
        assert_goes_on(&bench, &expected).await;
    });
}

#[test]
fn eight_servers_go_on_after_their_ostler_was_killed() {
    let expected = block_on(undisturbed_fleet());
    let done = |kind, step| set_step(kind, step, StepState::Done);
    let faults = [
        at(&done(OperationKind::Create, "machine"), Moment::After, Effect::Kill),
        at(&done(OperationKind::Create, "host-key"), Moment::Before, Effect::Kill),
        at("engine.run", Moment::Middle, Effect::Kill),
        at(&done(OperationKind::Apply, "ansible"), Moment::Before, Effect::Kill),
    ];
    each(&faults, async |fault| {
        let bench = Bench::new();
        bench.killed(&fleet(), fault);
        assert_goes_on(&bench, &expected).await;
    });
}

async fn finished_snapshot() -> String {
    let bench = Bench::new();
    bench.must(&up()).await;
    bench.snapshot().await
}
