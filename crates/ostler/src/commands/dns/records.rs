//! `ostler dns records`

use crate::{
    cli::Global,
    output::{self, Table},
    wiring::Session,
};
use ostler_core::{
    Blame, Failure, Result,
    zone::{self, Entry, Origin},
};
use serde::Serialize;
use std::process::ExitCode;

/// Show the records that sites need.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only of this zone.
    zone: Option<String>,
}

#[derive(Serialize)]
struct Row {
    zone: String,
    #[serde(flatten)]
    entry: Entry,
    /// Whether the authoritative servers have it; none where they can't be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<bool>,
}

/// Runs the command. What is on record is shown also where a zone's servers can't be asked.
pub async fn run(global: &Global, session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let (rows, failures) = session
        .with_world(async |world| {
            let (mut rows, mut failures) = (Vec::new(), Vec::new());
            let mut ledgers = zone::ledgers(world).await?;
            if let Some(wanted) = &arguments.zone {
                ledgers.retain(|ledger| ledger.zone.name == *wanted);
                if ledgers.is_empty() {
                    let message = format!("nothing needs a record in a zone {wanted}");
                    return Err(Failure::new(Blame::User, message));
                }
            }
            for ledger in ledgers {
                for entry in ledger.entries {
                    let (name, kind) = (&entry.record.name, entry.record.kind);
                    let seen = match world.dns.lookup(Some(&ledger.zone), name, kind).await {
                        Ok(found) => Some(found.iter().any(|other| other.is_same(&entry.record))),
                        Err(failure) => {
                            failures.push(failure);
                            None
                        }
                    };
                    rows.push(Row { zone: ledger.zone.name.clone(), entry, seen });
                }
            }
            Ok((rows, failures))
        })
        .await?;
    output::data(global.output, &rows, || text(&rows));
    // One is enough: they are alike where a server is silent.
    let Some(failure) = failures.into_iter().next() else { return Ok(ExitCode::SUCCESS) };
    output::print_failure(global.output, &failure);
    Ok(ExitCode::from(failure.blame.exit_code()))
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no records\n".into();
    }
    let mut table = Table::new(&["ZONE", "RECORD", "MADE BY", "NEEDED BY", "SEEN"]);
    for row in rows {
        let made = match row.entry.origin {
            Origin::Made => "Ostler",
            Origin::Found => "others, before",
            Origin::ByHand => "hand",
        };
        let seen = row.seen.map_or("?", |seen| if seen { "yes" } else { "no" });
        table.row(vec![
            row.zone.clone(),
            zone::in_words(&row.entry.record),
            made.to_owned(),
            row.entry.users.join(", "),
            seen.to_owned(),
        ]);
    }
    table.render()
}
