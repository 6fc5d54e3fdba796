//! What a user reads when an application fails: what, where, why, and the next command to type.

use crate::{
    bench::{Bench, Verb, finished, latest, web, with_memory, with_module},
    cases::{advice, at, block_on},
};
use ostler_core::{Blame, Failure, ports::Store};
use ostler_testkit::world::{Effect, Fault, Machine, Moment};

/// Applies a change, and it fails. The failure is the same in the journal.
#[track_caller]
fn failure_of(bench: &Bench, verb: &Verb, fault: Option<Fault>) -> Failure {
    block_on(async {
        let failure = bench.run(verb, fault).await.result.expect_err("it fails");
        let store = bench.store().await;
        let latest = latest(&store, &web().name).await.unwrap();
        store.close().await;
        assert_eq!(latest.failure.as_ref(), Some(&failure), "the journal says something else");
        failure
    })
}

#[track_caller]
fn assert_says(failure: &Failure, blame: Blame, message: &str, cause: &str, hint: &str) {
    assert_eq!(failure.blame, blame, "{failure:?}");
    assert!(failure.message.contains(message), "{failure:?}");
    assert!(cause.is_empty() || failure.causes.iter().any(|c| c.contains(cause)), "{failure:?}");
    assert!(advice(failure).contains(hint), "{failure:?}");
}

fn more() -> Verb {
    Verb::Up(Box::new(with_module(web(), "fail2ban")))
}

#[test]
fn a_failed_task() {
    let failure = failure_of(&finished(), &more(), Some(at("engine.run", Moment::Middle, Effect::Fail)));
    let place = "phase provision: web failed at `service : break` (ansible.builtin.template)";
    assert_says(&failure, Blame::Target, place, "injected", "mend the cause, then up ostler.yaml; log of web");
}

#[test]
fn a_run_that_can_not_be_started() {
    let failure = failure_of(&finished(), &more(), Some(at("engine.run", Moment::Before, Effect::Fail)));
    assert_says(&failure, Blame::Provider, "injected", "", "resume web goes on from here");
}

#[test]
fn what_was_not_seen_to_end_is_cleared_up_after() {
    // A run that never began, one with a failed task, one that the engine lost sight of, and one that was killed.
    let cases = [
        ("engine.run", Moment::Before, false),
        ("engine.run", Moment::Middle, false),
        ("engine.run", Moment::After, true),
        ("engine.counts", Moment::Before, true),
    ];
    let start = finished();
    for (call, moment, unclean) in cases {
        let bench = start.copy();
        let failure = failure_of(&bench, &more(), Some(at(call, moment, Effect::Fail)));
        block_on(async {
            let store = bench.store().await;
            let record = store.server(&web().name).await.unwrap().unwrap();
            store.close().await;
            assert_eq!(record.unclean, unclean, "{call} {moment:?}: {failure:?}");
            let ran = bench.run(&more(), None).await;
            ran.result.unwrap();
            let repairs = ran.calls.iter().filter(|call| *call == "session.run repair").count();
            assert_eq!(repairs, usize::from(unclean), "{call} {moment:?}");
            // Nobody knows what that run changed of who gets in.
            let proofs = ran.calls.iter().filter(|call| *call == "session.run access-facts").count();
            assert_eq!(proofs, usize::from(unclean), "{call} {moment:?}");
        });
    }
}

#[test]
fn a_run_that_is_killed() {
    let failure = failure_of(&finished(), &more(), Some(at("engine.counts", Moment::Before, Effect::Fail)));
    let message = "phase provision: Ansible was killed on this machine (signal 9) before it finished web";
    assert_says(&failure, Blame::User, message, "memory", "resume web");
}

#[test]
fn no_ssh_on_this_machine() {
    let failure = failure_of(&finished(), &more(), Some(at("remote.connect", Moment::Before, Effect::Fail)));
    assert_says(&failure, Blame::Provider, "ssh can't be run on this machine", "injected", "CheckMachine");
}

#[test]
fn a_machine_that_can_not_be_changed() {
    let bigger = Verb::Up(Box::new(with_memory(web(), 2)));
    let failure = failure_of(&finished(), &bigger, Some(at("provider.reshape", Moment::Before, Effect::Fail)));
    assert_says(&failure, Blame::Provider, "injected", "", "resume web goes on from here");
}

#[test]
fn another_host_key() {
    let bench = finished();
    change(&bench, |machine| machine.guest.as_mut().unwrap().host_key = "ssh-ed25519 AAAAother".into());
    let failure = failure_of(&bench, &more(), None);
    assert_says(&failure, Blame::Target, "web shows host key ssh-ed25519 AAAAother, but", "", "check its console");
}

#[test]
fn a_proof_of_access_that_breaks() {
    let failure = failure_of(&finished(), &more(), Some(at("session.run disarm", Moment::Before, Effect::Fail)));
    assert_says(&failure, Blame::Provider, "injected", "", "resume web goes on from here");
}

fn change(bench: &Bench, change: impl FnOnce(&mut Machine)) {
    let mut machine = bench.world().machine("web").unwrap();
    change(&mut machine);
    std::fs::write(bench.world().path("machines/web.json"), serde_json::to_string(&machine).unwrap()).unwrap();
}
