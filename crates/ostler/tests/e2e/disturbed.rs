//! The same life when Ostler is killed at every step of the creation, and in the midst of apt: the end is the same.

use crate::{
    runs::RunWatch,
    support::{destroy_and_check, environment, scratch, snapshot, status},
};
use ostler_core::{ops::create, spec::ProviderKind};
use serde_json::Value;
use std::{collections::BTreeSet, fs, time::Duration};

#[test]
#[ignore = "boots a real virtual machine; `cargo xtask test` runs it"]
fn killed_at_every_step() {
    let environment = environment();
    let watch = RunWatch::start(&environment);

    eprintln!("* killed as soon as each step begins, going on with `up` and `resume` in turn");
    let mut killed = BTreeSet::new();
    loop {
        let verb = if killed.len() % 2 == 0 { UP } else { RESUME };
        let mut running = environment.start(verb);
        let step = running.wait_for(|event| new_step(event, &killed)).expect("the creation comes to its end");
        eprintln!("  killed at {step}");
        running.kill();
        if step == LAST {
            break;
        }
        killed.insert(step);
        assert!(killed.len() <= 20, "it does not come to an end: {killed:?}");
    }
    let create = create::steps(ProviderKind::Local).into_iter().map(|step| step.name.to_owned());
    assert_eq!(killed, create.collect(), "killed at every step");

    eprintln!("* killed while apt works on the server");
    for (pause, verb) in [(0, RESUME), (5, UP)] {
        let mut running = environment.start(verb);
        running.wait_for(|event| task_of(event, "ostler_packages")).expect("packages are installed");
        std::thread::sleep(Duration::from_secs(pause)); // a random moment is the point
        running.kill();
    }
    environment.run(RESUME).ok();
    assert_eq!(environment.run(&["up", "ostler.yaml", "--output", "json"]).ok().changes(), Vec::<String>::new());
    assert_eq!(watch.most_at_once(), 1, "one Ansible was seen, and never two Ansibles on one server");
    assert_eq!(status(&environment)["phase"], "ready");

    let undisturbed = fs::read_to_string(scratch().join("calm.txt"))
        .expect("the life in calm was led before: tests run in the order of their names");
    let disturbed = snapshot(&environment);
    let differs: Vec<_> = undisturbed.lines().zip(disturbed.lines()).filter(|(calm, other)| calm != other).collect();
    assert_eq!(differs, [], "the end is the same as of an undisturbed life");
    assert_eq!(undisturbed.lines().count(), disturbed.lines().count());

    eprintln!("* `destroy` leaves nothing, also when it is killed in between");
    let mut running = environment.start(&["destroy", "web1", "--yes"]);
    running.wait_for(|event| (event["event"] == "undo_started").then(String::new));
    running.kill();
    destroy_and_check(&environment);
}

const UP: &[&str] = &["up", "ostler.yaml"];
const RESUME: &[&str] = &["resume", "web1"];

/// The first step of the application, which the other tests disturb, on servers that are quicker.
const LAST: &str = "power";

/// A step that begins and was not killed at before.
fn new_step(event: &Value, killed: &BTreeSet<String>) -> Option<String> {
    let step = event["step"].as_str().filter(|_| event["event"] == "step_started")?;
    (!killed.contains(step)).then(|| step.to_owned())
}

fn task_of(event: &Value, module: &str) -> Option<String> {
    (event["report"] == "task_started" && event["module"] == module).then(|| module.to_owned())
}
