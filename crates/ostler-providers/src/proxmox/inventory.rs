//! What a node or cluster has to offer, for a frontend that lets a person choose: asked over the API, or on the host itself by `pvesh`,
//! which asks the same endpoints and takes no token.

use super::{
    client::{Client, Patience},
    error::ProxmoxError,
    form::{Form, encode},
    host::Host,
    setup, tls, vmid,
    wire::{Node, Storage},
};
use ostler_core::{
    secret::Secret,
    spec::{ProxmoxEndpoint, ProxmoxTrust, SecretRef},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// What there is to choose from.
#[derive(Clone, Debug)]
pub struct Inventory {
    /// Nodes that are online.
    pub nodes: Vec<NodeOffer>,
    /// The VMID that is next.
    pub next_vmid: u32,
}

/// A node.
#[derive(Clone, Debug)]
pub struct NodeOffer {
    /// Its name.
    pub name: String,
    /// Storages that are at hand.
    pub storages: Vec<StorageOffer>,
    /// Its bridges.
    pub bridges: Vec<BridgeOffer>,
}

/// A storage.
#[derive(Clone, Debug)]
pub struct StorageOffer {
    /// Its name.
    pub name: String,
    /// Bytes that are free.
    pub free: u64,
    /// Takes disks of VMs.
    pub disks: bool,
    /// Takes images and seeds.
    pub images: bool,
}

/// A bridge.
#[derive(Clone, Debug, Deserialize)]
pub struct BridgeOffer {
    /// Its name.
    #[serde(rename = "iface")]
    pub name: String,
    /// The node's own address on it, with its prefix.
    #[serde(default)]
    pub cidr: Option<String>,
    /// The node's own gateway through it.
    #[serde(default)]
    pub gateway: Option<String>,
}

/// Somebody is waiting for the answer: nothing is tried twice.
fn patience() -> Patience {
    Patience { attempts: 1, ..Patience::default() }
}

/// Who is asked.
pub struct Offers(Source);

enum Source {
    Api(Box<Client>),
    Host(Host),
}

impl Offers {
    /// Over the API, with the value of the endpoint's token.
    pub fn of(endpoint: &ProxmoxEndpoint, token: &Secret) -> Result<Self, ProxmoxError> {
        Ok(Self(Source::Api(Box::new(Client::new(endpoint, token, patience())?))))
    }

    /// This machine, as root.
    pub fn of_host(host: &Host) -> Self {
        Self(Source::Host(host.clone()))
    }

    /// What there is.
    pub async fn inventory(&self) -> Result<Inventory, ProxmoxError> {
        let all: Vec<Node> = self.get("/nodes", &[]).await?;
        let mut nodes = Vec::new();
        for node in all.into_iter().filter(|node| node.status != "offline") {
            nodes.push(self.node(node.node).await?);
        }
        Ok(Inventory { nodes, next_vmid: vmid::read(&self.get(vmid::PATH, &[]).await?).unwrap_or(100) })
    }

    /// Whether no VM has a VMID.
    pub async fn is_free(&self, vmid: u32) -> Result<bool, ProxmoxError> {
        vmid::freedom(self.get(vmid::PATH, &[("vmid", &vmid.to_string())]).await)
    }

    async fn node(&self, name: String) -> Result<NodeOffer, ProxmoxError> {
        let path = |rest: &str| format!("/nodes/{}{rest}", encode(&name));
        let storages: Vec<Storage> = self.get(&path("/storage"), &[]).await?;
        let bridges: Vec<BridgeOffer> = self.get(&path("/network"), &[("type", "any_bridge")]).await?;
        let storages = storages.into_iter().filter(|storage| storage.active && storage.enabled);
        let storages = storages.map(|storage| StorageOffer {
            free: storage.avail,
            disks: storage.takes("images"),
            images: storage.takes("import") && storage.takes("iso"),
            name: storage.storage,
        });
        let mut offer = NodeOffer { storages: storages.collect(), bridges, name };
        offer.storages.sort_by(|a, b| a.name.cmp(&b.name));
        offer.bridges.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(offer)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, ProxmoxError> {
        match &self.0 {
            Source::Api(client) => {
                let form = query.iter().fold(Form::new(), |form, (key, value)| form.with(*key, value));
                client.get(path, &form).await
            }
            Source::Host(host) => {
                let options: Vec<String> = query.iter().map(|(key, _)| format!("--{key}")).collect();
                let mut arguments = vec!["get", path];
                for (option, (_, value)) in options.iter().zip(query) {
                    arguments.extend([option.as_str(), value]);
                }
                arguments.extend(["--output-format", "json"]);
                let answer = host.output("pvesh", &arguments).await?;
                let what = format!("pvesh get {path}");
                serde_json::from_str(&answer).map_err(|source| ProxmoxError::Garbled { what, source })
            }
        }
    }
}

/// The fingerprint of the certificate that is shown at `url`, `AB:CD:…`. Nothing is sent there: the connection ends with the
/// certificate.
pub async fn shown_fingerprint(url: &str) -> Result<String, ProxmoxError> {
    let endpoint = ProxmoxEndpoint {
        name: String::new(),
        url: url.trim_end_matches('/').to_owned(),
        token: SecretRef::Secret(String::new()),
        trust: ProxmoxTrust::Fingerprint("none".to_owned()),
    };
    let nobody = Secret::new("nobody@pve!none=none");
    match Client::new(&endpoint, &nobody, patience())?.get::<Value>("/version", &Form::new()).await {
        Err(ProxmoxError::WrongCertificate { found, .. }) => Ok(tls::with_colons(&found)),
        Err(error) => Err(error),
        Ok(_) => Err(ProxmoxError::BadAuthority(format!("{url} shows no certificate"))),
    }
}

/// The same for this host, from its own files.
pub fn host_fingerprint(host: &Host) -> Result<String, ProxmoxError> {
    setup::fingerprint(host)
}
