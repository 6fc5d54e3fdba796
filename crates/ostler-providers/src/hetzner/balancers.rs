//! Load balancers: made with the first server that is put behind one, kept as the spec says by each server that names it, and gone with the
//! last.
//!
//! A server is put behind one when it is proved to be what its spec says, and taken out before it is taken apart. Which ones it stands behind
//! the vendor knows; the record only says that it is worth asking, from before the first request on.

use super::{
    Machine,
    client::Client,
    error::HetznerError,
    labels,
    offers::Catalog,
    preflight::{fatal, refusal},
    resources,
    wire::{Balancer, HealthCheck, HttpCheck, Location, Resource, Server, Service},
};
use ostler_core::{
    Result,
    event::{EventKind, Level},
    model::{Finding, Reshape},
    ports::{Keep, Reporter},
    spec::{HetznerBalancer, HetznerOptions, HetznerService},
};
use serde_json::json;

pub const PATH: &str = "/load_balancers";

/// One difference between the load balancers of a server and its spec.
enum Change<'a> {
    Make,
    Type,
    Drop(u16),
    Add(Service),
    Alter(Service),
    /// The server is put behind it.
    Join,
    /// The server stands behind another one, which goes if `last`.
    Leave {
        other: &'a Balancer,
        last: bool,
    },
}

/// What differs, for people, and what stands in the way. `server`: `None` where it is to be made.
pub async fn preflight(
    client: &Client,
    machine: &Machine,
    server: Option<&Server>,
    options: &HetznerOptions,
) -> Result<Reshape, HetznerError> {
    let all = all(client, machine, options).await?;
    let wanted = options.load_balancer.as_ref();
    let server = server.map(|server| server.id);
    let mut changes: Vec<_> = server.map(|server| others(machine, server, wanted, &all)).unwrap_or_default();
    let mut reshape = Reshape::default();
    let catalog = if wanted.is_some() { Some(Catalog::read(client).await?) } else { None };
    if let (Some(wanted), Some(catalog)) = (wanted, &catalog) {
        let found = all.iter().find(|balancer| balancer.name == wanted.name);
        changes.extend(self::changes(found, wanted, server));
        reshape.findings = findings(client, machine, found, wanted, catalog).await?;
    }
    reshape.adjustments = changes.iter().map(|change| sentence(change, wanted, &all, catalog.as_ref())).collect();
    Ok(reshape)
}

/// What the spec's load balancer costs where it is still to be made, for people.
pub async fn missing(
    client: &Client,
    options: &HetznerOptions,
    catalog: &Catalog,
) -> Result<Option<String>, HetznerError> {
    let Some(HetznerBalancer { name, balancer_type, location, .. }) = &options.load_balancer else { return Ok(None) };
    if client.named::<Balancer>(PATH, name).await?.is_some() {
        return Ok(None);
    }
    let what = format!("the load balancer {name}, which its servers share");
    Ok(Some(catalog.sum([catalog.load_balancer(balancer_type, location)], what).to_string()))
}

/// What stands in the way of a load balancer.
async fn findings(
    client: &Client,
    machine: &Machine,
    found: Option<&Balancer>,
    wanted: &HetznerBalancer,
    catalog: &Catalog,
) -> Result<Vec<Finding>, HetznerError> {
    let HetznerBalancer { name, balancer_type, location, network, .. } = wanted;
    if found.is_some_and(|found| !labels::are_ours(machine, &found.labels)) {
        return Ok(vec![refusal(&HetznerError::BalancerTaken(name.clone()))]);
    }
    let mut findings = Vec::new();
    let types: Vec<&str> = catalog.pricing.load_balancer_types.iter().map(|it| it.name.as_str()).collect();
    if !types.contains(&balancer_type.as_str()) {
        findings.push(fatal(
            format!("Hetzner has no load balancer type `{balancer_type}`"),
            format!("it has: {}", types.join(", ")),
        ));
    }
    let Some(found) = found else {
        if catalog.location(location).is_none() {
            let known: Vec<_> = catalog.locations.iter().map(|it| it.name.as_str()).collect();
            findings
                .push(fatal(format!("Hetzner has no location `{location}`"), format!("it has: {}", known.join(", "))));
        }
        return Ok(findings);
    };
    let place = &found.location.name;
    if place != location {
        findings.push(fatal(
            format!("the load balancer `{name}` is in {place}, and can't be moved"),
            format!("put `{place}` back into its `location`, or give the new one another name"),
        ));
    }
    let is_in = found.private_net.first().and_then(|net| net.network);
    let wants = match network {
        Some(network) => client.named::<Resource>("/networks", network).await?.map(|network| network.id),
        None => None,
    };
    if is_in != wants || network.is_some() != is_in.is_some() {
        findings.push(fatal(
            format!("the load balancer `{name}` reaches its servers by another network than its `network` says"),
            "put the old value back, or give the new one another name",
        ));
    }
    Ok(findings)
}

/// Makes the spec's load balancer what the spec says, and puts the server behind it. Where the spec names another one than before, or none, the
/// old one is left first.
pub async fn join(
    client: &Client,
    machine: &mut Machine,
    server: &Server,
    options: &HetznerOptions,
    keep: &dyn Keep,
    reporter: &dyn Reporter,
) -> Result<()> {
    let wanted = options.load_balancer.as_ref();
    let all = all(client, machine, options).await?;
    for change in others(machine, server.id, wanted, &all) {
        let Change::Leave { other, last } = change else { continue };
        take_out(client, other, server.id).await?;
        if last {
            remove(client, other).await?;
        }
    }
    let name = wanted.map(|wanted| wanted.name.clone());
    if machine.balancer != name {
        machine.balancer = name;
        keep.keep(&machine.record()).await?;
    }
    let Some(wanted) = wanted else { return Ok(()) };
    let mut tries = 0;
    let joined = loop {
        match bring(client, machine, server.id, wanted).await {
            // Another server's run does the same at the same time, or an answer was lost: what is left to do shows at the next look.
            Err(error) if RACED.contains(&error.code()) && tries < 3 => tries += 1,
            brought => break brought?,
        }
    };
    if let Some(balancer) = joined {
        let message =
            format!("{} is behind the load balancer {} ({})", machine.server, wanted.name, balancer.addresses());
        reporter.report(EventKind::Notice { level: Level::Info, message }).await;
    }
    Ok(())
}

/// What is answered where something is done already, or gone.
const RACED: [&str; 5] = [
    "source_port_already_used",
    "target_already_defined",
    "invalid_load_balancer_type",
    "uniqueness_error",
    "not_found",
];

/// The load balancer, if the server was not behind it before.
async fn bring(
    client: &Client,
    machine: &Machine,
    server: u64,
    wanted: &HetznerBalancer,
) -> Result<Option<Balancer>, HetznerError> {
    let balancer = match client.named::<Balancer>(PATH, &wanted.name).await? {
        Some(found) => found,
        None => make(client, machine, wanted).await?,
    };
    if !labels::are_ours(machine, &balancer.labels) {
        return Err(HetznerError::BalancerTaken(wanted.name.clone()));
    }
    let mut joined = false;
    for change in changes(Some(&balancer), wanted, Some(server)) {
        let (verb, body, what) = match change {
            Change::Type => {
                ("change_type", json!({ "load_balancer_type": wanted.balancer_type }), "change the type of")
            }
            Change::Drop(port) => ("delete_service", json!({ "listen_port": port }), "take a service from"),
            Change::Add(service) => ("add_service", json!(service), "add a service to"),
            Change::Alter(service) => ("update_service", json!(service), "change a service of"),
            Change::Join => {
                joined = true;
                let target = json!({
                    "type": "server", "server": { "id": server }, "use_private_ip": wanted.network.is_some(),
                });
                ("add_target", target, "put a server behind")
            }
            Change::Make | Change::Leave { .. } => continue,
        };
        let path = format!("{PATH}/{}/actions/{verb}", balancer.id);
        client.act(&path, body, &format!("{what} the load balancer {}", wanted.name)).await?;
    }
    Ok(joined.then_some(balancer))
}

async fn make(client: &Client, machine: &Machine, wanted: &HetznerBalancer) -> Result<Balancer, HetznerError> {
    let services: Vec<Service> = wanted.services.iter().map(service).collect();
    let mut body = json!({
        "name": wanted.name, "load_balancer_type": wanted.balancer_type, "location": wanted.location, "services": services,
        "labels": labels::shared(machine, "load-balancer"),
    });
    if let Some(name) = &wanted.network {
        // Its servers are in it.
        if let Some(network) = client.named::<Resource>("/networks", name).await? {
            if let Some(location) = client.named::<Location>("/locations", &wanted.location).await? {
                resources::subnet(client, &network, &location.network_zone).await?;
            }
            body["network"] = json!(network.id);
        }
    }
    resources::ensure(client, PATH, "load_balancer", &wanted.name, body).await
}

/// Takes the server out of all that Ostler has put it behind. The load balancers stay.
pub async fn leave(client: &Client, machine: &Machine) -> Result<(), HetznerError> {
    let (Some(_), Some(server)) = (&machine.balancer, machine.id) else { return Ok(()) };
    for balancer in client.list::<Balancer>(PATH, &[]).await? {
        if labels::are_ours(machine, &balancer.labels) {
            take_out(client, &balancer, server).await?;
        }
    }
    Ok(())
}

/// Removes the machine's, if Ostler made it and no server is behind it any more.
pub async fn remove_last(client: &Client, machine: &Machine) -> Result<(), HetznerError> {
    let Some(name) = &machine.balancer else { return Ok(()) };
    match client.named::<Balancer>(PATH, name).await? {
        Some(balancer) if labels::are_ours(machine, &balancer.labels) && balancer.targets.is_empty() => {
            remove(client, &balancer).await
        }
        _ => Ok(()),
    }
}

/// For people: ``behind front (198.51.100.7, 2001:db8::7), healthy``.
pub async fn shown(client: &Client, machine: &Machine, server: u64) -> Option<String> {
    let name = machine.balancer.as_ref()?;
    // A look at the server is worth more than its load balancer.
    let balancer = client.named::<Balancer>(PATH, name).await.ok()??;
    let target = balancer.targets.iter().find(|target| target.is(server))?;
    let ailing = target.health_status.iter().filter(|health| health.status != "healthy");
    let ailing: Vec<_> = ailing.map(|health| format!("{} on {}", health.status, health.listen_port)).collect();
    let health = match (target.health_status.is_empty(), ailing.is_empty()) {
        (true, _) => "health unknown".to_owned(),
        (false, true) => "healthy".to_owned(),
        (false, false) => ailing.join(", "),
    };
    Some(format!("behind {name} ({}), {health}", balancer.addresses()))
}

/// All of the project; none is asked for where neither spec nor record names any.
async fn all(client: &Client, machine: &Machine, options: &HetznerOptions) -> Result<Vec<Balancer>, HetznerError> {
    match machine.balancer.is_none() && options.load_balancer.is_none() {
        true => Ok(Vec::new()),
        false => client.list(PATH, &[]).await,
    }
}

async fn take_out(client: &Client, balancer: &Balancer, server: u64) -> Result<(), HetznerError> {
    if !balancer.targets.iter().any(|target| target.is(server)) {
        return Ok(());
    }
    let path = format!("{PATH}/{}/actions/remove_target", balancer.id);
    let body = json!({ "type": "server", "server": { "id": server } });
    match client.act(&path, body, &format!("take a server from the load balancer {}", balancer.name)).await {
        // An answer was lost, or somebody was faster.
        Err(error) if error.code() == "not_found" => Ok(()),
        taken => taken,
    }
}

async fn remove(client: &Client, balancer: &Balancer) -> Result<(), HetznerError> {
    client.delete(&format!("{PATH}/{}", balancer.id), &format!("remove the load balancer {}", balancer.name)).await
}

/// Those that the server must leave.
fn others<'a>(
    machine: &Machine,
    server: u64,
    wanted: Option<&HetznerBalancer>,
    all: &'a [Balancer],
) -> Vec<Change<'a>> {
    let others = all
        .iter()
        .filter(|it| labels::are_ours(machine, &it.labels) && wanted.is_none_or(|wanted| wanted.name != it.name));
    let concerned = others
        .filter(|it| it.targets.iter().any(|target| target.is(server)) || machine.balancer.as_ref() == Some(&it.name));
    concerned.map(|other| Change::Leave { other, last: other.targets.iter().all(|target| target.is(server)) }).collect()
}

fn changes<'a>(found: Option<&Balancer>, wanted: &HetznerBalancer, server: Option<u64>) -> Vec<Change<'a>> {
    let Some(found) = found else { return vec![Change::Make, Change::Join] };
    let mut changes = Vec::new();
    // The types differ in how many services they take.
    let gone = |service: &&Service| !wanted.services.iter().any(|it| it.listen == service.listen_port);
    changes.extend(found.services.iter().filter(gone).map(|service| Change::Drop(service.listen_port)));
    if found.load_balancer_type.name != wanted.balancer_type {
        changes.push(Change::Type);
    }
    for service in wanted.services.iter().map(service) {
        match found.services.iter().find(|it| it.listen_port == service.listen_port) {
            None => changes.push(Change::Add(service)),
            Some(has) if has.plain() != service => changes.push(Change::Alter(service)),
            Some(_) => {}
        }
    }
    if server.is_none_or(|server| !found.targets.iter().any(|target| target.is(server))) {
        changes.push(Change::Join);
    }
    changes
}

/// As the vendor has it.
fn service(wanted: &HetznerService) -> Service {
    let HetznerService { http, listen, to, proxy_protocol, health } = wanted;
    let protocol = |http: bool| if http { "http" } else { "tcp" }.to_owned();
    Service {
        protocol: protocol(*http),
        listen_port: *listen,
        destination_port: *to,
        proxyprotocol: *proxy_protocol,
        health_check: HealthCheck {
            protocol: protocol(health.http.is_some()),
            port: health.port,
            interval: health.interval,
            timeout: health.timeout,
            retries: health.retries,
            http: health.http.as_ref().map(|http| HttpCheck {
                domain: http.domain.clone(),
                path: http.path.clone(),
                tls: http.tls,
            }),
        },
    }
}

fn sentence(
    change: &Change<'_>,
    wanted: Option<&HetznerBalancer>,
    all: &[Balancer],
    catalog: Option<&Catalog>,
) -> String {
    if let Change::Leave { other, last } = change {
        let goes = if *last { ", which is removed" } else { "" };
        return format!("no longer behind load balancer {}{goes}", other.name);
    }
    let Some(HetznerBalancer { name, balancer_type, location, .. }) = wanted else { return String::new() };
    let price =
        catalog.map(|catalog| catalog.sum([catalog.load_balancer(balancer_type, location)], String::new()).to_string());
    let price = price.unwrap_or_default();
    match change {
        Change::Make => format!("load balancer {name} made ({balancer_type} in {location}, {price})"),
        Change::Type => {
            let found = all.iter().find(|balancer| balancer.name == *name);
            let has = found.map_or("", |found| found.load_balancer_type.name.as_str());
            format!("load balancer {name} {has} -> {balancer_type} ({price})")
        }
        Change::Drop(port) => format!("load balancer {name}: port {port} removed"),
        Change::Add(service) => format!("load balancer {name}: port {} added", service.listen_port),
        Change::Alter(service) => format!("load balancer {name}: port {} changed", service.listen_port),
        Change::Join => format!("behind load balancer {name}"),
        Change::Leave { .. } => String::new(),
    }
}
