//! The service over the fake world: several works at once, each stopped by itself.

use crate::{
    bench::{Bench, Process, Verb, latest, process, spec, this_owner, up, web, with_module},
    cases::{at, block_on},
};
use ostler_core::{
    Blame,
    event::{Event, EventKind},
    ids::{EventNumber, ServerName},
    model::{OperationKind, OperationState, Phase},
    operation::Subscription,
    ports::EventFilter,
    server::up::{OnFailure, Resumed},
    spec::ServerSpec,
    subject::SubjectKind,
};
use ostler_service::{Limits, Request, Service};
use ostler_testkit::world::{Effect, Moment};
use std::time::Duration;

const FOR_EVER: Limits = Limits { at_once: 8, keep_events: None };

async fn service(bench: &Bench, limits: Limits) -> Service {
    let Process { world, .. } = process(bench.path(), this_owner(&up()), None).await;
    Service::new(world, limits)
}

fn bring_up(spec: ServerSpec) -> Request {
    Request::Up { spec: Box::new(spec), on_failure: OnFailure::Keep }
}

fn all(service: &Service) -> Subscription {
    service.follow(EventNumber(0), EventFilter::default())
}

/// Waits for such an event of a server.
async fn until(events: &mut Subscription, server: &ServerName, wanted: impl Fn(&EventKind) -> bool) {
    let is_it = |event: &Event| event.server.as_ref() == Some(server) && wanted(&event.kind);
    while !events.next().await.unwrap().iter().any(is_it) {}
}

fn is_step(kind: &EventKind) -> bool {
    matches!(kind, EventKind::StepStarted { .. })
}

async fn end_of(service: &Service, server: &ServerName) -> (OperationState, Option<Blame>) {
    let latest = latest(&*service.world().store, server).await.expect("it was begun");
    (latest.state, latest.failure.map(|failure| failure.blame))
}

#[test]
fn of_two_works_one_is_stopped_at_the_end_of_its_step_and_the_other_succeeds() {
    block_on(async {
        let bench = Bench::new();
        let service = service(&bench, FOR_EVER).await;
        let mut events = all(&service);
        let (one, other) = (spec("one"), spec("other"));
        let mut stopped = service.start(bring_up(one.clone())).unwrap();
        let mut stays = service.start(bring_up(other.clone())).unwrap();
        let listed: Vec<_> = service.list().into_iter().map(|work| (work.id, work.server, work.doing)).collect();
        assert_eq!(listed, [(stopped.id(), one.name.clone(), "up"), (stays.id(), other.name.clone(), "up")]);

        until(&mut events, &one.name, is_step).await;
        assert!(service.cancel(stopped.id()));
        let ended = stopped.ended().await.result.expect_err("it was asked to stop");
        assert_eq!((ended.blame, ended.message.as_str()), (Blame::Interrupted, "stopped on request"));
        assert!(matches!(stays.ended().await.result, Ok(Resumed::Up(outcome)) if outcome.created));
        assert_eq!(end_of(&service, &one.name).await, (OperationState::Failed, Some(Blame::Interrupted)));
        assert_eq!(end_of(&service, &other.name).await, (OperationState::Succeeded, None));
        assert!(!service.cancel(stopped.id()) && service.list().is_empty());
        bench.assert_events_end().await;

        // What was stopped is gone on with, in the same process.
        let mut resumed = service.start(Request::Resume(one.name.clone())).unwrap();
        assert!(matches!(resumed.ended().await.result, Ok(Resumed::Up(outcome)) if outcome.created));
        let mut gone = service.start(Request::Destroy(one.name.clone())).unwrap();
        assert_eq!(gone.ended().await.result.unwrap(), Resumed::Destroyed);
    });
}

#[test]
fn what_is_stopped_at_once_leaves_no_child_and_can_be_resumed() {
    block_on(async {
        let bench = Bench::new();
        let service = service(&bench, FOR_EVER).await;
        let mut events = all(&service);
        let mut work = service.start(bring_up(web())).unwrap();
        until(&mut events, &web().name, |kind| matches!(kind, EventKind::Ansible { .. })).await;
        service.stop_now().await;
        assert!(service.list().is_empty());
        assert_eq!(work.ended().await.result.expect_err("it was dropped").blame, Blame::Interrupted);
        assert_eq!(end_of(&service, &web().name).await, (OperationState::Running, None));

        let mut resumed = service.start(Request::Resume(web().name)).unwrap();
        resumed.ended().await.result.unwrap();
        bench.assert_log(1..=1);
        let undisturbed = Bench::new();
        undisturbed.must(&up()).await;
        assert_eq!(bench.snapshot().await, undisturbed.snapshot().await);
    });
}

#[test]
fn a_server_is_worked_on_once_at_a_time_in_this_process_too() {
    block_on(async {
        let bench = Bench::new();
        let service = service(&bench, FOR_EVER).await;
        let mut work = service.start(bring_up(web())).unwrap();
        let refused = service.start(Request::Destroy(web().name)).expect_err("it is at work");
        assert_eq!((refused.blame, refused.message.as_str()), (Blame::User, "web is at work already: up"));
        work.ended().await.result.unwrap();
        let mut again = service.start(Request::Resume(web().name)).expect("it is free as soon as that ended");
        assert_eq!(again.ended().await.result.unwrap(), Resumed::NothingToDo);
    });
}

#[test]
fn work_waits_its_turn_and_is_not_begun_if_it_is_stopped_before() {
    block_on(async {
        let bench = Bench::new();
        let service = service(&bench, Limits { at_once: 1, ..FOR_EVER }).await;
        let mut events = all(&service);
        let (one, two, three) = (spec("one"), spec("two"), spec("three"));
        let [mut first, mut second, mut third] =
            [&one, &two, &three].map(|spec| service.start(bring_up(spec.clone())).unwrap());
        until(&mut events, &one.name, is_step).await;
        service.cancel(second.id());
        let failure = second.ended().await.result.expect_err("it was not begun");
        assert_eq!((failure.blame, failure.message.as_str()), (Blame::Interrupted, "work on two did not begin"));
        assert!(latest(&*service.world().store, &two.name).await.is_none());
        assert_eq!(service.list().len(), 2, "the first one goes on");
        first.ended().await.result.unwrap();
        third.ended().await.result.unwrap();
        let events = service.world().store.events(EventNumber(0), &EventFilter::default(), u32::MAX).await.unwrap();
        let place = |server: &ServerSpec| events.iter().position(|event| event.server.as_ref() == Some(&server.name));
        let last_of_first = events.iter().rposition(|event| event.server.as_ref() == Some(&one.name));
        assert!(place(&one) < last_of_first && last_of_first < place(&three));
    });
}

#[test]
fn all_of_it_is_stopped_at_the_end_of_its_steps() {
    block_on(async {
        let bench = Bench::new();
        let service = service(&bench, FOR_EVER).await;
        let mut events = all(&service);
        let specs = [spec("one"), spec("two")];
        let mut works = specs.each_ref().map(|spec| service.start(bring_up(spec.clone())).unwrap());
        until(&mut events, &specs[1].name, is_step).await;
        service.cancel_all();
        for (work, spec) in works.iter_mut().zip(&specs) {
            assert_eq!(work.ended().await.result.expect_err("it was asked to stop").blame, Blame::Interrupted);
            assert_eq!(end_of(&service, &spec.name).await, (OperationState::Failed, Some(Blame::Interrupted)));
        }
        bench.assert_events_end().await;
    });
}

#[test]
fn another_process_is_told_what_this_work_does() {
    let bench = Bench::new();
    let mut first = bench.spawn(&up(), &at("engine.run", Moment::Middle, Effect::Hang));
    let mut said = std::io::BufRead::lines(std::io::BufReader::new(first.stdout.take().unwrap()));
    assert!(said.any(|line| line.unwrap().contains("hanging")), "the first one came to an end");
    block_on(async {
        let service = service(&bench, FOR_EVER).await;
        let mut work = service.start(Request::Destroy(web().name)).unwrap();
        let refused = work.ended().await.result.expect_err("another process is at work");
        assert!(refused.message.starts_with("another Ostler is working on web: `up`, process"), "{refused:?}");
        first.kill().unwrap();
        first.wait().unwrap();
        let mut work = service.start(Request::Destroy(web().name)).unwrap();
        assert_eq!(work.ended().await.result.unwrap(), Resumed::Destroyed);
    });
}

#[test]
fn events_of_long_ago_are_forgotten_but_for_the_newest_of_each_kind() {
    block_on(async {
        let bench = Bench::new();
        bench.must(&up()).await;
        bench.must(&Verb::Up(Box::new(with_module(web(), "fail2ban")))).await;
        let service = service(&bench, Limits { keep_events: Some(Duration::ZERO), ..FOR_EVER }).await;
        let store = &*service.world().store;
        let started = async || {
            let events = store.events(EventNumber(0), &EventFilter::default(), u32::MAX).await.unwrap();
            let kind = |event: Event| match event.kind {
                EventKind::OperationStarted { operation_kind, .. } => Some(operation_kind),
                _ => None,
            };
            events.into_iter().filter_map(kind).collect::<Vec<_>>()
        };
        assert_eq!(started().await, [OperationKind::Create, OperationKind::Apply, OperationKind::Apply]);
        // It was done lately.
        store.set_last_forgetting(jiff::Timestamp::now()).await.unwrap();
        service.start(Request::Resume(web().name)).unwrap().ended().await.result.unwrap();
        assert_eq!(started().await.len(), 3);
        assert!(!store.has_forgotten(SubjectKind::Server, "web").await.unwrap());
        // It was not: whoever starts something does it.
        let long_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(25);
        store.set_last_forgetting(long_ago).await.unwrap();
        service.start(Request::Resume(web().name)).unwrap().ended().await.result.unwrap();
        while store.last_forgetting().await.unwrap().is_none_or(|last| last <= long_ago) {
            tokio::task::yield_now().await;
        }
        assert_eq!(started().await, [OperationKind::Create, OperationKind::Apply]);
        assert!(store.has_forgotten(SubjectKind::Server, "web").await.unwrap());
        assert_eq!(service.retain(Duration::ZERO).await.unwrap(), 0);
        let server = store.server(&web().name).await.unwrap().expect("it is there");
        assert_eq!(server.phase, Phase::Ready);
        // Of what is destroyed nothing need stay.
        service.start(Request::Destroy(web().name)).unwrap().ended().await.result.unwrap();
        assert!(service.retain(Duration::ZERO).await.unwrap() > 0);
        assert_eq!(started().await, []);
        bench.must(&up()).await;
    });
}
