//! A step: one action of an operation, with its undo directly below it.

use crate::{error::Result, model::Phase};
use futures::future::BoxFuture;

/// What a step's function returns.
pub type StepFuture<'a> = BoxFuture<'a, Result<()>>;

/// A step's function: reads the context, may add to the outputs.
pub type StepFn<C, O> = for<'a> fn(&'a C, &'a mut O) -> StepFuture<'a>;

/// One step of an operation over the context `C`, whose findings are kept in `O`.
///
/// `forward` may be called again after it was killed or failed at any point, so it adopts what it finds of its own.
/// `undo` likewise, and also where `forward` never came to do anything.
///
/// Journals name steps, also those that an earlier version wrote. So a step never just goes out of the list: one that
/// is no longer done becomes [`Step::retired`] in its place, and one that gets another name keeps the old one by
/// [`Step::formerly`].
pub struct Step<C, O> {
    /// Unique within the operation.
    pub name: &'static str,
    /// Names that earlier versions gave it.
    pub former: &'static [&'static str],
    /// The phase that people see.
    pub phase: Phase,
    /// The action; `None`: only earlier versions did it.
    pub forward: Option<StepFn<C, O>>,
    /// Its undo; `None` where nothing is left behind.
    pub undo: Option<StepFn<C, O>>,
    /// A precondition of the later steps that may have ceased to hold, such as that the machine runs: done again when the
    /// operation is resumed behind it.
    pub again: bool,
    /// Not undone while the undo of a later step fails: that undo needs what this step made, such as a key or an address.
    pub undone_last: bool,
}

impl<C, O> Step<C, O> {
    /// A step that leaves nothing behind.
    pub const fn new(name: &'static str, phase: Phase, forward: StepFn<C, O>) -> Self {
        Self { name, former: &[], phase, forward: Some(forward), undo: None, again: false, undone_last: false }
    }

    /// A step that is done again when the operation is resumed behind it.
    pub const fn precondition(name: &'static str, phase: Phase, forward: StepFn<C, O>) -> Self {
        Self { again: true, ..Self::new(name, phase, forward) }
    }

    /// A step with an undo.
    pub const fn with_undo(name: &'static str, phase: Phase, forward: StepFn<C, O>, undo: StepFn<C, O>) -> Self {
        Self { undo: Some(undo), ..Self::new(name, phase, forward) }
    }

    /// The same step, whose undo waits until the undos of all later steps have succeeded.
    pub const fn undone_last(self) -> Self {
        Self { undone_last: true, ..self }
    }

    /// A step that only earlier versions did: it is never done any more, and undone where one of them began it.
    pub const fn retired(name: &'static str, phase: Phase, undo: Option<StepFn<C, O>>) -> Self {
        Self { name, former: &[], phase, forward: None, undo, again: false, undone_last: false }
    }

    /// The same step, which earlier versions gave these names.
    pub const fn formerly(self, former: &'static [&'static str]) -> Self {
        Self { former, ..self }
    }

    /// Whether a journal means this step by `name`.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.former.contains(&name)
    }
}
