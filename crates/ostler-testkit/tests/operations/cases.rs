//! The cases of a table, worked on side by side, with the failed ones named.

use crate::bench::Verb;
use ostler_core::{
    Failure,
    hint::Next,
    model::{OperationKind, StepState},
    server::operations,
};
use ostler_testkit::world::{Call, Effect, Fault, Moment, set_step};
use std::{
    fmt,
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

/// What a failure advises, in words.
pub fn advice(failure: &Failure) -> String {
    let called = |action: &Next| match action {
        Next::Resume(server) => format!("resume {server}"),
        Next::Destroy(server) => format!("destroy {server}"),
        Next::Up { file: Some(file) } => format!("up {file}"),
        Next::UpAgain => "up".to_owned(),
        Next::ShowLog(server) => format!("log of {server}"),
        other => format!("{other:?}"),
    };
    failure.advice(called).unwrap_or_default()
}

/// Waits for it on this thread.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Names of the steps of the first operation of a kind, from its definition.
pub fn steps_of(kind: OperationKind) -> Vec<&'static str> {
    let operation = operations().into_iter().find(|operation| operation.kind == kind).expect("it is registered");
    operation.steps.into_iter().map(|step| step.name).collect()
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

/// A disturbance, and how it is gone on with.
#[derive(Clone)]
pub struct Case {
    pub fault: Fault,
    /// After the process was killed, the machine lost its power, too.
    pub power_cut: bool,
    pub then: Verb,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let then = format!("{:?}", self.then);
        let cut = if self.power_cut { " and a power cut" } else { "" };
        write!(f, "{}{cut}, then {}", self.fault, then.split('(').next().unwrap_or_default())
    }
}

/// Each fault with each way to go on.
pub fn cases(faults: Vec<Fault>, thens: &[Verb]) -> Vec<Case> {
    let all = faults.into_iter().flat_map(|fault| thens.iter().map(move |then| (fault.clone(), then.clone())));
    all.map(|(fault, then)| Case { fault, power_cut: false, then }).collect()
}

/// The cases, every second kill with a power cut: the tables hold several kills around each step and one at each call, and neighbours are
/// much alike.
pub fn with_power_cuts(mut cases: Vec<Case>) -> Vec<Case> {
    let kills = cases.iter_mut().filter(|case| case.fault.effect == Effect::Kill);
    kills.step_by(2).for_each(|case| case.power_cut = true);
    cases
}
