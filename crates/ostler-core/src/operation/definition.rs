//! What an operation is, as data: its kind and its steps, without the context that they work in.

use crate::{
    model::{OperationKind, Phase},
    operation::Step,
};

/// One operation, as it is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Unique among the operations. Several may be of one kind, such as those that make a server and take one over.
    pub name: &'static str,
    /// What the journal calls it.
    pub kind: OperationKind,
    /// What it does, in order. Steps that only earlier versions did are not among them.
    pub steps: Vec<StepDefinition>,
}

/// One step of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepDefinition {
    /// Unique within the operation.
    pub name: &'static str,
    /// The phase that people see.
    pub phase: Phase,
    /// Whether it leaves something behind, which is undone.
    pub has_undo: bool,
    /// Whether it is done again when the operation is resumed behind it.
    pub again: bool,
    /// Type of what it finds out; unique within the operation.
    pub output: Option<&'static str>,
}

impl Definition {
    /// From the steps as they are run.
    pub fn new<C>(name: &'static str, kind: OperationKind, steps: &[Step<C>]) -> Self {
        let done = steps.iter().filter(|step| step.forward.is_some());
        let steps = done
            .map(|step| StepDefinition {
                name: step.name,
                phase: step.phase,
                has_undo: step.undo.is_some(),
                again: step.again,
                output: step.output.map(|output| output.name),
            })
            .collect();
        Self { name, kind, steps }
    }
}
