//! A step: one action of an operation, with its undo directly below it.

use crate::{
    error::Result,
    model::Phase,
    operation::{Output, OutputType, Outputs, to_json},
};
use futures::future::BoxFuture;

/// The function of a step or of an undo: any `async fn(&C, &Outputs) -> Result<T>`. A trait, because no bound of `AsyncFn` can say yet
/// that its futures are `Send`.
pub trait StepFn<C, O, T>: Send + Sync + 'static {
    /// Calls it.
    fn call(&self, ctx: C, outputs: O) -> impl Future<Output = Result<T>> + Send;
}

impl<C, O, T, F, Fut> StepFn<C, O, T> for F
where
    F: Fn(C, O) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T>> + Send,
{
    fn call(&self, ctx: C, outputs: O) -> impl Future<Output = Result<T>> + Send {
        self(ctx, outputs)
    }
}

/// A function without the type of what it returns.
type Erased<C, T> = Box<dyn for<'a> Fn(&'a C, &'a Outputs) -> BoxFuture<'a, Result<T>> + Send + Sync>;

/// One step of an operation over the context `C`.
///
/// Its function reads the context and what earlier steps found out, and returns what it finds out itself: `()`, or a type of its own that
/// stands beside it ([`Output`]).
///
/// The function may be called again after it was killed or failed at any point, so it adopts what it finds of its own. Its undo
/// likewise, and also where the function never came to do anything.
///
/// Journals name steps, also those that an earlier version wrote. So a step never just goes out of the list: one that
/// is no longer done becomes [`Step::retired`] in its place, and one that gets another name keeps the old one by
/// [`Step::formerly`].
pub struct Step<C> {
    /// Unique within the operation.
    pub name: &'static str,
    /// Names that earlier versions gave it.
    pub former: &'static [&'static str],
    /// The phase that people see.
    pub phase: Phase,
    /// Returns the output as JSON, if the step has any; `None`: only earlier versions did it.
    pub(super) forward: Option<Erased<C, Option<String>>>,
    /// What the function finds out, unless that is nothing.
    pub(super) output: Option<OutputType>,
    /// `None` where nothing is left behind.
    pub(super) undo: Option<Erased<C, ()>>,
    /// A precondition of the later steps that may have ceased to hold, such as that the machine runs: done again when the
    /// operation is resumed behind it.
    pub again: bool,
    /// Not undone while the undo of a later step fails: that undo needs what this step made, such as a key or an address.
    pub undone_last: bool,
}

impl<C: Sync> Step<C> {
    /// A step that leaves nothing behind.
    pub fn new<T: Output, F>(name: &'static str, phase: Phase, forward: F) -> Self
    where
        F: for<'a> StepFn<&'a C, &'a Outputs, T> + Copy,
    {
        let output = OutputType::of::<T>();
        let forward: Erased<C, Option<String>> = Box::new(move |ctx, outputs| {
            Box::pin(async move {
                let found = forward.call(ctx, outputs).await?;
                Ok(output.map(|_| to_json(&found)))
            })
        });
        Self { forward: Some(forward), output, ..Self::retired(name, phase) }
    }

    /// A step that is done again when the operation is resumed behind it.
    pub fn precondition<T: Output, F>(name: &'static str, phase: Phase, forward: F) -> Self
    where
        F: for<'a> StepFn<&'a C, &'a Outputs, T> + Copy,
    {
        Self { again: true, ..Self::new(name, phase, forward) }
    }

    /// A step that only earlier versions did: it is never done any more, and undone where one of them began it.
    pub fn retired(name: &'static str, phase: Phase) -> Self {
        Self { name, former: &[], phase, forward: None, output: None, undo: None, again: false, undone_last: false }
    }

    /// The same step with its undo.
    pub fn undone_by<F>(self, undo: F) -> Self
    where
        F: for<'a> StepFn<&'a C, &'a Outputs, ()> + Copy,
    {
        Self {
            undo: Some(Box::new(move |ctx, outputs| Box::pin(async move { undo.call(ctx, outputs).await }))),
            ..self
        }
    }

    /// The same step, whose undo waits until the undos of all later steps have succeeded.
    pub fn undone_last(self) -> Self {
        Self { undone_last: true, ..self }
    }

    /// The same step, which earlier versions gave these names.
    pub fn formerly(self, former: &'static [&'static str]) -> Self {
        Self { former, ..self }
    }
}

impl<C> Step<C> {
    /// Whether a journal means this step by `name`.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.former.contains(&name)
    }
}
