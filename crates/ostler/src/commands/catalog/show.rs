//! `ostler catalog show`

use crate::{
    cli::Global,
    output::{self, Table},
};
use ostler_core::{
    Blame, Failure, Result,
    spec::{self, AppMeta, Parameter, Strategy},
};
use std::{path::PathBuf, process::ExitCode};

/// Show one app: ports, dependencies, parameters.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The app.
    app: String,
    /// A spec file that names its catalog, or a folder with one [default: the catalog that ships with Ostler]
    file: Option<PathBuf>,
    /// Don't ask the catalog's server: use what was fetched last.
    #[arg(long)]
    offline: bool,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let catalog = super::named(global, arguments.file.as_deref(), arguments.offline).await?;
    let apps = &catalog.index.apps;
    let Some(app) = apps.iter().find(|app| app.name == arguments.app) else {
        let known: Vec<_> = apps.iter().map(|app| app.name.as_str()).collect();
        return Err(Failure::new(Blame::User, format!("the catalog has no app `{}`", arguments.app))
            .with_hint(format!("it has: {}", known.join(", "))));
    };
    let parameters = spec::app_parameters(app)?;
    output::data(global.output, app, || text(app, &parameters));
    Ok(ExitCode::SUCCESS)
}

fn text(app: &AppMeta, parameters: &[Parameter]) -> String {
    let mut rows = vec![("app", app.name.clone())];
    rows.extend(app.version.clone().map(|version| ("version", version)));
    rows.push(("about", app.description.clone()));
    rows.push(("ports", super::ports(app).join(", ")));
    rows.push(("depends", app.depends.join(", ")));
    rows.push(("packages", app.packages.join(", ")));
    if app.strategy == Strategy::Linear {
        rows.push(("strategy", "linear".into()));
    }
    let mut text = String::new();
    for (key, value) in rows {
        let value = if value.is_empty() { "-" } else { &value };
        text.push_str(&format!("{key:<9}  {value}\n"));
    }
    if parameters.is_empty() {
        return text;
    }
    let mut table = Table::new(&["PARAMETER", "VALUE", "DEFAULT", "MEANING"]);
    for Parameter { name, value, default, help } in parameters {
        let default = if default.is_empty() { "-".to_owned() } else { default.clone() };
        table.row(vec![name.clone(), value.clone(), default, help.clone()]);
    }
    format!("{text}\n{}", table.render())
}
