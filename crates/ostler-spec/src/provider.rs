//! What a server's spec says to its provider, and to no other.

use crate::{
    ExistingOptions, Forward, HetznerOptions, HetznerVolume, LocalOptions, ProviderKind, ProxmoxEndpoint,
    ProxmoxOptions, SecretRef, VolumeFormat,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The provider of a server with the options that only it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub enum ProviderOptions {
    /// QEMU on this machine.
    Local(LocalOptions),
    /// A server that somebody else made.
    Existing(ExistingOptions),
    /// A Proxmox VE node or cluster.
    Proxmox(ProxmoxOptions),
    /// A project of Hetzner Cloud.
    Hetzner(HetznerOptions),
}

impl ProviderOptions {
    /// Under this kind the providers are found.
    pub fn kind(&self) -> ProviderKind {
        match self {
            Self::Local(_) => ProviderKind::Local,
            Self::Existing(_) => ProviderKind::Existing,
            Self::Proxmox(_) => ProviderKind::Proxmox,
            Self::Hetzner(_) => ProviderKind::Hetzner,
        }
    }

    /// Ports of this machine that lead to ports of the server.
    pub fn forward(&self) -> &[Forward] {
        match self {
            Self::Local(local) => &local.forward,
            Self::Existing(_) | Self::Proxmox(_) | Self::Hetzner(_) => &[],
        }
    }

    /// The account by which a server is reached that was there before Ostler; `None` where Ostler makes the server.
    pub fn way_in(&self) -> Option<&ExistingOptions> {
        match self {
            Self::Existing(existing) => Some(existing),
            Self::Local(_) | Self::Proxmox(_) | Self::Hetzner(_) => None,
        }
    }

    /// For the provider `proxmox`.
    pub fn proxmox(&self) -> Option<&ProxmoxOptions> {
        match self {
            Self::Proxmox(proxmox) => Some(proxmox),
            Self::Local(_) | Self::Existing(_) | Self::Hetzner(_) => None,
        }
    }

    /// For the provider `hetzner`.
    pub fn hetzner(&self) -> Option<&HetznerOptions> {
        match self {
            Self::Hetzner(hetzner) => Some(hetzner),
            Self::Local(_) | Self::Existing(_) | Self::Proxmox(_) => None,
        }
    }

    /// Debian packages that what is attached to the server takes.
    pub fn packages(&self) -> BTreeSet<&'static str> {
        let volumes = self.hetzner().into_iter().flat_map(|hetzner| &hetzner.volumes);
        let package = |volume: &HetznerVolume| match volume.format {
            VolumeFormat::Ext4 => "e2fsprogs",
            VolumeFormat::Xfs => "xfsprogs",
        };
        volumes.filter(|volume| volume.mount.is_some()).map(package).collect()
    }

    /// Whether the provider's own firewall stands in front of the server.
    pub fn fenced(&self) -> bool {
        self.hetzner().is_some_and(|hetzner| hetzner.firewall)
    }

    /// Whether servers of both are asked for at the same API, by the same account.
    pub fn is_beside(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Proxmox(one), Self::Proxmox(two)) => (&one.endpoint, &one.node) == (&two.endpoint, &two.node),
            (Self::Hetzner(one), Self::Hetzner(two)) => one.endpoint == two.endpoint,
            (one, two) => one.kind() == two.kind(),
        }
    }

    /// Of servers that no `providers` entry is needed for: whether or not a spec or a record names them, they may be there.
    pub fn on_this_machine() -> Self {
        Self::Local(LocalOptions::default())
    }

    /// Where servers with these options are, for people: `this machine`, `home (node pve1)`.
    pub fn whereabouts(&self) -> String {
        match self {
            Self::Local(_) => "this machine".to_owned(),
            Self::Existing(existing) => existing.address.clone(),
            Self::Proxmox(proxmox) => format!("{} (node {})", proxmox.endpoint.name, proxmox.node),
            Self::Hetzner(hetzner) => hetzner.endpoint.name.clone(),
        }
    }

    /// Name under `providers`, and node, of a server that is made on one of several nodes.
    pub fn place(&self) -> Option<(&str, &str)> {
        self.proxmox().map(|proxmox| (proxmox.endpoint.name.as_str(), proxmox.node.as_str()))
    }

    /// The same place with nothing that only one server of it can have: forwarded ports, a VMID, tags.
    pub fn of_any_server(&self) -> Self {
        match self {
            Self::Local(_) => Self::Local(LocalOptions::default()),
            Self::Existing(existing) => Self::Existing(existing.clone()),
            Self::Proxmox(proxmox) => Self::Proxmox(ProxmoxOptions { vmid: None, tags: Vec::new(), ..proxmox.clone() }),
            Self::Hetzner(hetzner) => Self::Hetzner(hetzner.clone()),
        }
    }

    /// Keys of the spec in which a machine made by these options is another one than a machine made by `other`. How a server or an API
    /// is reached (account, token, certificate) makes no other machine of it.
    pub fn other_machine(&self, other: &Self) -> Vec<&'static str> {
        let address = |options: &Self| options.way_in().map(|existing| existing.address.clone());
        let differences = [
            ("local", self.forward() != other.forward()),
            ("existing", address(self) != address(other)),
            ("proxmox", self.proxmox_place() != other.proxmox_place()),
        ];
        let differing = |differences: &[(&'static str, bool)]| {
            differences.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect::<Vec<_>>()
        };
        let mut keys = differing(&differences);
        match (self.hetzner(), other.hetzner()) {
            (Some(one), Some(two)) => keys.extend(differing(&[
                ("hetzner.type", one.types != two.types),
                ("hetzner.location", one.locations != two.locations),
                ("hetzner.network", one.network != two.network),
                ("hetzner.volumes", one.volumes != two.volumes),
                ("hetzner.placement", one.placement != two.placement),
                ("hetzner.ipv4", one.ipv4 != two.ipv4),
                ("hetzner.ipv6", one.ipv6 != two.ipv6),
                ("hetzner.backups", one.backups != two.backups),
                ("hetzner.protect", one.protect != two.protect),
                ("hetzner.firewall", one.firewall != two.firewall),
            ])),
            (None, None) => {}
            _ => keys.push("hetzner"),
        }
        keys
    }

    fn proxmox_place(&self) -> Option<ProxmoxOptions> {
        let nowhere = || ProxmoxEndpoint {
            name: String::new(),
            url: String::new(),
            token: SecretRef::Env(String::new()),
            trust: crate::ProxmoxTrust::Fingerprint(String::new()),
        };
        self.proxmox().map(|place| ProxmoxOptions { endpoint: nowhere(), ..place.clone() })
    }
}

/// As records and journals hold it: the options of each provider under its name, beside the name of the provider that counts.
#[derive(Serialize, Deserialize)]
struct Written {
    provider: ProviderKind,
    #[serde(default)]
    local: LocalOptions,
    #[serde(default)]
    existing: Option<ExistingOptions>,
    #[serde(default)]
    proxmox: Option<ProxmoxOptions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hetzner: Option<HetznerOptions>,
}

impl From<ProviderOptions> for Written {
    fn from(options: ProviderOptions) -> Self {
        let provider = options.kind();
        let empty = Self { provider, local: LocalOptions::default(), existing: None, proxmox: None, hetzner: None };
        match options {
            ProviderOptions::Local(local) => Self { local, ..empty },
            ProviderOptions::Existing(existing) => Self { existing: Some(existing), ..empty },
            ProviderOptions::Proxmox(proxmox) => Self { proxmox: Some(proxmox), ..empty },
            ProviderOptions::Hetzner(hetzner) => Self { hetzner: Some(hetzner), ..empty },
        }
    }
}

impl TryFrom<Written> for ProviderOptions {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        match written.provider {
            ProviderKind::Local => Ok(Self::Local(written.local)),
            ProviderKind::Existing => {
                written.existing.map(Self::Existing).ok_or("provider `existing` without its options")
            }
            ProviderKind::Proxmox => written.proxmox.map(Self::Proxmox).ok_or("provider `proxmox` without its options"),
            ProviderKind::Hetzner => written.hetzner.map(Self::Hetzner).ok_or("provider `hetzner` without its options"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ProviderOptions;
    use serde_json::{Value, json};

    /// What every release has written, and must read again.
    #[test]
    fn a_record_holds_the_options_of_each_provider_under_its_name() {
        let endpoint = json!({ "name": "pve1", "url": "https://192.0.2.1:8006", "token": { "secret": "pve1" },
            "trust": { "fingerprint": "00" } });
        let existing = json!({ "address": "192.0.2.2", "port": 22, "user": "root", "password": null, "key": null,
            "host_key": null });
        let proxmox = json!({ "endpoint": endpoint, "node": "pve1", "vmid": 120, "storage": "tank", "images": "local",
            "bridge": "vmbr0", "vlan": null, "tags": [] });
        let forward = json!({ "forward": [{ "host": null, "guest": 80 }] });
        let none = json!({ "forward": [] });
        for (kind, local, existing, proxmox) in [
            ("local", &forward, Value::Null, Value::Null),
            ("existing", &none, existing, Value::Null),
            ("proxmox", &none, Value::Null, proxmox),
        ] {
            let mut written = json!({ "provider": kind, "local": local, "existing": existing, "proxmox": proxmox });
            let read: ProviderOptions = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), written);
            written["provider"] = json!(if kind == "proxmox" { "existing" } else { "proxmox" });
            assert!(
                serde_json::from_value::<ProviderOptions>(written).is_err(),
                "{kind}: a provider without its options"
            );
        }
    }
}
