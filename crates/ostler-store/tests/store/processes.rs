//! Several processes on one state, and processes that are killed.
//!
//! A child is this test binary itself, told by its environment to run only [`writer`], which does nothing otherwise.

use crate::fixtures::*;
use ostler_core::{
    event::EventKind,
    ids::{EventNumber, LeaseToken},
    model::StepState,
    ports::{EventFilter, Store},
    secret::Secret,
};
use std::{
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

const DIR: &str = "OSTLER_TEST_STORE_DIR";
const URL: &str = "OSTLER_TEST_STORE_URL";
const OPERATION: &str = "OSTLER_TEST_OPERATION";
const COUNT: &str = "OSTLER_TEST_COUNT";

/// What a child does: writes, and says each number only after the store has answered.
#[tokio::test]
async fn writer() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let store = open(std::env::var(URL).ok().as_deref(), Path::new(&dir)).await;
    let operation = std::env::var(OPERATION).unwrap().parse().unwrap();
    let count = std::env::var(COUNT).unwrap().parse().unwrap();
    for index in 0_u64..count {
        let text = format!("{} {index}", std::process::id());
        store.set_step(operation, 0, StepState::Started, Some(&index.to_string()), &[]).await.unwrap();
        let appended = store.append_events(&[notice(&text), notice(&text)]).await.unwrap();
        println!("answered {} {index}", appended[1].number.0);
    }
}

/// A child that runs [`writer`]; killed when dropped.
struct Writer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Writer {
    fn start(place: &Place, operation: ostler_core::ids::OperationId, count: u64) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "processes::writer", "--nocapture", "--test-threads=1"]);
        command.env(DIR, place.dir()).env(OPERATION, operation.to_string()).env(COUNT, count.to_string());
        command.envs(place.url.as_ref().map(|url| (URL, url)));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next answer that it got, as number of the event and index of the round.
    fn answer(&mut self) -> Option<(i64, u64)> {
        self.lines.by_ref().map(Result::unwrap).find_map(|line| {
            // The test harness writes `test processes::writer ... ` before the first one.
            let (_, answer) = line.split_once("answered ")?;
            let (number, index) = answer.split_once(' ')?;
            Some((number.parse().ok()?, index.parse().ok()?))
        })
    }

    fn kill(&mut self) {
        self.child.kill().unwrap(); // SIGKILL
        self.child.wait().unwrap();
    }

    fn end(mut self) {
        while self.answer().is_some() {}
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_killed_writer_loses_nothing_on_sqlite() {
    a_killed_writer_loses_nothing(&Place::sqlite()).await;
}

#[tokio::test]
async fn a_killed_writer_loses_nothing_on_mariadb() {
    let Some(place) = Place::mariadb() else { return };
    a_killed_writer_loses_nothing(&place).await;
}

async fn a_killed_writer_loses_nothing(place: &Place) {
    let store = place.open().await;
    let record = operation("web-1");
    store.begin_operation(&record).await.unwrap();
    for rounds in [1, 2, 5, 17, 40] {
        let mut writer = Writer::start(place, record.id, u64::MAX);
        let mut last = (0..rounds).map(|_| writer.answer().unwrap()).last().unwrap();
        writer.kill();
        while let Some(answer) = writer.answer() {
            last = answer;
        }
        let output = store.operation(record.id).await.unwrap().unwrap().steps[0].output.take();
        assert!(output.unwrap().parse::<u64>().unwrap() >= last.1, "a step was answered and lost");
        let newest = store.last_event().await.unwrap();
        assert!(newest.0 >= last.0, "event {} was answered, the last one is {}", last.0, newest.0);
        let events = store.events(EventNumber(0), &EventFilter::default(), u32::MAX).await.unwrap();
        assert!(events.iter().map(|event| event.number.0).eq(1..=newest.0), "there is a gap");
        for pair in events.chunks(2) {
            assert_eq!(pair[0].kind, pair[1].kind, "half of what was written together is there");
        }
        let next = place.open().await;
        assert_eq!(next.last_event().await.unwrap(), newest);
        next.close().await;
    }
}

#[tokio::test]
async fn a_follower_misses_nothing_of_two_writers_on_sqlite() {
    a_follower_misses_nothing_of_two_writers(&Place::sqlite()).await;
}

#[tokio::test]
async fn a_follower_misses_nothing_of_two_writers_on_mariadb() {
    let Some(place) = Place::mariadb() else { return };
    a_follower_misses_nothing_of_two_writers(&place).await;
}

async fn a_follower_misses_nothing_of_two_writers(place: &Place) {
    const ROUNDS: u64 = 60;
    let store = place.open().await;
    let record = operation("web-1");
    store.begin_operation(&record).await.unwrap();
    let writers = [Writer::start(place, record.id, ROUNDS), Writer::start(place, record.id, ROUNDS)];
    let pids = writers.each_ref().map(|writer| writer.child.id().to_string());
    let ends = writers.map(|writer| thread::spawn(move || writer.end()));

    let mut seen = Vec::new();
    loop {
        let ended = ends.iter().all(thread::JoinHandle::is_finished);
        let after = EventNumber(seen.len() as i64);
        let events = store.events(after, &EventFilter::default(), 1000).await.unwrap();
        if ended && events.is_empty() {
            break;
        }
        for event in events {
            assert_eq!(event.number.0, seen.len() as i64 + 1, "a later number was seen before an earlier one");
            let EventKind::Notice { message, .. } = event.kind else { panic!("nobody wrote that") };
            seen.push(message);
        }
    }
    for end in ends {
        end.join().unwrap();
    }
    assert_eq!(seen.len(), 4 * ROUNDS as usize);
    for pid in pids {
        let mut own = seen.iter().filter_map(|message| message.strip_prefix(&format!("{pid} ")));
        let expected = (0..ROUNDS).flat_map(|index| [index, index]).map(|index| index.to_string());
        assert!(own.by_ref().map(str::to_owned).eq(expected), "the events of a writer are not in its order");
    }
}

#[test]
fn many_stores_at_once_wait_in_silence_on_sqlite() {
    many_stores_at_once_wait_in_silence(&Place::sqlite());
}

#[test]
fn many_stores_at_once_wait_in_silence_on_mariadb() {
    let Some(place) = Place::mariadb() else { return };
    many_stores_at_once_wait_in_silence(&place);
}

/// From the very first opening on: who comes first makes directory, schema and key, and the others wait for it.
fn many_stores_at_once_wait_in_silence(place: &Place) {
    const STORES: u32 = 6;
    const ROUNDS: usize = 10;
    let place = Arc::new((place.url.clone(), place.dir()));
    let start = Arc::new(Barrier::new(STORES as usize));
    let threads: Vec<_> = (0..STORES)
        .map(|number| {
            let (place, start) = (place.clone(), start.clone());
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                start.wait();
                runtime.block_on(async {
                    let store = open(place.0.as_deref(), &place.1).await;
                    let own = format!("own-{number}");
                    let mut granted = 0;
                    for round in 0..ROUNDS {
                        store.put_server(&server("shared")).await.unwrap();
                        store.put_server(&server(&own)).await.unwrap();
                        store.begin_operation(&operation(&own)).await.unwrap();
                        store
                            .append_events(&vec![(); round].iter().map(|()| notice(&own)).collect::<Vec<_>>())
                            .await
                            .unwrap();
                        store.put_secret(None, &own, &Secret::new(&own)).await.unwrap();
                        store.put_child(&child("shared", number)).await.unwrap();
                        store.overview().await.unwrap();
                        let day = Duration::from_secs(86_400);
                        let lease = format!("round-{round}");
                        let answer = acquire(&store, subject(&lease), (LeaseToken::new(), owner(number)), day).await;
                        granted += usize::from(answer.is_none());
                        if round == ROUNDS / 2 {
                            store.remove_server(subject("shared")).await.unwrap();
                        }
                    }
                    let id = store.state_id().await.unwrap();
                    let secret = store.secret(None, &own).await.unwrap();
                    assert_eq!(secret, Some(Secret::new(&own)));
                    store.close().await;
                    (id, granted)
                })
            })
        })
        .collect();
    let results: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(results.iter().all(|(id, _)| *id == results[0].0), "two made the state");
    assert_eq!(results.iter().map(|(_, granted)| granted).sum::<usize>(), ROUNDS, "each lease is granted once");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = open(place.0.as_deref(), &place.1).await;
        let expected = i64::from(STORES) * (0..ROUNDS as i64).sum::<i64>();
        assert_eq!(store.last_event().await.unwrap(), EventNumber(expected));
        assert_eq!(store.secret_names().await.unwrap().len(), STORES as usize);
        let overview = store.overview().await.unwrap();
        assert_eq!(overview.iter().filter(|server| server.operation.is_some()).count(), STORES as usize);
    });
}

#[test]
fn opening_and_closing_disturbs_nobody_on_sqlite() {
    opening_and_closing_disturbs_nobody(&Place::sqlite());
}

#[test]
fn opening_and_closing_disturbs_nobody_on_mariadb() {
    let Some(place) = Place::mariadb() else { return };
    opening_and_closing_disturbs_nobody(&place);
}

/// As commands do that come and go; the last one out removes SQLite's WAL, and the next one in makes it anew.
fn opening_and_closing_disturbs_nobody(place: &Place) {
    const ROUNDS: i64 = 25;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    for _ in 0..ROUNDS {
                        let store = place.open().await;
                        let before = store.last_event().await.unwrap();
                        let number = store.append_events(&[notice("")]).await.unwrap()[0].number;
                        assert!(number > before);
                        store.overview().await.unwrap();
                        store.close().await;
                    }
                });
            });
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let newest = runtime.block_on(async { place.open().await.last_event().await.unwrap() });
    assert_eq!(newest, EventNumber(4 * ROUNDS));
}
