//! `ostler cert list`

use crate::{
    cli::Global,
    output::{self, Table},
    wiring::Session,
};
use jiff::Timestamp;
use ostler_core::{
    Result,
    certificate::{self, CertificateRecord},
};
use serde::Serialize;
use std::process::ExitCode;

/// Show certificates: names, authority, expiry, next renewal, last failure.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// What is shown of one.
#[derive(Serialize)]
struct Row {
    names: Vec<String>,
    authority: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'static str>,
    serial: Option<String>,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
    /// `None`: there is none to be renewed.
    next_renewal: Option<Timestamp>,
    last_failure: Option<String>,
    failed_at: Option<Timestamp>,
}

impl Row {
    fn of(record: CertificateRecord) -> Self {
        let next_renewal = certificate::renewal(&record);
        let issued = record.issued.as_ref();
        let words = |failure: &ostler_core::Failure| {
            std::iter::once(&failure.message).chain(&failure.causes).cloned().collect::<Vec<_>>().join(": ")
        };
        Self {
            next_renewal,
            serial: issued.map(|issued| issued.serial.clone()),
            not_before: issued.map(|issued| issued.not_before),
            not_after: issued.map(|issued| issued.not_after),
            last_failure: record.last_failure.as_ref().map(|failed| words(&failed.failure)),
            failed_at: record.last_failure.as_ref().map(|failed| failed.at),
            profile: record.order.profile.map(|profile| profile.as_str()),
            authority: record.order.authority.url,
            names: record.order.names,
        }
    }
}

/// Runs the command.
pub async fn run(global: &Global, session: &Session, _: &Arguments) -> Result<ExitCode> {
    let known = session.with_world(async |world| certificate::all(world).await).await?;
    let rows: Vec<Row> = known.into_iter().map(|(_, record)| Row::of(record)).collect();
    output::data(global.output, &rows, || table(&rows));
    Ok(ExitCode::SUCCESS)
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["NAMES", "AUTHORITY", "EXPIRES", "NEXT RENEWAL", "LAST FAILURE"]);
    let time = |time: Option<Timestamp>| {
        time.map_or_else(|| "-".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M").to_string())
    };
    for row in rows {
        let authority = row.authority.split('/').nth(2).unwrap_or(&row.authority);
        table.row(vec![
            row.names.join(" "),
            authority.to_owned(),
            time(row.not_after),
            time(row.next_renewal),
            row.last_failure.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table.render()
}
