//! `ostler man`, which packages are made with.

use crate::{cli::Cli, output};
use clap::CommandFactory;
use ostler_core::{Blame, Failure, Result};
use std::{io, path::PathBuf, process::ExitCode};

/// Print the manual page ostler(1), or write those of all commands.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Write ostler.1, ostler-up.1 and so on into this folder.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Some(dir) = &arguments.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page).expect("memory takes all that is written");
        output::print(&String::from_utf8_lossy(&page));
        return Ok(ExitCode::SUCCESS);
    };
    let failed = |error: io::Error| {
        Failure::new(Blame::User, error.to_string())
            .because_of(format!("the manual pages can't be written to {}", dir.display()))
            .with_hint("`--dir` names a folder that you may write to")
    };
    std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir)).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}
