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
use std::{io::Write, process::ExitCode};

fn main() -> ExitCode {
    if let Some(code) = ostler_acme::answer_hook() {
        return code;
    }
    let cli = cli::Cli::parse();
    let output = cli.global.output;
    // One thread is enough for work that waits for servers and programs, and is the least that a small machine can give it. Nothing depends
    // on it: another frontend may have a runtime with more.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: the asynchronous runtime can't be started: {error}"); // or nobody reads
            return ExitCode::from(70);
        }
    };
    let code = runtime.block_on(commands::run(cli)).unwrap_or_else(|failure| {
        output::print_failure(output, &failure);
        ExitCode::from(failure.blame.exit_code())
    });
    // The work is done; whoever reads of it slowly may still do so.
    runtime.block_on(output::Stage::of_process().written_or_stopped());
    // A question that was left may still wait for its answer, in a thread of its own: nobody waits for that.
    runtime.shutdown_background();
    code
}
