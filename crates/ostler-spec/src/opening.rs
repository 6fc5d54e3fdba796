//! What a server's firewall is to let in, as its spec says: the presets and rules of the modules that are firewalls.

use crate::{AppPort, CatalogIndex, Proto, Scope, ServerSpec, Settings, Value};
use ipnet::IpNet;
use std::{net::IpAddr, ops::RangeInclusive};

/// The modules that are firewalls. All have the same settings.
pub const FIREWALLS: [&str; 2] = ["ufw", "iptables"];

/// Private and link-local ranges: RFC 1918, RFC 3927, RFC 4193 and RFC 4291.
const LAN: [&str; 6] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"];

/// Ports that some may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// First and last port.
    pub ports: RangeInclusive<u16>,
    /// `None`: TCP and UDP.
    pub proto: Option<Proto>,
    /// Who may.
    pub from: Source,
}

/// Where connections come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Anywhere.
    Anyone,
    /// Private and link-local networks.
    Lan,
    /// One address or network.
    Network(IpNet),
}

impl Opening {
    /// Whether it lets `from` connect to this port over TCP.
    pub fn admits_tcp(&self, port: u16, from: IpAddr) -> bool {
        self.proto != Some(Proto::Udp) && self.ports.contains(&port) && self.from.contains(from)
    }

    /// A rule as the settings of firewalls have it, which was found to be right: `8080/tcp`, `5432/tcp from 10.0.0.0/8`, `any from lan`.
    fn of_rule(rule: &str) -> Option<Self> {
        let mut words = rule.split_whitespace();
        let what = words.next()?;
        let from = match words.nth(1) {
            None | Some("any") => Source::Anyone,
            Some("lan") => Source::Lan,
            Some(text) => Source::Network(text.parse().ok().or_else(|| Some(text.parse::<IpAddr>().ok()?.into()))?),
        };
        if what == "any" {
            return Some(Self { ports: 1..=u16::MAX, proto: None, from });
        }
        let (ports, proto) = match what.split_once('/') {
            Some((ports, "tcp")) => (ports, Some(Proto::Tcp)),
            Some((ports, _)) => (ports, Some(Proto::Udp)),
            None => (what, None),
        };
        let (first, last) = ports.split_once(':').unwrap_or((ports, ports));
        Some(Self { ports: first.parse().ok()?..=last.parse().ok()?, proto, from })
    }
}

impl Source {
    fn contains(self, address: IpAddr) -> bool {
        let is_in = |network: &IpNet| network.contains(&address);
        match self {
            Self::Anyone => true,
            Self::Lan => LAN.iter().filter_map(|range| range.parse().ok()).any(|range: IpNet| is_in(&range)),
            Self::Network(network) => is_in(&network),
        }
    }
}

/// What the firewall of the server is to let in, its SSH port first; `None`: the spec wants no firewall.
pub fn openings(spec: &ServerSpec, catalog: &CatalogIndex) -> Option<Vec<Opening>> {
    let settings = FIREWALLS.iter().find_map(|name| spec.modules.get(*name)?.as_ref())?;
    let preset = Preset::of(settings);
    let mut openings = Vec::new();
    if spec.ssh.enabled {
        openings.push(Opening { ports: spec.ssh.port..=spec.ssh.port, proto: Some(Proto::Tcp), from: preset.ssh });
    }
    let own = match settings.get("allow") {
        Some(Value::List(rules)) => rules.as_slice(),
        _ => &[],
    };
    let own = own.iter().filter_map(|rule| match rule {
        Value::String(rule) => Some(rule.as_str()),
        _ => None,
    });
    openings.extend(preset.rules.iter().copied().chain(own).filter_map(Opening::of_rule));
    if settings.get("auto_allow_app_ports") != Some(&Value::Bool(false))
        && let Some(apps) = preset.apps
    {
        openings.extend(app_ports(spec, catalog).filter_map(|port| {
            let from = match port.scope {
                Scope::Public => apps,
                Scope::Lan => Source::Lan,
                Scope::Local => return None,
            };
            Some(Opening { ports: port.port..=port.port, proto: Some(port.proto), from })
        }));
    }
    Some(openings)
}

/// Ports of the apps of a server.
pub fn app_ports<'a>(spec: &'a ServerSpec, catalog: &'a CatalogIndex) -> impl Iterator<Item = &'a AppPort> {
    spec.apps_of(catalog).flat_map(|meta| &meta.ports)
}

/// What a preset of a firewall lets in.
struct Preset {
    ssh: Source,
    rules: &'static [&'static str],
    /// Who reaches the public ports of apps; `None`: nobody.
    apps: Option<Source>,
}

impl Preset {
    /// The same table as the firewalls' roles have.
    fn of(settings: &Settings) -> Self {
        let name = match settings.get("preset") {
            Some(Value::String(name)) => name.as_str(),
            _ => "server-minimal",
        };
        match name {
            "web" => Self { rules: &["80/tcp", "443/tcp", "443/udp"], ..Self::of(&Settings::new()) },
            "lan-only" => Self { ssh: Source::Lan, rules: &["any from lan"], apps: Some(Source::Lan) },
            "custom" => Self { apps: None, ..Self::of(&Settings::new()) },
            _ => Self { ssh: Source::Anyone, rules: &[], apps: Some(Source::Anyone) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn openings_of(modules: serde_json::Value, apps: &[&str]) -> Option<Vec<Opening>> {
        let server = json!({
            "name": "web", "provider": "existing", "existing": { "address": "192.0.2.2", "port": 22, "user": "root", "password": null,
                "key": null, "host_key": null },
            "image": { "named": "debian-13" }, "size": { "cpus": 1, "memory": 1, "disk": 1 }, "networks": [], "user": "ops",
            "password": null, "authorized_keys": [],
            "ssh": { "enabled": true, "auth": "key-only", "root_login": "no", "port": 2222 },
            "modules": modules, "apps": apps, "app_params": {}, "ansible": { "strategy": "mitogen" },
        });
        let port = |port: u16, scope: &str| json!([{ "port": port, "proto": "tcp", "scope": scope }]);
        let catalog = json!({ "apps": [
            { "name": "nginx", "role": "nginx", "ports": port(80, "public") },
            { "name": "samba", "role": "samba", "ports": port(445, "lan") },
            { "name": "mariadb", "role": "mariadb", "ports": port(3306, "local") },
        ] });
        openings(&serde_json::from_value(server).unwrap(), &serde_json::from_value(catalog).unwrap())
    }

    /// The roles have the same table, and turn it into rules.
    #[test]
    fn presets_and_private_networks_are_those_of_the_roles() {
        let role = include_str!("../../../ansible/module_utils/ostler_firewall.py");
        let source = |source: Option<Source>| match source {
            Some(Source::Lan) => "\"lan\"",
            Some(_) => "\"any\"",
            None => "None",
        };
        for name in ["server-minimal", "web", "lan-only", "custom"] {
            let Preset { ssh, rules, apps } =
                Preset::of(&Settings::from([("preset".to_owned(), Value::String(name.into()))]));
            let (ssh, apps) = (source(Some(ssh)), source(apps));
            let line = format!("    \"{name}\": {{\"ssh\": {ssh}, \"rules\": {rules:?}, \"apps\": {apps}}},\n");
            assert!(role.contains(&line), "{line}");
        }
        assert!(role.contains(&format!("\nLAN = {LAN:?}\n")));
    }

    #[test]
    fn who_gets_in_where_follows_from_preset_rules_and_apps() {
        let (anyone, lan): (IpAddr, IpAddr) = ("203.0.113.7".parse().unwrap(), "fd00::7".parse().unwrap());
        let apps = ["nginx", "samba", "mariadb"];
        let admitted = |modules: serde_json::Value, from: IpAddr| -> Vec<u16> {
            let openings = openings_of(modules, &apps).expect("a firewall");
            [22, 80, 443, 445, 2222, 3306, 5432, 8080]
                .into_iter()
                .filter(|port| openings.iter().any(|opening| opening.admits_tcp(*port, from)))
                .collect()
        };
        let preset = |name: &str| json!({ "iptables": { "preset": name } });
        assert_eq!(admitted(json!({ "ufw": {} }), anyone), [80, 2222]);
        assert_eq!(admitted(json!({ "ufw": {} }), lan), [80, 445, 2222]);
        assert_eq!(admitted(preset("web"), anyone), [80, 443, 2222]);
        assert_eq!(admitted(preset("lan-only"), anyone), [0; 0]);
        assert_eq!(admitted(preset("lan-only"), lan), [22, 80, 443, 445, 2222, 3306, 5432, 8080]);
        assert_eq!(admitted(preset("custom"), anyone), [2222]);
        let own = json!(["8080/tcp", "53", "5432/tcp from 10.0.0.0/8", "6000:6010/udp", "any from 192.0.2.9"]);
        let own = json!({ "ufw": { "preset": "custom", "allow": own, "auto_allow_app_ports": true } });
        assert_eq!(admitted(own.clone(), anyone), [2222, 8080]);
        assert_eq!(admitted(own.clone(), "10.1.2.3".parse().unwrap()), [2222, 5432, 8080]);
        assert_eq!(admitted(own, "192.0.2.9".parse().unwrap()).len(), 8);
        assert_eq!(openings_of(json!({ "ufw": null }), &apps), None);
    }
}
