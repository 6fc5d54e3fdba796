//! What stands in the way of a VM, all of it, found before anything is touched. PVE accepts a bridge that is not there and a gateway
//! that can't be reached, and finds most else when it is half done.

use super::{
    client::Client,
    error::ProxmoxError,
    form::{Form, encode},
    image, storage,
    template::{self, Template},
    vmid,
    wire::{Interface, Node, NodeStatus, Storage, Version},
};
use crate::image::ImageStore;
use ostler_core::{
    Classify,
    hint::{Hint, Next},
    model::{Finding, MachineOrder},
    spec::{Address, ImageRef, Network, ProxmoxOptions},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};

/// The oldest version that imports disks of a storage's `import` content.
const OLDEST: (u32, u32) = (8, 4);
/// How long an address may take to answer.
const PROBE: Duration = Duration::from_secs(1);
/// Bytes that a seed and an image take on their storage, about.
const IMAGE_SPACE: u64 = 1 << 30;

/// All findings about an order; or why nothing can be asked: nobody there, another certificate, a token that is not known.
pub async fn order(
    client: &Client,
    options: &ProxmoxOptions,
    order: &MachineOrder,
    images: &ImageStore,
) -> Result<Vec<Finding>, ProxmoxError> {
    let mut look = Look { client, options, order, images, template: None };
    // Without these nothing else can be asked.
    let version = match look.version().await? {
        Ok(version) => version,
        Err(finding) => return Ok(vec![finding]),
    };
    if let Some(finding) = look.node().await? {
        return Ok(vec![finding]);
    }
    look.template = template::find(client, options, order).await?;
    let all = tokio::join!(
        look.privileges(version),
        look.hardware(),
        look.storages(),
        look.bridges_there(),
        look.vmid(),
        look.address(),
        look.image(),
    );
    let mut findings = Vec::new();
    for found in [all.0, all.1, all.2, all.3, all.4, all.5, all.6] {
        match found {
            Ok(found) => findings.extend(found),
            Err(error) => findings.push(refusal(&error)),
        }
    }
    Ok(findings)
}

type Findings = Result<Vec<Finding>, ProxmoxError>;

struct Look<'a> {
    client: &'a Client,
    options: &'a ProxmoxOptions,
    order: &'a MachineOrder,
    images: &'a ImageStore,
    template: Option<Template>,
}

impl Look<'_> {
    /// The template that the machine will be cloned from.
    fn source(&self) -> Option<&Template> {
        self.template.as_ref().filter(|template| template.fits(self.order))
    }

    fn node_path(&self, rest: &str) -> String {
        format!("/nodes/{}{rest}", encode(&self.options.node))
    }

    /// It, or that it is too old.
    async fn version(&self) -> Result<Result<(u32, u32), Finding>, ProxmoxError> {
        let version: Version = self.client.get("/version", &Form::new()).await?;
        if version.number() < OLDEST {
            let message = format!("Proxmox VE {} is too old: 8.4 or later is needed", version.version);
            return Ok(Err(fatal(message, "upgrade the node")));
        }
        Ok(Ok(version.number()))
    }

    async fn node(&self) -> Result<Option<Finding>, ProxmoxError> {
        let nodes: Vec<Node> = self.client.get("/nodes", &Form::new()).await?;
        let names: Vec<&str> = nodes.iter().map(|node| node.node.as_str()).collect();
        Ok(match nodes.iter().find(|node| node.node == self.options.node) {
            None => {
                let message = format!("there is no node `{}`", self.options.node);
                Some(fatal(message, format!("`{}` has: {}", self.client.name(), names.join(", "))))
            }
            Some(node) if node.status == "offline" => {
                Some(fatal(format!("node `{}` is offline", node.node), "start it, or choose another node"))
            }
            Some(_) => None,
        })
    }

    /// What the token may do, compared with what making and removing the machine takes.
    async fn privileges(&self, version: (u32, u32)) -> Findings {
        let granted: BTreeMap<String, BTreeMap<String, serde_json::Value>> =
            self.client.get("/access/permissions", &Form::new()).await?;
        // PVE lists paths that something is granted on; what is granted above holds below where it propagates.
        let may = |path: &str, privilege: &str| {
            ancestors(path).any(|above| {
                let propagates = granted.get(above).and_then(|privileges| privileges.get(privilege));
                propagates.is_some_and(|propagates| above == path || propagates != &serde_json::json!(0))
            })
        };
        let vm = format!("/vms/{}", self.options.vmid.unwrap_or(100));
        let vm = if self.options.vmid.is_some() { vm.as_str() } else { "/vms" };
        let node = format!("/nodes/{}", self.options.node);
        let (disks, images) =
            (format!("/storage/{}", self.options.storage), format!("/storage/{}", self.options.images));
        // A virtual network of the cluster stands under a zone of its own; all other bridges are of this one.
        let bridge_path = |bridge: &str| {
            let of_zone = |path: &&String| path.starts_with("/sdn/zones/") && path.ends_with(&format!("/{bridge}"));
            granted.keys().find(of_zone).cloned().unwrap_or_else(|| format!("/sdn/zones/localnetwork/{bridge}"))
        };
        let bridges: Vec<String> = self.bridges().into_iter().map(bridge_path).collect();
        // Nobody but the guest knows which address it gets by DHCP.
        let dhcp = self.order.networks.first().is_some_and(|card| card.address == Address::Dhcp);
        let on_vm: Vec<&str> = VM.iter().copied().chain(dhcp.then(|| agent_privilege(version.0))).collect();
        let template = self.source().map(|template| format!("/vms/{}", template.vmid));
        let wanted: [(&str, &[&str]); 4] = [
            (vm, &on_vm),
            (&disks, &["Datastore.AllocateSpace", "Datastore.Audit"]),
            (&images, &["Datastore.Allocate", "Datastore.AllocateTemplate", "Datastore.Audit"]),
            (&node, &["Sys.AccessNetwork", "Sys.Audit"]),
        ];
        let wanted = wanted.into_iter().chain(bridges.iter().map(|path| (path.as_str(), &["SDN.Use"] as &[&str])));
        let cloned: Option<(&str, &[&str])> = template.as_deref().map(|path| (path, &[CLONE] as &[&str]));
        let mut findings = Vec::new();
        for (path, privileges) in wanted.chain(cloned) {
            let lacking: BTreeSet<&str> = privileges.iter().filter(|wanted| !may(path, wanted)).copied().collect();
            if !lacking.is_empty() {
                let lacking = lacking.into_iter().collect::<Vec<_>>().join(", ");
                findings.push(fatal(
                    format!("the token lacks {lacking} on {path}"),
                    Hint::from(Next::SetUpProxmox).with(" on the node grants what is needed; docs/proxmox.md lists it"),
                ));
            }
        }
        Ok(findings)
    }

    async fn hardware(&self) -> Findings {
        let status: NodeStatus = self.client.get(&self.node_path("/status"), &Form::new()).await?;
        let (node, size) = (&self.options.node, self.order.size);
        let mut findings = Vec::new();
        if u64::from(size.cpus) > status.cpuinfo.cpus {
            let message = format!("the server wants {} processors, and {node} has {}", size.cpus, status.cpuinfo.cpus);
            findings.push(warning(message, "it works, but no faster than with fewer"));
        }
        if size.memory > status.memory.total {
            let (wanted, has) = (size.memory >> 20, status.memory.total >> 20);
            let message = format!("the server wants {wanted} MiB of memory, and {node} has {has} MiB");
            findings.push(warning(message, "set a smaller `memory`: a node without memory stops its guests"));
        }
        if !status.cpuinfo.hvm {
            let message = format!("{node} has no hardware virtualisation: the server is emulated, and slow");
            findings.push(warning(message, "switch it on in the node's firmware, or for the VM that the node runs in"));
        }
        Ok(findings)
    }

    async fn storages(&self) -> Findings {
        let all: Vec<Storage> = self.client.get(&self.node_path("/storage"), &Form::new()).await?;
        let mut findings = Vec::new();
        let images = &self.options.images;
        findings.extend(self.storage(&all, &self.options.storage, "storage", &["images"], self.order.size.disk));
        findings.extend(self.storage(&all, images, "images", &["import", "iso"], IMAGE_SPACE));
        Ok(findings)
    }

    fn storage(&self, all: &[Storage], name: &str, key: &str, contents: &[&str], space: u64) -> Vec<Finding> {
        let node = &self.options.node;
        let Some(storage) = all.iter().find(|storage| storage.storage == name) else {
            let known: Vec<&str> =
                all.iter().filter(|other| contents.iter().all(|it| other.takes(it))).map(|it| &*it.storage).collect();
            let message = format!("{node} has no storage `{name}`, or the token can't see it");
            let hint = if known.is_empty() {
                format!("no storage of the node takes {}", contents.join(" and "))
            } else {
                format!("these fit `proxmox.{key}`: {}", known.join(", "))
            };
            return vec![fatal(message, hint)];
        };
        if !storage.enabled || !storage.active {
            let state = if storage.enabled { "not active" } else { "switched off" };
            return vec![fatal(format!("storage `{name}` is {state} on {node}"), "look at `pvesm status` on the node")];
        }
        let mut findings = Vec::new();
        let lacking: Vec<&str> = contents.iter().copied().filter(|content| !storage.takes(content)).collect();
        if !lacking.is_empty() {
            let message = format!("storage `{name}` does not take the content type {}", lacking.join(" and "));
            let all: Vec<&str> = storage.content.split(',').chain(lacking).filter(|it| !it.is_empty()).collect();
            findings.push(fatal(message, format!("on the node: `pvesm set {name} --content {}`", all.join(","))));
        }
        if storage.avail < space {
            let (free, wanted) = (storage.avail >> 20, space >> 20);
            let message = format!("storage `{name}` has {free} MiB free, and {wanted} MiB are needed");
            findings.push(fatal(message, "make room there, set a smaller `disk`, or choose another storage"));
        }
        findings
    }

    /// Those that its cards are plugged into.
    fn bridges(&self) -> BTreeSet<&str> {
        self.order.networks.iter().map(|card| self.options.plug(card).0).collect()
    }

    async fn bridges_there(&self) -> Findings {
        let query = Form::new().with("type", "any_bridge");
        let all: Vec<Interface> = self.client.get(&self.node_path("/network"), &query).await?;
        let known: Vec<&str> = all.iter().map(|interface| interface.iface.as_str()).collect();
        let missing = self.bridges().into_iter().filter(|bridge| !known.contains(bridge));
        let finding = |bridge| {
            let message = format!("{} has no bridge `{bridge}`", self.options.node);
            fatal(message, format!("it has: {}", known.join(", ")))
        };
        Ok(missing.map(finding).collect())
    }

    async fn vmid(&self) -> Findings {
        let Some(vmid) = self.options.vmid else { return Ok(Vec::new()) };
        if !vmid::is_free(self.client, vmid).await? {
            return Ok(vec![refusal(&ProxmoxError::Taken { vmid })]);
        }
        let strays = match storage::volumes_of(self.client, &self.options.node, &self.options.storage, vmid).await {
            Ok(strays) => strays,
            // The storage itself is another finding's.
            Err(ProxmoxError::Refused { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        if strays.is_empty() {
            return Ok(Vec::new());
        }
        let message = format!("no VM has VMID {vmid}, yet there are volumes of it: {}", strays.join(", "));
        Ok(vec![fatal(
            message,
            "check whose they are; `pvesm free VOLUME` on the node removes one. Or choose another VMID",
        )])
    }

    /// A fixed address that answers belongs to somebody. No answer proves nothing, but that is all that can be known from here.
    async fn address(&self) -> Findings {
        let mut findings = Vec::new();
        for address in self.order.networks.iter().flat_map(Network::fixed_addresses) {
            if answers(address.addr()).await {
                let message = format!("{} answers already: another machine has it", address.addr());
                findings.push(fatal(message, "choose an address that is free"));
            }
        }
        let dns = self.order.networks.iter().any(|card| card.address == Address::Dhcp || !card.dns.is_empty());
        if !dns {
            let message = "no card has DHCP or a name server: the server won't resolve names".to_owned();
            findings.push(warning(message, "set `dns` on the first network"));
        }
        Ok(findings)
    }

    /// The image is there, is here, or can be fetched by the node; unless a template serves.
    async fn image(&self) -> Findings {
        if self.source().is_some() {
            return Ok(Vec::new());
        }
        let mut findings: Vec<Finding> = self.template.iter().map(|template| template.misfit(self.order)).collect();
        findings.extend(self.image_itself().await?);
        Ok(findings)
    }

    async fn image_itself(&self) -> Findings {
        let cached = match self.images.cached(&self.order.image_ref) {
            Ok(cached) => cached.is_some(),
            Err(error) => {
                return Ok(vec![Finding { fatal: true, message: error.to_string(), hints: error.hints() }]);
            }
        };
        let url = match &self.order.image_ref {
            _ if cached => return Ok(Vec::new()),
            ImageRef::Path(path) => {
                return Ok(vec![fatal(format!("image `{}` does not exist", path.display()), "look at `image`")]);
            }
            ImageRef::Named(name) => {
                if image::is_known(self.client, self.options, name).await.unwrap_or(false) {
                    return Ok(Vec::new());
                }
                match self.images.url_of(name) {
                    Ok(url) => url,
                    Err(error) => {
                        return Ok(vec![Finding { fatal: true, message: error.to_string(), hints: error.hints() }]);
                    }
                }
            }
            ImageRef::Url { url, .. } => url.clone(),
        };
        let query = Form::new().with("url", &url);
        match self.client.get::<serde_json::Value>(&self.node_path("/query-url-metadata"), &query).await {
            Ok(_) => Ok(Vec::new()),
            Err(ProxmoxError::Refused { message, .. }) => {
                let message = format!("{} can't reach {url}: {message}", self.options.node);
                Ok(vec![warning(message, "the image will be fetched here, and uploaded")])
            }
            Err(error) => Err(error),
        }
    }
}

/// Privileges on the VM, without the one to ask its guest agent.
pub(super) const VM: &[&str] = &[
    "VM.Allocate",
    "VM.Audit",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.PowerMgmt",
];

/// The privilege on a template to clone it.
pub(super) const CLONE: &str = "VM.Clone";

/// The privilege to read what a guest agent says, by the major version of Proxmox VE.
pub(super) fn agent_privilege(major: u32) -> &'static str {
    if major < 9 { "VM.Monitor" } else { "VM.GuestAgent.Audit" }
}

/// The path itself, then those above it, up to `/`.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let above = path.match_indices('/').rev().map(move |(at, _)| if at == 0 { "/" } else { &path[..at] });
    std::iter::once(path).chain(above)
}

/// Whether anything at an address says so, also by refusing.
async fn answers(address: IpAddr) -> bool {
    match timeout(PROBE, TcpStream::connect(SocketAddr::new(address, 22))).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => error.kind() == io::ErrorKind::ConnectionRefused,
        Err(_) => false,
    }
}

fn refusal(error: &ProxmoxError) -> Finding {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    Finding { fatal: true, message, hints: error.hints() }
}

fn fatal(message: String, hint: impl Into<Hint>) -> Finding {
    Finding { fatal: true, message, hints: vec![hint.into()] }
}

pub(super) fn warning(message: String, hint: &str) -> Finding {
    Finding { fatal: false, message, hints: vec![hint.into()] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_above_counts() {
        assert_eq!(ancestors("/storage/local").collect::<Vec<_>>(), ["/storage/local", "/storage", "/"]);
        assert_eq!(ancestors("/vms").collect::<Vec<_>>(), ["/vms", "/"]);
    }
}
