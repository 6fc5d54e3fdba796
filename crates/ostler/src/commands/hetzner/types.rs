//! `ostler hetzner types`

use super::Project;
use crate::{
    cli::Global,
    output::{self, Table},
};
use ostler_core::Result;
use ostler_providers::hetzner::{TypeOffer, TypePrice};
use std::process::ExitCode;

/// Server types with what they cost a month as the account has it, the cheapest first.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only what this location has
    #[arg(long, value_name = "LOCATION")]
    location: Option<String>,
    #[command(flatten)]
    project: Project,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: &Arguments) -> Result<ExitCode> {
    let mut types = arguments.project.offers(global).await?.types;
    if let Some(location) = &arguments.location {
        types.iter_mut().for_each(|offer| offer.prices.retain(|price| price.location == *location));
        types.retain(|offer| !offer.prices.is_empty());
    }
    output::data(global.output, &types, || table(&types));
    Ok(ExitCode::SUCCESS)
}

fn table(types: &[TypeOffer]) -> String {
    let mut table = Table::new(&["TYPE", "CPU", "CORES", "MEMORY", "DISK", "A MONTH", "WITHOUT VAT", "LOCATIONS", ""]);
    for offer in types {
        let cheapest = offer.cheapest();
        let amount = |of: &dyn Fn(&TypePrice) -> f64| {
            cheapest.map_or_else(|| "-".to_owned(), |price| format!("{:.2} {}", of(price), price.currency))
        };
        table.row(vec![
            offer.name.clone(),
            format!("{} {}", offer.architecture, offer.cpu),
            offer.cores.to_string(),
            format!("{} GB", offer.memory),
            format!("{} GB", offer.disk),
            amount(&|price| price.gross),
            amount(&|price| price.net),
            locations(offer),
            match (&offer.ends, offer.gone) {
                (Some(day), true) => format!("gone since {day}"),
                (Some(day), false) => format!("until {day}"),
                (None, _) => String::new(),
            },
        ]);
    }
    table.render()
}

/// Where it is; what costs more there than elsewhere, and where there is none left now.
fn locations(offer: &TypeOffer) -> String {
    let least = offer.cheapest().map_or(0.0, |price| price.gross);
    let word = |price: &TypePrice| match (price.available || offer.gone, price.gross > least) {
        (false, _) => format!("{} (none left)", price.location),
        (true, true) => format!("{} ({:.2})", price.location, price.gross),
        (true, false) => price.location.clone(),
    };
    offer.prices.iter().map(word).collect::<Vec<_>>().join(" ")
}
