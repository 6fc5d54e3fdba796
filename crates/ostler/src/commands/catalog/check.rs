//! `ostler catalog check`

use crate::{
    cli::Global,
    output::{self, hints},
};
use ostler_core::{Blame, Result};
use std::{path::PathBuf, process::ExitCode};

/// Report everything that is wrong with a catalog's files.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The catalog's folder.
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// Runs the command.
pub fn run(global: &Global, arguments: &Arguments) -> Result<ExitCode> {
    let checked = ostler_ansible::check_catalog(&arguments.dir, &arguments.dir).in_words(hints::command);
    let data = serde_json::json!({ "faults": checked.faults, "warnings": checked.warnings });
    output::data(global.output, &data, || {
        let mut text: String = checked.faults.iter().map(|faults| format!("{faults}\n")).collect();
        if !checked.warnings.is_empty() {
            text.push_str("warnings:\n");
            text.extend(checked.warnings.iter().map(|warnings| format!("{warnings}\n")));
        }
        let apps = checked.index.as_ref().map_or(0, |index| index.apps.len());
        match checked.faults.iter().map(|file| file.faults.len()).sum() {
            0_usize => text.push_str(&format!(
                "{}  good: {apps} app{}\n",
                arguments.dir.display(),
                if apps == 1 { "" } else { "s" }
            )),
            1 => text.push_str("1 fault\n"),
            count => text.push_str(&format!("{count} faults\n")),
        }
        text
    });
    Ok(if checked.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(Blame::Configuration.exit_code()) })
}
