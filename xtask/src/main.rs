//! What developers run besides cargo: `cargo xtask COMMAND`.

mod bench;
mod bundle;
mod deb;
mod demo;
mod licences;
mod setup;
mod shell;
mod test;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// What developers run besides cargo.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bundle(bundle::Arguments),
    /// Install from Debian what building, running and testing needs.
    Setup,
    /// Make a server from nothing on this machine, and show it.
    Demo,
    Deb(deb::Arguments),
    /// Measure the figures that README claims.
    Bench(bench::Arguments),
    /// Run every test.
    Test(test::Arguments),
}

fn main() -> ExitCode {
    // Every path below is relative to the workspace.
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    if let Err(error) = std::env::set_current_dir(root) {
        eprintln!("error: {root} can't be entered: {error}");
        return ExitCode::FAILURE;
    }
    let result: Result<(), Box<dyn std::error::Error>> = match Arguments::parse().command {
        Command::Bundle(arguments) => bundle::run(&arguments).map_err(Into::into),
        Command::Setup => setup::run_setup(setup::For::Tests).map_err(Into::into),
        Command::Demo => demo::run_demo(),
        Command::Deb(arguments) => deb::run_deb(&arguments),
        Command::Bench(arguments) => bench::run_bench(&arguments),
        Command::Test(arguments) => test::run_tests(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  caused by: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}
