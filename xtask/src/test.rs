//! `cargo xtask test`: everything that must hold, in the order in which it is quickest to fail.

use crate::{
    bundle, setup,
    shell::{ShellError, run},
};
use std::{
    process::Command,
    time::{Duration, Instant},
};

/// Runs every test.
#[derive(clap::Args)]
pub struct Arguments {
    /// Leave out the end-to-end tests on real virtual machines.
    #[arg(long)]
    fast: bool,
    /// Minutes to be done in: what would take longer is left out, and named.
    #[arg(long)]
    minutes: Option<u64>,
}

/// The last stages, and what each takes at most of what the first end-to-end test took on the same machine.
const LAST: [(&str, &str, f64); 3] = [
    ("end-to-end test on Proxmox VE", "proxmox", 0.9),
    ("end-to-end test, killed at every step", "disturbed", 1.4),
    ("end-to-end test of templates", "template", 0.9),
];

/// Runs the tests; stops at the first stage that fails.
pub fn run_tests(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let begun = Instant::now();
    setup::run_setup(setup::For::Tests)?;
    eprintln!("== Ansible bundle");
    let root = rustix::process::geteuid().is_root();
    bundle::run(&bundle::Arguments { verify: root, ..Default::default() })?;
    if !root {
        eprintln!("the bundle is not tried in a system without Python: that needs root");
    }
    stage("format", cargo(&["fmt", "--all", "--check"]))?;
    stage("lints", cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    stage("unit and store tests", cargo(&["test", "--workspace"]))?;
    if arguments.fast {
        eprintln!("end-to-end tests: left out by --fast");
    } else {
        stage(
            "tests on servers that are there already",
            cargo(&["test", "-p", "ostler", "--test", "targets", "--", "--ignored", "--nocapture", "--test-threads=2"]),
        )?;
        let calm = stage("end-to-end test", end_to_end("calm"))?;
        let limit = arguments.minutes.map(|minutes| Duration::from_secs(minutes * 60));
        for (name, tests, of_calm) in LAST {
            let longest = calm.mul_f64(of_calm);
            if limit.is_some_and(|limit| begun.elapsed() + longest > limit) {
                let minutes = |time: Duration| time.as_secs() / 60;
                eprintln!(
                    "{name}: left out by --minutes, for {} minutes have passed, and it may take {}",
                    minutes(begun.elapsed()),
                    minutes(longest)
                );
            } else {
                stage(name, end_to_end(tests))?;
            }
        }
    }
    eprintln!("all tests passed in {} s", begun.elapsed().as_secs());
    Ok(())
}

fn end_to_end(name: &str) -> Command {
    cargo(&["test", "-p", "ostler", "--test", "e2e", "--", "--ignored", "--nocapture", "--test-threads=1", name])
}

/// What is installed by `setup` must be used: its absence is a failure, not a skip.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments);
    for program in ["MARIADB", "SSHD", "SSH_AUDIT", "TMUX"] {
        command.env(format!("OSTLER_REQUIRE_{program}"), "1");
    }
    // Only root can make targets; anybody else is told what was skipped.
    if rustix::process::geteuid().is_root() {
        command.env("OSTLER_REQUIRE_TARGETS", "1");
    }
    command
}

/// Runs it; how long it took.
fn stage(name: &str, mut command: Command) -> Result<Duration, ShellError> {
    let begun = Instant::now();
    eprintln!("== {name}");
    run(&mut command)?;
    eprintln!("== {name}: {} s", begun.elapsed().as_secs());
    Ok(begun.elapsed())
}
