//! What Hetzner Cloud answers: only what is needed of it. New fields and new words for states come at any time, so no field is
//! closed and no word an enum.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The body of an answer that is none.
#[derive(Debug, Deserialize)]
pub struct Refused {
    /// Why.
    pub error: Reason,
}

/// Why something was refused, or why an action failed.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Reason {
    /// `resource_unavailable` and the like; new ones may come.
    #[serde(default)]
    pub code: String,
    /// For people.
    #[serde(default)]
    pub message: String,
}

/// An action: something that takes a while.
#[derive(Clone, Debug, Deserialize)]
pub struct Action {
    pub id: u64,
    /// `create_server` and the like.
    #[serde(default)]
    pub command: String,
    /// `running`, `success` or `error`.
    #[serde(default)]
    pub status: String,
    #[serde(default)]
    pub error: Option<Reason>,
}

/// The page of a list.
#[derive(Debug, Default, Deserialize)]
pub struct Meta {
    #[serde(default)]
    pub pagination: Pagination,
}

/// Where a page stands among the others.
#[derive(Debug, Default, Deserialize)]
pub struct Pagination {
    #[serde(default)]
    pub next_page: Option<u64>,
}

/// What other resources are named by.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Named {
    #[serde(default)]
    pub id: u64,
    #[serde(default)]
    pub name: String,
}

pub type Labels = BTreeMap<String, String>;

/// A server.
#[derive(Clone, Debug, Deserialize)]
pub struct Server {
    pub id: u64,
    #[serde(default)]
    pub name: String,
    /// `running`, `off`, `initializing` and others.
    #[serde(default)]
    pub status: String,
    #[serde(default)]
    pub server_type: Named,
    #[serde(default)]
    pub location: Named,
    #[serde(default)]
    pub public_net: PublicNet,
    #[serde(default)]
    pub labels: Labels,
    #[serde(default)]
    pub protection: Protection,
    #[serde(default)]
    pub backup_window: Option<String>,
}

/// Its public addresses.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PublicNet {
    #[serde(default)]
    pub ipv4: Option<PublicIp>,
    #[serde(default)]
    pub ipv6: Option<PublicIp>,
}

/// One of them.
#[derive(Clone, Debug, Deserialize)]
pub struct PublicIp {
    /// Of the Primary IP.
    #[serde(default)]
    pub id: u64,
    /// IPv4: the address; IPv6: its network, `2001:db8::/64`.
    pub ip: String,
}

/// What the vendor refuses to do with something.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Protection {
    #[serde(default)]
    pub delete: bool,
}

/// What a request for a server answers.
#[derive(Debug, Deserialize)]
pub struct Created {
    pub server: Server,
    pub action: Action,
    #[serde(default)]
    pub next_actions: Vec<Action>,
}

/// An answer with one action, or several.
#[derive(Debug, Default, Deserialize)]
pub struct Acted {
    #[serde(default)]
    pub action: Option<Action>,
    #[serde(default)]
    pub actions: Vec<Action>,
    #[serde(default)]
    pub next_actions: Vec<Action>,
}

impl Acted {
    pub fn all(self) -> Vec<Action> {
        self.action.into_iter().chain(self.actions).chain(self.next_actions).collect()
    }
}

/// What has an id, a name and labels, and not much more: a firewall, a network, a volume and others.
#[derive(Clone, Debug, Deserialize)]
pub struct Resource {
    pub id: u64,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub labels: Labels,
    /// Of SSH keys.
    #[serde(default)]
    pub public_key: String,
    /// Of volumes: the server that it is attached to.
    #[serde(default)]
    pub server: Option<u64>,
    /// Of volumes, in GB.
    #[serde(default)]
    pub size: u64,
    /// Of volumes and Primary IPs.
    #[serde(default)]
    pub location: Named,
    /// Of Primary IPs: the server that has it.
    #[serde(default)]
    pub assignee_id: Option<u64>,
    /// Of Primary IPs: `ipv4` or `ipv6`.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Of Primary IPs.
    #[serde(default)]
    pub ip: String,
    /// Of networks and placement groups.
    #[serde(default)]
    pub servers: Vec<u64>,
    /// Of networks.
    #[serde(default)]
    pub load_balancers: Vec<u64>,
    /// Of networks.
    #[serde(default)]
    pub subnets: Vec<Subnet>,
    /// Of firewalls.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Of firewalls.
    #[serde(default)]
    pub applied_to: Vec<AppliedTo>,
}

/// A part of a network.
#[derive(Clone, Debug, Deserialize)]
pub struct Subnet {
    #[serde(default)]
    pub network_zone: String,
}

/// A rule of a firewall.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Rule {
    pub direction: String,
    pub protocol: String,
    #[serde(default)]
    pub port: Option<String>,
    #[serde(default)]
    pub source_ips: Vec<String>,
}

/// What a firewall stands in front of.
#[derive(Clone, Debug, Deserialize)]
pub struct AppliedTo {
    #[serde(default)]
    pub server: Option<Named>,
}

/// A server type.
#[derive(Clone, Debug, Deserialize)]
pub struct ServerType {
    pub name: String,
    /// `x86` or `arm`.
    #[serde(default)]
    pub architecture: String,
    /// `shared` or `dedicated`.
    #[serde(default)]
    pub cpu_type: String,
    #[serde(default)]
    pub cores: u64,
    /// GB.
    #[serde(default)]
    pub memory: f64,
    /// GB.
    #[serde(default)]
    pub disk: u64,
    #[serde(default)]
    pub prices: Vec<LocationPrice>,
    #[serde(default)]
    pub locations: Vec<TypeLocation>,
    #[serde(default)]
    pub deprecation: Option<Deprecation>,
}

/// A location that has a server type.
#[derive(Clone, Debug, Deserialize)]
pub struct TypeLocation {
    pub name: String,
    #[serde(default)]
    pub deprecation: Option<Deprecation>,
    /// Whether it can be had now; the vendor may not say.
    #[serde(default)]
    pub available: Option<bool>,
}

/// Something goes away.
#[derive(Clone, Debug, Deserialize)]
pub struct Deprecation {
    /// RFC 3339.
    #[serde(default)]
    pub unavailable_after: String,
}

impl Deprecation {
    /// Whether it is gone.
    pub fn is_over(&self) -> bool {
        self.unavailable_after.parse().is_ok_and(|after: jiff::Timestamp| after < jiff::Timestamp::now())
    }

    /// The day: `2026-02-01`.
    pub fn day(&self) -> &str {
        self.unavailable_after.split('T').next().unwrap_or_default()
    }
}

/// What something costs in a location.
#[derive(Clone, Debug, Deserialize)]
pub struct LocationPrice {
    pub location: String,
    pub price_monthly: Amount,
}

/// Without and with VAT, as decimal texts.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Amount {
    #[serde(default)]
    pub net: String,
    #[serde(default)]
    pub gross: String,
}

impl Amount {
    /// As numbers; 0 where the vendor says none.
    pub fn numbers(&self) -> (f64, f64) {
        let number = |text: &str| text.parse().unwrap_or(0.0);
        (number(&self.net), number(&self.gross))
    }
}

/// A location.
#[derive(Clone, Debug, Deserialize)]
pub struct Location {
    pub name: String,
    #[serde(default)]
    pub city: String,
    #[serde(default)]
    pub country: String,
    #[serde(default)]
    pub network_zone: String,
}

/// An image.
#[derive(Clone, Debug, Deserialize)]
pub struct Image {
    pub id: u64,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub status: String,
    #[serde(default)]
    pub deprecation: Option<Deprecation>,
}

/// All prices of the account.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Pricing {
    #[serde(default)]
    pub currency: String,
    #[serde(default)]
    pub volume: VolumePrice,
    #[serde(default)]
    pub server_backup: BackupPrice,
    #[serde(default)]
    pub primary_ips: Vec<AddressPrice>,
    #[serde(default)]
    pub load_balancer_types: Vec<BalancerType>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct VolumePrice {
    #[serde(default)]
    pub price_per_gb_month: Amount,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct BackupPrice {
    /// Of the server's price.
    #[serde(default)]
    pub percentage: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct AddressPrice {
    /// `ipv4` or `ipv6`.
    #[serde(default, rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub prices: Vec<LocationPrice>,
}

/// A load balancer type.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct BalancerType {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub prices: Vec<LocationPrice>,
}

/// A load balancer.
#[derive(Clone, Debug, Deserialize)]
pub struct Balancer {
    pub id: u64,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub labels: Labels,
    #[serde(default)]
    pub load_balancer_type: BalancerType,
    #[serde(default)]
    pub location: Named,
    #[serde(default)]
    pub public_net: BalancerNet,
    #[serde(default)]
    pub private_net: Vec<PrivateNet>,
    #[serde(default)]
    pub services: Vec<Service>,
    #[serde(default)]
    pub targets: Vec<Target>,
}

impl Balancer {
    /// Its public addresses: `198.51.100.7, 2001:db8::7`.
    pub fn addresses(&self) -> String {
        let all = [&self.public_net.ipv4, &self.public_net.ipv6].into_iter().flatten();
        all.filter_map(|address| address.ip.as_deref()).collect::<Vec<_>>().join(", ")
    }
}

/// Its public addresses.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct BalancerNet {
    #[serde(default)]
    pub ipv4: Option<BalancerIp>,
    #[serde(default)]
    pub ipv6: Option<BalancerIp>,
}

/// One of them.
#[derive(Clone, Debug, Deserialize)]
pub struct BalancerIp {
    #[serde(default)]
    pub ip: Option<String>,
}

/// A network that it is in.
#[derive(Clone, Debug, Deserialize)]
pub struct PrivateNet {
    #[serde(default)]
    pub network: Option<u64>,
}

/// What it listens for; also as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// `tcp`, `http` or `https`.
    #[serde(default)]
    pub protocol: String,
    pub listen_port: u16,
    #[serde(default)]
    pub destination_port: u16,
    #[serde(default)]
    pub proxyprotocol: bool,
    #[serde(default)]
    pub health_check: HealthCheck,
}

impl Service {
    /// Without what only other kinds of checks look at.
    pub fn plain(&self) -> Self {
        let mut plain = self.clone();
        if plain.health_check.protocol != "http" {
            plain.health_check.http = None;
        }
        plain
    }
}

/// When a target gets traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// `tcp` or `http`.
    #[serde(default)]
    pub protocol: String,
    #[serde(default)]
    pub port: u16,
    /// Seconds.
    #[serde(default)]
    pub interval: u16,
    /// Seconds.
    #[serde(default)]
    pub timeout: u16,
    #[serde(default)]
    pub retries: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheck>,
}

/// What a check by HTTP asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpCheck {
    /// The vendor says none as null or as nothing.
    #[serde(default, deserialize_with = "written")]
    pub domain: Option<String>,
    #[serde(default)]
    pub path: String,
    #[serde(default)]
    pub tls: bool,
}

fn written<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

/// Where it sends traffic.
#[derive(Clone, Debug, Deserialize)]
pub struct Target {
    /// Of targets that are servers.
    #[serde(default)]
    pub server: Option<Named>,
    #[serde(default)]
    pub health_status: Vec<Health>,
}

impl Target {
    pub fn is(&self, server: u64) -> bool {
        self.server.as_ref().is_some_and(|it| it.id == server)
    }
}

/// What it finds of one service there.
#[derive(Clone, Debug, Deserialize)]
pub struct Health {
    #[serde(default)]
    pub listen_port: u16,
    /// `healthy`, `unhealthy` or `unknown`.
    #[serde(default)]
    pub status: String,
}
