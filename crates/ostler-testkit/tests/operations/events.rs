//! Events are neither lost nor doubled, whatever becomes of the store and of who reports them.

use crate::{
    bench::{about, web},
    cases::block_on,
};
use ostler_core::{
    Result,
    event::{EventKind, Level},
    ids::{EventNumber, OperationId},
    model::{OperationKind, OperationRecord, OperationState, Phase},
    operation::{Driver, EventLog, Interrupt, Outputs, Step, begun},
    ports::{EventFilter, Reporter, Store},
};
use ostler_store::SeaStore;
use ostler_testkit::world::{Call, Effect, Fault, Faults, FaultyStore, Moment};
use std::{future::poll_fn, sync::Arc, task::Poll};

/// A real store in a folder of its own, and what goes wrong with it.
async fn store(fault: Option<(&str, Moment, u32)>) -> (tempfile::TempDir, Arc<FaultyStore<SeaStore>>) {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let store = SeaStore::open_sqlite(dir.path()).await.unwrap();
    let fault = fault.map(|(call, moment, times)| Fault {
        call: Call::Named(call.into()),
        moment,
        effect: Effect::FailTimes(times),
    });
    (dir, Arc::new(FaultyStore { store, faults: Arc::new(Faults::new(fault, Interrupt::new().0)) }))
}

/// The result of `work`, unless it takes more than so many polls: then it is dropped.
pub async fn dropped_after<T>(polls: usize, work: impl Future<Output = T>) -> Option<T> {
    let mut work = Box::pin(work);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

fn notice(number: usize) -> EventKind {
    EventKind::Notice { level: Level::Info, message: number.to_string() }
}

async fn kinds(store: &dyn Store) -> Vec<EventKind> {
    let events = store.events(EventNumber(0), &EventFilter::default(), 1000).await.unwrap();
    events.into_iter().map(|event| event.kind).collect()
}

#[test]
fn a_store_that_fails_some_times_has_each_event_once_and_in_order() {
    for moment in [Moment::Before, Moment::After] {
        for times in [1, 2, 3, 4, 7] {
            block_on(async {
                let (_dir, store) = store(Some(("store.append_events", moment, times))).await;
                let log = EventLog::new(store.clone());
                let reporter = log.scope(None, None);
                for number in 0..10 {
                    reporter.report(notice(number)).await;
                }
                log.flush().await.unwrap();
                let expected: Vec<_> = (0..10).map(notice).collect();
                assert_eq!(kinds(&*store).await, expected, "{times} failures {moment:?}");
            });
        }
    }
}

#[test]
fn what_can_not_be_stored_together_is_stored_one_by_one_in_the_end() {
    block_on(async {
        // Each report asks twice, and so does the end before it goes one by one.
        let (_dir, store) = store(Some(("store.append_events", Moment::Before, 8))).await;
        let log = EventLog::new(store.clone());
        for number in 0..3 {
            log.scope(None, None).report(notice(number)).await;
        }
        assert_eq!(kinds(&*store).await, []);
        log.flush().await.unwrap();
        assert_eq!(kinds(&*store).await, (0..3).map(notice).collect::<Vec<_>>());
    });
}

#[test]
fn what_can_not_be_stored_is_kept_and_told() {
    block_on(async {
        let (_dir, store) = store(Some(("store.append_events", Moment::Before, u32::MAX))).await;
        let log = EventLog::new(store.clone());
        for number in 0..3 {
            log.scope(None, None).report(notice(number)).await;
        }
        let failure = log.flush().await.expect_err("nothing is stored");
        assert_eq!(failure.message, "3 events could not be stored and are missing from the log");
        assert!(failure.causes.iter().any(|cause| cause.contains("injected")), "{failure:?}");
    });
}

#[test]
fn a_report_that_is_dropped_at_any_await_is_stored_once() {
    block_on(async {
        let (_dir, store) = store(None).await;
        let log = EventLog::new(store.clone());
        let reporter = log.scope(None, None);
        let mut dropped = 0;
        for number in 0..100 {
            dropped += usize::from(dropped_after(number % 10 + 1, reporter.report(notice(number))).await.is_none());
        }
        assert!(dropped > 5, "it hardly ever waited");
        log.flush().await.unwrap();
        assert_eq!(kinds(&*store).await, (0..100).map(notice).collect::<Vec<_>>());
    });
}

/// Something that waits.
async fn act((): &(), _: &Outputs) -> Result<()> {
    tokio::task::yield_now().await;
    Ok(())
}

fn steps() -> Vec<Step<()>> {
    ["one", "two"].map(|name| Step::new(name, Phase::Create, act)).into()
}

async fn go_on(store: &dyn Store, log: &EventLog, id: OperationId) -> Result<Outputs> {
    let mut record: OperationRecord = store.operation(id).await?.expect("it was begun");
    let reporter = log.scope(Some((record.subject, &web().name)), Some(id));
    let (_ctrl_c, interrupt) = Interrupt::new();
    Driver { store, reporter: &reporter, interrupt: &interrupt }.forward(&mut record, &steps(), &()).await
}

/// How often the operation was said to have done each thing.
async fn told(store: &dyn Store) -> (usize, Vec<String>) {
    let kinds = kinds(store).await;
    let ends = kinds.iter().filter(|kind| matches!(kind, EventKind::OperationEnded { .. })).count();
    let done = |kind| if let EventKind::StepDone { step, .. } = kind { Some(step) } else { None };
    (ends, kinds.into_iter().filter_map(done).collect())
}

#[test]
fn an_operation_that_is_dropped_at_any_await_and_gone_on_with_ends_once() {
    let mut polls = 1;
    loop {
        let through = block_on(async {
            let (_dir, store) = store(None).await;
            let record = begun(about(), OperationKind::Create, &(), &steps());
            store.begin_operation(&record).await.unwrap();
            let log = EventLog::new(store.clone());
            let through = dropped_after(polls, go_on(&*store, &log, record.id)).await.is_some();
            let state = async || store.operation(record.id).await.unwrap().unwrap().state;
            // Where the journal says that it succeeded, the log says so too, and nothing is gone on with.
            let succeeded = state().await == OperationState::Succeeded;
            assert_eq!(told(&*store).await.0, usize::from(succeeded), "after {polls} polls");
            if !succeeded {
                go_on(&*store, &log, record.id).await.unwrap();
            }
            log.flush().await.unwrap();
            assert_eq!(state().await, OperationState::Succeeded);
            assert_eq!(told(&*store).await, (1, vec!["one".into(), "two".into()]), "after {polls} polls");
            through
        });
        if through {
            break;
        }
        polls += 1;
    }
    assert!(polls > 5, "it hardly ever waited");
}

#[test]
fn the_end_of_an_operation_is_told_although_the_store_fails_at_first() {
    for moment in [Moment::Before, Moment::After] {
        block_on(async {
            let (_dir, store) = store(Some(("store.set_operation_state Succeeded", moment, 3))).await;
            let record = begun(about(), OperationKind::Create, &(), &steps());
            store.begin_operation(&record).await.unwrap();
            let log = EventLog::new(store.clone());
            go_on(&*store, &log, record.id).await.unwrap();
            assert_eq!(told(&*store).await, (1, vec!["one".into(), "two".into()]));
        });
    }
}

#[test]
fn why_it_failed_is_said_although_the_journal_can_not_have_it() {
    block_on(async {
        let (_dir, store) = store(Some(("store.set_operation_state Failed", Moment::Before, u32::MAX))).await;
        let record = begun(about(), OperationKind::Create, &(), &steps());
        store.begin_operation(&record).await.unwrap();
        let log = EventLog::new(store.clone());
        let (ctrl_c, interrupt) = Interrupt::new();
        ctrl_c.send_replace(true);
        let reporter = log.scope(Some((record.subject, &web().name)), Some(record.id));
        let driver = Driver { store: &*store, reporter: &reporter, interrupt: &interrupt };
        let failure = driver.forward(&mut record.clone(), &steps(), &()).await.expect_err("it was stopped");
        assert_eq!(failure.message, "stopped on request");
        assert!(
            failure.causes.iter().any(|cause| cause.contains("it could not be journaled: injected")),
            "{failure:?}"
        );
        assert_eq!(told(&*store).await.0, 0);
    });
}
