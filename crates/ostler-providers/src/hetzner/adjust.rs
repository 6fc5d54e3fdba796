//! What of a server can be changed while it runs: volumes, backups, protection, its firewall, its labels.
//!
//! All of it is found out by a look at the vendor, so that looking again after a crash finds what is left to do. What somebody switched on by
//! hand stays on: Ostler switches off what it has switched on.

use super::{
    Machine, balancers,
    client::Client,
    create::protect,
    error::HetznerError,
    firewall, labels,
    offers::Catalog,
    volumes,
    wire::{Labels, Resource, Server},
};
use ostler_core::{
    Result,
    model::Reshape,
    ports::Keep,
    spec::{HetznerOptions, HetznerVolume},
};
use serde_json::json;

/// One difference between a server and its spec.
enum Change<'a> {
    Backups(bool),
    Protect(bool),
    Firewall(bool),
    Labels,
    Make(&'a HetznerVolume),
    Attach(&'a HetznerVolume),
    Grow(&'a HetznerVolume, u64),
    Detach(&'a Resource),
}

/// What differs, for people, and what stands in the way.
pub async fn preflight(
    client: &Client,
    machine: &Machine,
    server: &Server,
    options: &HetznerOptions,
) -> Result<Reshape, HetznerError> {
    let volumes = volumes::all(client, machine, Some(options)).await?;
    let changes = changes(machine, server, options, &volumes);
    let costs = |change: &Change<'_>| !matches!(change, Change::Labels | Change::Protect(_) | Change::Firewall(_));
    let catalog = if changes.iter().any(costs) { Some(Catalog::read(client).await?) } else { None };
    let behind = balancers::preflight(client, machine, Some(server), options).await?;
    let mut adjustments: Vec<_> = changes.iter().map(|change| sentence(change, server, catalog.as_ref())).collect();
    let mut findings = volumes::findings(&volumes, options, Some(server));
    // Its load balancer is seen to once it is proved.
    adjustments.extend(behind.adjustments);
    findings.extend(behind.findings);
    Ok(Reshape { adjustments, findings, ..Reshape::default() })
}

/// Changes all of it but what the server's system may be using.
pub async fn make(
    client: &Client,
    machine: &mut Machine,
    server: &Server,
    options: &HetznerOptions,
    keep: &dyn Keep,
) -> Result<()> {
    let volumes = volumes::all(client, machine, Some(options)).await?;
    for change in changes(machine, server, options, &volumes) {
        let path = format!("/servers/{}", server.id);
        match change {
            Change::Backups(on) => {
                let (verb, word) = if on { ("enable_backup", "on") } else { ("disable_backup", "off") };
                let what = format!("switch the backups {word}");
                client.act(&format!("{path}/actions/{verb}"), json!({}), &what).await?;
                machine.backups = on;
            }
            Change::Protect(on) => {
                protect(client, server.id, on).await?;
                machine.protect = on;
            }
            // Whoever lets traffic in fills it and puts it in front of the server.
            Change::Firewall(true) => machine.firewall = Some(firewall::empty(client, machine).await?),
            Change::Firewall(false) => {
                firewall::remove(client, machine, server.id).await?;
                machine.firewall = None;
            }
            Change::Labels => {
                machine.spec = super::digest(options);
                let all: Labels = server.labels.clone().into_iter().chain(wanted_labels(machine)).collect();
                client.put(&path, json!({ "labels": all })).await?;
            }
            Change::Make(volume) | Change::Attach(volume) | Change::Grow(volume, _) => {
                volumes::attach(client, machine, server.id, volume, keep).await?;
            }
            Change::Detach(_) => {}
        }
        keep.keep(&machine.record()).await?;
    }
    Ok(())
}

/// Takes away what the spec no longer names. The server has unmounted it.
pub async fn release(
    client: &Client,
    machine: &mut Machine,
    server: &Server,
    options: &HetznerOptions,
) -> Result<(), HetznerError> {
    let volumes = volumes::all(client, machine, Some(options)).await?;
    for change in changes(machine, server, options, &volumes) {
        if let Change::Detach(volume) = change {
            volumes::detach(client, volume).await?;
        }
    }
    machine.volumes.retain(|name, _| options.volumes.iter().any(|volume| volume.name == *name));
    Ok(())
}

fn changes<'a>(
    machine: &Machine,
    server: &Server,
    options: &'a HetznerOptions,
    volumes: &'a [Resource],
) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    for wanted in &options.volumes {
        match volumes.iter().find(|volume| volume.name == wanted.name) {
            None => changes.push(Change::Make(wanted)),
            Some(volume) if volume.server != Some(server.id) || !machine.volumes.contains_key(&wanted.name) => {
                changes.push(Change::Attach(wanted));
            }
            Some(volume) if wanted.size.is_some_and(|size| u64::from(size) > volume.size) => {
                changes.push(Change::Grow(wanted, volume.size));
            }
            Some(_) => {}
        }
    }
    let wanted = |volume: &Resource| options.volumes.iter().any(|wanted| wanted.name == volume.name);
    let gone =
        |volume: &&Resource| volume.server == Some(server.id) && volumes::is_ours(machine, volume) && !wanted(volume);
    changes.extend(volumes.iter().filter(gone).map(Change::Detach));
    let has = server.backup_window.is_some();
    if options.backups != has && (options.backups || machine.backups) {
        changes.push(Change::Backups(options.backups));
    }
    let has = server.protection.delete;
    if options.protect != has && (options.protect || machine.protect) {
        changes.push(Change::Protect(options.protect));
    }
    if options.firewall != machine.firewall.is_some() {
        changes.push(Change::Firewall(options.firewall));
    }
    let told = Machine { spec: super::digest(options), ..machine.clone() };
    if wanted_labels(&told).iter().any(|(key, value)| server.labels.get(key) != Some(value)) {
        changes.push(Change::Labels);
    }
    changes
}

fn wanted_labels(machine: &Machine) -> Labels {
    serde_json::from_value(labels::of_server(machine, "server")).expect("labels are texts")
}

fn sentence(change: &Change<'_>, server: &Server, catalog: Option<&Catalog>) -> String {
    let price =
        |parts: (f64, f64)| catalog.map(|catalog| catalog.sum([parts], String::new()).to_string()).unwrap_or_default();
    let of = |size: u64| catalog.map(|catalog| price(catalog.volume(size))).unwrap_or_default();
    let on = |on: bool| if on { "on" } else { "off" };
    match change {
        Change::Backups(true) => {
            let backups = catalog.map(|catalog| catalog.backups(&server.server_type.name, &server.location.name));
            format!("backups on ({})", price(backups.unwrap_or_default()))
        }
        Change::Backups(false) => "backups off, which deletes those that there are".to_owned(),
        Change::Protect(is) => format!("protection {}", on(*is)),
        Change::Firewall(is) => format!("firewall of Hetzner {}", on(*is)),
        Change::Labels => "labels".to_owned(),
        Change::Make(volume) => {
            let size = volume.size.unwrap_or(HetznerVolume::SMALLEST);
            format!("volume {} made and attached ({size} GB, {})", volume.name, of(u64::from(size)))
        }
        Change::Attach(volume) => format!("volume {} attached", volume.name),
        Change::Grow(volume, from) => {
            let size = volume.size.unwrap_or(HetznerVolume::SMALLEST);
            format!("volume {} {from} GB -> {size} GB ({})", volume.name, of(u64::from(size)))
        }
        Change::Detach(volume) => {
            format!("volume {} detached and kept ({} GB, {})", volume.name, volume.size, of(volume.size))
        }
    }
}
