//! The spec as types. All defaults are filled in and all checks are done when one of these exists.

use crate::{
    AppMeta, CatalogIndex, Fault, HetznerBalancer, ModuleMeta, ProviderOptions, ServerName, SiteSpec, TemplateDigest,
    ZoneSpec,
};
use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
};

/// A whole spec file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The file that it came from; relative paths in it are relative to its folder.
    pub path: PathBuf,
    /// Where apps come from; `None`: from the catalog that ships with Ostler.
    pub catalog: Option<CatalogSource>,
    /// Zones in the order of the file.
    #[serde(default)]
    pub zones: Vec<ZoneSpec>,
    /// Servers in the order of the file.
    pub servers: Vec<ServerSpec>,
    /// Sites in the order of the file.
    #[serde(default)]
    pub sites: Vec<SiteSpec>,
    /// Servers that others name and that are not in the file.
    #[serde(skip)]
    pub elsewhere: Vec<Elsewhere>,
}

/// A server that is not in the file and that one in it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Its name.
    pub server: ServerName,
    /// What is at fault if there is no such server at all.
    pub fault: Fault,
    /// An app that it must have, and what is at fault if it has not.
    pub needs: Option<(&'static str, Fault)>,
}

/// A Git repository that apps come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogSource {
    /// `https`, `http`, `ssh` or `file`; never with a password or token in it.
    pub url: String,
    /// Branch to follow.
    pub branch: String,
    /// 40 hexadecimal digits: this commit and no other.
    pub commit: Option<String>,
    /// Opens what its roles hold encrypted with `ansible-vault`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault_password: Option<SecretRef>,
}

/// What one server shall be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerSpec {
    /// Its name, which is also its host name.
    pub name: ServerName,
    /// Where it comes from, and what only that provider knows.
    #[serde(flatten)]
    pub provider: ProviderOptions,
    /// What it boots from.
    pub image: ImageRef,
    /// Its virtual hardware.
    pub size: Size,
    /// Its network cards, at least one; the first one carries the default route.
    pub networks: Vec<Network>,
    /// The account that Ostler and its owner log in as.
    pub user: String,
    /// Password of that account, if it has one.
    pub password: Option<SecretRef>,
    /// Public keys (whole lines of `authorized_keys` format), read from the files that the spec names.
    pub authorized_keys: Vec<String>,
    /// Whether other keys of that account are taken out; Ostler's own stays.
    #[serde(default)]
    pub exclusive_keys: bool,
    /// Policy of sshd.
    pub ssh: SshPolicy,
    /// Switched modules: name, and all settings of it with defaults filled in; `None` where switched off.
    pub modules: BTreeMap<String, Option<Settings>>,
    /// Where the apps come from, with the commit that the spec was read with; `None`: from the catalog that ships with Ostler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<CatalogSource>,
    /// Apps in the order in which they run (dependencies first).
    pub apps: Vec<String>,
    /// Parameters of apps, defaults not filled in.
    pub app_params: BTreeMap<String, Settings>,
    /// The tunnel that leads to its SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<TunnelOptions>,
    /// How Ansible is run.
    pub ansible: AnsibleOptions,
    /// What it holds, where it is to become a template. No spec file says so: `template build` makes such specs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateDigest>,
}

impl ServerSpec {
    /// Every secret that an application needs, in the order of the file. The way in of an existing server is not among them.
    pub fn secrets(&self) -> Vec<&SecretRef> {
        let mut secrets: Vec<_> = self.vault_password().into_iter().chain(&self.password).collect();
        secrets.extend(self.tunnel.as_ref().map(|tunnel| &tunnel.via.token));
        for params in self.app_params.values() {
            params.values().for_each(|value| value.secrets(&mut secrets));
        }
        secrets
    }

    /// Those of the modules that are switched on.
    pub fn modules_of<'a>(&'a self, modules: &'a [ModuleMeta]) -> impl Iterator<Item = &'a ModuleMeta> {
        modules.iter().filter(|meta| self.modules.get(&meta.name).is_some_and(Option::is_some))
    }

    /// Its apps, as the catalog has them; one that the catalog lacks is left out.
    pub fn apps_of<'a>(&'a self, catalog: &'a CatalogIndex) -> impl Iterator<Item = &'a AppMeta> {
        self.apps.iter().filter_map(|app| catalog.apps.iter().find(|meta| meta.name == *app))
    }

    /// The server whose cluster this one joins by an app; `None`: it joins none.
    pub fn joins(&self, app: &AppMeta) -> Option<&str> {
        match self.app_params.get(&app.name)?.get(&app.peer.as_ref()?.param)? {
            Value::String(name) if !name.is_empty() => Some(name),
            _ => None,
        }
    }

    /// What opens the catalog's encrypted values, where the server has apps that may hold some.
    pub fn vault_password(&self) -> Option<&SecretRef> {
        self.catalog.as_ref().filter(|_| !self.apps.is_empty())?.vault_password.as_ref()
    }
}

/// Where servers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// QEMU on this machine.
    Local,
    /// A server that somebody else made, reached over SSH.
    Existing,
    /// A Proxmox VE node or cluster.
    Proxmox,
    /// A project of Hetzner Cloud.
    Hetzner,
}

/// What a server boots from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageRef {
    /// A name that Ostler knows, such as `debian-13`.
    Named(String),
    /// A qcow2 or raw file of the user's.
    Path(PathBuf),
    /// A download.
    Url {
        /// `http` or `https`.
        url: String,
        /// `sha256:HEX` or `sha512:HEX`.
        checksum: String,
    },
}

/// Virtual hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Virtual CPUs.
    pub cpus: u32,
    /// Bytes of memory; a whole number of MiB.
    pub memory: u64,
    /// Bytes of the first disk; a whole number of MiB.
    pub disk: u64,
}

/// One network card. By default one with DHCP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its address.
    pub address: Address,
    /// Default gateway; inside the subnet of a static address.
    pub gateway: Option<IpAddr>,
    /// Static IPv6 address with its prefix length, beside an IPv4 address or DHCP.
    #[serde(default)]
    pub address6: Option<Ipv6Net>,
    /// Default IPv6 gateway; inside the subnet of `address6`, or link-local.
    #[serde(default)]
    pub gateway6: Option<Ipv6Addr>,
    /// Name servers; empty: as DHCP or the provider says.
    pub dns: Vec<IpAddr>,
    /// Search domains.
    pub search: Vec<String>,
    /// On Proxmox VE: its bridge, if that is not the server's ([`ProxmoxOptions::plug`]).
    #[serde(default)]
    pub bridge: Option<String>,
    /// On Proxmox VE: its VLAN, likewise.
    #[serde(default)]
    pub vlan: Option<u16>,
}

impl Network {
    /// All addresses that it is known to get.
    pub fn fixed_addresses(&self) -> impl Iterator<Item = IpNet> + use<> {
        let first = match self.address {
            Address::Dhcp => None,
            Address::Static(address) => Some(address),
        };
        first.into_iter().chain(self.address6.map(IpNet::V6))
    }
}

/// How a network card gets its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Address {
    /// By DHCP.
    #[default]
    Dhcp,
    /// Static, with its prefix length.
    Static(IpNet),
}

/// A secret that the spec names but does not hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretRef {
    /// From Ostler's own encrypted store.
    Secret(String),
    /// From an environment variable of the Ostler process.
    Env(String),
    /// From a file; one final line feed is cut off.
    File(PathBuf),
}

impl SecretRef {
    /// As it is written: the key, and what stands there.
    pub fn parts(&self) -> (&'static str, Cow<'_, str>) {
        match self {
            SecretRef::Secret(name) => ("secret", name.into()),
            SecretRef::Env(name) => ("env", name.into()),
            SecretRef::File(path) => ("file", path.to_string_lossy()),
        }
    }
}

/// Policy of sshd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshPolicy {
    /// Whether sshd runs at all once the server is ready.
    pub enabled: bool,
    /// How users log in.
    pub auth: SshAuth,
    /// Whether root may log in.
    pub root_login: RootLogin,
    /// TCP port.
    pub port: u16,
    /// Which algorithms a connection may use.
    #[serde(default)]
    pub crypto: SshCrypto,
    /// What becomes of somebody's `Match` blocks that override this policy.
    #[serde(default)]
    pub match_blocks: MatchBlocks,
}

/// What a spec means that says nothing.
impl Default for SshPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            auth: SshAuth::KeyOnly,
            root_login: RootLogin::No,
            port: 22,
            crypto: SshCrypto::default(),
            match_blocks: MatchBlocks::default(),
        }
    }
}

/// Algorithms of SSH connections. The lists are the role's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SshCrypto {
    /// Those that nobody has doubts about, post-quantum key exchange first.
    #[default]
    Modern,
    /// Those of older clients too.
    Compatible,
    /// As the server is configured.
    System,
}

/// What becomes of `Match` blocks that override the policy for some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MatchBlocks {
    /// They stay, with a warning.
    #[default]
    Keep,
    /// Their lines that are against the policy become comments.
    TakeOver,
}

/// How users log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SshAuth {
    /// Public key only.
    KeyOnly,
    /// Public key or password; either suffices.
    KeyAndPassword,
}

/// Whether root may log in over SSH. The words are sshd's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootLogin {
    /// Never.
    No,
    /// With a key only.
    ProhibitPassword,
    /// With whatever `auth` allows.
    Yes,
}

/// Values of a module's settings or an app's parameters.
pub type Settings = BTreeMap<String, Value>;

/// A plain value, as YAML and Ansible both know it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    String(String),
    /// A list.
    List(Vec<Value>),
    /// A mapping.
    Map(BTreeMap<String, Value>),
    /// A secret by its name; only where a schema asks for one.
    Secret(#[serde(serialize_with = "super::value::serialize_secret")] SecretRef),
}

/// How Ansible is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsibleOptions {
    /// Strategy plugin.
    pub strategy: Strategy,
}

/// Ansible strategy plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// `mitogen_linear`: one interpreter stays on the target. Faster by a factor of three to four.
    #[default]
    Mitogen,
    /// Ansible's own `linear`.
    Linear,
}

/// Options of provider `local` only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalOptions {
    /// TCP ports of 127.0.0.1 that lead to ports of the server. Key 0 means: any free one.
    pub forward: Vec<Forward>,
}

/// What only provider `existing` knows: the way in until the target user's own is proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExistingOptions {
    /// IP address, or a name that this machine can resolve.
    pub address: String,
    /// Where its sshd listens now. Once Ostler has changed that, it keeps the new port itself.
    pub port: u16,
    /// An account that is root or becomes it with sudo.
    pub user: String,
    /// Password of that account, for the login and for sudo.
    pub password: Option<SecretRef>,
    /// Private key of that account. Without a key and a password: the user's ssh-agent.
    pub key: Option<PathBuf>,
    /// Fingerprint of its host key, `SHA256:...`. `None`: it is shown for confirmation.
    pub host_key: Option<String>,
}

/// What only provider `proxmox` knows: which node, and where on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxmoxOptions {
    /// How the API is reached.
    pub endpoint: ProxmoxEndpoint,
    /// Node of the cluster that the machine is made on.
    pub node: String,
    /// Its VMID; `None`: the next free one, chosen once and kept.
    pub vmid: Option<u32>,
    /// Storage of its disk.
    pub storage: String,
    /// Storage that images and seeds are uploaded to; it takes the content types `import` and `iso`.
    pub images: String,
    /// Bridge of its network cards.
    pub bridge: String,
    /// VLAN of its network cards.
    pub vlan: Option<u16>,
    /// Tags that PVE shows.
    pub tags: Vec<String>,
}

impl ProxmoxOptions {
    /// Bridge and VLAN of a card. One with a bridge of its own is not in the server's VLAN, which is the other bridge's.
    pub fn plug<'a>(&'a self, card: &'a Network) -> (&'a str, Option<u16>) {
        match &card.bridge {
            Some(bridge) => (bridge, card.vlan),
            None => (&self.bridge, card.vlan.or(self.vlan)),
        }
    }
}

/// How the API of a Proxmox VE node is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxmoxEndpoint {
    /// Its name under `providers`.
    pub name: String,
    /// `https://HOST:PORT`, without a path.
    pub url: String,
    /// API token: `USER@REALM!TOKENID=UUID`.
    pub token: SecretRef,
    /// What its certificate must be.
    pub trust: ProxmoxTrust,
}

/// What proves that the API is the right one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxmoxTrust {
    /// SHA-256 of its certificate, as 64 hexadecimal digits in lower case.
    Fingerprint(String),
    /// Certificate of the cluster's own authority, in PEM.
    Authority(String),
}

impl ProxmoxTrust {
    /// The certificate with this SHA-256, as PVE shows it: `AB:CD:…`
    pub fn fingerprint(shown: &str) -> Self {
        Self::Fingerprint(shown.replace(':', "").to_ascii_lowercase())
    }
}

/// What only provider `hetzner` knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HetznerOptions {
    /// How the API is reached.
    pub endpoint: HetznerEndpoint,
    /// Server types in the order in which they are tried, at least one.
    pub types: Vec<String>,
    /// Locations in the order in which they are tried for each type, at least one.
    pub locations: Vec<String>,
    /// Private network that it is in.
    pub network: Option<HetznerNetwork>,
    /// Volumes that are attached to it.
    pub volumes: Vec<HetznerVolume>,
    /// Name of its placement group.
    pub placement: Option<String>,
    /// Its public IPv4 address.
    pub ipv4: HetznerAddress,
    /// Its public IPv6 network.
    pub ipv6: HetznerAddress,
    /// Daily backups of the vendor.
    pub backups: bool,
    /// The vendor refuses to delete or rebuild it.
    pub protect: bool,
    /// A firewall of the vendor stands in front of it.
    pub firewall: bool,
    /// Load balancer that sends traffic to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<HetznerBalancer>,
}

/// How the API of Hetzner Cloud is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HetznerEndpoint {
    /// Its name under `providers`.
    pub name: String,
    /// With `/v1`, without a slash at its end.
    pub url: String,
    /// API token of a project.
    pub token: SecretRef,
}

/// A private network, found by its name or made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HetznerNetwork {
    /// Its name at the vendor.
    pub name: String,
    /// Its addresses, where it is made.
    pub range: ipnet::Ipv4Net,
}

/// A volume, found by its name or made. It outlives its server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HetznerVolume {
    /// Its name at the vendor.
    pub name: String,
    /// GB; `None`: as large as it is, and 10 where it is made.
    pub size: Option<u32>,
    /// What it is formatted as, where it holds nothing yet.
    #[serde(default)]
    pub format: VolumeFormat,
    /// Absolute path at which it is mounted; `None`: it is a raw device that Ostler leaves alone.
    #[serde(default)]
    pub mount: Option<String>,
}

impl HetznerVolume {
    /// GB of one that is made where none is asked for.
    pub const SMALLEST: u32 = 10;

    /// One that is attached, and no more.
    pub fn raw(name: &str) -> Self {
        Self { name: name.to_owned(), size: None, format: VolumeFormat::default(), mount: None }
    }
}

/// A file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeFormat {
    /// ext4
    #[default]
    Ext4,
    /// XFS
    Xfs,
}

/// A public address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HetznerAddress {
    /// None.
    None,
    /// One that goes with the server.
    Own,
    /// The Primary IP of this name, found or made, which outlives the server.
    Kept(String),
}

/// A tunnel that leads to a server's SSH.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelOptions {
    /// Where it ends.
    pub via: TunnelEndpoint,
    /// Host name that leads through it.
    pub hostname: String,
    /// Whether the SSH port is closed to everybody else.
    pub close_ssh: bool,
}

/// An account at Cloudflare that tunnels end in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelEndpoint {
    /// Its name under `tunnels`.
    pub name: String,
    /// Id of the account.
    pub account: String,
    /// API token.
    pub token: SecretRef,
    /// URL of the API, without a slash at the end.
    pub url: String,
}

/// One forwarded TCP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// Port on 127.0.0.1 of this machine; `None`: any free one, chosen once and kept.
    pub host: Option<u16>,
    /// Port of the server.
    pub guest: u16,
}
