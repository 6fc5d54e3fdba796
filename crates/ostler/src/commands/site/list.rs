//! `ostler site list`

use crate::{
    cli::Global,
    output::{self, Table},
    wiring::Session,
};
use ostler_core::{
    Result,
    ids::{ServerName, SiteName},
    site::{self, Release, SiteRecord},
};
use serde::Serialize;
use std::process::ExitCode;

/// Show all sites.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

#[derive(Serialize)]
struct Row {
    site: SiteName,
    server: ServerName,
    domains: Vec<String>,
    /// None where it is not deployed.
    release: Option<u32>,
    image: Option<String>,
    since: Option<jiff::Timestamp>,
}

/// Runs the command.
pub async fn run(global: &Global, session: &Session, _: &Arguments) -> Result<ExitCode> {
    let rows: Vec<Row> = site::records(&session.store).await?.into_iter().map(|(_, record)| row(&record)).collect();
    output::data(global.output, &rows, || text(&rows));
    Ok(ExitCode::SUCCESS)
}

fn row(record: &SiteRecord) -> Row {
    let current = record.current();
    let domains = current.map_or(&record.desired.domains, |release| &release.settings.domains);
    Row {
        site: record.name.clone(),
        server: record.server().clone(),
        domains: domains.iter().map(ToString::to_string).collect(),
        release: record.current,
        image: current.map(|release: &Release| release.reference.clone()),
        since: current.map(|release| release.at),
    }
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no sites\n".into();
    }
    let mut table = Table::new(&["SITE", "SERVER", "RELEASE", "SINCE", "DOMAIN", "IMAGE"]);
    for row in rows {
        let nothing = || "-".to_owned();
        table.row(vec![
            row.site.to_string(),
            row.server.to_string(),
            row.release.map_or_else(nothing, |number| number.to_string()),
            row.since.map_or_else(nothing, |time| time.strftime("%Y-%m-%d %H:%M").to_string()),
            row.domains.first().cloned().unwrap_or_default(),
            row.image.clone().unwrap_or_else(nothing),
        ]);
    }
    table.render()
}
