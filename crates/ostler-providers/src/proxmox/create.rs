//! Makes a VM: one request with everything in it, told from others whatever happens in between.

use super::{
    Machine,
    client::{Client, Upload, UploadSource},
    error::ProxmoxError,
    form::{Form, encode},
    host::Host,
    remove, storage, task, template,
    vm::{Found, Silent, Vm},
    vmid,
    wire::{self, NodeStatus, VmConfig},
};
use crate::local::seed;
use ostler_core::{
    Failure, Result,
    model::{ImageHandle, MachineOrder, MachineRecord, Seed, mac_address},
    ports::{Keep, Reporter},
    spec::{Address, ProxmoxOptions},
};

/// VMIDs that are tried where Ostler picks one.
const TRIES: u32 = 50;

/// One machine that is to be made.
pub struct CreateRequest<'a> {
    /// How the node is reached.
    pub client: &'a Client,
    /// This machine.
    pub host: &'a Host,
    /// What is to be made.
    pub order: &'a MachineOrder,
    pub image: &'a ImageHandle,
    pub options: &'a ProxmoxOptions,
    pub keep: &'a dyn Keep,
    pub reporter: &'a dyn Reporter,
}

impl CreateRequest<'_> {
    /// Makes it, or finds what an earlier attempt made.
    pub async fn make(&self) -> Result<MachineRecord> {
        if let Some(record) = &self.order.found {
            let machine = Machine::read(record)?;
            if let Some(config) = self.look(&machine).await? {
                return self.complete(machine, &config).await;
            }
        }
        let emulated = self.is_emulated().await?;
        let mut next = None;
        for _ in 0..TRIES {
            let vmid = match (self.options.vmid, next) {
                (Some(vmid), _) => vmid,
                (None, None) => self.next_vmid(None).await?,
                (None, Some(vmid)) => self.next_vmid(Some(vmid)).await?,
            };
            next = Some(vmid + 1);
            let mut machine = self.machine(vmid, emulated).await?;
            if !machine.before.is_empty() && self.options.vmid.is_none() {
                // Volumes of a VM that is gone: nobody shall ever take them for ours.
                continue;
            }
            self.keep.keep(&machine.record()).await?;
            put_seed(self.client, &machine, &self.order.seed).await?;
            let asked = self.ask(&machine).await;
            if let Some(upid) = asked.as_ref().ok().filter(|_| machine.template.is_some()) {
                machine.cloning = Some(upid.clone());
                self.keep.keep(&machine.record()).await?;
            }
            match self.made(vmid, asked).await {
                Err(ProxmoxError::Taken { .. }) if self.options.vmid.is_none() => continue,
                Err(taken @ ProxmoxError::Taken { .. }) => {
                    // Whoever was faster may have used the same token: that task is none of ours.
                    let seen = task::makings(self.client, &machine.node, vmid, machine.template).await?;
                    self.keep.keep(&Machine { seen, ..machine }.record()).await?;
                    return Err(taken.into());
                }
                Err(error) if error.leaves_doubt() => {
                    // It may be on its way: what there is decides, and whether the node answers.
                    match self.look(&machine).await? {
                        Some(config) => return self.complete(machine, &config).await,
                        None => return Err(error.into()),
                    }
                }
                posted => posted?,
            }
            let config = Vm::of(self.client, &machine).ours().await?.ok_or_else(|| machine.absent())?;
            return self.complete(machine, &config).await;
        }
        Err(ProxmoxError::Taken { vmid: next.unwrap_or_default().saturating_sub(1) }.into())
    }

    /// What is there of ours. What is broken beyond repair is removed where that is possible.
    async fn look(&self, machine: &Machine) -> Result<Option<VmConfig>, ProxmoxError> {
        match Vm::of(self.client, machine).find(self.reporter).await? {
            Found::Whole(config) => Ok(Some(config)),
            Found::Absent | Found::Other => Ok(None),
            Found::Broken => {
                remove::all(self.client, self.host, machine).await?;
                Ok(None)
            }
        }
    }

    /// Asks for the VM; the answer is the task that makes it.
    async fn ask(&self, machine: &Machine) -> Result<String, ProxmoxError> {
        let (path, form) = match machine.template {
            Some(from) => template::clone_request(self.client, machine, from).await?,
            None => (
                format!("/nodes/{}/qemu", encode(&machine.node)),
                parameters(machine, self.options, self.order, self.image),
            ),
        };
        match self.client.post(&path, &form).await {
            Err(ProxmoxError::Refused { message, .. }) if is_taken(&message) => {
                Err(ProxmoxError::Taken { vmid: machine.vmid })
            }
            answer => answer,
        }
    }

    /// Waits until it is made.
    async fn made(&self, vmid: u32, asked: Result<String, ProxmoxError>) -> Result<(), ProxmoxError> {
        task::finish(self.client, &asked?, &format!("create VM {vmid}"), self.reporter).await
    }

    async fn complete(&self, machine: Machine, config: &VmConfig) -> Result<MachineRecord> {
        let wanted = self.order.size.disk;
        let has = config.property("scsi0", "size").as_deref().and_then(wire::size).unwrap_or_default();
        if has > wanted {
            let (has, wanted) = (has >> 20, wanted >> 20);
            return Err(ProxmoxError::Shrink { server: machine.server, has, wanted }.into());
        }
        if machine.template.is_some() {
            // It came with its template's hardware.
            let form = settings(&machine, self.options, self.order);
            let gone: Vec<&str> = config.keys().filter(|key| is_ours_to_set(key) && !form.has(key)).collect();
            let form = form.deleting(gone.into_iter());
            self.client.put(&Vm::of(self.client, &machine).path("/config"), &form).await?;
        }
        if has < wanted {
            Vm::of(self.client, &machine).grow(wanted).await?;
        }
        // A creation that is resumed may come with another host key; the guest has not been started yet.
        put_seed(self.client, &machine, &self.order.seed).await?;
        Ok(Machine { disk: config.volume("scsi0"), ..machine }.record())
    }

    async fn machine(&self, vmid: u32, emulated: bool) -> Result<Machine, ProxmoxError> {
        let order = self.order;
        let first = order.networks.first();
        let template = template::of_image(self.image);
        Ok(Machine {
            endpoint: self.options.endpoint.clone(),
            server: order.server.clone(),
            operation: order.operation,
            owner: order.owner,
            node: self.options.node.clone(),
            vmid,
            template,
            cloning: None,
            seen: task::makings(self.client, &self.options.node, vmid, template).await?,
            seed: format!("{}:iso/ostler-{}.iso", self.options.images, order.operation),
            storage: self.options.storage.clone(),
            before: storage::volumes_of(self.client, &self.options.node, &self.options.storage, vmid).await?,
            disk: None,
            mac: mac_address(order.owner, order.server.as_str(), 0),
            address: first.and_then(|card| match card.address {
                Address::Static(address) => Some(address.addr()),
                Address::Dhcp => None,
            }),
            ssh: 22,
            emulated,
            meta_data: order.seed.meta_data.clone(),
            network_config: order.seed.network_config.clone(),
        })
    }

    async fn is_emulated(&self) -> Result<bool, ProxmoxError> {
        let path = format!("/nodes/{}/status", encode(&self.options.node));
        let status: NodeStatus = self.client.get(&path, &Form::new()).await?;
        Ok(!status.cpuinfo.hvm)
    }

    /// The lowest VMID that is free; from `least` on, after another Ostler was faster.
    async fn next_vmid(&self, least: Option<u32>) -> Result<u32, Failure> {
        let Some(least) = least else { return Ok(vmid::next(self.client).await?) };
        for vmid in least..least + TRIES {
            if vmid::is_free(self.client, vmid).await? {
                return Ok(vmid);
            }
        }
        Err(ProxmoxError::Taken { vmid: least }.into())
    }
}

/// PVE's words where another VM or container has the VMID.
fn is_taken(message: &str) -> bool {
    message.contains("already exists") || message.contains("config file already")
}

/// Puts the seed's medium on the node. A VM that has it in its drive sees the new content: the file is overwritten in place.
pub async fn put_seed(client: &Client, machine: &Machine, seed: &Seed) -> Result<(), ProxmoxError> {
    let (storage, file) = machine.seed.split_once(":iso/").unwrap_or(("local", &machine.seed));
    let mut medium = seed::image(seed);
    // QEMU took the length of the medium when it opened it.
    medium.resize(medium.len().next_multiple_of(SEED_SIZE), 0);
    let source = UploadSource::Bytes(medium);
    let upload = Upload { content: "iso", filename: file.to_owned(), source, checksum: None };
    let upid = client.upload(&machine.node, storage, upload).await?;
    task::finish(client, &upid, &format!("put the seed of {} on the node", machine.server), &Silent).await
}

/// Bytes that every seed has a multiple of; a scrubbed one is as long as it was.
const SEED_SIZE: usize = 128 << 10;

/// The whole request for a VM with a disk of its own.
fn parameters(machine: &Machine, options: &ProxmoxOptions, order: &MachineOrder, image: &ImageHandle) -> Form {
    settings(machine, options, order)
        .with("vmid", machine.vmid)
        .with("scsi0", format!("{}:0,import-from={},discard=on,iothread=1", options.storage, image.0))
}

/// Whether a key of a VM's configuration is among [`settings`] of some VM, if not of all.
fn is_ours_to_set(key: &str) -> bool {
    matches!(key, "tags" | "kvm") || key.strip_prefix("net").is_some_and(|number| number.parse::<u32>().is_ok())
}

/// What holds for every VM, wherever its disk comes from.
fn settings(machine: &Machine, options: &ProxmoxOptions, order: &MachineOrder) -> Form {
    let MachineOrder { server, size, .. } = order;
    let mut form = Form::new()
        .with("name", server)
        .with("description", machine.description())
        .with("ostype", "l26")
        .with("cores", size.cpus)
        .with("cpu", if machine.emulated { "max" } else { "x86-64-v2-AES" })
        .with("memory", size.memory >> 20)
        .with("scsihw", "virtio-scsi-single")
        // The seed, and not on the IDE drive that PVE's own cloud-init has: Debian's cloud kernel has no driver for every machine type's.
        .with("scsi1", format!("{},media=cdrom", machine.seed))
        .with("boot", "order=scsi0")
        .with("serial0", "socket")
        .with("vga", "serial0")
        .with("onboot", 1)
        // PVE asks whether it runs before it relies on it (`vm_stop` of PVE/QemuServer.pm).
        .with("agent", "enabled=1");
    for (index, card) in order.networks.iter().enumerate() {
        let mac = mac_address(order.owner, server.as_str(), index).to_uppercase();
        let (bridge, vlan) = options.plug(card);
        let tag = vlan.map(|vlan| format!(",tag={vlan}")).unwrap_or_default();
        form = form.with(format!("net{index}"), format!("virtio={mac},bridge={bridge}{tag}"));
    }
    if !options.tags.is_empty() {
        form = form.with("tags", options.tags.join(";"));
    }
    if machine.emulated {
        form = form.with("kvm", 0);
    }
    form
}
