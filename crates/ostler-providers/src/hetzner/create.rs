//! Makes a server: the first of the spec's choices that can be had, told from others by its labels whatever happens in between.

use super::{
    Machine,
    client::Client,
    error::HetznerError,
    firewall, labels,
    offers::{self, Candidate, Catalog},
    remove,
    resources::{self, Addresses},
    volumes,
    wire::{Action, Created, Resource, Server},
};
use ostler_core::{
    Result,
    event::{EventKind, Level},
    model::{ImageHandle, MachineOrder, MachineRecord},
    ports::{Keep, Reporter},
    spec::{HetznerAddress, HetznerOptions},
};
use serde_json::{Value, json};

/// Bytes of user-data that the vendor takes.
const MOST_USER_DATA: usize = 32 << 10;

/// Refuses more than that before anything is asked for.
pub fn check_user_data(order: &MachineOrder) -> Result<(), HetznerError> {
    let (server, bytes) = (order.server.clone(), order.seed.user_data.len());
    if bytes > MOST_USER_DATA { Err(HetznerError::TooMuchUserData { server, bytes }) } else { Ok(()) }
}

/// One server that is to be made.
pub struct CreateRequest<'a> {
    pub client: &'a Client,
    pub order: &'a MachineOrder,
    pub image: &'a ImageHandle,
    pub options: &'a HetznerOptions,
    pub keep: &'a dyn Keep,
    pub reporter: &'a dyn Reporter,
}

/// What it is made with, wherever it is made.
struct Parts {
    key: Option<u64>,
    firewall: Option<u64>,
    network: Option<Resource>,
    placement: Option<u64>,
    addresses: Addresses,
}

impl CreateRequest<'_> {
    /// Makes it, or finds what an earlier attempt made.
    pub async fn make(&self) -> Result<MachineRecord> {
        check_user_data(self.order)?;
        let mut machine = match &self.order.found {
            Some(record) => Machine::read(record)?,
            None => Machine::of(self.order, self.options),
        };
        // All that is made bears the operation's id; that it was begun is on record before anything is.
        self.keep.keep(&machine.record()).await?;
        if let Some(server) = self.made_already(&machine).await? {
            return Ok(self.complete(machine, server).await?.record());
        }
        let catalog = Catalog::read(self.client).await?;
        let (bound, addresses) = resources::bound(self.client, self.options).await?;
        let parts = self.parts(&machine, addresses).await?;
        machine.firewall = parts.firewall;
        let mut tried = Vec::new();
        for candidate in catalog.candidates(self.options, &bound) {
            machine.server_type = candidate.server_type.name.clone();
            machine.location = candidate.location.name.clone();
            self.keep.keep(&machine.record()).await?;
            match self.ask(&machine, &candidate, &parts).await {
                Ok(server) => return Ok(self.complete(machine, server).await?.record()),
                Err(error) if error.is_no_stock() => {
                    let choice = format!("{} in {}", machine.server_type, machine.location);
                    let message = format!("{choice} can't be had now ({})", error.code());
                    self.reporter.report(EventKind::Notice { level: Level::Info, message }).await;
                    tried.push(choice);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if tried.is_empty() {
            tried.push(format!("{} in {}", self.options.types.join(", "), self.options.locations.join(", ")));
        }
        Err(HetznerError::NoStock { tried }.into())
    }

    /// The server of this operation, if it is there. One whose making failed at the vendor is removed.
    async fn made_already(&self, machine: &Machine) -> Result<Option<Server>, HetznerError> {
        let Some(server) = find(self.client, machine).await? else { return Ok(None) };
        let path = format!("/servers/{}/actions", server.id);
        let actions: Vec<Action> = self.client.list(&path, &[]).await?;
        if actions.iter().any(|action| action.command == "create_server" && action.status == "error") {
            remove::server(self.client, &server).await?;
            return Ok(None);
        }
        let running = actions.into_iter().filter(|action| action.status != "error").collect();
        self.client.finish(running, &format!("make the server {}", machine.server)).await?;
        Ok(Some(server))
    }

    async fn parts(&self, machine: &Machine, addresses: Addresses) -> Result<Parts, HetznerError> {
        let (client, options) = (self.client, self.options);
        Ok(Parts {
            key: match &self.order.login_key {
                Some(key) => Some(resources::login_key(client, machine, key).await?),
                None => None,
            },
            firewall: match options.firewall {
                true => Some(firewall::ensure(client, machine, &self.order.openings).await?),
                false => None,
            },
            network: match &options.network {
                Some(network) => Some(resources::network(client, machine, network).await?),
                None => None,
            },
            placement: match &options.placement {
                Some(group) => Some(resources::placement(client, machine, group).await?),
                None => None,
            },
            addresses,
        })
    }

    /// Asks for the server, and waits until it is made.
    async fn ask(&self, machine: &Machine, candidate: &Candidate<'_>, parts: &Parts) -> Result<Server, HetznerError> {
        let architecture = &candidate.server_type.architecture;
        let image = offers::image(self.client, &self.image.0, architecture)
            .await?
            .ok_or_else(|| HetznerError::NoImage { name: self.image.0.clone(), architecture: architecture.clone() })?;
        if let Some(network) = &parts.network {
            resources::subnet(self.client, network, &candidate.location.network_zone).await?;
        }
        let body = self.body(machine, image.id, parts);
        let what = format!("make the server {}", machine.server);
        let created: Created = match self.client.post("/servers", body).await {
            Err(error) if error.code() == "uniqueness_error" => {
                // Ours, whose answer was lost; or somebody's of the same name.
                let known = self.made_already(machine).await?;
                return known.ok_or(HetznerError::NameTaken(machine.server.clone()));
            }
            created => created?,
        };
        let actions = std::iter::once(created.action).chain(created.next_actions).collect();
        match self.client.finish(actions, &what).await {
            Err(error) if error.is_no_stock() => {
                remove::server(self.client, &created.server).await?;
                Err(error)
            }
            finished => finished.map(|()| created.server),
        }
    }

    fn body(&self, machine: &Machine, image: u64, parts: &Parts) -> Value {
        let options = self.options;
        let mut public = json!({
            "enable_ipv4": options.ipv4 != HetznerAddress::None, "enable_ipv6": options.ipv6 != HetznerAddress::None,
        });
        for (family, given) in ["ipv4", "ipv6"].into_iter().zip(parts.addresses.0) {
            if let Some(id) = given {
                public[family] = json!(id);
            }
        }
        let mut body = json!({
            "name": machine.server,
            "server_type": machine.server_type,
            "location": machine.location,
            "image": image.to_string(),
            "ssh_keys": parts.key.iter().map(u64::to_string).collect::<Vec<_>>(),
            "user_data": self.order.seed.user_data,
            "labels": labels::of_server(machine, "server"),
            "firewalls": parts.firewall.iter().map(|id| json!({ "firewall": id })).collect::<Vec<_>>(),
            "networks": parts.network.iter().map(|network| network.id).collect::<Vec<_>>(),
            "public_net": public,
            "start_after_create": false,
            "automount": false,
        });
        if let Some(group) = parts.placement {
            body["placement_group"] = json!(group);
        }
        body
    }

    /// Gives it what can only be given to a server that is there.
    async fn complete(&self, mut machine: Machine, server: Server) -> Result<Machine> {
        let (client, options) = (self.client, self.options);
        machine.seen(&server);
        self.keep.keep(&machine.record()).await?;
        resources::keep_addresses(client, &machine, &server, options).await?;
        for volume in &options.volumes {
            volumes::attach(client, &mut machine, server.id, volume, self.keep).await?;
        }
        let path = format!("/servers/{}/actions", server.id);
        if options.backups && server.backup_window.is_none() {
            client.act(&format!("{path}/enable_backup"), json!({}), "switch the backups on").await?;
        }
        if options.protect && !server.protection.delete {
            protect(client, server.id, true).await?;
        }
        (machine.backups, machine.protect) = (options.backups, options.protect);
        Ok(machine)
    }
}

/// Protects a server from being deleted or rebuilt, or no longer.
pub async fn protect(client: &Client, server: u64, on: bool) -> Result<(), HetznerError> {
    let path = format!("/servers/{server}/actions/change_protection");
    client.act(&path, json!({ "delete": on, "rebuild": on }), "change the protection").await
}

/// The server that bears the operation's labels.
pub async fn find(client: &Client, machine: &Machine) -> Result<Option<Server>, HetznerError> {
    let selector = labels::made_by(machine.operation, machine.owner);
    Ok(client.list("/servers", &[("label_selector", &selector)]).await?.into_iter().next())
}
