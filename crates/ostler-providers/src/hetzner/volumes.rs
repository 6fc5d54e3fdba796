//! Volumes: made and attached, grown, and taken away again. What is on them is the server's business; the vendor never mounts them.

use super::{
    Machine,
    client::Client,
    error::HetznerError,
    labels,
    offers::Catalog,
    preflight::fatal,
    resources,
    wire::{Resource, Server},
};
use ostler_core::{
    Result,
    model::{Finding, Marked, Mount},
    ports::Keep,
    spec::{HetznerOptions, HetznerVolume},
};
use serde_json::json;

/// The path under which the server finds a volume.
fn device(id: u64) -> String {
    format!("/dev/disk/by-id/scsi-0HC_Volume_{id}")
}

/// What the server's system mounts; `None` where it has no volumes and never had any.
pub fn mounts(machine: &Machine, options: &HetznerOptions) -> Option<Vec<Mount>> {
    if machine.volumes.is_empty() && options.volumes.is_empty() {
        return None;
    }
    let mounted = options.volumes.iter().filter_map(|volume| {
        Some(Mount {
            name: volume.name.clone(),
            device: machine.volumes.get(&volume.name).map(|id| device(*id)),
            format: volume.format,
            mount: volume.mount.clone()?,
        })
    });
    Some(mounted.collect())
}

/// All of the project; none is asked for where neither spec nor record names any.
pub async fn all(
    client: &Client,
    machine: &Machine,
    options: Option<&HetznerOptions>,
) -> Result<Vec<Resource>, HetznerError> {
    match machine.volumes.is_empty() && options.is_none_or(|options| options.volumes.is_empty()) {
        true => Ok(Vec::new()),
        false => client.list("/volumes", &[]).await,
    }
}

/// What stands in the way of attaching the spec's volumes to a server, or to one that is to be made.
pub fn findings(all: &[Resource], options: &HetznerOptions, server: Option<&Server>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for HetznerVolume { name, size, .. } in &options.volumes {
        let Some(volume) = all.iter().find(|volume| volume.name == *name) else { continue };
        if volume.server.is_some() && volume.server != server.map(|server| server.id) {
            let error = HetznerError::VolumeTaken { volume: name.clone() };
            findings.push(fatal(error.to_string(), "detach it there first, or name another volume"));
        }
        if let Some(size) = size.filter(|size| u64::from(*size) < volume.size) {
            findings.push(fatal(
                format!("the volume `{name}` has {} GB, and can't shrink to {size}", volume.size),
                format!("write `size: {}`, or leave it out", volume.size),
            ));
        }
        if let Some(server) = server.filter(|server| server.location.name != volume.location.name) {
            findings.push(fatal(
                format!(
                    "the volume `{name}` is in {}, and {} in {}",
                    volume.location.name, server.name, server.location.name
                ),
                "name another volume: none can be moved",
            ));
        }
    }
    findings
}

/// Whether it is Ostler's to take away from the server: it attached or made it.
pub fn is_ours(machine: &Machine, volume: &Resource) -> bool {
    was_attached(machine, volume) || labels::are_ours(machine, &volume.labels)
}

fn was_attached(machine: &Machine, volume: &Resource) -> bool {
    machine.volumes.values().any(|id| *id == volume.id)
}

/// Attaches one to the server; it is made where it is missing, and grown where it is smaller than the spec says.
pub async fn attach(
    client: &Client,
    machine: &mut Machine,
    server: u64,
    wanted: &HetznerVolume,
    keep: &dyn Keep,
) -> Result<()> {
    let HetznerVolume { name, size, .. } = wanted;
    let body = json!({
        "name": name, "size": size.unwrap_or(HetznerVolume::SMALLEST), "server": server, "automount": false,
        "labels": labels::shared(machine, "volume"),
    });
    let volume: Resource = resources::ensure(client, "/volumes", "volume", name, body).await?;
    // Before it is attached, so that it is known whose it is. One that was made bears that itself.
    if machine.volumes.insert(name.clone(), volume.id) != Some(volume.id) {
        keep.keep(&machine.record()).await?;
    }
    match volume.server {
        Some(it) if it == server => {}
        Some(_) => return Err(HetznerError::VolumeTaken { volume: name.clone() }.into()),
        None => {
            let path = format!("/volumes/{}/actions/attach", volume.id);
            let body = json!({ "server": server, "automount": false });
            match client.act(&path, body, &format!("attach the volume {name}")).await {
                // An answer was lost; whose it is shows at the next look.
                Err(error) if error.code() == "volume_already_attached" => {}
                attached => attached?,
            }
        }
    }
    if let Some(size) = size.filter(|size| u64::from(*size) > volume.size) {
        let path = format!("/volumes/{}/actions/resize", volume.id);
        client.act(&path, json!({ "size": size }), &format!("resize the volume {name}")).await?;
    }
    Ok(())
}

/// Takes one away from whichever server has it.
pub async fn detach(client: &Client, volume: &Resource) -> Result<(), HetznerError> {
    let path = format!("/volumes/{}/actions/detach", volume.id);
    client.act(&path, json!({}), &format!("detach the volume {}", volume.name)).await
}

/// Those of the machine that outlive it, with their prices.
pub async fn kept(client: &Client, machine: &Machine) -> Result<Vec<Marked>, HetznerError> {
    let all = all(client, machine, None).await?;
    let kept: Vec<_> = all.iter().filter(|volume| was_attached(machine, volume)).collect();
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    let catalog = Catalog::read(client).await?;
    let marked = kept.into_iter().map(|volume| Marked {
        what: format!("volume {} {} at Hetzner ({} GB)", volume.id, volume.name, volume.size),
        owner: labels::are_ours(machine, &volume.labels).then_some(machine.owner),
        operation: None,
        in_use: volume.server.is_some(),
        price: Some(catalog.sum([catalog.volume(volume.size)], String::new())),
    });
    Ok(marked.collect())
}

/// Removes those of the machine that Ostler made.
pub async fn erase(client: &Client, machine: &Machine) -> Result<(), HetznerError> {
    for volume in all(client, machine, None).await? {
        if !was_attached(machine, &volume) || !labels::are_ours(machine, &volume.labels) {
            continue;
        }
        // Another server may have got it since.
        match (volume.server, machine.id) {
            (Some(server), Some(id)) if server == id => detach(client, &volume).await?,
            (Some(_), _) => continue,
            (None, _) => {}
        }
        client.delete(&format!("/volumes/{}", volume.id), &format!("remove the volume {}", volume.name)).await?;
    }
    Ok(())
}
