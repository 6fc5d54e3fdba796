//! Another server type for a server that is there. The disk stays as it is, so that the way back is open.

use super::{Machine, client::Client, error::HetznerError, offers::Catalog, preflight::fatal, wire::Server};
use ostler_core::{model::Reshape, spec::HetznerOptions};
use serde_json::json;

/// What would change. A server whose type and location are among those of the spec is what it shall be.
pub async fn preflight(
    client: &Client,
    machine: &Machine,
    server: &Server,
    options: &HetznerOptions,
) -> Result<Reshape, HetznerError> {
    let mut reshape = Reshape::default();
    let (has, place) = (&server.server_type.name, &server.location.name);
    if !options.locations.contains(place) {
        reshape.findings.push(fatal(
            format!("{} is in {place}, and a server can't be moved", machine.server),
            format!("put `{place}` back into `location`, or give the new server another name"),
        ));
    }
    if options.types.contains(has) {
        return Ok(reshape);
    }
    let catalog = Catalog::read(client).await?;
    let candidates = catalog.candidates(options, &[]);
    match candidates.iter().find(|candidate| candidate.location.name == *place) {
        None => reshape.findings.push(fatal(
            format!("{} is a {has}, and none of {} can be had in {place}", machine.server, options.types.join(", ")),
            format!("put `{has}` back into `type`, or allow another type"),
        )),
        Some(to) => {
            let now = catalog.server_type(has);
            if now.is_some_and(|now| now.architecture != to.server_type.architecture) {
                reshape.findings.push(fatal(
                    format!("{has} can't become {}: their processors are of different kinds", to.server_type.name),
                    format!("put `{has}` back into `type`, or allow another type"),
                ));
            } else if now.is_some_and(|now| now.disk > to.server_type.disk) {
                reshape.findings.push(fatal(
                    format!("{has} can't become {}: a disk can't shrink", to.server_type.name),
                    format!("put `{has}` back into `type`, or allow a type with a larger disk"),
                ));
            } else {
                reshape.changes.push(format!("type {has} -> {}", to.server_type.name));
            }
        }
    }
    Ok(reshape)
}

/// Makes it the first type of the spec that its location has. It must be off.
pub async fn change(client: &Client, server: &Server, options: &HetznerOptions) -> Result<(), HetznerError> {
    let catalog = Catalog::read(client).await?;
    let candidates = catalog.candidates(options, &[]);
    let Some(to) = candidates.iter().find(|candidate| candidate.location.name == server.location.name) else {
        return Err(HetznerError::NoStock { tried: options.types.clone() });
    };
    let path = format!("/servers/{}/actions/change_type", server.id);
    let body = json!({ "server_type": to.server_type.name, "upgrade_disk": false });
    client.act(&path, body, &format!("make {} a {}", server.name, to.server_type.name)).await
}
