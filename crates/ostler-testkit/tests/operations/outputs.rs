//! What steps find out: seen by later steps, by undos and by whoever ran them, also where another process goes on.

use crate::{
    bench::{about, web},
    cases::{at, block_on},
};
use ostler_core::{
    Blame, Failure, Result,
    model::{OperationKind, OperationRecord, Phase, StepRecord, StepState},
    operation::{Driver, EventLog, Interrupt, Outputs, Step, begun},
    ports::Store,
};
use ostler_store::SeaStore;
use ostler_testkit::world::{Effect, Fault, Faults, FaultyStore, Moment, set_step};
use serde::{Deserialize, Serialize};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

/// What the steps work with.
#[derive(Default)]
struct Context {
    /// Each draw gives another number, as a choice would that only execution can make.
    drawn: AtomicU32,
    /// What steps and undos saw.
    seen: Mutex<Vec<String>>,
}

impl Context {
    fn draw(&self) -> u32 {
        self.drawn.fetch_add(1, Ordering::Relaxed)
    }

    fn see(&self, words: String) {
        self.seen.lock().unwrap().push(words);
    }
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Disk {
    disk: u32,
}

async fn make_disk(ctx: &Context, _: &Outputs) -> Result<Disk> {
    Ok(Disk { disk: ctx.draw() })
}

async fn remove_disk(ctx: &Context, outputs: &Outputs) -> Result<()> {
    ctx.see(format!("disk {:?} is removed", outputs.find().map(|Disk { disk }| disk)));
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Address {
    address: String,
}

async fn boot(ctx: &Context, outputs: &Outputs) -> Result<Address> {
    let Disk { disk } = outputs.get()?;
    Ok(Address { address: format!("{} of disk {disk}", ctx.draw()) })
}

async fn look(ctx: &Context, outputs: &Outputs) -> Result<()> {
    let (Disk { disk }, Address { address }) = (outputs.get()?, outputs.get()?);
    ctx.see(format!("disk {disk}, address {address}"));
    Ok(())
}

fn steps() -> Vec<Step<Context>> {
    vec![
        Step::new("disk", Phase::Create, make_disk).undone_by(remove_disk),
        Step::new("boot", Phase::Create, boot),
        Step::new("look", Phase::Create, look),
    ]
}

/// A journal over a real store.
struct Journal {
    _dir: tempfile::TempDir,
    store: SeaStore,
    id: ostler_core::ids::OperationId,
}

impl Journal {
    async fn of(record: &OperationRecord) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let store = SeaStore::open_sqlite(dir.path()).await.unwrap();
        store.begin_operation(record).await.unwrap();
        Self { _dir: dir, store, id: record.id }
    }

    async fn new() -> Self {
        Self::of(&begun(about(), OperationKind::Create, &(), &steps())).await
    }

    async fn record(&self) -> OperationRecord {
        self.store.operation(self.id).await.unwrap().expect("it was begun")
    }

    /// As a new process would.
    async fn drive<T>(
        &self,
        fault: Option<Fault>,
        work: impl AsyncFnOnce(&Driver<'_>, &mut OperationRecord) -> Result<T>,
    ) -> Result<T> {
        let (ctrl_c, interrupt) = Interrupt::new();
        let store = Arc::new(FaultyStore { store: self.store.clone(), faults: Arc::new(Faults::new(fault, ctrl_c)) });
        let mut record = self.record().await;
        let log = EventLog::new(store.clone());
        let reporter = log.scope(Some((record.subject, &web().name)), Some(record.id));
        let driver = Driver { store: &*store, reporter: &reporter, interrupt: &interrupt };
        work(&driver, &mut record).await
    }

    async fn forward(&self, steps: &[Step<Context>], ctx: &Context, fault: Option<Fault>) -> Result<Outputs> {
        self.drive(fault, async |driver, record| driver.forward(record, steps, ctx).await).await
    }

    async fn unwind(&self, ctx: &Context) {
        self.drive(None, async |driver, record| driver.unwind(record, &steps(), ctx).await).await.unwrap();
    }
}

#[test]
fn whoever_goes_on_at_any_boundary_sees_the_same() {
    let around = |step: Step<Context>| {
        let fail = |state, moment| at(&set_step(OperationKind::Create, step.name, state), moment, Effect::Fail);
        [(StepState::Started, Moment::After), (StepState::Done, Moment::Before), (StepState::Done, Moment::After)]
            .map(|(state, moment)| fail(state, moment))
    };
    for fault in steps().into_iter().flat_map(around) {
        block_on(async {
            let (journal, ctx) = (Journal::new().await, Context::default());
            journal.forward(&steps(), &ctx, Some(fault.clone())).await.expect_err("the store failed");
            let done: Vec<_> = journal.record().await.steps;
            let outputs = journal.forward(&steps(), &ctx, None).await.unwrap();
            let (Disk { disk }, Address { address }) = (outputs.get().unwrap(), outputs.get().unwrap());
            let record = journal.record().await;
            assert_eq!(record.steps[0].output, Some(format!("{{\"disk\":{disk}}}")), "{fault}");
            assert_eq!(record.steps[1].output, Some(format!("{{\"address\":\"{address}\"}}")), "{fault}");
            assert!(address.ends_with(&format!("of disk {disk}")), "{fault}: {address}");
            assert_eq!(ctx.seen.lock().unwrap().last(), Some(&format!("disk {disk}, address {address}")), "{fault}");
            for (before, now) in done.iter().zip(&record.steps).filter(|(before, _)| before.state == StepState::Done) {
                assert_eq!(before, now, "{fault}: it was done already");
            }
        });
    }
}

#[test]
fn an_undo_sees_what_its_step_found_out_where_that_came_to_its_end() {
    let end = |moment| Some(at(&set_step(OperationKind::Create, "disk", StepState::Done), moment, Effect::Fail));
    for (fault, seen) in [
        (None, "disk Some(0) is removed"),
        (end(Moment::After), "disk Some(0) is removed"),
        (end(Moment::Before), "disk None is removed"),
    ] {
        block_on(async {
            let (journal, ctx) = (Journal::new().await, Context::default());
            let _ = journal.forward(&steps(), &ctx, fault).await;
            journal.unwind(&ctx).await;
            assert_eq!(ctx.seen.lock().unwrap().last().unwrap(), seen);
        });
    }
}

/// A journal of a version that kept what all steps found out in one object.
fn earlier(outputs: &str, states: [StepState; 3]) -> OperationRecord {
    let steps =
        steps().into_iter().zip(states).map(|(step, state)| StepRecord { state, ..StepRecord::pending(step.name) });
    let record = begun::<Context>(about(), OperationKind::Create, &(), &[]);
    OperationRecord { outputs: outputs.to_owned(), steps: steps.collect(), ..record }
}

#[test]
fn what_an_earlier_version_found_out_is_seen() {
    use StepState::{Done, Pending, Started};
    block_on(async {
        let ctx = Context::default();
        let journal = Journal::of(&earlier(r#"{"disk":7,"address":null}"#, [Done, Started, Pending])).await;
        journal.forward(&steps(), &ctx, None).await.unwrap();
        journal.unwind(&ctx).await;
        assert_eq!(*ctx.seen.lock().unwrap(), ["disk 7, address 0 of disk 7", "disk Some(7) is removed"]);
        // What an object says of a step that never came to its end is no finding.
        let ctx = Context::default();
        let journal = Journal::of(&earlier(r#"{"disk":0}"#, [Started, Pending, Pending])).await;
        journal.unwind(&ctx).await;
        assert_eq!(*ctx.seen.lock().unwrap(), ["disk None is removed"]);
    });
}

#[test]
fn a_renamed_step_keeps_what_it_found_out() {
    block_on(async {
        let (journal, ctx) = (Journal::new().await, Context::default());
        let fault = at(&set_step(OperationKind::Create, "boot", StepState::Started), Moment::After, Effect::Fail);
        journal.forward(&steps(), &ctx, Some(fault)).await.expect_err("it was stopped");
        let mut renamed = steps();
        renamed[0] = Step::new("volume", Phase::Create, make_disk).formerly(&["disk"]);
        let outputs = journal.forward(&renamed, &ctx, None).await.unwrap();
        assert_eq!(outputs.get::<Disk>().unwrap(), &Disk { disk: 0 });
        assert_eq!(journal.record().await.steps[0].output.as_deref(), Some(r#"{"disk":0}"#));
    });
}

/// How these steps fail.
fn fault_of(steps: &[Step<Context>]) -> (Failure, Vec<StepRecord>) {
    block_on(async {
        let journal = Journal::of(&begun(about(), OperationKind::Create, &(), steps)).await;
        let failure = journal.forward(steps, &Context::default(), None).await.expect_err("it is a bug");
        assert_eq!(failure.blame, Blame::Bug, "{failure:?}");
        (failure, journal.record().await.steps)
    })
}

#[test]
fn an_output_that_is_not_there_is_a_bug_that_names_both_steps() {
    let mut reordered = steps();
    reordered.swap(0, 1);
    let (failure, _) = fault_of(&reordered);
    assert_eq!(failure.message, "step `boot` needs the output `Disk`, and step `disk` has not found it out");
    let (failure, _) = fault_of(&steps()[1..]);
    assert_eq!(failure.message, "step `boot` needs the output `Disk`, and no step finds it out");
    block_on(async {
        let outputs = Journal::new().await.forward(&[], &Context::default(), None).await.unwrap();
        let failure = outputs.get::<Disk>().expect_err("nothing was found out");
        assert_eq!(failure.message, "the end of the operation needs the output `Disk`, and no step finds it out");
    });
}

/// It is not written as it is read.
#[derive(Serialize, Deserialize)]
struct Lossy {
    #[serde(rename(serialize = "written"))]
    lost: u32,
}

async fn lose(ctx: &Context, _: &Outputs) -> Result<Lossy> {
    Ok(Lossy { lost: ctx.draw() })
}

#[test]
fn an_output_that_the_journal_can_not_give_back_is_a_bug_before_the_step_is_done() {
    let (failure, journal) = fault_of(&[Step::new("lose", Phase::Create, lose)]);
    assert!(failure.message.contains("the output `Lossy` of step `lose` can't be read back"), "{failure:?}");
    assert_eq!((journal[0].state, &journal[0].output), (StepState::Started, &None));
}
