//! Members of a cluster are destroyed: in which order, what is refused, and what becomes of the others.

use crate::{
    bench::{Bench, Verb, clustered, member, process, this_owner, up},
    cases::{advice, at, block_on},
};
use ostler_core::{
    Blame, Result,
    event::{EventKind, Level},
    ids::{EventNumber, ServerName},
    model::{OperationKind, StepState},
    ports::{EventFilter, Store},
    server::parting::{Course, course},
};
use ostler_testkit::world::{Effect, Machine, Moment, set_step};

async fn course_of(bench: &Bench, names: &[&str]) -> Result<Course> {
    let process = process(bench.path(), this_owner(&Verb::Destroy), None).await;
    let names: Vec<_> = names.iter().map(|name| ServerName::parse(name).unwrap()).collect();
    let course = course(&process.world, &names).await;
    drop(process.world);
    process.store.store.clone().close().await;
    course
}

fn names(course: &Course) -> Vec<Vec<&str>> {
    course.chains.iter().map(|chain| chain.iter().map(ServerName::as_str).collect()).collect()
}

fn members(bench: &Bench) -> Vec<String> {
    bench.world().cluster().into_iter().map(|member| member.server).collect()
}

/// Its machine stops, as by a power cut.
fn silence(bench: &Bench, name: &str) {
    let machine = bench.world().machine(name).unwrap();
    bench.world().put_machine(&Machine { on: false, ..machine });
}

async fn warnings(bench: &Bench) -> Vec<String> {
    let store = bench.store().await;
    let events = store.events(EventNumber(0), &EventFilter::default(), u32::MAX).await.unwrap();
    store.close().await;
    let warning = |kind| match kind {
        EventKind::Notice { level: Level::Warning, message } => Some(message),
        _ => None,
    };
    events.into_iter().filter_map(|event| warning(event.kind)).collect()
}

#[test]
fn workers_go_first_then_managers_and_last_the_one_that_the_others_joined() {
    let bench = clustered(&[("a", true), ("b", true), ("c", false), ("d", true)]);
    block_on(async {
        bench.run_on("z", &Verb::Up(Box::new(crate::bench::spec("z"))), None).await.result.unwrap();
        let all = course_of(&bench, &["a", "z", "d", "b", "c"]).await.unwrap();
        assert_eq!(names(&all), [vec!["z"], vec!["c", "d", "b", "a"]]);
        assert_eq!(all.warnings, [""; 0]);
        for name in ["c", "d", "b", "a"] {
            bench.run_on(name, &Verb::Destroy, None).await.result.unwrap();
            bench.assert_log(0..=0);
        }
        // A cluster of one is not left: it goes with its server.
        assert_eq!(members(&bench), ["a"]);
        bench.assert_events_end().await;
    });
}

#[test]
fn the_last_manager_stays_while_others_are_members() {
    let bench = clustered(&[("web", true), ("w", false), ("x", false)]);
    block_on(async {
        let before = bench.snapshot().await;
        let refused = course_of(&bench, &["web", "w"]).await.unwrap_err();
        assert_eq!(refused.message, "web is the last manager of its cluster, and these are still members: x");
        let refused = bench.run(&Verb::Destroy, None).await.result.unwrap_err();
        assert_eq!(refused.blame, Blame::User);
        assert_eq!(refused.message, "web is the last manager of its cluster, and these are still members: w, x");
        let hint = "first destroy w, destroy x; or name all of them at once: then this one goes last";
        assert_eq!(advice(&refused), hint);
        assert_eq!(bench.snapshot().await, before, "something was touched");
        assert_eq!(names(&course_of(&bench, &["web", "w", "x"]).await.unwrap()), [vec!["w", "x", "web"]]);
    });
}

#[test]
fn managers_that_stay_keep_their_majority() {
    let bench = clustered(&[("a", true), ("b", true), ("web", true)]);
    block_on(async {
        silence(&bench, "b");
        let before = bench.snapshot().await;
        let refused = bench.run(&Verb::Destroy, None).await.result.unwrap_err();
        let message =
            "without web the managers of its cluster would have no majority: b can't be reached by the others";
        assert_eq!(refused.message, message);
        assert_eq!(bench.snapshot().await, before, "something was touched");
        // The silent one makes room.
        assert_eq!(names(&course_of(&bench, &["a", "b", "web"]).await.unwrap()), [vec!["b", "web", "a"]]);
        bench.run_on("b", &Verb::Destroy, None).await.result.unwrap();
        assert_eq!(members(&bench), ["a", "web"]);
        bench.must(&Verb::Destroy).await;
        assert_eq!(members(&bench), ["a"]);
        bench.assert_log(1..=1);
    });
}

#[test]
fn a_server_that_is_silent_goes_also_where_the_others_can_not_take_it_out() {
    let bench = clustered(&[("a", true), ("web", true)]);
    block_on(async {
        silence(&bench, "web");
        bench.must(&Verb::Destroy).await;
        assert!(bench.world().machine("web").is_none(), "its machine stays");
        assert_eq!(members(&bench), ["a", "web"], "of two managers one is no majority");
        let said = warnings(&bench).await;
        let begin = "web is not taken out of its cluster, and its entry there stays: the machine of web does not run; ";
        assert!(said.iter().any(|said| said.starts_with(begin)), "{said:?}");
    });
}

#[test]
fn a_manager_that_nobody_can_stand_in_for_stays() {
    let bench = clustered(&[("a", true), ("b", true), ("web", true)]);
    block_on(async {
        // Both are there, and only the members themselves can reach them.
        for name in ["a", "b"] {
            let mut machine = bench.world().machine(name).unwrap();
            machine.guest.as_mut().unwrap().authorized_keys.clear();
            bench.world().put_machine(&machine);
        }
        let refused = bench.run(&Verb::Destroy, None).await.result.unwrap_err();
        let message = "web is a manager of its cluster, and no other one can be asked to do without it";
        assert_eq!(refused.message, message);
        assert!(bench.world().machine("web").is_some_and(|machine| machine.on), "something was touched");
    });
}

#[test]
fn nothing_else_is_done_with_a_server_that_is_leaving() {
    let bench = clustered(&[("db", true), ("web", true)]);
    block_on(async {
        let call = set_step(OperationKind::Leave, "demote", StepState::Done);
        let fault = at(&call, Moment::Before, Effect::Fail);
        let failure = bench.run(&Verb::Destroy, Some(fault)).await.result.unwrap_err();
        assert!(advice(&failure).contains("destroy web again"), "{failure:?}");
        for verb in [Verb::Up(Box::new(member("web", "db"))), up(), Verb::Rebuild] {
            let refused = bench.run(&verb, None).await.result.unwrap_err();
            assert_eq!(refused.message, "web is being destroyed, and that has not come to its end");
            assert_eq!(advice(&refused), "destroy web goes on with it");
        }
        bench.must(&Verb::Resume).await;
        assert_eq!(members(&bench), ["db"]);
        bench.assert_log(1..=1);
    });
}
