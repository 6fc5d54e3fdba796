//! Cloudflare on this machine: the part of its API that tunnels, DNS and Access need, over HTTP and with its state, and an edge that carries
//! connections.
//!
//! Every request is held against what the endpoint takes (`rules.rs`), and the token's permissions are enforced. The edge follows the API's
//! state: a connection for a host name takes its proxied CNAME to a tunnel, the tunnel's ingress rules to a service, and needs a service
//! token where an Access application protects the name. Cloudflare's protocol between edge and connector is not public, so the program
//! at its ends is a stand-in for `cloudflared` ([`STAND_IN`]) that takes the same arguments.

mod access;
mod api;
mod dns;
mod edge;
mod rules;
mod server;
mod state;
mod tunnels;

pub use api::Fault;
pub use state::Seen;

use serde_json::{Value, json};
use state::State;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};
use tokio::task::JoinHandle;

/// The account that there is.
pub const ACCOUNT: &str = "0123456789abcdef0123456789abcdef";
/// The zone that there is.
pub const ZONE: &str = "example.com";
/// A token with every permission of [`PERMISSIONS`].
pub const TOKEN: &str = "cfut_0stlerFakeCloudflareTokenOfEverything";
/// What tokens may be allowed, as the dashboard names it. `Write` includes `Read`.
pub const PERMISSIONS: [&str; 5] = [
    "Cloudflare Tunnel Write",
    "Access: Apps and Policies Write",
    "Access: Service Tokens Write",
    "Zone Read",
    "DNS Write",
];
/// A program (Python) that stands in for `cloudflared`: it takes the arguments of `tunnel run` and `access ssh`, refuses those
/// that would show a secret, and really carries connections, by a protocol of its own. It finds the edge in the tunnel's token, or by the
/// environment variable `STAND_IN_EDGE`.
pub const STAND_IN: &str = include_str!("cloudflared.py");

const ANYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The running fake. Dropping it ends it.
pub struct FakeCloudflare {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// What requests and the edge share.
struct Shared {
    state: Mutex<State>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FakeCloudflare {
    /// API and edge on free ports of 127.0.0.1.
    pub async fn start() -> io::Result<Self> {
        Self::start_at((ANYWHERE, 0).into(), ANYWHERE).await
    }

    /// The API at `address`, and the edge on a free port of `edge`, where connectors on other machines reach it.
    pub async fn start_at(address: SocketAddr, edge: IpAddr) -> io::Result<Self> {
        let (edge_listener, edge_address) = edge::listen(edge).await?;
        let shared = Arc::new(Shared { state: Mutex::new(State::new(edge_address)) });
        let (address, api) = server::start(address, Arc::clone(&shared)).await?;
        let edge = tokio::spawn(edge::serve(edge_listener, Arc::clone(&shared)));
        Ok(Self { address, shared, tasks: vec![api, edge] })
    }

    /// The same for whoever has no runtime: on a thread of its own.
    pub fn on_a_thread(edge: IpAddr) -> io::Result<Self> {
        let (sender, started) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                // Nobody waits for it any more where this fails.
                let _ = sender.send(Self::start_at((ANYWHERE, 0).into(), edge).await);
                std::future::pending::<io::Result<()>>().await
            })
        });
        started.recv().map_err(io::Error::other)?
    }

    /// URL of the API, as `CLOUDFLARE_BASE_URL` takes it.
    pub fn url(&self) -> String {
        format!("http://{}/client/v4", self.address)
    }

    /// Where connectors and clients reach the edge.
    pub fn edge(&self) -> SocketAddr {
        self.shared.lock().edge
    }

    /// Writes the stand-in for `cloudflared` into a folder; it finds this edge without being told.
    pub fn install_stand_in(&self, folder: &Path) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.join("cloudflared");
        std::fs::write(
            &path,
            STAND_IN.replace("EDGE_OF_THIS_COPY = \"\"", &format!("EDGE_OF_THIS_COPY = \"{}\"", self.edge())),
        )?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
    }

    /// Another token with these permissions only.
    pub fn token(&self, permissions: &[&str]) -> String {
        self.shared.lock().new_token(permissions)
    }

    /// Lets the next request to an endpoint, such as `POST /zones/{zone_id}/dns_records`, go wrong; several faults hit one request
    /// each.
    pub fn fail(&self, endpoint: &str, fault: Fault) {
        self.shared.lock().faults.entry(endpoint.to_owned()).or_default().push_back(fault);
    }

    /// What there is of a family: `zones`, `tunnels`, `configurations`, `dns_records`, `apps`, `service_tokens`.
    ///
    /// # Panics
    /// If there is no such family.
    pub fn resources(&self, family: &str) -> Vec<Value> {
        let state = self.shared.lock();
        let table = match family {
            "tunnels" => return state.tunnels.keys().filter_map(|id| tunnels::view(&state, id)).collect(),
            "configurations" => &state.configurations,
            "dns_records" => &state.dns_records,
            "zones" => &state.zones,
            "apps" => &state.apps,
            "service_tokens" => &state.service_tokens,
            _ => panic!("there is no family `{family}`"),
        };
        table.values().cloned().collect()
    }

    /// A request as a client would send it, for tests without one: status and body.
    pub fn call(&self, token: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let query = query.split('&').filter_map(pair).collect();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let authorization = format!("Bearer {token}");
        let call = api::Call { method, path, query, authorization: &authorization, body: body.as_bytes() };
        let (status, answer, _) = api::answer(&mut self.shared.lock(), call);
        (status, answer)
    }

    /// Makes what somebody else may have for `www` in the same account, zone and tunnel: an ingress rule, an Access application and a DNS
    /// record.
    ///
    /// # Panics
    /// If there is no tunnel.
    pub fn add_foreign(&self) {
        let account = format!("accounts/{ACCOUNT}");
        let name = format!("www.{ZONE}");
        let done = |method, path: &str, body| {
            let (status, answer) = self.call(TOKEN, method, path, body);
            assert_eq!(status, 200, "{answer}");
            answer["result"].clone()
        };
        let id = self.resources("tunnels")[0]["id"].as_str().expect("an id").to_owned();
        let path = format!("{account}/cfd_tunnel/{id}/configurations");
        let mut config = done("GET", &path, Value::Null)["config"].clone();
        let theirs = json!({ "hostname": name, "service": "http://localhost:80" });
        config["ingress"].as_array_mut().expect("rules").insert(0, theirs);
        done("PUT", &path, json!({ "config": config }));
        let app = json!({ "name": "theirs", "type": "self_hosted", "domain": name });
        done("POST", &format!("{account}/access/apps"), app);
        let zone = done("GET", &format!("zones?name={ZONE}"), Value::Null)[0]["id"].as_str().expect("an id").to_owned();
        let record = json!({ "name": "www", "type": "A", "content": "192.0.2.1", "ttl": 1 });
        done("POST", &format!("zones/{zone}/dns_records"), record);
    }

    /// Names of all that there is: host names of the first tunnel's ingress rules (`*` for the rule that catches the rest), Access
    /// applications, service tokens and DNS records.
    pub fn names(&self) -> [Vec<String>; 4] {
        let names = |values: &[Value], key: &str| {
            values.iter().map(|value| value[key].as_str().unwrap_or("*").to_owned()).collect()
        };
        let documents = self.resources("configurations");
        let rules = documents.first().and_then(|document| document["config"]["ingress"].as_array().cloned());
        let [apps, tokens, records] =
            ["apps", "service_tokens", "dns_records"].map(|family| names(&self.resources(family), "name"));
        [names(&rules.unwrap_or_default(), "hostname"), apps, tokens, records]
    }

    /// Secrets that only a client of Access may know: those of service tokens.
    pub fn client_secrets(&self) -> Vec<String> {
        self.shared.lock().client_secrets.values().cloned().collect()
    }

    /// How many connectors are connected to the edge.
    pub fn connectors(&self) -> usize {
        self.shared.lock().connectors.len()
    }

    /// Whether connectors may connect from now on; those that are connected are cut off where not.
    pub fn let_connectors_in(&self, allowed: bool) {
        let mut state = self.shared.lock();
        state.takes_connectors = allowed;
        if !allowed {
            state.connectors.clear();
        }
    }

    /// All requests so far, in order, with those that failed.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.lock().requests.clone()
    }
}

impl Drop for FakeCloudflare {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
