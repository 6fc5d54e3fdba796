//! `ostler wizard`, and `ostler` alone

use crate::{
    cli::{Cli, Global, Output},
    wizard,
};
use clap::CommandFactory;
use ostler_core::{Blame, Failure, Result};
use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

/// Ask what you want, write it down as a spec file, and make the server if you like.
///
/// Esc goes back to the question before. Nothing is written before the last question is answered. With `ACCESSIBLE=1` the questions
/// come as plain lines.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Offer the apps of this catalog: the URL of a Git repository, as in a spec, or its folder [default: the catalog that ships with
    /// Ostler]
    #[arg(long, value_name = "URL|DIR")]
    catalog: Option<String>,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    if !can_ask(global) {
        return Err(Failure::new(Blame::User, "the wizard asks questions, and nobody is there to answer")
            .with_hint("run it in a terminal; without one, write a spec (docs/spec.md) and `ostler up FILE`"));
    }
    wizard::run(global, arguments.catalog).await
}

/// Runs it where a person called `ostler` without a command; anybody else is told which commands there are.
pub async fn run_if_asked_for(global: &Global) -> Result<ExitCode> {
    if can_ask(global) {
        return wizard::run(global, None).await;
    }
    let matches = Cli::command().subcommand_required(true).arg_required_else_help(true).get_matches();
    unreachable!("a command is required: {matches:?}")
}

fn can_ask(global: &Global) -> bool {
    let terminal = io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal();
    terminal && !global.non_interactive && global.output == Output::Human
}
