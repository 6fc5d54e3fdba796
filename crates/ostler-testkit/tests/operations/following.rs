//! Whoever follows the log sees each event once and in order, whoever wrote it and whenever.

use crate::{
    bench::{Bench, about, web},
    cases::block_on,
    events::dropped_after,
};
use ostler_core::{
    event::{Event, EventKind, Level, ProgressUnit},
    ids::{EventNumber, OperationId},
    operation::{EventLog, Subscription},
    ports::{EventFilter, Reporter, Store},
};
use ostler_store::SeaStore;
use std::sync::Arc;

/// A log over a store of its own, as each process has one.
async fn log(bench: &Bench) -> (SeaStore, Arc<EventLog>) {
    let store = bench.store().await;
    (store.clone(), Arc::new(EventLog::new(Arc::new(store))))
}

fn notice(number: usize) -> EventKind {
    EventKind::Notice { level: Level::Info, message: number.to_string() }
}

async fn write(log: &EventLog, operation: OperationId, count: usize) {
    let reporter = log.scope(Some((about().0, &web().name)), Some(operation));
    for number in 0..count {
        reporter.report(notice(number)).await;
    }
}

/// All up to a number.
async fn up_to(subscription: &mut Subscription, last: i64) -> Vec<Event> {
    let mut seen = Vec::new();
    while seen.last().is_none_or(|event: &Event| event.number.0 < last) {
        seen.extend(subscription.next().await.unwrap());
    }
    seen
}

fn numbers(events: &[Event]) -> Vec<i64> {
    events.iter().map(|event| event.number.0).collect()
}

#[test]
fn what_is_replayed_and_what_happens_join_without_a_gap_also_with_two_writers() {
    block_on(async {
        let bench = Bench::new();
        let ((_, own), (_, other)) = (log(&bench).await, log(&bench).await);
        let (ours, theirs) = (OperationId::new(), OperationId::new());
        write(&own, ours, 20).await;
        let of = |operation| EventFilter { operation: Some(operation), ..EventFilter::default() };
        let mut all = own.follow(EventNumber(7), EventFilter::default());
        let (mut mine, mut others) = (own.follow(EventNumber(0), of(ours)), own.follow(EventNumber(0), of(theirs)));
        // One that is told of everything, and one whose events are found by their gaps.
        let (seen, mine, others, (), ()) = tokio::join!(
            up_to(&mut all, 220),
            async {
                let mut seen = Vec::new();
                while seen.len() < 120 {
                    seen.extend(mine.next().await.unwrap());
                }
                seen
            },
            async {
                let mut seen = Vec::new();
                while seen.len() < 100 {
                    seen.extend(others.next().await.unwrap());
                }
                seen
            },
            write(&own, ours, 100),
            write(&other, theirs, 100),
        );
        assert_eq!(numbers(&seen), (8..=220).collect::<Vec<_>>());
        let of = |operation| seen.iter().filter(move |event| event.operation == Some(operation));
        assert!(mine.iter().filter(|event| event.number.0 > 7).eq(of(ours)));
        assert!(others.iter().eq(of(theirs)));
        // Nothing happens here any more, and still what another process writes is found.
        write(&other, theirs, 1).await;
        assert_eq!(numbers(&all.next().await.unwrap()), [221]);
        assert_eq!(all.rest().await.unwrap(), []);
    });
}

#[test]
fn whoever_was_slow_reads_what_was_missed() {
    block_on(async {
        let bench = Bench::new();
        let (store, own) = log(&bench).await;
        let mut slow = own.follow(EventNumber(0), EventFilter::default());
        write(&own, OperationId::new(), 2).await;
        assert_eq!(numbers(&slow.next().await.unwrap()), [1, 2]);
        write(&own, OperationId::new(), 1500).await;
        let seen = up_to(&mut slow, 1502).await;
        assert_eq!(numbers(&seen), (3..=1502).collect::<Vec<_>>());
        assert_eq!(seen, store.events(EventNumber(2), &EventFilter::default(), 2000).await.unwrap());
    });
}

#[test]
fn a_follower_that_is_dropped_at_any_await_loses_nothing() {
    block_on(async {
        let bench = Bench::new();
        let ((_, own), (_, other)) = (log(&bench).await, log(&bench).await);
        let mut all = own.follow(EventNumber(0), EventFilter::default());
        let mut seen = Vec::new();
        let writing = async {
            for _ in 0..40 {
                tokio::join!(write(&own, OperationId::new(), 1), write(&other, OperationId::new(), 1));
            }
        };
        let (mut dropped, mut polls) = (0, 0);
        let following = async {
            while seen.len() < 80 {
                polls = polls % 5 + 1;
                match dropped_after(polls, all.next()).await {
                    Some(events) => seen.extend(events.unwrap()),
                    None => dropped += 1,
                }
            }
        };
        tokio::join!(writing, following);
        assert!(dropped > 5, "it hardly ever waited");
        assert_eq!(numbers(&seen), (1..=80).collect::<Vec<_>>());
    });
}

#[test]
fn progress_is_seen_live_and_is_not_in_the_store() {
    block_on(async {
        let bench = Bench::new();
        let (store, own) = log(&bench).await;
        let operation = OperationId::new();
        let progress = EventKind::Progress { what: "image".into(), done: 1, total: None, unit: ProgressUnit::Bytes };
        let mut all = own.follow(EventNumber(0), EventFilter::default());
        let other = EventFilter { operation: Some(OperationId::new()), ..EventFilter::default() };
        let mut of_another = own.follow(EventNumber(0), other);
        write(&own, operation, 1).await;
        own.scope(Some((about().0, &web().name)), Some(operation)).report(progress.clone()).await;
        write(&own, operation, 1).await;
        let mut seen = Vec::new();
        while seen.len() < 3 {
            seen.extend(all.next().await.unwrap());
        }
        // It has the number of the event before it: whoever begins anew after that one misses nothing.
        let told = seen.iter().position(|event| event.kind == progress).expect("it was told");
        assert_eq!(seen[told].server, Some(web().name));
        assert!(numbers(&seen).is_sorted(), "{seen:?}");
        assert_eq!(of_another.rest().await.unwrap(), []);
        let stored = store.events(EventNumber(0), &EventFilter::default(), 10).await.unwrap();
        assert_eq!(stored.iter().map(|event| &event.kind).collect::<Vec<_>>(), [&notice(0), &notice(0)]);
    });
}
