//! The steps of an operation and the journal of another version: what is run, what is undone, what is refused.

use crate::{
    bench::{about, web},
    cases::block_on,
};
use ostler_core::{
    Failure, Result,
    event::EventKind,
    ids::EventNumber,
    model::{OperationKind, OperationRecord, OperationState, Phase, StepRecord, StepState},
    operation::{Driver, EventLog, Interrupt, Outputs, Step, begun},
    ports::{EventFilter, Store},
};
use ostler_store::SeaStore;
use std::sync::{Arc, Mutex};

/// What was done, in order: `+` and `-` with names.
type Log = Mutex<Vec<&'static str>>;

macro_rules! steps {
    ($($name:ident $forward:literal $undo:literal)*) => {
        $(mod $name {
            use super::*;
            pub async fn forward(log: &Log, _: &Outputs) -> Result<()> {
                log.lock().unwrap().push($forward);
                tokio::task::yield_now().await;
                Ok(())
            }
            pub async fn undo(log: &Log, _: &Outputs) -> Result<()> {
                log.lock().unwrap().push($undo);
                Ok(())
            }
        })*
    };
}

steps! { one "+one" "-one"  two "+two" "-two"  three "+three" "-three"  four "+four" "-four" }

/// Three steps of a version.
fn list() -> Vec<Step<Log>> {
    vec![
        Step::new("one", Phase::Create, one::forward).undone_by(one::undo),
        Step::new("two", Phase::Create, two::forward).undone_by(two::undo),
        Step::new("three", Phase::Create, three::forward).undone_by(three::undo),
    ]
}

fn four() -> Step<Log> {
    Step::new("four", Phase::Create, four::forward).undone_by(four::undo)
}

/// A journal as another version wrote it: `one+` is done, `two*` begun, `three` not begun.
fn journal(text: &str) -> OperationRecord {
    let step = |word: &str| {
        let name = word.trim_end_matches(['+', '*']).to_owned();
        let state = match word.as_bytes().last() {
            Some(b'+') => StepState::Done,
            Some(b'*') => StepState::Started,
            _ => StepState::Pending,
        };
        StepRecord { name, state, output: None }
    };
    let steps = text.split_whitespace().map(step).collect();
    OperationRecord { steps, ..begun(about(), OperationKind::Create, &(), &list()) }
}

/// What was done, how it came out, and what the journal says then.
struct Ran {
    did: Vec<&'static str>,
    result: Result<()>,
    journal: OperationRecord,
    ends: Vec<OperationState>,
}

async fn run(record: &OperationRecord, steps: &[Step<Log>], destroy: bool) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    let store = SeaStore::open_sqlite(dir.path()).await.unwrap();
    store.begin_operation(record).await.unwrap();
    let events = EventLog::new(Arc::new(store.clone()));
    let reporter = events.scope(Some((record.subject, &web().name)), Some(record.id));
    let (_ctrl_c, interrupt) = Interrupt::new();
    let driver = Driver { store: &store, reporter: &reporter, interrupt: &interrupt };
    let (log, mut followed) = (Log::default(), record.clone());
    let result = match destroy {
        true => driver.unwind(&mut followed, steps, &log).await,
        false => driver.forward(&mut followed, steps, &log).await.map(drop),
    };
    let journal = store.operation(record.id).await.unwrap().unwrap();
    assert_eq!(
        (&followed.steps, followed.state),
        (&journal.steps, journal.state),
        "the driver believes something else"
    );
    let events = store.events(EventNumber(0), &EventFilter::default(), 100).await.unwrap();
    let end = |kind| if let EventKind::OperationEnded { state, .. } = kind { Some(state) } else { None };
    let ends = events.into_iter().filter_map(|event| end(event.kind)).collect();
    store.close().await;
    Ran { did: log.into_inner().unwrap(), result, journal, ends }
}

fn names(record: &OperationRecord) -> Vec<&str> {
    record.steps.iter().map(|step| step.name.as_str()).collect()
}

/// Resuming and destroying do so much, and resuming and then destroying undoes everything that was ever begun.
#[track_caller]
fn check(journaled: &str, steps: Vec<Step<Log>>, resumed: &str, destroyed: &str, both: &str) {
    block_on(async {
        let record = journal(journaled);
        let ran = run(&record, &steps, true).await;
        ran.result.unwrap();
        assert_eq!((ran.did.join(" ").as_str(), ran.ends), (destroyed, vec![OperationState::Undone]), "destroyed");
        let ran = run(&record, &steps, false).await;
        ran.result.unwrap();
        assert_eq!((ran.did.join(" ").as_str(), ran.ends), (resumed, vec![OperationState::Succeeded]), "resumed");
        assert!(ran.journal.steps.iter().all(|step| step.state == StepState::Done), "{:?}", ran.journal.steps);
        let ran = run(&ran.journal, &steps, true).await;
        ran.result.unwrap();
        assert_eq!(ran.did.join(" "), both, "resumed, then destroyed");
        assert!(ran.journal.steps.iter().all(|step| step.state == StepState::Undone), "{:?}", ran.journal.steps);
    });
}

#[test]
fn of_its_own_version() {
    check("one+ two* three", list(), "+two +three", "-two -one", "-three -two -one");
}

#[test]
fn a_new_step_is_run_where_it_stands() {
    let inserted = |at: usize| {
        let mut steps = list();
        steps.insert(at, four());
        steps
    };
    check("one+ two* three", inserted(0), "+four +two +three", "-two -one", "-three -two -one -four");
    check("one+ two+ three*", inserted(1), "+four +three", "-three -two -one", "-three -two -four -one");
    check("one+ two* three", inserted(3), "+two +three +four", "-two -one", "-four -three -two -one");
    // Also where the earlier version had nothing left to do.
    check("one+ two+ three+", inserted(2), "+four", "-three -two -one", "-three -four -two -one");
}

#[test]
fn a_retired_step_is_only_undone() {
    let retired = || {
        let mut steps = list();
        steps[1] = Step::retired("two", Phase::Create).undone_by(two::undo);
        steps
    };
    check("one+ two+ three*", retired(), "+three", "-three -two -one", "-three -two -one");
    check("one+ two* three", retired(), "+three", "-two -one", "-three -two -one");
    check("one* two three", retired(), "+one +three", "-one", "-three -one");
    assert_eq!(names(&begun(about(), OperationKind::Create, &(), &retired())), ["one", "three"], "nothing new has it");
}

#[test]
fn a_renamed_step_is_the_same() {
    let renamed = || {
        let mut steps = list();
        steps[1] = Step::new("second", Phase::Create, two::forward).undone_by(two::undo).formerly(&["zwei", "two"]);
        steps
    };
    check("one+ two+ three*", renamed(), "+three", "-three -two -one", "-three -two -one");
    check("one+ zwei* three", renamed(), "+two +three", "-two -one", "-three -two -one");
    let resumed = block_on(run(&journal("one+ two* three"), &renamed(), false)).journal;
    assert_eq!(names(&resumed), ["one", "second", "three"]);
}

#[test]
fn steps_in_another_order() {
    let reordered = || {
        let mut steps = list();
        steps.rotate_left(1);
        steps
    };
    // Undone in the order of the journal; gone on with, and from then on undone, in the order of the list.
    check("one+ two* three", reordered(), "+two +three", "-two -one", "-one -three -two");
    check("one* two three", reordered(), "+two +three +one", "-one", "-one -three -two");
}

#[test]
fn what_was_begun_and_is_not_known_is_refused_before_anything_is_touched() {
    for destroy in [false, true] {
        let record = journal("one+ five* two three");
        let Ran { did, result, journal, ends } = block_on(run(&record, &list(), destroy));
        let Failure { message, hints, .. } = result.expect_err("it is not known");
        assert!(message.contains("has a step `five`, which this version does not know"), "{message}");
        assert!(hints.iter().any(|hint| hint.in_words(|_| String::new()).contains("newer version")), "{hints:?}");
        assert_eq!((did.len(), ends.len(), journal.steps), (0, 0, record.steps));
    }
    // What was not begun left nothing.
    check("one+ two* five three", list(), "+two +three", "-two -one", "-three -two -one");
}
