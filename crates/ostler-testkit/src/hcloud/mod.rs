//! Hetzner Cloud on this machine: its REST API over HTTP, with its state, its actions, its error codes and its limits, and the metadata
//! service of its servers.
//!
//! Every request is held against Hetzner's own schema, and so is every answer: one that Hetzner would not give is a server error with
//! the code `fake_error`. Servers stand on [`Machines`]: [`Records`] that boot at once, or [`TargetMachines`], which are real. What the
//! schema does not say follows Hetzner's documentation and what its clients expect; where neither says it, the module that does it does.

mod actions;
mod api;
mod catalog;
mod certificates;
mod firewalls;
mod load_balancers;
mod machines;
mod metadata;
mod networks;
mod placement_groups;
mod primary_ips;
mod query;
mod schema;
mod server;
mod server_actions;
mod servers;
mod ssh_keys;
mod state;
mod targets;
mod volumes;
mod zones;

pub use actions::ActionFault;
pub use api::Fault;
pub use machines::{Attachments, FirewallRule, Machine, Machines, Power, PrivateCard, Records};
pub use state::Seen;
pub use targets::TargetMachines;

use serde_json::Value;
use state::{Kind, State};
use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// The project's token, which may do everything.
pub const TOKEN: &str = "0stlerFakeHcloud7okenReadWrite0abcdefghijklmnopqrstuvwxyzABCDEFG";
/// One that may only read.
pub const READ_ONLY_TOKEN: &str = "0stlerFakeHcloud7okenRead0nly00abcdefghijklmnopqrstuvwxyzABCDEFG";

/// A free port of 127.0.0.1.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The running cloud with one project. Dropping it ends it.
pub struct FakeCloud {
    address: SocketAddr,
    cloud: Arc<Cloud>,
    server: JoinHandle<()>,
}

/// What requests share.
struct Cloud {
    state: Mutex<State>,
}

impl Cloud {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that actions end in time, also where nobody asks for them.
    fn wake(self: &Arc<Self>) {
        let cloud = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                // The guard is gone before it waits.
                let due = cloud.lock().settle();
                let Some(due) = due else { return };
                tokio::time::sleep_until(due.into()).await;
            }
        });
    }
}

impl FakeCloud {
    /// A cloud whose servers are records, with them.
    pub async fn start() -> io::Result<(Self, Arc<Records>)> {
        let records = Arc::new(Records::default());
        Ok((Self::start_at(ANYWHERE, Arc::clone(&records) as _).await?, records))
    }

    /// A cloud at this address of this machine's own (port 0: any that is free), with these machines behind its servers.
    pub async fn start_at(address: SocketAddr, machines: Arc<dyn Machines>) -> io::Result<Self> {
        let (address, cloud, server) = server::start(address, machines).await?;
        Ok(Self { address, cloud, server })
    }

    /// The same for whoever has no runtime: on a thread of its own.
    pub fn on_a_thread(machines: Arc<dyn Machines>) -> io::Result<Self> {
        let (sender, started) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                // Nobody waits for it any more where this fails.
                let _ = sender.send(Self::start_at(ANYWHERE, machines).await);
                std::future::pending::<io::Result<()>>().await
            })
        });
        started.recv().map_err(io::Error::other)?
    }

    /// URL of the API, with `/v1`, as `HCLOUD_ENDPOINT` takes it.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Where the metadata service of a server answers: `/metadata`, `/userdata` and the rest stand below it.
    pub fn metadata_url(&self, server: u64) -> String {
        format!("{}/{server}/hetzner/v1", self.cloud.lock().metadata_url)
    }

    /// How long each action takes from now on; 20 ms at first.
    pub fn pace(&self, pace: Duration) {
        self.cloud.lock().actions.pace = pace;
    }

    /// Lets the next request to an endpoint, such as `POST /servers`, go wrong; several faults hit one request each.
    pub fn fail(&self, endpoint: &str, fault: Fault) {
        self.fail_times(endpoint, 1, fault);
    }

    /// The same for this many requests.
    pub fn fail_times(&self, endpoint: &str, times: usize, fault: Fault) {
        let mut state = self.cloud.lock();
        state.faults.entry(endpoint.to_owned()).or_default().extend(std::iter::repeat_n(fault, times));
    }

    /// The same for the next action of a command, such as `create_server`.
    pub fn fail_action(&self, command: &str, fault: ActionFault) {
        self.cloud.lock().actions.faults.entry(command.to_owned()).or_default().push_back(fault);
    }

    /// Lets go of actions that are held.
    pub fn release(&self) {
        let mut state = self.cloud.lock();
        state.actions.release();
        state.settle();
    }

    /// How many requests may come in an hour, and how many of them are left. They come back evenly.
    pub fn rate_limit(&self, limit: u32, remaining: u32) {
        self.cloud.lock().rate = state::Rate { limit, remaining: remaining.into(), since: Instant::now() };
    }

    /// Nobody gets a server type in a location from now on, until it is there again: `resource_unavailable`.
    pub fn sell_out(&self, server_type: &str, location: &str) {
        self.cloud.lock().sold_out.insert((server_type.to_owned(), location.to_owned()));
    }

    /// Takes that back.
    pub fn restock(&self, server_type: &str, location: &str) {
        self.cloud.lock().sold_out.remove(&(server_type.to_owned(), location.to_owned()));
    }

    /// Health that load balancers see in a server from now on: `healthy`, `unhealthy` or `unknown`.
    pub fn health(&self, server: &str, health: &str) {
        self.cloud.lock().health.insert(server.to_owned(), health.to_owned());
    }

    /// A resource is locked by Hetzner's support: `resource_locked`.
    pub fn lock_for_good(&self, id: u64) {
        self.cloud.lock().locked_for_good.insert(id);
    }

    /// What the API shows of all resources of a family, such as `servers`, by id.
    ///
    /// # Panics
    /// If there is no such family.
    pub fn resources(&self, family: &str) -> BTreeMap<u64, Value> {
        let kind = Kind::of(family).expect("a family of resources");
        let state = self.cloud.lock();
        let ids: Vec<u64> = state.all(kind).map(|(id, _)| id).collect();
        ids.into_iter().filter_map(|id| Some((id, state.view(kind, id).ok()?))).collect()
    }

    /// Families of resources of which Ostler makes some.
    pub const FAMILIES: [&str; 8] = [
        "servers",
        "firewalls",
        "ssh_keys",
        "networks",
        "placement_groups",
        "volumes",
        "primary_ips",
        "load_balancers",
    ];

    /// How many resources there are of each of them; a family without any is left out.
    pub fn holdings(&self) -> BTreeMap<&'static str, usize> {
        let counts = Self::FAMILIES.into_iter().map(|family| (family, self.resources(family).len()));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// All requests so far, in order, with those that failed.
    pub fn requests(&self) -> Vec<Seen> {
        self.cloud.lock().requests.clone()
    }

    /// Those of one endpoint.
    pub fn requests_for(&self, endpoint: &str) -> Vec<Seen> {
        self.requests().into_iter().filter(|request| request.endpoint == endpoint).collect()
    }
}

impl Drop for FakeCloud {
    fn drop(&mut self) {
        self.server.abort();
        let state = self.cloud.lock();
        state.all(Kind::Server).for_each(|(id, _)| state.machines.delete(id));
    }
}
