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
    Test(test::Arguments),
}

fn main() -> ExitCode {
    // Every path below is relative to the workspace.
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    if let Err(error) = std::env::set_current_dir(root) {
        eprintln!("error: {root} can't be entered: {error}");
        return ExitCode::FAILURE;
    }
    match run(Arguments::parse().command) {
        Ok(code) => code,
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

fn run(command: Command) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match command {
        Command::Bundle(arguments) => bundle::run(&arguments)?,
        Command::Setup => setup::run_setup(setup::For::Tests)?,
        Command::Demo => demo::run_demo()?,
        Command::Deb(arguments) => deb::run_deb(&arguments)?,
        Command::Bench(arguments) => bench::run_bench(&arguments)?,
        Command::Test(arguments) => return test::run_tests(&arguments),
    }
    Ok(ExitCode::SUCCESS)
}
