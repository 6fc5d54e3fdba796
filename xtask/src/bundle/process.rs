//! Runs the programs of the recipe.

use super::BundleError;
use std::process::{Command, Output};

/// Runs `command` to its end. Any status but 0 is an error that contains its output.
pub fn succeed(command: &mut Command) -> Result<Output, BundleError> {
    let output = run(command)?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [&output.stdout[..], &output.stderr].concat(); // ansible-playbook prints its errors to stdout
    Err(BundleError::Command {
        command: format!("{command:?}"),
        said: String::from_utf8_lossy(&said).trim_end().to_owned(),
    })
}

/// Runs `command` to its end, whatever its status.
pub fn run(command: &mut Command) -> Result<Output, BundleError> {
    command
        .output()
        .map_err(|source| BundleError::Spawn { program: command.get_program().to_string_lossy().into_owned(), source })
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
}
