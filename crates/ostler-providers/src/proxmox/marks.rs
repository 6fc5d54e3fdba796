//! What in a cluster bears Ostler's mark: VMs and templates by their descriptions, seeds and images by the names of their files.
//!
//! A description says which operation made the VM, and for which state. A seed's name says only the operation. An image is anybody's who boots
//! from the same one, so its name says nobody, and it counts as used as long as there is, or may be, a VM of any Ostler. A VM whose making was broken off
//! has no description yet: of that only the seed is found.

use super::{
    Machine,
    client::Client,
    error::ProxmoxError,
    form::{Form, encode},
    image, storage, vm,
    wire::{Resource, Storage, Volume},
};
use futures::{StreamExt, stream};
use ostler_core::{
    ids::{OperationId, StateId},
    model::Marked,
    spec::ProxmoxOptions,
};
use std::collections::BTreeMap;

/// VMs that are looked at at once.
const AT_ONCE: usize = 8;

/// All that is on the node, and the VMs on the other nodes of its cluster as far as these answer.
pub async fn all(client: &Client, options: &ProxmoxOptions) -> Result<Vec<Marked>, ProxmoxError> {
    let mut all = Vec::new();
    let mut owners: BTreeMap<OperationId, StateId> = BTreeMap::new();
    let mut used = false;
    let vms: Vec<Resource> = client.get("/cluster/resources", &Form::new().with("type", "vm")).await?;
    let looks = vms.into_iter().map(|it| async move {
        let config = vm::config(client, &it.node, it.vmid).await;
        (it, config)
    });
    let mut looks = stream::iter(looks).buffered(AT_ONCE);
    while let Some((resource, config)) = looks.next().await {
        let config = match config {
            Err(_) if resource.node != options.node => {
                used = true;
                continue;
            }
            config => config?,
        };
        let description = config.and_then(|config| config.text("description"));
        let Some((operation, owner)) = description.as_deref().and_then(Machine::marked_by) else { continue };
        owners.insert(operation, owner);
        let kind = if resource.template { "template" } else { "VM" };
        let Resource { vmid, name, node, .. } = resource;
        let what = format!("{kind} {vmid} {name} on {node} of {}", client.name());
        all.push(Marked { what, owner: Some(owner), operation: Some(operation), in_use: false, price: None });
    }
    used |= !owners.is_empty();
    let storages: Vec<Storage> = client.get(&format!("/nodes/{}/storage", encode(&options.node)), &Form::new()).await?;
    for storage in storages.iter().filter(|storage| storage.active && storage.enabled) {
        let place =
            if storage.shared { client.name().to_owned() } else { format!("{} of {}", options.node, client.name()) };
        for volume in volumes(client, options, storage, "iso").await? {
            let Some(operation) = seed_of(&volume.volid) else { continue };
            let what = format!("seed {} on {place}", volume.volid);
            let owner = owners.get(&operation).copied();
            all.push(Marked { what, owner, operation: Some(operation), in_use: false, price: None });
        }
        for volume in volumes(client, options, storage, "import").await? {
            if !volume.volid.contains(":import/ostler-") {
                continue;
            }
            let operation = image::incomplete(&volume);
            let half = if operation.is_some() { ", not whole," } else { "" };
            let what = format!("image {}{half} on {place}", volume.volid);
            let owner = operation.and_then(|operation| owners.get(&operation).copied());
            all.push(Marked { what, owner, operation, in_use: used, price: None });
        }
    }
    Ok(all)
}

async fn volumes(
    client: &Client,
    options: &ProxmoxOptions,
    storage: &Storage,
    content: &str,
) -> Result<Vec<Volume>, ProxmoxError> {
    if !storage.takes(content) {
        return Ok(Vec::new());
    }
    client.get(&storage::content_path(&options.node, &storage.storage), &Form::new().with("content", content)).await
}

/// The operation whose seed the volume is.
fn seed_of(volume: &str) -> Option<OperationId> {
    let (_, file) = volume.split_once(":iso/ostler-")?;
    file.strip_suffix(".iso")?.parse().ok()
}
