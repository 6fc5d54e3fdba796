//! `ostler completions`

use crate::{cli::Cli, output};
use clap::{CommandFactory, ValueEnum};
use ostler_core::Result;
use std::process::ExitCode;

/// Print the script that lets a shell complete commands and flags.
///
/// For one user: `ostler completions bash > ~/.local/share/bash-completion/completions/ostler`, or `fish >
/// ~/.config/fish/completions/ostler.fish`, or `zsh > DIR/_ostler` for a DIR in `$fpath`. The Debian package has them installed.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Which shell.
    shell: Shell,
}

/// Shells whose scripts are tried by our tests.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let shell = match arguments.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ostler", &mut script);
    output::print(&String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}
