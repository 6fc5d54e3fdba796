//! `cargo xtask test`: everything that must hold, in the order in which it is quickest to fail.
//!
//! cargo-nextest runs the tests, for it runs those of all crates at the same time, each in a process of its own, and lets a
//! group of tests have a limit: `.config/nextest.toml`. A test that boots a server or a virtual machine is `#[ignore]`d, so that
//! plain `cargo test` takes minutes.

use crate::{bundle, setup, shell::run};
use std::{
    error::Error,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

/// Run every test
#[derive(clap::Args)]
#[command(after_help = "Exit codes: 0 if every test passed, 1 if one failed, 3 if all passed and some were left out.")]
pub struct Arguments {
    /// Leave out the tests that boot servers and virtual machines; ends with exit code 3
    #[arg(long)]
    fast: bool,
}

/// Exit code where all tests passed that were run, and some were left out.
const INCOMPLETE: u8 = 3;

/// What is ignored because it is no test by itself: a child of another test, and one that wants an image of somebody's own.
const NOT_ALONE: &str = "not (test(/::is_killed$/) | test(/^local_guest::/))";

/// Runs the tests; stops at the first stage that fails.
pub fn run_tests(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let root = rustix::process::geteuid().is_root();
    let mut stages = Stages::default();
    let result = run_stages(&mut stages, arguments.fast, root);
    stages.print();
    result?;
    let left_out = match (arguments.fast, root) {
        (false, true) => return Ok(ExitCode::SUCCESS),
        (true, _) => "--fast left out every test that boots a server or a virtual machine",
        (false, false) => "tests that need root were left out: those on servers, and the bundle without Python",
    };
    eprintln!("INCOMPLETE (exit code {INCOMPLETE}): {left_out}");
    Ok(ExitCode::from(INCOMPLETE))
}

fn run_stages(stages: &mut Stages, fast: bool, root: bool) -> Result<(), Box<dyn Error>> {
    stages.run("packages and tools", || setup::run_setup(setup::For::Tests))?;
    stages.run("Ansible bundle", || bundle::run(&bundle::Arguments { verify: root, ..Default::default() }))?;
    stages.run("format", || run(&mut cargo(&["fmt", "--all", "--check"])))?;
    stages.run("build with lints", || run(&mut cargo(&["nextest", "run", "--workspace", "--no-run"])))?;
    stages.run("examples in the documentation", || run(&mut cargo(&["test", "--quiet", "--workspace", "--doc"])))?;
    stages.run("quick tests", || run(&mut cargo(&["nextest", "run", "--workspace"])))?;
    if !fast {
        let ignored = ["nextest", "run", "--workspace", "--run-ignored", "only", "--filterset", NOT_ALONE];
        stages.run("tests on servers and virtual machines", || run(&mut cargo(&ignored)))?;
    }
    Ok(())
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments);
    // Clippy's driver is a compiler that also lints, so the workspace is compiled and linted in one pass; `cargo clippy` would
    // check every crate again, those of others included.
    command.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver").env("CLIPPY_ARGS", "-Dwarnings");
    // What is installed by `setup` must be used: its absence is a failure, not a skip.
    for program in ["CLOUDFLARE", "HCLOUD", "MARIADB", "NAMED", "SSHD", "SSH_AUDIT", "TMUX"] {
        command.env(format!("OSTLER_REQUIRE_{program}"), "1");
    }
    if rustix::process::geteuid().is_root() {
        command.env("OSTLER_REQUIRE_TARGETS", "1");
    }
    command
}

/// What was run, how long it took, and whether it passed.
#[derive(Default)]
struct Stages(Vec<(&'static str, Duration, bool)>);

impl Stages {
    fn run<E>(&mut self, name: &'static str, work: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        eprintln!("== {name}");
        let begun = Instant::now();
        let result = work();
        self.0.push((name, begun.elapsed(), result.is_ok()));
        result
    }

    /// A table of the stages, in seconds.
    fn print(&self) {
        eprintln!("\n{:>7}  stage", "seconds");
        for (name, time, passed) in &self.0 {
            let end = if *passed { "" } else { ": FAILED" };
            eprintln!("{:>7}  {name}{end}", time.as_secs());
        }
        let all: Duration = self.0.iter().map(|(_, time, _)| *time).sum();
        eprintln!("{:>7}  all", all.as_secs());
    }
}
