//! Runs the steps of an operation forward or backward, and journals each before and after.
//!
//! The rules: a step is journaled as started before it acts and as done, with what it found out, in one transaction
//! after. So after a crash at most one step is in doubt, and it is simply run (or undone) again.

use crate::{
    error::{Blame, Failure, Result},
    event::EventKind,
    ids::{OperationId, ServerName},
    operation::{OperationKind, OperationRecord, OperationState, Step, StepRecord, StepState},
    ports::{Reporter, Store},
};
use serde::{Serialize, de::DeserializeOwned};
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
    /// Takes this operation's events.
    pub reporter: &'a dyn Reporter,
    /// Ctrl-C.
    pub interrupt: &'a Interrupt,
}

impl Driver<'_> {
    /// Runs all steps that are not done, in order; returns the outputs.
    ///
    /// On failure the operation is left `Failed` at its step, to be resumed or unwound.
    pub async fn forward<C, O>(&self, record: &mut OperationRecord, steps: &[Step<C, O>], ctx: &C) -> Result<O>
    where
        C: Sync,
        O: Serialize + DeserializeOwned + Send,
    {
        check_steps(record, steps)?;
        let begun = Instant::now();
        let mut outputs: O = record.read_outputs()?;
        self.set_state(record, OperationState::Running, None).await?;
        let first = record.steps.iter().position(|s| s.state != StepState::Done).unwrap_or(steps.len());
        self.started(record.kind, steps, first).await;
        for (index, step) in steps.iter().enumerate().filter(|(index, step)| *index >= first || step.again) {
            let result = if self.interrupt.is_set() {
                Err(Interrupt::failure())
            } else {
                self.run_step(record, index, step, ctx, &mut outputs).await
            };
            if let Err(failure) = result {
                let failure = with_way_on(failure, record);
                self.report(EventKind::StepFailed { index, step: step.name.into(), failure: failure.clone() }).await;
                self.end(record, OperationState::Failed, Some(&failure), begun).await?;
                return Err(failure);
            }
        }
        self.end(record, OperationState::Succeeded, None, begun).await?;
        Ok(outputs)
    }

    /// Undoes all steps that were begun, last first.
    ///
    /// An undo that fails does not keep the others from running: what can be removed is removed, and the operation is
    /// left `Stuck` with a failure that says what is left.
    pub async fn unwind<C, O>(&self, record: &mut OperationRecord, steps: &[Step<C, O>], ctx: &C) -> Result<()>
    where
        C: Sync,
        O: Serialize + DeserializeOwned + Send,
    {
        check_steps(record, steps)?;
        let begun = Instant::now();
        let mut outputs: O = record.read_outputs()?;
        self.set_state(record, OperationState::Unwinding, None).await?;
        let names = steps.iter().rev().filter(|s| s.undo.is_some()).map(|s| s.name.to_owned()).collect();
        self.report(EventKind::UnwindStarted { steps: names }).await;
        let mut stuck: Option<Failure> = None;
        for (index, step) in steps.iter().enumerate().rev() {
            if matches!(record.steps[index].state, StepState::Pending | StepState::Undone) {
                continue;
            }
            if self.interrupt.is_set() {
                return Err(Interrupt::failure());
            }
            if let Err(failure) = self.undo_step(record, index, step, ctx, &mut outputs).await {
                self.report(EventKind::UndoFailed { index, step: step.name.into(), failure: failure.clone() }).await;
                stuck.get_or_insert(failure);
            }
        }
        match stuck {
            None => self.end(record, OperationState::Undone, None, begun).await,
            Some(failure) => {
                self.end(record, OperationState::Stuck, Some(&failure), begun).await?;
                Err(failure)
            }
        }
    }

    async fn run_step<C, O>(
        &self,
        record: &mut OperationRecord,
        index: usize,
        step: &Step<C, O>,
        ctx: &C,
        outputs: &mut O,
    ) -> Result<()>
    where
        O: Serialize,
    {
        let begun = Instant::now();
        self.set_step(record, index, StepState::Started, outputs).await?;
        self.report(EventKind::StepStarted { index, step: step.name.into(), phase: step.phase }).await;
        (step.forward)(ctx, outputs).await?;
        self.set_step(record, index, StepState::Done, outputs).await?;
        let seconds = begun.elapsed().as_secs_f64();
        self.report(EventKind::StepDone { index, step: step.name.into(), seconds }).await;
        Ok(())
    }

    async fn undo_step<C, O>(
        &self,
        record: &mut OperationRecord,
        index: usize,
        step: &Step<C, O>,
        ctx: &C,
        outputs: &mut O,
    ) -> Result<()>
    where
        O: Serialize,
    {
        if let Some(undo) = step.undo {
            self.set_step(record, index, StepState::Undoing, outputs).await?;
            self.report(EventKind::UndoStarted { index, step: step.name.into() }).await;
            undo(ctx, outputs).await?;
            self.report(EventKind::UndoDone { index, step: step.name.into() }).await;
        }
        self.set_step(record, index, StepState::Undone, outputs).await
    }

    async fn started<C, O>(&self, kind: OperationKind, steps: &[Step<C, O>], first: usize) {
        let steps = steps.iter().map(|s| (s.phase, s.name.to_owned())).collect();
        self.report(EventKind::OperationStarted { operation_kind: kind, steps, first }).await;
    }

    async fn end(
        &self,
        record: &mut OperationRecord,
        state: OperationState,
        failure: Option<&Failure>,
        begun: Instant,
    ) -> Result<()> {
        self.set_state(record, state, failure).await?;
        let seconds = begun.elapsed().as_secs_f64();
        self.report(EventKind::OperationEnded { state, failure: failure.cloned(), seconds }).await;
        Ok(())
    }

    async fn set_state(
        &self,
        record: &mut OperationRecord,
        state: OperationState,
        failure: Option<&Failure>,
    ) -> Result<()> {
        self.store.set_operation_state(record.id, state, failure).await?;
        record.state = state;
        record.failure = failure.cloned();
        Ok(())
    }

    async fn set_step<O: Serialize>(
        &self,
        record: &mut OperationRecord,
        index: usize,
        state: StepState,
        outputs: &O,
    ) -> Result<()> {
        let outputs = to_json(outputs);
        self.store.set_step(record.id, index, state, &outputs).await?;
        record.steps[index].state = state;
        record.outputs = outputs;
        Ok(())
    }

    async fn report(&self, kind: EventKind) {
        self.reporter.report(kind).await;
    }
}

/// The journal's record of an operation that begins now. It holds no secret, nor does its plan.
pub fn begun<C, O: Default + Serialize>(
    server: &ServerName,
    kind: OperationKind,
    plan: &impl Serialize,
    steps: &[Step<C, O>],
) -> OperationRecord {
    OperationRecord {
        id: OperationId::new(),
        server: server.clone(),
        kind,
        state: OperationState::Running,
        plan: to_json(plan),
        outputs: to_json(&O::default()),
        steps: pending_steps(steps),
        failure: None,
        started: jiff::Timestamp::now(),
        ended: None,
    }
}

/// Journal entries of steps that are not begun.
pub fn pending_steps<C, O>(steps: &[Step<C, O>]) -> Vec<StepRecord> {
    steps.iter().map(|s| StepRecord { name: s.name.to_owned(), state: StepState::Pending }).collect()
}

/// JSON of a recorded plan or outputs. Both are plain data of this crate, so it can't fail.
pub fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plans and outputs are plain data")
}

/// A journal is only followed by the same steps that wrote it.
fn check_steps<C, O>(record: &OperationRecord, steps: &[Step<C, O>]) -> Result<()> {
    if record.steps.iter().map(|s| s.name.as_str()).eq(steps.iter().map(|s| s.name)) {
        return Ok(());
    }
    Err(Failure::new(
        Blame::Bug,
        format!("operation {} of {} was journaled with other steps than this version has", record.id, record.server),
    )
    .with_hint("use the version that began it"))
}

/// Says how to go on, unless the failure has better advice.
fn with_way_on(mut failure: Failure, record: &OperationRecord) -> Failure {
    failure.hint.get_or_insert_with(|| format!("`ostler resume {}` goes on from here", record.server));
    failure
}
