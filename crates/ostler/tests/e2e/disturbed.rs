//! The same life when Ostler is killed at every step of the creation, and in the midst of apt: the end is the same.

use crate::{
    runs::RunWatch,
    support::{RESUME, UP, destroy_and_check, environment, kill_at_each_step, scratch, snapshot, status},
};
use ostler_core::spec::ProviderKind;
use serde_json::Value;
use std::{fs, time::Duration};

#[test]
#[ignore = "boots a real virtual machine; `cargo xtask test` runs it"]
fn killed_at_every_step() {
    let environment = environment();
    let watch = RunWatch::start(&environment);

    eprintln!("* killed as soon as each step begins, going on with `up` and `resume` in turn");
    kill_at_each_step(&environment, ProviderKind::Local);

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

fn task_of(event: &Value, module: &str) -> Option<String> {
    (event["report"] == "task_started" && event["module"] == module).then(|| module.to_owned())
}
