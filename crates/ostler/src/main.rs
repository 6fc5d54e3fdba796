//! The `ostler` binary: reads the command line, calls one verb, shows what happens.

mod ask;
mod cli;
mod commands;
mod environment;
mod log_file;
mod output;
mod process;
mod wiring;
mod wizard;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let output = cli.global.output;
    // One thread: children that must die with Ostler are bound to the thread that started them (PR_SET_PDEATHSIG).
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the asynchronous runtime can't be started: {error}");
            return ExitCode::from(70);
        }
    };
    let result = runtime.block_on(commands::run(cli));
    // A question that was left may still wait for its answer, in a thread of its own: nobody waits for that.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(failure) => {
            output::print_failure(output, &failure);
            ExitCode::from(failure.blame.exit_code())
        }
    }
}
