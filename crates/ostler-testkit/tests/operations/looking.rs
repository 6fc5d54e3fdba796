//! A look at what a run would change: it finds what there is to find, and leaves no trace.

use crate::{
    bench::{Bench, Ran, Verb, finished, latest, up, web, with_memory, with_module},
    cases::{advice, at, block_on},
};
use ostler_core::{
    Blame,
    ports::Store,
    server::drift::{Check, Findings},
    spec::ServerSpec,
};
use ostler_testkit::world::{Effect, Moment};
use std::io::{BufRead, BufReader};

fn look_at(spec: ServerSpec) -> Verb {
    Verb::Plan(Box::new(spec))
}

fn findings(ran: Ran) -> Findings {
    match ran.check {
        Some(Check::Done(findings)) => findings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_found_where_nothing_is_to_do() {
    let bench = finished();
    let found = findings(block_on(bench.run(&look_at(web()), None)));
    assert_eq!((found.tasks, found.changes.len(), found.unpredicted.len()), (1, 0, 0));
}

#[test]
fn a_change_is_found_with_its_handler_and_left_no_trace() {
    let bench = finished();
    block_on(async {
        let (snapshot, machine, log) = (bench.snapshot().await, bench.world().machine("web"), bench.world().log());
        let store = bench.store().await;
        let before = (store.last_event().await.unwrap(), latest(&store, &web().name).await);
        store.close().await;

        let ran = bench.run(&look_at(with_module(web(), "fail2ban")), None).await;
        let writes =
            ["put_server", "begin_operation", "set_operation_state", "set_step", "append_events", "put_secret"];
        let wrote = ran.calls.iter().find(|call| {
            writes.iter().any(|write| call.starts_with(&format!("store.{write}")))
                || (call.starts_with("session.run") && *call != "session.run pending")
        });
        assert_eq!(wrote, None);
        let [change] = &findings(ran).changes[..] else { panic!("one change") };
        assert_eq!((change.role.as_deref(), change.task.as_str()), (Some("service"), "configure"));
        assert_eq!(
            (change.module.as_str(), &change.handlers[..]),
            ("ansible.builtin.template", &["restart service".to_owned()][..])
        );

        assert_eq!(bench.snapshot().await, snapshot);
        assert_eq!(bench.world().machine("web"), machine);
        assert_eq!(bench.world().log()[log.len()..], ["checked web"]);
        let store = bench.store().await;
        let after = (store.last_event().await.unwrap(), latest(&store, &web().name).await);
        assert_eq!(after, before);
        store.close().await;
    });
}

#[test]
fn a_server_that_is_not_there_will_be_made_from_scratch() {
    let bench = Bench::new();
    block_on(async {
        let ran = bench.run(&look_at(with_module(web(), "fail2ban")), None).await;
        assert_eq!(ran.check, Some(Check::FromScratch { modules: 2, apps: 0 }));
        // So will one whose creation is unfinished.
        bench
            .run(&up(), Some(at("provider.create", Moment::Middle, Effect::Fail)))
            .await
            .result
            .expect_err("it failed");
        let ran = bench.run(&look_at(web()), None).await;
        assert_eq!(ran.check, Some(Check::FromScratch { modules: 1, apps: 0 }));
        bench.assert_log(1..=1);
    });
}

#[test]
fn a_server_that_is_off_stays_off() {
    let bench = finished();
    bench.world().power_cut();
    for spec in [web(), with_memory(web(), 2)] {
        let ran = block_on(bench.run(&look_at(spec), None));
        assert_eq!(ran.check, Some(Check::Off));
    }
    assert!(!bench.world().machine("web").unwrap().on);
}

#[test]
fn a_failure_says_where_and_keeps_what_was_found_before() {
    let bench = finished();
    let fault = at("engine.run", Moment::Middle, Effect::Fail);
    let failed = |spec| match block_on(bench.run(&look_at(spec), Some(fault.clone()))).check {
        Some(Check::Failed { failure, until_then }) => (failure, until_then.changes.len()),
        other => panic!("{other:?}"),
    };
    let (failure, changes) = failed(web());
    assert_eq!((failure.blame, changes), (Blame::Target, 0));
    assert!(failure.causes.iter().any(|cause| cause.contains("web failed at `service : break`")), "{failure:?}");
    assert!(advice(&failure).contains("would most likely fail there too"), "{failure:?}");
    let (failure, changes) = failed(with_module(web(), "fail2ban"));
    assert_eq!(changes, 1);
    assert!(advice(&failure).contains("earlier tasks"), "{failure:?}");
}

#[test]
fn a_look_never_meets_a_run_nor_the_rests_of_one() {
    let bench = finished();
    let more = Verb::Up(Box::new(with_module(web(), "fail2ban")));
    let mut first = bench.spawn(&more, &at("engine.run", Moment::Middle, Effect::Hang));
    let mut said = BufReader::new(first.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("hanging")), "the first one came to an end");
    block_on(async {
        let failure = bench.run(&look_at(web()), None).await.result.expect_err("the first one is at work");
        assert_eq!(failure.blame, Blame::User);
        assert!(failure.message.contains(&format!("`up`, process {}", first.id())), "{failure:?}");
        first.kill().unwrap();
        first.wait().unwrap();
        // What that one left is not for a look to clear.
        let ran = bench.run(&look_at(web()), None).await;
        let Some(Check::Failed { failure, .. }) = &ran.check else { panic!("{:?}", ran.check) };
        assert!(advice(failure).contains("resume web"), "{failure:?}");
        assert!(!ran.calls.iter().any(|call| call.starts_with("engine.")), "{:?}", ran.calls);
        bench.must(&more).await;
        bench.assert_log(1..=1);
    });
}

#[test]
fn what_a_killed_look_left_is_ended_before_the_next_run() {
    for next in [look_at(web()), up()] {
        let bench = finished();
        bench.killed(&look_at(web()), &at("engine.run", Moment::Middle, Effect::Kill));
        block_on(async {
            bench.must(&next).await;
            assert!(bench.world().log().contains(&"ended leftovers web".to_owned()), "{:?}", bench.world().log());
            bench.assert_log(1..=1);
            let store = bench.store().await;
            let server = store.server(&web().name).await.unwrap().expect("it is there");
            assert!(store.children(server.subject()).await.unwrap().is_empty(), "a child is left");
            store.close().await;
        });
    }
}

#[test]
fn ctrl_c_ends_a_look() {
    let bench = finished();
    block_on(async {
        let snapshot = bench.snapshot().await;
        let ran = bench.run(&look_at(web()), Some(at("engine.run", Moment::Before, Effect::Interrupt))).await;
        match ran.check {
            Some(Check::Failed { failure, .. }) => assert_eq!(failure.blame, Blame::Interrupted),
            other => panic!("{other:?}"),
        }
        assert_eq!(bench.snapshot().await, snapshot);
    });
}
