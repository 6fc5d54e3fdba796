//! What happens around a server while it is provisioned: its network is cut, its disk fills up, somebody else holds apt's lock, names
//! can't be looked up. Each ends in one clear message, and `resume` finishes the job once the cause is gone.

use super::support::{bare, environment, server, spec};
use ostler_testkit::{
    environment::TestEnvironment,
    targets::{Lab, Source, Target, Verdict},
};
use serde_json::Value;
use std::{
    thread,
    time::{Duration, Instant},
};

/// What each server is to become.
const WORK: &str = "    ssh: { port: 2200 }\n    modules: { ufw: { preset: web } }\n    apps: [ nginx ]\n";
/// Seconds after which a server that heard nothing puts its old settings back.
const ROLLBACK_AFTER: &str = "20";
/// A connection that is cut is noticed after 40 s, and the server's clock runs out meanwhile; the rest is for a busy machine.
const CUT_IS_NOTICED: Duration = Duration::from_secs(110);

type Scenario = fn(&TestEnvironment, &Target);

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn each_ends_in_one_clear_message_and_resume_finishes_the_job() {
    let Some(lab) = Lab::start() else { return };
    let environment = environment();
    let scenarios: [(&str, Scenario); 5] = [
        ("cut", cut_while_packages_are_installed),
        ("moving", cut_before_the_new_settings_are_proved),
        ("full", full_disk),
        ("locked", lock_of_apt),
        ("nameless", no_name_resolution),
    ];
    let targets = lab.boot(scenarios.map(|(name, _)| bare(name, 22).disk(768 << 20)));
    let servers = |work| spec(&targets.iter().map(|target| server(target, work)).collect::<Vec<_>>());
    environment.write("ostler.yaml", &servers(""));
    environment.run(&["up", "ostler.yaml"]).ok();
    environment.write("ostler.yaml", &servers(WORK));
    let environment = &environment;
    std::thread::scope(|scope| {
        let running: Vec<_> = scenarios
            .iter()
            .zip(&targets)
            .map(|((_, scenario), target)| {
                scope.spawn(move || {
                    scenario(environment, target);
                    finishes(environment, target);
                })
            })
            .collect();
        for thread in running {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

/// Once the cause is gone.
fn finishes(environment: &TestEnvironment, target: &Target) {
    let name = target.name();
    environment.run(&["resume", name, "--rollback-after", ROLLBACK_AFTER]).ok();
    // The first packets after a cut may be lost: neighbours have to find one another again.
    for (source, port) in [(Source::Lan, 2200), (Source::PublicV4, 80)] {
        let begun = Instant::now();
        while target.probe(source, port) != Verdict::Open {
            assert!(begun.elapsed() < Duration::from_secs(20), "{name}: port {port} is closed for {source:?}");
            thread::sleep(Duration::from_millis(100)); // awaits the condition above
        }
    }
    let again = environment.run(&["up", "ostler.yaml", name, "--output", "json"]).ok();
    assert_eq!(again.changes(), [""; 0], "{name}");
}

/// Runs `up` for the target, does `fault` once `moment` has come, and returns the failure that it ends with, and all that it said.
fn up_until(
    environment: &TestEnvironment,
    target: &Target,
    moment: impl Fn(&Value) -> bool,
    fault: impl FnOnce(&Target),
) -> (Value, String, Duration) {
    let name = target.name();
    // The patience with other package managers; SSH answers at once.
    let arguments = ["up", "ostler.yaml", name, "--rollback-after", ROLLBACK_AFTER, "--timeout", "15"];
    let mut running = environment.start(&arguments);
    running.wait_for(|event| moment(event).then(String::new)).expect("the moment comes");
    fault(target);
    let begun = Instant::now();
    let finished = running.finish();
    let took = begun.elapsed();
    assert_eq!(finished.code, 5, "{name}: {}\n{}", finished.stdout, finished.stderr);
    let outcome = finished.outcome();
    eprintln!("  {name}: {:.1} s after the fault: {:#}", took.as_secs_f64(), outcome["failure"]);
    let record = environment.run(&["status", name, "--output", "json"]).ok();
    assert!(record.stdout.contains("failed"), "{name}: it is on record: {}", record.stdout);
    (outcome["failure"].clone(), finished.stdout, took)
}

/// Where, why and what next.
#[track_caller]
fn assert_says(failure: &Value, server: &str, place: &str, cause: &str) {
    let message = failure["message"].as_str().expect("a message");
    for part in ["phase provision", server, place] {
        assert!(message.contains(part), "nothing says `{part}`: {failure:#}");
    }
    let first = failure["causes"][0].as_str().unwrap_or_default();
    assert!(first.contains(cause), "the first cause is not `{cause}`: {failure:#}");
    assert_eq!(failure["lines"].as_array().map_or(0, Vec::len), 0, "a wall of text: {failure:#}");
    let hint = failure["hint"].as_str().expect("a hint");
    assert!(hint.contains(&format!("`ostler resume {server}`")), "{failure:#}");
}

/// Nothing has been done on the server yet.
fn at_once(event: &Value) -> bool {
    event["event"] == "operation_started"
}

/// The old settings are saved; nothing is fetched or installed.
fn ansible_begins(event: &Value) -> bool {
    event["report"] == "run_started"
}

fn packages_begin(event: &Value) -> bool {
    event["report"] == "task_started" && event["module"] == "ostler_packages"
}

const INSTALL: &str = "`Install the packages of all modules and apps` (ostler_packages)";

fn cut_while_packages_are_installed(environment: &TestEnvironment, target: &Target) {
    let (failure, _, took) = up_until(environment, target, packages_begin, Target::cut);
    assert!(took < CUT_IS_NOTICED, "{took:?}");
    assert_says(&failure, "cut", &format!("cut was lost at {INSTALL}"), "no sign of life since ");
    target.heal();
}

/// sshd listens on the new port, and nobody has proved it yet.
fn cut_before_the_new_settings_are_proved(environment: &TestEnvironment, target: &Target) {
    let moved = |event: &Value| event["report"] == "task_result" && event["task"] == "Reload sshd";
    let (failure, _, took) = up_until(environment, target, moved, Target::cut);
    assert!(took < CUT_IS_NOTICED, "{took:?}");
    assert_says(&failure, "moving", "was lost at", "no sign of life since ");
    assert!(failure["hint"].as_str().is_some_and(|hint| hint.contains("by itself")), "{failure:#}");
    let log = target.read("/var/lib/ostler/rollback/rolled-back");
    assert!(log.contains("nobody confirmed the new settings in time"), "{log}");
    target.heal();
    assert_eq!(target.probe(Source::Lan, 22), Verdict::Open, "the old port holds");
    assert_eq!(target.probe(Source::Lan, 2200), Verdict::Refused, "the new one does not");
}

fn full_disk(environment: &TestEnvironment, target: &Target) {
    let (failure, _, _) = up_until(environment, target, ansible_begins, Target::fill_disk);
    assert_says(&failure, "full", "full failed at", "the server is out of disk space: / (");
    assert_eq!(target.probe(Source::Lan, 22), Verdict::Open);
    target.free_disk();
}

fn lock_of_apt(environment: &TestEnvironment, target: &Target) {
    let hold = |target: &Target| {
        let holder = "import fcntl, signal; lock = open('/var/lib/dpkg/lock-frontend', 'a'); \
                      fcntl.lockf(lock, fcntl.LOCK_EX); signal.pause()";
        target.exec(&format!("systemd-run -q --unit=holder python3 -c \"{holder}\"")).ok();
    };
    let (failure, said, _) = up_until(environment, target, at_once, hold);
    let pid = target.exec("systemctl show -P MainPID holder").ok().stdout;
    let holds = format!("process {} (python3) holds /var/lib/dpkg/lock-frontend", pid.trim());
    assert_says(&failure, "locked", &format!("locked failed at {INSTALL}"), &holds);
    assert!(said.contains(&format!("waiting for another package manager: {holds}")), "it says for whom: {said}");
    target.exec("systemctl stop holder").ok();
}

fn no_name_resolution(environment: &TestEnvironment, target: &Target) {
    let (failure, _, _) = up_until(environment, target, at_once, Target::break_dns);
    assert_says(&failure, "nameless", &format!("nameless failed at {INSTALL}"), "the server can't look up ");
    target.mend_dns();
}
