//! The cases of a table, worked on side by side, with the failed ones named.

use ostler_core::{
    model::{OperationKind, StepState},
    operation::Step,
    server::{apply, create, template},
};
use ostler_testkit::world::{Call, Effect, Fault, Moment, set_step};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Checks each case; says at the end which ones failed. What they said themselves stands above.
pub fn each<C: std::fmt::Display + Sync>(cases: &[C], check: impl AsyncFn(&C) + Sync) {
    assert!(!cases.is_empty(), "there are no cases");
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if catch_unwind(AssertUnwindSafe(|| block_on(check(case)))).is_err() {
                failed.lock().unwrap().push(case.to_string());
            }
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

/// Waits for it on this thread.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Names of an operation's steps, from its definition.
pub fn steps_of(kind: OperationKind) -> Vec<&'static str> {
    match kind {
        OperationKind::Create => names(&create::steps()),
        OperationKind::Apply => names(&apply::steps()),
        OperationKind::Template => names(&template::steps()),
    }
}

fn names<C, O>(steps: &[Step<C, O>]) -> Vec<&'static str> {
    steps.iter().filter(|step| step.forward.is_some()).map(|step| step.name).collect()
}

/// All that can go wrong around a step: an error before and after it took effect; a kill before, after, and after it was
/// journaled.
pub fn faults_around(kind: OperationKind, step: &str, begun: StepState, ended: StepState) -> Vec<Fault> {
    let at = |state, moment, effect| Fault { call: Call::Named(set_step(kind, step, state)), moment, effect };
    vec![
        at(begun, Moment::After, Effect::Fail),
        at(ended, Moment::Before, Effect::Fail),
        at(begun, Moment::After, Effect::Kill),
        at(ended, Moment::Before, Effect::Kill),
        at(ended, Moment::After, Effect::Kill),
    ]
}

/// A fault in the call of this name.
pub fn at(call: &str, moment: Moment, effect: Effect) -> Fault {
    Fault { call: Call::Named(call.into()), moment, effect }
}

/// A fault after each of the calls. Nothing hangs on an event, so those are left out.
pub fn after_each(calls: &[String], effect: Effect) -> Vec<Fault> {
    let numbers = calls.iter().enumerate().filter(|(_, call)| *call != "store.append_events").map(|(number, _)| number);
    numbers.map(|number| Fault { call: Call::Number(number), moment: Moment::After, effect }).collect()
}
