//! What steps find out, for the steps after them.
//!
//! Each step declares the type of its own output beside its function, and returns one. The journal keeps it with the step, so nothing
//! central knows all outputs: whoever needs one asks [`Outputs`] for its type. Steps and undos only ever see what has been through the
//! journal's JSON, also in the run that found it, so a run that is gone on with sees the very same.

use crate::{
    error::{Blame, Failure, Result},
    model::{OperationRecord, StepRecord, StepState},
    operation::Step,
};
use serde::{Serialize, de::DeserializeOwned};
use std::any::{Any, TypeId, type_name};

/// What one step finds out: plain data without secrets. Within an operation each type is the output of one step; `()` is that of steps
/// that find out nothing.
pub trait Output: Serialize + DeserializeOwned + Any + Send + Sync {}

impl<T: Serialize + DeserializeOwned + Any + Send + Sync> Output for T {}

type Value = Box<dyn Any + Send + Sync>;

/// The type of a step's output.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputType {
    id: TypeId,
    pub(super) name: &'static str,
    read: fn(&str) -> serde_json::Result<Value>,
}

impl OutputType {
    /// `None` for `()`.
    pub(super) fn of<T: Output>() -> Option<Self> {
        let id = TypeId::of::<T>();
        (id != TypeId::of::<()>()).then(|| Self { id, name: short_name::<T>(), read: read::<T> })
    }
}

fn read<T: Output>(json: &str) -> serde_json::Result<Value> {
    Ok(Box::new(serde_json::from_str::<T>(json)?))
}

fn short_name<T>() -> &'static str {
    let name = type_name::<T>();
    name.rsplit("::").next().unwrap_or(name)
}

/// What the steps of an operation have found out so far.
#[derive(Debug)]
pub struct Outputs {
    found: Vec<Found>,
    /// The step that reads them now; empty once all are done.
    pub(super) reader: &'static str,
}

#[derive(Debug)]
struct Found {
    step: &'static str,
    output: OutputType,
    /// `None`: not found out yet.
    value: Option<Value>,
}

impl Outputs {
    /// What an earlier step found out. It is a [`Blame::Bug`] where there is none, for then the steps are in the wrong order.
    pub fn get<T: Output>(&self) -> Result<&T> {
        self.find().ok_or_else(|| {
            let reader = match self.reader {
                "" => "the end of the operation".to_owned(),
                step => format!("step `{step}`"),
            };
            let wanted = short_name::<T>();
            let why = match self.found.iter().find(|found| found.output.id == TypeId::of::<T>()) {
                Some(found) => format!("step `{}` has not found it out", found.step),
                None => "no step finds it out".to_owned(),
            };
            Failure::new(Blame::Bug, format!("{reader} needs the output `{wanted}`, and {why}"))
        })
    }

    /// The same for undos, which also run where that step never came to its end.
    pub fn find<T: Output>(&self) -> Option<&T> {
        self.found.iter().filter_map(|found| found.value.as_ref()).find_map(|value| value.downcast_ref())
    }

    /// What the journal has of these steps, each of which stands at its index there.
    pub(super) fn journaled<'s, C: 's>(
        record: &OperationRecord,
        steps: impl IntoIterator<Item = Option<&'s Step<C>>>,
    ) -> Result<Self> {
        let mut outputs = Self { found: Vec::new(), reader: "" };
        for (recorded, step) in record.steps.iter().zip(steps) {
            let Some((step, output)) = step.and_then(|step| Some((step.name, step.output?))) else { continue };
            let value = match &recorded.output {
                Some(json) => Some((output.read)(json).map_err(|error| record.unreadable(&error))?),
                // An output that is newer than that version is not in there.
                None if was_done(recorded) => (output.read)(&record.outputs).ok(),
                None => None,
            };
            outputs.found.push(Found { step, output, value });
        }
        Ok(outputs)
    }

    /// Takes what a step found out, as the journal will have it.
    pub(super) fn take<C>(&mut self, step: &Step<C>, json: &str) -> Result<()> {
        let Some(found) = self.found.iter_mut().find(|found| found.step == step.name) else { return Ok(()) };
        let value = (found.output.read)(json).map_err(|error| {
            let message = format!("the output `{}` of step `{}` can't be read back", found.output.name, step.name);
            Failure::new(Blame::Bug, error.to_string()).because_of(message)
        })?;
        found.value = Some(value);
        Ok(())
    }
}

/// Whether an earlier version, which kept the outputs of all steps in one object, had this step's in it.
fn was_done(recorded: &StepRecord) -> bool {
    matches!(recorded.state, StepState::Done | StepState::Undoing)
}
