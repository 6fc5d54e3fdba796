//! A server's life when Ostler is killed at every step of the creation, and in the midst of apt.

use super::{
    runs::RunWatch,
    support::{RESUME, UP, destroy_and_check, kill_at_each_step, snapshot, status},
};
use ostler_testkit::environment::TestEnvironment;
use serde_json::Value;
use std::{thread, time::Duration};

/// Lives through it; returns what the server was like before it was destroyed.
pub fn live(environment: &TestEnvironment) -> String {
    let watch = RunWatch::start(environment);

    eprintln!("* disturbed: killed as soon as each step begins, going on with `up` and `resume` in turn");
    kill_at_each_step(environment);

    eprintln!("* disturbed: killed while apt works on the server");
    for (pause, verb) in [(0, RESUME), (5, UP)] {
        let mut running = environment.start(verb);
        running.wait_for(|event| task_of(event, "ostler_packages")).expect("packages are installed");
        thread::sleep(Duration::from_secs(pause)); // a random moment is the point
        running.kill();
    }
    environment.run(RESUME).ok();
    assert_eq!(environment.run(&["up", "ostler.yaml", "--output", "json"]).ok().changes(), Vec::<String>::new());
    assert_eq!(watch.most_at_once(), 1, "one Ansible was seen, and never two Ansibles on one server");
    assert_eq!(status(environment)["phase"], "ready");
    let snapshot = snapshot(environment);

    eprintln!("* disturbed: `destroy` leaves nothing, also when it is killed in between");
    let mut running = environment.start(&["destroy", "web1", "--yes"]);
    running.wait_for(|event| (event["event"] == "undo_started").then(String::new));
    running.kill();
    destroy_and_check(environment);
    snapshot
}

fn task_of(event: &Value, module: &str) -> Option<String> {
    (event["report"] == "task_started" && event["module"] == module).then(|| module.to_owned())
}
