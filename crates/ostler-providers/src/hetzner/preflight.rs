//! What stands in the way of a server, all of it, found before anything is made.

use super::{
    Machine, balancers,
    client::Client,
    create::find,
    error::HetznerError,
    labels,
    offers::{self, Candidate, Catalog},
    resources::{self, Bound},
    volumes,
    wire::Server,
};
use ostler_core::{
    Classify,
    hint::Hint,
    model::{Finding, MachineOrder},
    spec::{HetznerOptions, ImageRef, Proto},
};
use std::collections::BTreeSet;

/// Ports that Hetzner blocks towards the outside on new accounts.
const MAIL: [u16; 2] = [25, 465];
/// Ports of a mail server.
const OF_MAIL: [u16; 4] = [25, 465, 587, 993];

/// All findings about an order; or why nothing can be asked: nobody there, a token that is not known.
pub async fn order(
    client: &Client,
    options: &HetznerOptions,
    order: &MachineOrder,
) -> Result<Vec<Finding>, HetznerError> {
    let catalog = Catalog::read(client).await?;
    let mut findings = Vec::new();
    findings.extend(may_write(client).await?);
    findings.extend(unknown(&catalog, options));
    findings.extend(deprecated(&catalog, options));
    let (bound, _) = resources::bound(client, options).await?;
    let candidates = catalog.candidates(options, &bound);
    if candidates.is_empty() && !findings.iter().any(|finding| finding.fatal) {
        findings.push(nowhere(options, &bound));
    }
    if !candidates.is_empty() && candidates.iter().all(Candidate::is_sold_out) {
        let all: Vec<String> =
            candidates.iter().map(|it| format!("{} in {}", it.server_type.name, it.location.name)).collect();
        findings.push(refusal(&HetznerError::NoStock { tried: all }));
    }
    findings.extend(volumes(client, options, order).await?);
    findings.extend(balancers::preflight(client, &Machine::of(order, options), None, options).await?.findings);
    findings.extend(image(client, order, &candidates).await?);
    findings.extend(name(client, options, order).await?);
    if order.openings.iter().any(|opening| opening.proto == Proto::Tcp && OF_MAIL.contains(&opening.port)) {
        let ports = MAIL.map(|port| port.to_string()).join(" and ");
        findings.push(warning(
            format!("Hetzner lets no new account send to TCP {ports}: mail that the server sends does not arrive"),
            "once the first invoice is paid, ask for it in the console, under Limits: `Unblock port 25 and 465`",
        ));
    }
    Ok(findings)
}

/// What would have a rebuild of the server refused.
pub async fn rebuild(client: &Client, order: &MachineOrder, server: &Server) -> Result<Vec<Finding>, HetznerError> {
    let catalog = Catalog::read(client).await?;
    let server_type = catalog.server_type(&server.server_type.name);
    let mut findings: Vec<Finding> = may_write(client).await?.into_iter().collect();
    findings.extend(missing(client, order, server_type.map(|it| it.architecture.as_str())).await?);
    Ok(findings)
}

/// Nothing says what a token may do. What is asked for here does not exist anywhere, so only a token that may write is told so.
async fn may_write(client: &Client) -> Result<Option<Finding>, HetznerError> {
    match client.delete("/placement_groups/0", "look at what the token may do").await {
        Err(error @ HetznerError::ReadOnly(_)) => Ok(Some(refusal(&error))),
        Err(HetznerError::Refused { .. }) | Ok(()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn unknown(catalog: &Catalog, options: &HetznerOptions) -> Vec<Finding> {
    let types = options.types.iter().filter(|name| catalog.server_type(name).is_none());
    let locations = options.locations.iter().filter(|name| catalog.location(name).is_none());
    let known_types = catalog.types.iter().filter(|it| it.deprecation.is_none()).map(|it| it.name.as_str());
    let known_types: Vec<&str> = known_types.collect();
    let known_locations: Vec<&str> = catalog.locations.iter().map(|it| it.name.as_str()).collect();
    let types = types.map(|name| {
        fatal(format!("Hetzner has no server type `{name}`"), format!("it has: {}", known_types.join(", ")))
    });
    let locations = locations.map(|name| {
        fatal(format!("Hetzner has no location `{name}`"), format!("it has: {}", known_locations.join(", ")))
    });
    types.chain(locations).collect()
}

/// Types that are or will be gone, each once.
fn deprecated(catalog: &Catalog, options: &HetznerOptions) -> Vec<Finding> {
    let types = options.types.iter().filter_map(|name| catalog.server_type(name));
    let ending = types.filter_map(|server_type| {
        let places = server_type.locations.iter().filter(|place| options.locations.contains(&place.name));
        let mut endings = places.filter_map(|place| place.deprecation.as_ref());
        let ending = server_type.deprecation.as_ref().or_else(|| endings.next())?;
        let (name, day) = (&server_type.name, ending.day());
        Some(match ending.is_over() {
            true => warning(format!("{name} can't be ordered since {day}"), "take it out of `type`"),
            false => warning(format!("{name} can't be ordered from {day} on"), "choose another type soon"),
        })
    });
    ending.collect()
}

fn nowhere(options: &HetznerOptions, bound: &[Bound]) -> Finding {
    let (types, locations) = (options.types.join(", "), options.locations.join(", "));
    let bound: Vec<String> = bound.iter().map(|it| format!("{} is in {}", it.what, it.location)).collect();
    if bound.is_empty() {
        return fatal(
            format!("none of {types} can be ordered in {locations}"),
            "allow other types or locations: not every location has each type",
        );
    }
    fatal(
        format!("{}: none of {types} can be ordered there as the spec allows it", bound.join(", ")),
        "the server must be where its volumes and addresses are: mend `location`, or name others",
    )
}

async fn volumes(
    client: &Client,
    options: &HetznerOptions,
    order: &MachineOrder,
) -> Result<Vec<Finding>, HetznerError> {
    let machine = Machine::of(order, options);
    let all = volumes::all(client, &machine, Some(options)).await?;
    // A creation that is gone on with may have attached them already.
    let made = if all.iter().any(|volume| volume.server.is_some()) { find(client, &machine).await? } else { None };
    Ok(volumes::findings(&all, options, made.as_ref()))
}

async fn image(
    client: &Client,
    order: &MachineOrder,
    candidates: &[Candidate<'_>],
) -> Result<Vec<Finding>, HetznerError> {
    let architectures: BTreeSet<&str> = candidates.iter().map(|it| it.server_type.architecture.as_str()).collect();
    missing(client, order, architectures).await
}

/// That the order's image is not there for these architectures.
async fn missing(
    client: &Client,
    order: &MachineOrder,
    architectures: impl IntoIterator<Item = &str>,
) -> Result<Vec<Finding>, HetznerError> {
    let ImageRef::Named(name) = &order.image_ref else { return Ok(Vec::new()) };
    let mut findings = Vec::new();
    for architecture in architectures {
        if offers::image(client, name, architecture).await?.is_none() {
            let (name, architecture) = (name.clone(), architecture.to_owned());
            findings.push(refusal(&HetznerError::NoImage { name, architecture }));
        }
    }
    Ok(findings)
}

/// A server's name is unique in a project.
async fn name(
    client: &Client,
    options: &HetznerOptions,
    order: &MachineOrder,
) -> Result<Option<Finding>, HetznerError> {
    let Some(other) = client.named::<Server>("/servers", order.server.as_str()).await? else { return Ok(None) };
    let ours = other.labels.get(labels::OPERATION).is_some_and(|it| *it == order.operation.to_string());
    if ours || find(client, &Machine::of(order, options)).await?.is_some() {
        return Ok(None);
    }
    Ok(Some(refusal(&HetznerError::NameTaken(order.server.clone()))))
}

pub fn fatal(message: String, hint: impl Into<Hint>) -> Finding {
    Finding { fatal: true, message, hints: vec![hint.into()] }
}

fn warning(message: String, hint: impl Into<Hint>) -> Finding {
    Finding { fatal: false, ..fatal(message, hint) }
}

pub fn refusal(error: &HetznerError) -> Finding {
    Finding { fatal: true, message: error.to_string(), hints: error.hints() }
}
