//! `ostler site show`

use super::site_name;
use crate::{
    cli::Global,
    output::{self, Table},
    wiring::Session,
};
use ostler_core::{
    Failure, Result,
    ids::SiteName,
    ports::{Standing, Traffic},
    site::{self, SiteRecord},
};
use serde::Serialize;
use std::process::ExitCode;

/// Show a site: what runs, and its releases.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The site.
    #[arg(value_parser = site_name)]
    name: SiteName,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    record: SiteRecord,
    /// What is seen on the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<Vec<Standing>>,
}

/// Runs the command. What is on record is shown also where the server can't be looked at.
pub async fn run(global: &Global, session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let name = &arguments.name;
    let (_, record) = site::record(&session.store, name).await?.ok_or_else(|| site::unknown(name))?;
    let seen = session.with_world(async |world| Ok(site::list::look(world, &record).await)).await?;
    let (running, failure) = match seen {
        Ok(running) => (Some(running), None),
        Err(failure) => (None, Some(failure)),
    };
    let shown = Shown { record, running };
    output::data(global.output, &shown, || text(&shown));
    if let Some(failure) = &failure {
        output::print_failure(global.output, failure);
    }
    Ok(ExitCode::from(failure.map_or(0, |failure: Failure| failure.blame.exit_code())))
}

fn text(Shown { record, running }: &Shown) -> String {
    let mut text = format!("{} on {}\n", record.name, record.server());
    match record.current() {
        Some(release) => {
            let domains: Vec<String> = release.settings.domains.iter().map(ToString::to_string).collect();
            text.push_str(&format!("  release  {}\n  image    {}\n", release.number, release.reference));
            text.push_str(&format!("  pinned   {}\n  domains  {}\n", release.image.pinned, domains.join(", ")));
        }
        None => text.push_str("  not deployed\n"),
    }
    for standing in running.iter().flatten() {
        let traffic = match standing.traffic {
            Traffic::All => "",
            _ => ", without traffic",
        };
        let Standing { number, running, wanted, .. } = standing;
        text.push_str(&format!("  running  release {number}: {running} of {wanted} copies{traffic}\n"));
    }
    if record.releases.is_empty() {
        return text;
    }
    let mut table = Table::new(&["RELEASE", "SINCE", "IMAGE", ""]);
    for release in &record.releases {
        let back = release.back_to.map(|number| format!("release {number} again"));
        table.row(vec![
            release.number.to_string(),
            release.at.strftime("%Y-%m-%d %H:%M").to_string(),
            release.reference.clone(),
            back.unwrap_or_default(),
        ]);
    }
    format!("{text}\n{}", table.render())
}
