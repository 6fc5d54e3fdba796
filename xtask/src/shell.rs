//! Runs programs and shows their command lines.

use std::{
    fmt,
    process::{Command, ExitStatus},
};

/// Why a command of xtask failed.
#[derive(Debug)]
pub enum ShellError {
    Start {
        program: String,
        source: std::io::Error,
    },
    Failed {
        command: String,
        status: ExitStatus,
    },
    /// The program ran, but its result is not what it should be.
    Unmet(String),
}

impl fmt::Display for ShellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { program, .. } => write!(f, "{program} can't be started"),
            Self::Failed { command, status } => write!(f, "`{command}` failed: {status}"),
            Self::Unmet(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for ShellError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Shows the command and runs it. Fails if its status is not 0.
pub fn run(command: &mut Command) -> Result<(), ShellError> {
    let shown = shown(command);
    eprintln!("$ {shown}");
    let status = command.status().map_err(|source| start_error(command, source))?;
    if status.success() { Ok(()) } else { Err(ShellError::Failed { command: shown, status }) }
}

/// Runs the command and returns its standard output; its standard error goes to ours. Fails if its status is not 0.
pub fn output(command: &mut Command) -> Result<String, ShellError> {
    let output =
        command.stderr(std::process::Stdio::inherit()).output().map_err(|source| start_error(command, source))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(ShellError::Failed { command: shown(command), status: output.status })
    }
}

fn start_error(command: &Command, source: std::io::Error) -> ShellError {
    ShellError::Start { program: command.get_program().to_string_lossy().into_owned(), source }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
