//! `ostler orphans`

use crate::{
    cli::Global,
    commands::spec_file,
    output::{self, Table},
    wiring::{Session, WaitArguments},
};
use ostler_core::{
    Result,
    server::orphans::{self, Maker, Orphan, Search},
    spec::ProviderOptions,
};
use std::{path::PathBuf, process::ExitCode};

/// Find what Ostler made at a provider's and no record knows any more; nothing is touched.
///
/// Looks on this machine, wherever servers of the state are, and where those of the spec file would be. Shows what an interrupted creation may
/// have left, what `destroy` keeps (volumes, Primary IPs), and what another state directory made. A provider that does not answer hides no
/// other one; the exit code tells that it did not.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A spec file that names more providers.
    file: Option<PathBuf>,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let mut places: Vec<ProviderOptions> = Vec::new();
    if let Some(file) = &arguments.file {
        let (spec, _) = spec_file::read(global, file, true).await?;
        places.extend(spec.servers.into_iter().map(|server| server.provider));
    }
    let session = Session::open(global, WaitArguments::default(), "orphans").await?;
    let found = session.with_world(async |world| orphans::search(world, places).await).await?;
    let Search { orphans, searched, failures } = &found;
    output::data(global.output, orphans, || match orphans.as_slice() {
        [] if searched.is_empty() => String::new(),
        [] => format!("no orphans: {}\n", searched.join(", ")),
        orphans => table(orphans),
    });
    let mut code = 0;
    for failure in failures {
        output::print_failure(global.output, failure);
        code = code.max(failure.blame.exit_code());
    }
    Ok(ExitCode::from(code))
}

fn table(orphans: &[Orphan]) -> String {
    let mut table = Table::new(&["WHAT", "A MONTH", "OF"]);
    for orphan in orphans {
        let price = orphan.price.as_ref().map(|price| format!("{:.2} {}", price.gross, price.currency));
        let of = match orphan.of {
            Maker::ThisState => "this state",
            Maker::AnotherState => "another state",
            Maker::Unknown => "unknown",
        };
        table.row(vec![orphan.what.clone(), price.unwrap_or_else(|| "-".to_owned()), of.to_owned()]);
    }
    table.render()
}
