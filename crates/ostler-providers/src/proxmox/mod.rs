//! Provider `proxmox`: Proxmox VE, 8.4 and 9, through its REST API, for a node far away and for the very host alike.
//!
//! What is chosen (the VMID first of all) is kept in the store before the request that makes it true. A finished machine carries its
//! operation's id in its description; one that is still being made can't, so it is told by VMID and by the task of our token that
//! makes it. cloud-init is served by a medium of our own, uploaded beside the images, and not by PVE's: that one can't carry a host
//! key, keeps passwords in clear, and changes its instance-id with every address and key. Once the server has keys of its own, the
//! medium is overwritten by one without secrets.

mod address;
mod client;
mod console;
mod create;
mod error;
mod form;
mod host;
mod image;
mod inventory;
mod marks;
mod neighbours;
mod preflight;
mod remove;
mod reshape;
mod setup;
mod storage;
mod task;
mod template;
mod tls;
mod vm;
mod vmid;
mod wire;

pub use client::Patience;
pub use error::ProxmoxError;
pub use host::{Host, url};
pub use inventory::{BridgeOffer, Inventory, NodeOffer, Offers, StorageOffer, host_fingerprint, shown_fingerprint};
pub use setup::{Made, Setup, TOKEN, USER};

use crate::{Tokens, image::ImageStore, tokens::Clients};
use address::{AddressFinder, GuestAddress};
use async_trait::async_trait;
use client::Client;
use console::Consoles;
use neighbours::Neighbours;
use ostler_core::{
    Result,
    event::{EventKind, Level},
    ids::{OperationId, ServerName, StateId},
    model::{Finding, ImageHandle, MachineOrder, MachineRecord, Marked, Observed, Power, Reshape},
    ports::{self, Keep, Lifecycle, Origin, Provider, Reporter, Reshaping, Templates},
    secret::Secret,
    spec::{ProviderOptions, ProxmoxEndpoint, ProxmoxOptions, ServerSpec, Size, TemplateDigest},
};
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use vm::Vm;

/// Proxmox VE.
pub struct ProxmoxProvider {
    images: ImageStore,
    host: Host,
    patience: Patience,
    clients: Clients<Client>,
    /// Held while an image is put on a node, so that servers which are made together share one.
    images_turn: tokio::sync::Mutex<()>,
    neighbours: Neighbours,
    consoles: Consoles,
}

/// Content of a [`MachineRecord`]. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Machine {
    endpoint: ProxmoxEndpoint,
    server: ServerName,
    operation: OperationId,
    owner: StateId,
    node: String,
    vmid: u32,
    /// VMID of the template that it is cloned from; `None`: its disk is imported.
    #[serde(default)]
    template: Option<u32>,
    /// Tasks of our token that made a VM of this VMID, or cloned that template, before: none of them made this one.
    seen: Vec<String>,
    /// The very task that clones it, once its id is known.
    #[serde(default)]
    cloning: Option<String>,
    /// Volume with the seed.
    seed: String,
    /// Storage of the disk.
    storage: String,
    /// Volumes that bore the VMID there before: none of them is this one's.
    before: Vec<String>,
    /// Volume of the disk, once it is made.
    disk: Option<String>,
    /// MAC address of the first card.
    mac: String,
    /// Address of the first card, if the spec says it.
    address: Option<IpAddr>,
    /// Port of the server that its sshd listens on.
    ssh: u16,
    /// The node has no hardware virtualisation.
    emulated: bool,
    /// The seed's `meta-data` and `network-config`, which stay in the scrubbed seed.
    meta_data: String,
    network_config: String,
}

impl Machine {
    fn read(record: &MachineRecord) -> Result<Self, ProxmoxError> {
        serde_json::from_str(&record.0).map_err(|source| ProxmoxError::BadRecord { record: record.0.clone(), source })
    }

    fn record(&self) -> MachineRecord {
        MachineRecord(serde_json::to_string(self).expect("a machine has only text keys"))
    }

    /// What the VM's description says: by it Ostler knows its own.
    fn description(&self) -> String {
        let Self { server, operation, owner, .. } = self;
        format!(
            "Server {server} of Ostler.\n\nOperation {operation} made it for state {owner}. Don't change this line."
        )
    }

    /// What a description that [`Self::description`] made says; `None` where none did.
    fn marked_by(description: &str) -> Option<(OperationId, StateId)> {
        let (_, rest) = description.split_once("\nOperation ")?;
        let (operation, rest) = rest.split_once(" made it for state ")?;
        let (owner, _) = rest.split_once('.')?;
        Some((operation.parse().ok()?, owner.parse().ok()?))
    }

    /// What the VM's lock says while it is made.
    fn lock(&self) -> &'static str {
        if self.template.is_some() { "clone" } else { "create" }
    }

    fn absent(&self) -> ProxmoxError {
        ProxmoxError::Absent { server: self.server.clone(), vmid: self.vmid }
    }
}

impl ProxmoxProvider {
    /// Images come from `images`, tokens from `tokens`; `host` is this machine, which may be the node itself.
    pub fn new(images: ImageStore, tokens: Box<dyn Tokens>, host: Host) -> Self {
        Self {
            images,
            clients: Clients::new(tokens),
            host,
            patience: Patience::default(),
            images_turn: Default::default(),
            neighbours: Neighbours::default(),
            consoles: Consoles::default(),
        }
    }

    /// The same with other time-outs.
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// The client of an endpoint; its connections are kept.
    async fn client(&self, endpoint: &ProxmoxEndpoint) -> Result<Client> {
        let make = |token: &Secret| Ok(Client::new(endpoint, token, self.patience)?);
        self.clients.of(endpoint, &endpoint.token, make).await
    }

    async fn vm(&self, record: &MachineRecord) -> Result<(Machine, Client)> {
        let machine = Machine::read(record)?;
        let client = self.client(&machine.endpoint).await?;
        Ok((machine, client))
    }

    async fn look(&self, record: &MachineRecord) -> Result<Observed> {
        let (machine, client) = self.vm(record).await?;
        let vm = Vm::of(&client, &machine);
        let slowness = if machine.emulated { EMULATED } else { 1 };
        let observed = |power, ssh, detail| Observed { power, ssh, detail, forwards: Vec::new(), slowness };
        let Some(config) = vm.ours().await? else {
            return Ok(observed(Power::Absent, None, "absent".to_owned()));
        };
        let detail = format!("VM {} on {}", machine.vmid, machine.node);
        if config.is_template() {
            return Ok(observed(Power::Off, None, format!("{detail}, a template")));
        }
        if !vm.runs().await? {
            return Ok(observed(Power::Off, None, format!("{detail}, off")));
        }
        let finder = AddressFinder { host: &self.host, neighbours: &self.neighbours, consoles: &self.consoles };
        let whereabouts = match machine.address {
            Some(address) => GuestAddress::Known(address),
            None => finder.find(&vm, &config).await?,
        };
        Ok(match whereabouts {
            GuestAddress::Known(address) => {
                observed(Power::On, Some(SocketAddr::new(address, machine.ssh)), format!("{detail}, {address}"))
            }
            GuestAddress::Unknown(words) => observed(Power::On, None, format!("{detail}; {words}")),
        })
    }
}

/// How much longer everything takes without hardware virtualisation.
const EMULATED: u32 = 5;

fn options(order: &MachineOrder) -> Result<&ProxmoxOptions, ProxmoxError> {
    order.options.proxmox().ok_or(ProxmoxError::NoOptions)
}

#[async_trait]
impl Provider for ProxmoxProvider {
    fn origin(&self) -> Origin<'_> {
        Origin::Makes(self)
    }

    fn reshaping(&self) -> Option<&dyn Reshaping> {
        Some(self)
    }

    fn templates(&self) -> Option<&dyn Templates> {
        Some(self)
    }

    fn consoles(&self) -> Option<&dyn ports::Consoles> {
        Some(self)
    }

    async fn preflight(&self, order: &MachineOrder) -> Result<Vec<Finding>> {
        let options = options(order)?;
        let client = self.client(&options.endpoint).await?;
        Ok(preflight::order(&client, options, order, &self.images).await?)
    }

    fn reached_by(&self, machine: &MachineRecord, spec: &ServerSpec) -> Result<MachineRecord> {
        let machine = Machine::read(machine)?;
        let endpoint =
            spec.provider.proxmox().map_or_else(|| machine.endpoint.clone(), |options| options.endpoint.clone());
        Ok(Machine { endpoint, ..machine }.record())
    }

    async fn observe(&self, machines: &[&MachineRecord]) -> Result<Vec<Observed>> {
        futures::future::try_join_all(machines.iter().map(|machine| self.look(machine))).await
    }

    async fn route_ssh(&self, machine: &MachineRecord, port: u16) -> Result<MachineRecord> {
        Ok(Machine { ssh: port, ..Machine::read(machine)? }.record())
    }
}

#[async_trait]
impl Lifecycle for ProxmoxProvider {
    async fn image(&self, order: &MachineOrder, reporter: &dyn Reporter) -> Result<ImageHandle> {
        let options = options(order)?;
        let client = self.client(&options.endpoint).await?;
        if let Some(template) = template::fitting(&client, options, order).await? {
            let message = format!("it is cloned from {template}");
            reporter.report(EventKind::Notice { level: Level::Info, message }).await;
            return Ok(template.image());
        }
        let _turn = self.images_turn.lock().await;
        let source = self.images.source(&order.image_ref, reporter).await?;
        Ok(ImageHandle(image::ensure(&client, options, order, source, &self.images, reporter).await?))
    }

    async fn create(
        &self,
        order: &MachineOrder,
        image: &ImageHandle,
        keep: &dyn Keep,
        reporter: &dyn Reporter,
    ) -> Result<MachineRecord> {
        let options = options(order)?;
        let client = self.client(&options.endpoint).await?;
        create::CreateRequest { client: &client, host: &self.host, order, image, options, keep, reporter }.make().await
    }

    /// The node asks the guest through it.
    fn needs_guest_agent(&self) -> bool {
        true
    }

    async fn start(&self, machine: &MachineRecord, reporter: &dyn Reporter) -> Result<MachineRecord> {
        let (machine, client) = self.vm(machine).await?;
        let vm = Vm::of(&client, &machine);
        vm.ours().await?.ok_or_else(|| machine.absent())?;
        if self.host.is(&machine.node) {
            self.consoles.listen(machine.vmid, self.host.console(machine.vmid));
        }
        vm.start(reporter).await?;
        Ok(machine.record())
    }

    async fn stop(&self, machine: &MachineRecord, grace: Duration) -> Result<()> {
        let (machine, client) = self.vm(machine).await?;
        let vm = Vm::of(&client, &machine);
        if vm.ours().await?.is_some() && vm.runs().await? {
            if grace.is_zero() {
                vm.power_off().await?;
            } else {
                vm.shut_down(grace).await?;
            }
        }
        Ok(())
    }

    async fn scrub_seed(&self, machine: &MachineRecord) -> Result<()> {
        let (machine, client) = self.vm(machine).await?;
        create::put_seed(&client, &machine, &crate::local::seed::bare(&machine.meta_data, &machine.network_config))
            .await?;
        // It answers by SSH now.
        self.consoles.leave(machine.vmid);
        Ok(())
    }

    async fn remove(&self, order: &MachineOrder) -> Result<()> {
        // Nothing is made before it is kept.
        let Some(record) = &order.found else { return Ok(()) };
        let (machine, client) = self.vm(record).await?;
        Ok(remove::all(&client, &self.host, &machine).await?)
    }

    async fn left(&self, order: &MachineOrder) -> Vec<String> {
        let Some(record) = &order.found else { return Vec::new() };
        match self.vm(record).await {
            Ok((machine, client)) => remove::left(&client, &machine).await,
            Err(_) => Vec::new(),
        }
    }

    async fn marked(&self, options: &ProviderOptions) -> Result<Vec<Marked>> {
        let options = options.proxmox().ok_or(ProxmoxError::NoOptions)?;
        Ok(marks::all(&self.client(&options.endpoint).await?, options).await?)
    }
}

#[async_trait]
impl Reshaping for ProxmoxProvider {
    async fn preflight_reshape(&self, machine: &MachineRecord, size: Size, _: &ProviderOptions) -> Result<Reshape> {
        let (machine, client) = self.vm(machine).await?;
        Ok(reshape::preflight(&Vm::of(&client, &machine), &machine, size).await?)
    }

    async fn reshape(&self, record: &MachineRecord, size: Size, _: &ProviderOptions) -> Result<MachineRecord> {
        let (machine, client) = self.vm(record).await?;
        reshape::change(&Vm::of(&client, &machine), &machine, size).await?;
        Ok(record.clone())
    }
}

#[async_trait]
impl Templates for ProxmoxProvider {
    async fn template(&self, order: &MachineOrder) -> Result<Option<String>> {
        let options = options(order)?;
        let client = self.client(&options.endpoint).await?;
        Ok(template::fitting(&client, options, order).await?.map(|template| template.to_string()))
    }

    async fn make_template(&self, machine: &MachineRecord, contents: &TemplateDigest) -> Result<()> {
        let (machine, client) = self.vm(machine).await?;
        Ok(template::make(&Vm::of(&client, &machine), contents).await?)
    }
}

#[async_trait]
impl ports::Consoles for ProxmoxProvider {
    /// PVE gives the serial console to a live connection only; what was said before Ostler listened is nowhere, and elsewhere than on the
    /// node it can't listen.
    async fn console_tail(&self, machine: &MachineRecord, lines: usize) -> Result<Vec<String>> {
        Ok(self.consoles.tail(Machine::read(machine)?.vmid, lines))
    }
}
