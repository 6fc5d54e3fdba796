//! `cargo xtask test`: everything that must hold, in the order in which it is quickest to fail.

use crate::{
    bundle, setup,
    shell::{ShellError, run},
};
use std::{process::Command, time::Instant};

/// Runs every test.
#[derive(clap::Args)]
pub struct Arguments {
    /// Leave out the end-to-end tests on real virtual machines.
    #[arg(long)]
    fast: bool,
}

/// Runs the tests; stops at the first stage that fails.
pub fn run_tests(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    setup::run_setup(setup::For::Tests)?;
    let begun = Instant::now();
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
            "end-to-end tests",
            cargo(&["test", "-p", "ostler", "--test", "e2e", "--", "--ignored", "--nocapture", "--test-threads=1"]),
        )?;
        stage(
            "tests on servers that are there already",
            cargo(&["test", "-p", "ostler", "--test", "targets", "--", "--ignored", "--nocapture", "--test-threads=2"]),
        )?;
    }
    eprintln!("all tests passed in {} s", begun.elapsed().as_secs());
    Ok(())
}

/// What is installed by `setup` must be used: its absence is a failure, not a skip.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).env("OSTLER_REQUIRE_MARIADB", "1").env("OSTLER_REQUIRE_SSHD", "1");
    // Only root can make targets; anybody else is told what was skipped.
    if rustix::process::geteuid().is_root() {
        command.env("OSTLER_REQUIRE_TARGETS", "1");
    }
    command
}

fn stage(name: &str, mut command: Command) -> Result<(), ShellError> {
    let begun = Instant::now();
    eprintln!("== {name}");
    run(&mut command)?;
    eprintln!("== {name}: {} s", begun.elapsed().as_secs());
    Ok(())
}
