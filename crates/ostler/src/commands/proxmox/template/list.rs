//! `ostler proxmox template list`

use crate::{
    cli::Global,
    output::{self, Table},
    wiring::{Session, WaitArguments},
};
use ostler_core::{
    Result,
    ids::ServerName,
    model::{OperationKind, OperationState},
    ports::Store,
    spec::{ImageRef, ServerSpec},
};
use serde::Serialize;
use std::process::ExitCode;

/// Show the templates that were made, and what they hold. `ostler destroy NAME` removes one.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

#[derive(Serialize)]
struct Row {
    name: ServerName,
    node: String,
    image: String,
    modules: Vec<String>,
    apps: Vec<String>,
    /// Whether it is made to its end.
    ready: bool,
}

/// Runs the command.
pub async fn run(global: &Global, _: &Arguments) -> Result<ExitCode> {
    let session = Session::open(global, WaitArguments::default(), "template list").await?;
    let mut rows = Vec::new();
    for seen in session.store.overview().await? {
        let Some(server) = session.store.server(&seen.name).await? else { continue };
        if server.desired.template.is_none() {
            continue;
        }
        let ready = seen
            .operation
            .is_some_and(|newest| (newest.kind, newest.state) == (OperationKind::Template, OperationState::Succeeded));
        rows.push(row(server.desired, ready));
    }
    output::data(global.output, &rows, || table(&rows));
    Ok(ExitCode::SUCCESS)
}

fn row(spec: ServerSpec, ready: bool) -> Row {
    Row {
        name: spec.name,
        node: spec.provider.place().map(|(_, node)| node.to_owned()).unwrap_or_default(),
        image: match spec.image {
            ImageRef::Named(name) => name,
            ImageRef::Path(path) => path.display().to_string(),
            ImageRef::Url { url, .. } => url,
        },
        modules: spec.modules.into_keys().collect(),
        apps: spec.apps,
        ready,
    }
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no templates; `ostler proxmox template build FILE` makes some\n".into();
    }
    let mut table = Table::new(&["TEMPLATE", "NODE", "IMAGE", "STATE", "MODULES", "APPS"]);
    let list = |names: &[String]| if names.is_empty() { "-".into() } else { names.join(",") };
    for row in rows {
        let state = if row.ready { "ready" } else { "unfinished" };
        table.row(vec![
            row.name.to_string(),
            row.node.clone(),
            row.image.clone(),
            state.into(),
            list(&row.modules),
            list(&row.apps),
        ]);
    }
    table.render()
}
