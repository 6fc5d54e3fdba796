//! `ostler orphans`

use crate::{
    cli::Global,
    commands::spec_file,
    output::{self, Table},
    wiring::{Session, WaitArguments},
};
use ostler_core::{
    Result,
    ids::OperationId,
    model::{Marked, Price},
    ports::Store,
    spec::ProviderOptions,
};
use serde::Serialize;
use std::{collections::BTreeSet, path::PathBuf, process::ExitCode};

/// Find what Ostler made at a provider's and no record knows any more; nothing is touched.
///
/// Looks wherever servers of the state are, and where those of the spec file would be. Shows what an interrupted creation may have left,
/// what `destroy` keeps (volumes, Primary IPs), and what another state directory made.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A spec file that names more providers.
    file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Orphan {
    what: String,
    /// Another state directory made it.
    of_another_state: bool,
    in_use: bool,
    price: Option<Price>,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let mut places: Vec<ProviderOptions> = Vec::new();
    if let Some(file) = &arguments.file {
        let (spec, _) = spec_file::read(global, file, true).await?;
        places.extend(spec.servers.into_iter().map(|server| server.provider));
    }
    let session = Session::open(global, WaitArguments::default(), "orphans").await?;
    let mut known: BTreeSet<OperationId> = BTreeSet::new();
    for seen in session.store.overview().await? {
        let Some(server) = session.store.server(&seen.name).await? else { continue };
        known.insert(server.created_by);
        places.push(server.desired.provider);
    }
    let owner = session.store.state_id().await?;
    let providers = session.providers();
    let (mut orphans, mut told, mut asked) = (Vec::new(), BTreeSet::new(), false);
    for place in distinct(places) {
        let Some(marks) = providers[&place.kind()].marks() else { continue };
        asked = true;
        for found in marks.marked(&place).await? {
            let is_known = found.operation.is_some_and(|operation| known.contains(&operation));
            // What outlives its server, or is shared, is an orphan once nobody uses it.
            let is_used = found.operation.is_none() && found.in_use;
            if !is_known && !is_used && told.insert(found.what.clone()) {
                let Marked { what, in_use, price, .. } = found;
                orphans.push(Orphan { what, of_another_state: found.owner != Some(owner), in_use, price });
            }
        }
    }
    output::data(global.output, &orphans, || match (asked, orphans.is_empty()) {
        (false, _) => "no provider was asked: name a spec file\n".to_owned(),
        (true, true) => "no orphans\n".to_owned(),
        (true, false) => table(&orphans),
    });
    Ok(ExitCode::SUCCESS)
}

/// Each place once, whatever else servers there have.
fn distinct(places: Vec<ProviderOptions>) -> Vec<ProviderOptions> {
    let mut asked: Vec<ProviderOptions> = Vec::new();
    for place in places {
        if !asked.iter().any(|other| other.is_beside(&place)) {
            asked.push(place);
        }
    }
    asked
}

fn table(orphans: &[Orphan]) -> String {
    let mut table = Table::new(&["WHAT", "A MONTH", "OF"]);
    for orphan in orphans {
        let price = orphan.price.as_ref().map(|price| format!("{:.2} {}", price.gross, price.currency));
        table.row(vec![
            orphan.what.clone(),
            price.unwrap_or_else(|| "-".to_owned()),
            if orphan.of_another_state { "another state" } else { "this state" }.to_owned(),
        ]);
    }
    table.render()
}
