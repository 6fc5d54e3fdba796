//! The same life when Ostler is killed at every step of the creation, and in the midst of apt: the end is the same.

use super::{
    runs::RunWatch,
    support::{LITTLE, RESUME, UP, destroy_and_check, environment, kill_at_each_step, snapshot, spec, status},
};
use serde_json::Value;
use std::{thread, time::Duration};

#[test]
#[ignore = "boots a real virtual machine; `cargo xtask test` runs it"]
fn killed_at_every_step() {
    let [environment, calm] = [(); 2].map(|()| {
        let environment = environment();
        environment.write("ostler.yaml", &spec("6GiB", LITTLE));
        environment
    });
    // Another server of the same spec, which is made meanwhile without disturbance.
    let undisturbed = calm.start(UP);
    let watch = RunWatch::start(&environment);

    eprintln!("* killed as soon as each step begins, going on with `up` and `resume` in turn");
    kill_at_each_step(&environment);

    eprintln!("* killed while apt works on the server");
    for (pause, verb) in [(0, RESUME), (5, UP)] {
        let mut running = environment.start(verb);
        running.wait_for(|event| task_of(event, "ostler_packages")).expect("packages are installed");
        thread::sleep(Duration::from_secs(pause)); // a random moment is the point
        running.kill();
    }
    environment.run(RESUME).ok();
    assert_eq!(environment.run(&["up", "ostler.yaml", "--output", "json"]).ok().changes(), Vec::<String>::new());
    assert_eq!(watch.most_at_once(), 1, "one Ansible was seen, and never two Ansibles on one server");
    assert_eq!(status(&environment)["phase"], "ready");

    undisturbed.finish().ok();
    let undisturbed = snapshot(&calm);
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
