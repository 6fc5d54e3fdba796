//! `ostler catalog sync`

use crate::{cli::Global, commands::spec_file, output};
use ostler_ansible::Catalog;
use ostler_core::{Blame, Failure, Result, spec::CatalogSource};
use std::{path::PathBuf, process::ExitCode};

/// Fetch a catalog from Git now, as `up` and `plan` do.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The spec file that names it.
    #[arg(required_unless_present = "url", conflicts_with_all = ["url", "branch", "commit"])]
    file: Option<PathBuf>,
    /// A catalog that no spec names: its URL, as in a spec.
    #[arg(long)]
    url: Option<String>,
    /// Branch to follow.
    #[arg(long, default_value = "stable", requires = "url")]
    branch: String,
    /// The one commit to use, whatever the branch says.
    #[arg(long, requires = "url")]
    commit: Option<String>,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let Arguments { file, url, branch, commit } = arguments;
    let catalog = match (url, file) {
        (Some(url), _) => {
            let source = CatalogSource { url, branch, commit, vault_password: None };
            spec_file::sync_from_flags(global, &source, |key| format!("--{key}")).await?
        }
        (None, Some(file)) => spec_file::catalog(global, &file, false).await?,
        (None, None) => return Err(Failure::new(Blame::User, "neither a spec file nor `--url` is given")),
    };
    show(global, &catalog)
}

fn show(global: &Global, catalog: &Catalog) -> Result<ExitCode> {
    let (Some(source), Some(tree)) = (&catalog.source, &catalog.tree) else {
        return Err(Failure::new(Blame::User, "the spec names no catalog: it uses the one that ships with Ostler")
            .with_hint("`ostler catalog list` shows it"));
    };
    let commit = source.commit.as_deref().unwrap_or_default();
    let apps: Vec<_> = catalog.index.apps.iter().map(|app| app.name.as_str()).collect();
    let data = serde_json::json!({ "url": source.url, "commit": commit, "tree": tree, "apps": apps });
    output::data(global.output, &data, || {
        let apps = if apps.is_empty() { "none".to_owned() } else { apps.join(", ") };
        format!("catalog  {}\ncommit   {commit}\nfiles    {}\napps     {apps}\n", source.url, tree.display())
    });
    Ok(ExitCode::SUCCESS)
}
