//! Runs the steps of an operation forward or backward, and journals each before and after.
//!
//! The rules: a step is journaled as started before it acts and as done, with its output, in one transaction after. So after a crash at most one step is in doubt, and it is simply run (or undone) again.
//!
//! A journal may be another version's, with other steps. It is read by names. Undoing follows the journal: what was begun is
//! undone, last first. Going on follows this version's list: what is done stays done, what the journal has not is run where
//! it stands in the list, and what only the earlier version did is not run any more; if it was begun it counts as done, and is
//! undone one day. A step that was begun and that this version does not know is refused before anything is touched.

use crate::{
    error::{Blame, Failure, Result},
    event::EventKind,
    hint::{Hint, Next},
    ids::{OperationId, ServerName},
    model::{OperationKind, OperationRecord, OperationState, StepRecord, StepState},
    operation::{Change, Outputs, ScopedReporter, Step},
    ports::{Reporter, Store},
    subject::{Subject, SubjectKind},
};
use serde::Serialize;
use std::time::Instant;
use tokio::sync::watch;

/// Whether the user asked to stop. Checked at step boundaries, and by steps that only wait.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// The switch and its listener.
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Whether it was asked.
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it was asked.
    pub async fn wait(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|set| *set).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The failure that an interrupted operation ends with.
    pub fn failure() -> Failure {
        Failure::new(Blame::Interrupted, "stopped on request")
    }
}

/// What is needed to run any operation.
pub struct Driver<'a> {
    /// The journal.
    pub store: &'a dyn Store,
    /// Takes this operation's events, and with them what changes in its journal.
    pub reporter: &'a ScopedReporter<'a>,
    /// Ctrl-C.
    pub interrupt: &'a Interrupt,
}

impl Driver<'_> {
    /// Runs all steps that are not done, in order; returns the outputs.
    ///
    /// On failure the operation is left `Failed` at its step, to be resumed or unwound.
    pub async fn forward<C: Sync>(&self, record: &mut OperationRecord, steps: &[Step<C>], ctx: &C) -> Result<Outputs> {
        let steps = self.follow_list(record, steps).await?;
        let begun = Instant::now();
        let mut outputs = Outputs::journaled(record, steps.iter().copied().map(Some))?;
        let is_done = |record: &OperationRecord, index: usize| record.steps[index].state == StepState::Done;
        let first =
            steps.iter().enumerate().position(|(index, step)| step.forward.is_some() && !is_done(record, index));
        let started = EventKind::OperationStarted {
            operation_kind: record.kind,
            steps: steps.iter().map(|step| (step.phase, step.name.to_owned())).collect(),
            first: first.unwrap_or(steps.len()),
        };
        self.reporter.journal(&Change::State(OperationState::Running, None), Some(started)).await?;
        (record.state, record.failure) = (OperationState::Running, None);
        for (index, step) in steps.iter().enumerate() {
            if step.forward.is_none() || is_done(record, index) && !step.again {
                continue;
            }
            let result = if self.interrupt.is_set() {
                Err(Interrupt::failure())
            } else {
                self.run_step(record, index, step, ctx, &mut outputs).await
            };
            if let Err(failure) = result {
                let failure = with_way_on(failure, record);
                self.report(EventKind::StepFailed { index, step: step.name.into(), failure: failure.clone() }).await;
                return Err(self.end(record, OperationState::Failed, begun, failure).await);
            }
        }
        self.reporter.end(OperationState::Succeeded, None, begun.elapsed().as_secs_f64()).await?;
        record.state = OperationState::Succeeded;
        outputs.reader = "";
        Ok(outputs)
    }

    /// Undoes all steps that were begun, last first.
    ///
    /// An undo that fails does not keep the others from running, but for those that are [`Step::undone_last`]: what can be removed is
    /// removed, and the operation is left `Stuck` with a failure that says what is left.
    pub async fn unwind<C: Sync>(&self, record: &mut OperationRecord, steps: &[Step<C>], ctx: &C) -> Result<()> {
        let steps = follow_journal(record, steps)?;
        let begun = Instant::now();
        let mut outputs = Outputs::journaled(record, steps.iter().copied())?;
        let with_undo = steps.iter().rev().flatten().filter(|step| step.undo.is_some());
        let started = EventKind::UnwindStarted { steps: with_undo.map(|step| step.name.to_owned()).collect() };
        self.reporter.journal(&Change::State(OperationState::Unwinding, None), Some(started)).await?;
        (record.state, record.failure) = (OperationState::Unwinding, None);
        let mut stuck: Option<Failure> = None;
        for (index, step) in steps.iter().enumerate().rev() {
            let Some(step) = step.filter(|_| record.steps[index].is_begun()) else { continue };
            if step.undone_last && stuck.is_some() {
                continue;
            }
            if self.interrupt.is_set() {
                let (failure, seconds) = (Interrupt::failure(), begun.elapsed().as_secs_f64());
                let state = OperationState::Unwinding;
                self.report(EventKind::OperationEnded { state, failure: Some(failure.clone()), seconds }).await;
                return Err(failure);
            }
            if let Err(failure) = self.undo_step(record, index, step, ctx, &mut outputs).await {
                self.report(EventKind::UndoFailed { index, step: step.name.into(), failure: failure.clone() }).await;
                stuck.get_or_insert(failure);
            }
        }
        if let Some(failure) = stuck {
            return Err(self.end(record, OperationState::Stuck, begun, failure).await);
        }
        self.reporter.end(OperationState::Undone, None, begun.elapsed().as_secs_f64()).await?;
        record.state = OperationState::Undone;
        Ok(())
    }

    async fn run_step<C>(
        &self,
        record: &mut OperationRecord,
        index: usize,
        step: &Step<C>,
        ctx: &C,
        outputs: &mut Outputs,
    ) -> Result<()> {
        let Some(forward) = &step.forward else { return Ok(()) };
        let begun = Instant::now();
        let name = || step.name.to_owned();
        let started = EventKind::StepStarted { index, step: name(), phase: step.phase };
        self.set_step(record, index, StepState::Started, None, Some(started)).await?;
        outputs.reader = step.name;
        let output = forward(ctx, outputs).await?;
        if let Some(json) = &output {
            outputs.take(step, json)?;
        }
        let done = EventKind::StepDone { index, step: name(), seconds: begun.elapsed().as_secs_f64() };
        self.set_step(record, index, StepState::Done, output, Some(done)).await
    }

    async fn undo_step<C>(
        &self,
        record: &mut OperationRecord,
        index: usize,
        step: &Step<C>,
        ctx: &C,
        outputs: &mut Outputs,
    ) -> Result<()> {
        let name = || step.name.to_owned();
        let Some(undo) = &step.undo else {
            return self.set_step(record, index, StepState::Undone, None, None).await;
        };
        let started = EventKind::UndoStarted { index, step: name() };
        self.set_step(record, index, StepState::Undoing, None, Some(started)).await?;
        outputs.reader = step.name;
        undo(ctx, outputs).await?;
        let done = EventKind::UndoDone { index, step: name() };
        self.set_step(record, index, StepState::Undone, None, Some(done)).await
    }

    /// Journals that the operation did not end well; returns why, also where even that can't be journaled.
    async fn end(
        &self,
        record: &mut OperationRecord,
        state: OperationState,
        begun: Instant,
        mut failure: Failure,
    ) -> Failure {
        match self.reporter.end(state, Some(&failure), begun.elapsed().as_secs_f64()).await {
            Ok(()) => (record.state, record.failure) = (state, Some(failure.clone())),
            Err(unrecorded) => failure.causes.push(format!("and it could not be journaled: {unrecorded}")),
        }
        failure
    }

    /// `output`: what the step has found out now; `None` leaves what it had.
    async fn set_step(
        &self,
        record: &mut OperationRecord,
        index: usize,
        state: StepState,
        output: Option<String>,
        event: Option<EventKind>,
    ) -> Result<()> {
        self.reporter.journal(&Change::Step(index, state, output.as_deref()), event).await?;
        let step = &mut record.steps[index];
        step.state = state;
        step.output = output.or_else(|| step.output.take());
        Ok(())
    }

    /// Brings the journal to this version's list of steps; returns the steps that it then has, each at its index.
    async fn follow_list<'s, C>(&self, record: &mut OperationRecord, steps: &'s [Step<C>]) -> Result<Vec<&'s Step<C>>> {
        follow_journal(record, steps)?;
        let (mut journal, mut listed) = (Vec::new(), Vec::new());
        for step in steps {
            let recorded = record.steps.iter().find(|recorded| step.is_called(&recorded.name));
            let state = match step.forward {
                Some(_) => recorded.map_or(StepState::Pending, |recorded| recorded.state),
                None if recorded.is_some_and(StepRecord::is_begun) => StepState::Done,
                None => continue,
            };
            let output = recorded.and_then(|recorded| recorded.output.clone());
            journal.push(StepRecord { name: step.name.to_owned(), state, output });
            listed.push(step);
        }
        if journal != record.steps {
            self.store.replace_steps(record.id, &journal).await?;
            record.steps = journal;
        }
        Ok(listed)
    }

    async fn report(&self, kind: EventKind) {
        self.reporter.report(kind).await;
    }
}

/// What this version knows of each step of the journal; nothing of one that was never begun may be known.
fn follow_journal<'s, C>(record: &OperationRecord, steps: &'s [Step<C>]) -> Result<Vec<Option<&'s Step<C>>>> {
    let step_of = |recorded: &StepRecord| {
        let step = steps.iter().find(|step| step.is_called(&recorded.name));
        if step.is_none() && recorded.is_begun() {
            let OperationRecord { id, name, .. } = record;
            let message =
                format!("operation {id} of {name} has a step `{}`, which this version does not know", recorded.name);
            return Err(Failure::new(Blame::User, message)
                .with_hint("a newer version began it: use that one, or a later one; nothing was touched"));
        }
        Ok(step)
    };
    record.steps.iter().map(step_of).collect()
}

/// The journal's record of an operation that begins now. It holds no secret, nor does its plan.
pub fn begun<C>(
    (subject, name): (Subject, &str),
    kind: OperationKind,
    plan: &impl Serialize,
    steps: &[Step<C>],
) -> OperationRecord {
    OperationRecord {
        id: OperationId::new(),
        subject,
        name: name.to_owned(),
        kind,
        state: OperationState::Running,
        plan: to_json(plan),
        outputs: "{}".to_owned(),
        steps: pending_steps(steps),
        failure: None,
        started: jiff::Timestamp::now(),
        ended: None,
    }
}

/// Journal entries of steps that are not begun.
pub fn pending_steps<C>(steps: &[Step<C>]) -> Vec<StepRecord> {
    let own = steps.iter().filter(|step| step.forward.is_some());
    own.map(|step| StepRecord::pending(step.name)).collect()
}

/// JSON of a recorded plan or output. Both are plain data of this crate, so it can't fail.
pub fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plans and outputs are plain data")
}

/// Says how to go on, unless the failure has better advice.
fn with_way_on(failure: Failure, record: &OperationRecord) -> Failure {
    match ServerName::parse(&record.name) {
        Ok(server) if record.subject.kind == SubjectKind::Server => {
            failure.or_hint(Hint::from(Next::Resume(server)).with(" goes on from here"))
        }
        _ => failure,
    }
}
