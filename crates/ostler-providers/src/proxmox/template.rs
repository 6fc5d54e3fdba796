//! Templates: provisioned machines that others are cloned from. The node alone says which there are: a template bears a tag with the digest
//! of its contents, and its description whose it is.

use super::{
    Machine,
    client::Client,
    error::ProxmoxError,
    form::{Form, encode},
    preflight::warning,
    remove, storage,
    vm::{self, Vm},
    wire::{self, Resource, Storage, VmConfig},
};
use ostler_core::{
    model::{Finding, ImageHandle, MachineOrder},
    spec::{ProxmoxOptions, TemplateDigest},
};
use std::fmt;

/// Types of storages that let a clone share its template's disk (`volume_has_feature` of PVE/Storage/*Plugin.pm).
const SHARING: [&str; 8] = ["btrfs", "cifs", "dir", "lvmthin", "nfs", "rbd", "zfs", "zfspool"];
/// What a handle of an image that is a template begins with: PVE calls its VMs like this.
const PREFIX: &str = "qemu/";

/// A template on the node.
#[derive(Clone, Debug)]
pub struct Template {
    /// Its VMID.
    pub vmid: u32,
    name: String,
    /// Bytes of its disk.
    disk: u64,
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (VM {})", self.name, self.vmid)
    }
}

impl Template {
    /// As what a machine boots from.
    pub fn image(&self) -> ImageHandle {
        ImageHandle(format!("{PREFIX}{}", self.vmid))
    }

    /// Whether its disk is small enough: disks only grow.
    pub fn fits(&self, order: &MachineOrder) -> bool {
        self.disk <= order.size.disk
    }

    /// Why it is not used.
    pub fn misfit(&self, order: &MachineOrder) -> Finding {
        let (has, wanted) = (self.disk >> 20, order.size.disk >> 20);
        let message = format!("{self} is not used: its disk has {has} MiB, and `{}` wants {wanted} MiB", order.server);
        warning(
            message,
            &format!("a template's disk can only grow: set `disk` to {has} MiB or more, or build it from this server"),
        )
    }
}

/// The VMID of the template that the image is, if it is one.
pub fn of_image(image: &ImageHandle) -> Option<u32> {
    image.0.strip_prefix(PREFIX)?.parse().ok()
}

fn tag(contents: &TemplateDigest) -> String {
    format!("ostler-{contents}")
}

/// The template of the order's contents that the order's state has made on the order's node.
pub async fn find(
    client: &Client,
    options: &ProxmoxOptions,
    order: &MachineOrder,
) -> Result<Option<Template>, ProxmoxError> {
    let Some(contents) = &order.template else { return Ok(None) };
    let (tag, owner) = (tag(contents), order.owner.to_string());
    let mut all: Vec<Resource> = client.get("/cluster/resources", &Form::new().with("type", "vm")).await?;
    all.retain(|vm| vm.template && vm.node == options.node && vm.tags.split([';', ',', ' ']).any(|found| found == tag));
    all.sort_by_key(|vm| vm.vmid);
    for Resource { vmid, name, .. } in all {
        let Some(vmid) = u32::try_from(vmid).ok() else { continue };
        let Some(config) = config(client, &options.node, vmid).await? else { continue };
        if config.text("description").is_some_and(|text| text.contains(&owner)) {
            let disk = config.property("scsi0", "size").as_deref().and_then(wire::size).unwrap_or(u64::MAX);
            return Ok(Some(Template { vmid, name, disk }));
        }
    }
    Ok(None)
}

/// The same, if the order's machine can be cloned from it.
pub async fn fitting(
    client: &Client,
    options: &ProxmoxOptions,
    order: &MachineOrder,
) -> Result<Option<Template>, ProxmoxError> {
    Ok(find(client, options, order).await?.filter(|template| template.fits(order)))
}

/// Of a template; `None` where there is none of this VMID.
async fn config(client: &Client, node: &str, vmid: u32) -> Result<Option<VmConfig>, ProxmoxError> {
    Ok(vm::config(client, node, vmid.into()).await?.filter(VmConfig::is_template))
}

/// Path and parameters of the request that clones a template: sharing its disk where the storage can, else with a copy.
pub async fn clone_request(client: &Client, machine: &Machine, from: u32) -> Result<(String, Form), ProxmoxError> {
    let node = &machine.node;
    let gone = || ProxmoxError::NoTemplate { server: machine.server.clone(), vmid: from, node: node.clone() };
    let disk = config(client, node, from).await?.and_then(|config| config.volume("scsi0")).ok_or_else(gone)?;
    let all: Vec<Storage> = client.get(&format!("/nodes/{}/storage", encode(node)), &Form::new()).await?;
    let lies_there = storage::of_volume(&disk) == machine.storage;
    let shares = all.iter().any(|it| it.storage == machine.storage && SHARING.contains(&it.kind.as_str()));
    let form = Form::new()
        .with("newid", machine.vmid)
        .with("name", &machine.server)
        .with("description", machine.description());
    let form = match lies_there && shares {
        true => form.with("full", 0),
        false => form.with("full", 1).with("storage", &machine.storage),
    };
    Ok((format!("/nodes/{}/qemu/{from}/clone", encode(node)), form))
}

/// Makes a template of a VM that is off, and takes the seed away. What is done already is not done again.
pub async fn make(vm: &Vm<'_>, contents: &TemplateDigest) -> Result<(), ProxmoxError> {
    let machine = vm.machine;
    let config = vm.ours().await?.ok_or_else(|| machine.absent())?;
    if !config.is_template() {
        if vm.runs().await? {
            return Err(ProxmoxError::Running(machine.server.clone()));
        }
        let gone = config.keys().filter(|key| ["scsi1", "onboot"].contains(key));
        let form = Form::new().with("tags", tag(contents)).deleting(gone);
        vm.client.put(&vm.path("/config"), &form).await?;
        vm.make_template().await?;
    }
    remove::seed(vm.client, machine).await
}
