//! Provider `hetzner`: Hetzner Cloud, through its REST API.
//!
//! Everything that is made bears the labels of the state and the operation, and has a name that is unique in its project: so whatever
//! happens between a request and its answer, the next look finds what is ours, and nothing is made twice. That an operation began is kept
//! before its first request. The vendor's user-data can be read from inside the server for as long as that lives, so what it carries only
//! bootstraps: the server makes a host key of its own at the first login.

mod adjust;
mod balancers;
mod bucket;
mod client;
mod create;
mod error;
mod firewall;
mod labels;
mod marks;
mod offers;
mod preflight;
mod rebuild;
mod remove;
mod reshape;
mod resources;
mod survey;
mod volumes;
mod wire;

pub use client::Patience;
pub use error::HetznerError;
pub use survey::{ImageOffer, LocationOffer, Offers, TypeOffer, TypePrice};

use crate::{Tokens, tokens::Clients};
use async_trait::async_trait;
use client::Client;
use ostler_core::{
    Failure, Result,
    error::Blame,
    ids::{OperationId, ServerName, StateId},
    model::{Finding, ImageHandle, MachineOrder, MachineRecord, Marked, Mount, Observed, Power, Price, Reshape},
    ports::{
        Balancing, Fence, Keep, Lifecycle, OpenPort, Origin, Pricing, Provider, Rebuilding, Reporter, Reshaping,
        Volumes,
    },
    secret::Secret,
    spec::{HetznerEndpoint, HetznerOptions, ImageRef, ProviderOptions, ServerSpec, Size},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};
use tokio::time::Instant;
use wire::Server;

/// Hetzner Cloud.
pub struct HetznerProvider {
    /// Where requests are counted.
    buckets: PathBuf,
    patience: Patience,
    clients: Clients<Client>,
}

/// Content of a [`MachineRecord`]. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Machine {
    endpoint: HetznerEndpoint,
    server: ServerName,
    operation: OperationId,
    owner: StateId,
    /// Digest of what the spec says of it.
    spec: String,
    /// What is tried, or was chosen; empty before anything is.
    server_type: String,
    location: String,
    /// Id of the server, once it is made.
    id: Option<u64>,
    /// Id of the firewall in front of it.
    firewall: Option<u64>,
    /// Where it is reached, once it is made: its IPv4 address, or else its first IPv6 one.
    address: Option<IpAddr>,
    /// Port of the server that its sshd listens on.
    ssh: u16,
    /// Volumes that Ostler attached, by name.
    #[serde(default)]
    volumes: BTreeMap<String, u64>,
    /// Ostler switched its backups on.
    #[serde(default)]
    backups: bool,
    /// Ostler protected it.
    #[serde(default)]
    protect: bool,
    /// Name of the load balancer that it is put behind.
    #[serde(default)]
    balancer: Option<String>,
}

impl Machine {
    fn of(order: &MachineOrder, options: &HetznerOptions) -> Self {
        Self {
            endpoint: options.endpoint.clone(),
            server: order.server.clone(),
            operation: order.operation,
            owner: order.owner,
            spec: digest(options),
            server_type: String::new(),
            location: String::new(),
            id: None,
            firewall: None,
            address: None,
            ssh: 22,
            volumes: BTreeMap::new(),
            backups: false,
            protect: false,
            balancer: None,
        }
    }

    fn read(record: &MachineRecord) -> Result<Self, HetznerError> {
        serde_json::from_str(&record.0).map_err(|source| HetznerError::BadRecord { record: record.0.clone(), source })
    }

    fn record(&self) -> MachineRecord {
        MachineRecord(serde_json::to_string(self).expect("a machine has only text keys"))
    }

    /// What the vendor says of it.
    fn seen(&mut self, server: &Server) {
        self.id = Some(server.id);
        self.server_type = server.server_type.name.clone();
        self.location = server.location.name.clone();
        self.address = address(server);
    }
}

/// Digest of what the spec says of a server, whichever way its API is reached by, and whatever stands in front of it.
fn digest(options: &HetznerOptions) -> String {
    let mut what = json!(HetznerOptions { load_balancer: None, ..options.clone() });
    what["endpoint"] = json!(null);
    Sha256::digest(what.to_string()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// IPv4 first: more people have it.
fn address(server: &Server) -> Option<IpAddr> {
    let ipv4 = server.public_net.ipv4.as_ref().and_then(|ipv4| ipv4.ip.parse().ok());
    let first = |network: &wire::PublicIp| {
        let network: ipnet::Ipv6Net = network.ip.parse().ok()?;
        Some(IpAddr::V6((u128::from(network.network()) + 1).into()))
    };
    ipv4.or_else(|| server.public_net.ipv6.as_ref().and_then(first))
}

fn options(order: &MachineOrder) -> Result<&HetznerOptions, HetznerError> {
    order.options.hetzner().ok_or(HetznerError::NoOptions)
}

impl HetznerProvider {
    /// Tokens come from `tokens`; requests are counted in files of the folder `buckets`.
    pub fn new(tokens: Box<dyn Tokens>, buckets: PathBuf) -> Self {
        Self { clients: Clients::new(tokens), buckets, patience: Patience::default() }
    }

    /// The same with other time-outs.
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// What a project can choose from, for people.
    pub async fn offers(&self, endpoint: &HetznerEndpoint) -> Result<Offers> {
        Ok(survey::offers(&self.client(endpoint).await?).await?)
    }

    /// The client of an endpoint; its connections are kept.
    async fn client(&self, endpoint: &HetznerEndpoint) -> Result<Client> {
        let make = |token: &Secret| Ok(Client::new(endpoint, token, Some(&self.buckets), self.patience)?);
        self.clients.of(endpoint, &endpoint.token, make).await
    }

    async fn machine(&self, record: &MachineRecord) -> Result<(Machine, Client)> {
        let machine = Machine::read(record)?;
        let client = self.client(&machine.endpoint).await?;
        Ok((machine, client))
    }

    /// The server of a machine; `None` where there is none any more, or not yet.
    async fn find(&self, machine: &Machine, client: &Client) -> Result<Option<Server>, HetznerError> {
        #[derive(Deserialize)]
        struct Answer {
            server: Server,
        }
        let Some(id) = machine.id else { return create::find(client, machine).await };
        match client.get::<Answer>(&format!("/servers/{id}")).await {
            Err(error) if error.code() == "not_found" => Ok(None),
            answer => answer.map(|Answer { server }| Some(server)),
        }
    }

    async fn server(&self, record: &MachineRecord) -> Result<(Machine, Client, Server)> {
        let (machine, client) = self.machine(record).await?;
        let server = self.find(&machine, &client).await?;
        let server = server.ok_or_else(|| HetznerError::Absent(machine.server.clone()))?;
        Ok((machine, client, server))
    }

    async fn look(&self, record: &MachineRecord) -> Result<Observed> {
        let (machine, client) = self.machine(record).await?;
        let observed = |power, ssh, detail| Observed { power, ssh, detail, forwards: Vec::new(), slowness: 1 };
        let Some(server) = self.find(&machine, &client).await? else {
            return Ok(observed(Power::Absent, None, "absent".to_owned()));
        };
        let detail = format!("server {}, {} in {}", server.id, server.server_type.name, server.location.name);
        if !runs(&server) {
            return Ok(observed(Power::Off, None, format!("{detail}, {}", server.status)));
        }
        let ssh = address(&server).map(|address| SocketAddr::new(address, machine.ssh));
        let behind = balancers::shown(&client, &machine, server.id).await;
        Ok(observed(Power::On, ssh, [Some(detail), behind].into_iter().flatten().collect::<Vec<_>>().join(", ")))
    }
}

/// What the vendor calls anything else is some way of running: a new word must not start a server twice.
fn runs(server: &Server) -> bool {
    !matches!(server.status.as_str(), "off" | "initializing" | "deleting")
}

#[async_trait]
impl Provider for HetznerProvider {
    fn origin(&self) -> Origin<'_> {
        Origin::Makes(self)
    }

    fn reshaping(&self) -> Option<&dyn Reshaping> {
        Some(self)
    }

    fn rebuilding(&self) -> Option<&dyn Rebuilding> {
        Some(self)
    }

    fn fence(&self) -> Option<&dyn Fence> {
        Some(self)
    }

    fn volumes(&self) -> Option<&dyn Volumes> {
        Some(self)
    }

    fn pricing(&self) -> Option<&dyn Pricing> {
        Some(self)
    }

    fn balancing(&self) -> Option<&dyn Balancing> {
        Some(self)
    }

    async fn preflight(&self, order: &MachineOrder) -> Result<Vec<Finding>> {
        let options = options(order)?;
        let client = self.client(&options.endpoint).await?;
        Ok(preflight::order(&client, options, order).await?)
    }

    fn reached_by(&self, machine: &MachineRecord, spec: &ServerSpec) -> Result<MachineRecord> {
        let machine = Machine::read(machine)?;
        let endpoint =
            spec.provider.hetzner().map_or_else(|| machine.endpoint.clone(), |options| options.endpoint.clone());
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
impl Lifecycle for HetznerProvider {
    /// The vendor has it; its id depends on the processor of the type that can be had.
    async fn image(&self, order: &MachineOrder, _: &dyn Reporter) -> Result<ImageHandle> {
        match &order.image_ref {
            ImageRef::Named(name) => Ok(ImageHandle(name.clone())),
            _ => Err(Failure::new(Blame::Configuration, "a server of Hetzner boots from one of Hetzner's images")),
        }
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
        create::CreateRequest { client: &client, order, image, options, keep, reporter }.make().await
    }

    async fn start(&self, record: &MachineRecord, _: &dyn Reporter) -> Result<MachineRecord> {
        let (mut machine, client, server) = self.server(record).await?;
        if !runs(&server) {
            let path = format!("/servers/{}/actions/poweron", server.id);
            client.act(&path, json!({}), &format!("start the server {}", machine.server)).await?;
        }
        machine.seen(&server);
        Ok(machine.record())
    }

    async fn stop(&self, record: &MachineRecord, grace: Duration) -> Result<()> {
        let (machine, client) = self.machine(record).await?;
        let Some(server) = self.find(&machine, &client).await?.filter(runs) else { return Ok(()) };
        let path = |verb| format!("/servers/{}/actions/{verb}", server.id);
        if !grace.is_zero() {
            // The action ends when the button was pressed, not when the guest has heeded it.
            client.act(&path("shutdown"), json!({}), &format!("shut down the server {}", machine.server)).await?;
            let begun = Instant::now();
            while begun.elapsed() < grace {
                if self.find(&machine, &client).await?.is_none_or(|server| !runs(&server)) {
                    return Ok(());
                }
                tokio::time::sleep(self.patience.poll).await;
            }
        }
        client.act(&path("poweroff"), json!({}), &format!("switch off the server {}", machine.server)).await?;
        Ok(())
    }

    /// The vendor serves the same user-data as long as the server lives. What it carries is worthless by now: the server has another host
    /// key, and it holds no password.
    async fn scrub_seed(&self, _: &MachineRecord) -> Result<()> {
        Ok(())
    }

    async fn remove(&self, order: &MachineOrder) -> Result<()> {
        // Nothing is made before it is kept.
        let Some(record) = &order.found else { return Ok(()) };
        let (machine, client) = self.machine(record).await?;
        Ok(remove::all(&client, &machine, order.options.hetzner()).await?)
    }

    async fn left(&self, order: &MachineOrder) -> Vec<String> {
        let Some(record) = &order.found else { return Vec::new() };
        match self.machine(record).await {
            Ok((machine, client)) => remove::left(&client, &machine).await,
            Err(_) => Vec::new(),
        }
    }

    async fn marked(&self, options: &ProviderOptions) -> Result<Vec<Marked>> {
        let options = options.hetzner().ok_or(HetznerError::NoOptions)?;
        Ok(marks::all(&self.client(&options.endpoint).await?).await?)
    }
}

#[async_trait]
impl Reshaping for HetznerProvider {
    async fn preflight_reshape(&self, record: &MachineRecord, _: Size, options: &ProviderOptions) -> Result<Reshape> {
        let (machine, client) = self.machine(record).await?;
        let options = options.hetzner().ok_or(HetznerError::NoOptions)?;
        match self.find(&machine, &client).await? {
            Some(server) => {
                let mut all = reshape::preflight(&client, &machine, &server, options).await?;
                let more = adjust::preflight(&client, &machine, &server, options).await?;
                all.findings.extend(more.findings);
                Ok(Reshape { adjustments: more.adjustments, ..all })
            }
            None => Ok(Reshape::default()),
        }
    }

    async fn reshape(&self, record: &MachineRecord, _: Size, options: &ProviderOptions) -> Result<MachineRecord> {
        let (mut machine, client, server) = self.server(record).await?;
        reshape::change(&client, &server, options.hetzner().ok_or(HetznerError::NoOptions)?).await?;
        machine.seen(&self.server(record).await?.2);
        Ok(machine.record())
    }

    async fn adjust(
        &self,
        record: &MachineRecord,
        options: &ProviderOptions,
        keep: &dyn Keep,
    ) -> Result<MachineRecord> {
        let (mut machine, client, server) = self.server(record).await?;
        let options = options.hetzner().ok_or(HetznerError::NoOptions)?;
        adjust::make(&client, &mut machine, &server, options, keep).await?;
        Ok(machine.record())
    }

    async fn release(&self, record: &MachineRecord, options: &ProviderOptions) -> Result<MachineRecord> {
        let (mut machine, client, server) = self.server(record).await?;
        let options = options.hetzner().ok_or(HetznerError::NoOptions)?;
        adjust::release(&client, &mut machine, &server, options).await?;
        Ok(machine.record())
    }
}

#[async_trait]
impl Volumes for HetznerProvider {
    fn mounts(&self, record: &MachineRecord, options: &ProviderOptions) -> Result<Option<Vec<Mount>>> {
        Ok(volumes::mounts(&Machine::read(record)?, options.hetzner().ok_or(HetznerError::NoOptions)?))
    }

    async fn kept(&self, record: &MachineRecord) -> Result<Vec<Marked>> {
        let (machine, client) = self.machine(record).await?;
        Ok(volumes::kept(&client, &machine).await?)
    }

    async fn erase(&self, record: &MachineRecord) -> Result<()> {
        let (machine, client) = self.machine(record).await?;
        Ok(volumes::erase(&client, &machine).await?)
    }
}

#[async_trait]
impl Rebuilding for HetznerProvider {
    async fn preflight_rebuild(&self, order: &MachineOrder) -> Result<Vec<Finding>> {
        let record = order.found.as_ref().ok_or_else(|| HetznerError::Absent(order.server.clone()))?;
        let (_, client, server) = self.server(record).await?;
        Ok(preflight::rebuild(&client, order, &server).await?)
    }

    async fn rebuild(&self, order: &MachineOrder, reporter: &dyn Reporter) -> Result<MachineRecord> {
        let options = options(order)?;
        let record = order.found.as_ref().ok_or_else(|| HetznerError::Absent(order.server.clone()))?;
        let (machine, client, server) = self.server(record).await?;
        let image = self.image(order, reporter).await?;
        rebuild::make(&client, &server, order, &image, options).await?;
        Ok(Machine { ssh: 22, ..machine }.record())
    }
}

#[async_trait]
impl Fence for HetznerProvider {
    async fn admit(&self, record: &MachineRecord, openings: &[OpenPort]) -> Result<()> {
        let (machine, client, server) = self.server(record).await?;
        Ok(firewall::admit(&client, &machine, server.id, openings).await?)
    }
}

#[async_trait]
impl Balancing for HetznerProvider {
    async fn join(
        &self,
        record: &MachineRecord,
        options: &ProviderOptions,
        keep: &dyn Keep,
        reporter: &dyn Reporter,
    ) -> Result<MachineRecord> {
        let options = options.hetzner().ok_or(HetznerError::NoOptions)?;
        if options.load_balancer.is_none() && Machine::read(record)?.balancer.is_none() {
            return Ok(record.clone());
        }
        let (mut machine, client, server) = self.server(record).await?;
        balancers::join(&client, &mut machine, &server, options, keep, reporter).await?;
        Ok(machine.record())
    }

    async fn leave(&self, record: &MachineRecord) -> Result<()> {
        if Machine::read(record)?.balancer.is_none() {
            return Ok(());
        }
        let (machine, client) = self.machine(record).await?;
        Ok(balancers::leave(&client, &machine).await?)
    }
}

#[async_trait]
impl Pricing for HetznerProvider {
    async fn price(&self, order: &MachineOrder) -> Result<Option<Price>> {
        let options = options(order)?;
        let client = self.client(&options.endpoint).await?;
        let catalog = offers::Catalog::read(&client).await?;
        let (bound, _) = resources::bound(&client, options).await?;
        let candidates = catalog.candidates(options, &bound);
        let first = candidates.iter().find(|candidate| !candidate.is_sold_out()).or(candidates.first());
        let Some(mut price) = first.map(|candidate| catalog.price(candidate, options)) else { return Ok(None) };
        if let Some(balancer) = balancers::missing(&client, options, &catalog).await? {
            price.what = format!("{}, and {balancer}", price.what);
        }
        Ok(Some(price))
    }
}
