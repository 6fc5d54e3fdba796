//! What cloud-init is told, and what it says of itself. The seed is a pure function of the spec and the keys.
//!
//! The seed bootstraps trust and access and nothing else. Everything that can be converged later is Ansible's; a second
//! place for it would drift. User-data can be read by others (metadata services, seed files), so it carries the host key
//! only until the server has made its own, and never a password.

use crate::{
    error::Result,
    event::Level,
    ids::{OperationId, StateId},
    model::{KeyPair, Seed, mac_address},
    ports::Output,
    spec::{Address, Network, ServerSpec},
    world::Context,
};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// Installs the guest agent where it is not there yet, as it is in a clone, and starts it. cloud-init's own `packages` tries once, and
/// a network or a mirror that is late would leave the server without an address that anybody knows.
const GUEST_AGENT: &str = "export DEBIAN_FRONTEND=noninteractive\n\
    for pause in 5 10 20 40 80; do\n\
    [ ! -e /usr/sbin/qemu-ga ] || break\n\
    apt-get -q update && apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 install qemu-guest-agent || sleep $pause\n\
    done\n\
    systemctl start qemu-guest-agent.service";

/// The seed of a server's first boot.
///
/// `operation` becomes the instance id: the same while the machine lives, another one for a new machine of the same name.
/// `needs_guest_agent`: nobody else can tell which address it got by DHCP.
pub fn seed(
    spec: &ServerSpec,
    owner: StateId,
    operation: OperationId,
    host_key: &KeyPair,
    client_key: &str,
    needs_guest_agent: bool,
) -> Seed {
    let mut keys = vec![client_key.to_owned()];
    keys.extend(spec.authorized_keys.iter().cloned());
    let mut user_data = json!({
        "hostname": spec.name,
        "manage_etc_hosts": true,
        "users": [{
            "name": spec.user,
            "groups": ["sudo"],
            "shell": "/bin/bash",
            "sudo": "ALL=(ALL:ALL) NOPASSWD:ALL",
            "lock_passwd": true,
            "ssh_authorized_keys": keys,
        }],
        "disable_root": true,
        "ssh_pwauth": false,
        "ssh_deletekeys": true,
        "ssh_keys": {
            "ed25519_private": host_key.private.expose(),
            "ed25519_public": host_key.public,
        },
        // The host key must not reach the serial console, which others may read.
        "ssh": { "emit_keys_to_console": false },
        "no_ssh_fingerprints": true,
    });
    if needs_guest_agent && spec.networks.iter().any(|card| card.address == Address::Dhcp) {
        // Nobody but the guest knows which address it got, and the node asks it through the agent.
        user_data["runcmd"] = json!([["sh", "-c", GUEST_AGENT]]);
    }
    let meta_data = json!({ "instance-id": format!("ostler-{operation}"), "local-hostname": spec.name });
    Seed {
        meta_data: format!("{meta_data}\n"),
        // JSON is YAML, so nothing needs YAML's quoting rules.
        user_data: format!("#cloud-config\n{user_data:#}\n"),
        network_config: network_config(spec, owner),
    }
}

/// Network config version 2, each card matched by its MAC address.
fn network_config(spec: &ServerSpec, owner: StateId) -> String {
    let ethernets: Map<String, Value> = spec
        .networks
        .iter()
        .enumerate()
        .map(|(index, network)| {
            let mac = mac_address(owner, spec.name.as_str(), index);
            (format!("net{index}"), ethernet(network, &mac, index == 0))
        })
        .collect();
    format!("{:#}\n", json!({ "version": 2, "ethernets": ethernets }))
}

fn ethernet(network: &Network, mac: &str, first: bool) -> Value {
    let mut card = json!({ "match": { "macaddress": mac } });
    let fields = card.as_object_mut().expect("made as an object");
    if network.address == Address::Dhcp {
        fields.insert("dhcp4".into(), json!(true));
        if !first {
            // One default route: the first card's.
            fields.insert("dhcp4-overrides".into(), json!({ "use-routes": false }));
        }
    }
    let addresses: Vec<IpNet> = network.fixed_addresses().collect();
    if !addresses.is_empty() {
        fields.insert("addresses".into(), json!(addresses));
    }
    let route = |gateway: IpAddr| json!({ "to": if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" }, "via": gateway });
    let gateways = network.gateway.into_iter().chain(network.gateway6.map(IpAddr::V6));
    let routes: Vec<Value> = gateways.map(route).collect();
    if !routes.is_empty() {
        fields.insert("routes".into(), json!(routes));
    }
    if !network.dns.is_empty() || !network.search.is_empty() {
        fields.insert("nameservers".into(), json!({ "addresses": network.dns, "search": network.search }));
    }
    card
}

/// Reports what cloud-init said of itself. Not fatal: the steps after it prove what must work.
pub(crate) async fn show(ctx: &Context<'_>, output: &Output) -> Result<()> {
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        errors: Vec<String>,
        #[serde(default)]
        recoverable_errors: std::collections::BTreeMap<String, Vec<String>>,
    }
    let mut messages = Vec::new();
    match serde_json::from_str::<Status>(&output.stdout) {
        Ok(status) => {
            messages.extend(status.errors.into_iter().map(|m| format!("cloud-init failed: {m}")));
            for (level, words) in status.recoverable_errors {
                messages.extend(words.into_iter().map(|m| format!("cloud-init ({}): {m}", level.to_lowercase())));
            }
        }
        Err(_) if output.status == 127 => messages.push("the image has no cloud-init".into()),
        Err(_) if output.status != 0 => {
            messages.push(format!("cloud-init ended with status {}: {}", output.status, output.stdout.trim()));
        }
        Err(_) => {}
    }
    for message in messages {
        ctx.notice(Level::Warning, message).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{secret::Secret, testing::server};

    fn parts(spec: &ServerSpec, operation: OperationId) -> (Value, Value, Value) {
        let host_key = KeyPair { private: Secret::new("PRIVATE\nHALF"), public: "ssh-ed25519 AAAAhost".into() };
        let seed = seed(spec, StateId::new(), operation, &host_key, "ssh-ed25519 AAAAclient", false);
        let json = |text: &str| serde_json::from_str(text).unwrap();
        let user_data = seed.user_data.strip_prefix("#cloud-config\n").expect("cloud-init knows it by this line");
        (json(&seed.meta_data), json(user_data), json(&seed.network_config))
    }

    #[test]
    fn the_first_connection_is_pinned_and_lets_in_ostler_and_the_user_only() {
        let mut spec = server("web");
        spec.authorized_keys = vec!["ssh-ed25519 AAAAuser me@here".into()];
        let operation = OperationId::new();
        let (meta, user, _) = parts(&spec, operation);
        assert_eq!(meta["instance-id"], format!("ostler-{operation}"), "cloud-init runs anew for a new machine only");
        assert_eq!((&user["hostname"], &meta["local-hostname"]), (&json!("web"), &json!("web")));
        let keys = json!({ "ed25519_private": "PRIVATE\nHALF", "ed25519_public": "ssh-ed25519 AAAAhost" });
        assert_eq!((&user["ssh_keys"], &user["ssh_deletekeys"]), (&keys, &json!(true)));
        assert_eq!(user["users"].as_array().unwrap().len(), 1, "no default user beside ours");
        let authorized = json!(["ssh-ed25519 AAAAclient", "ssh-ed25519 AAAAuser me@here"]);
        assert_eq!(
            (&user["users"][0]["name"], &user["users"][0]["ssh_authorized_keys"]),
            (&json!("admin"), &authorized)
        );
        assert_eq!((&user["users"][0]["lock_passwd"], &user["ssh_pwauth"]), (&json!(true), &json!(false)));
    }

    #[test]
    fn only_the_first_card_has_the_default_route() {
        let mut spec = server("web");
        let fixed = Network {
            address: Address::Static("10.0.0.5/24".parse().unwrap()),
            gateway: Some("10.0.0.1".parse().unwrap()),
            dns: vec!["9.9.9.9".parse().unwrap()],
            search: vec!["example.org".into()],
            ..Network::default()
        };
        spec.networks = vec![fixed, spec.networks[0].clone()];
        let (_, _, network) = parts(&spec, OperationId::new());
        let cards = &network["ethernets"];
        assert_eq!(cards["net0"]["addresses"], json!(["10.0.0.5/24"]));
        assert_eq!(cards["net0"]["routes"], json!([{ "to": "0.0.0.0/0", "via": "10.0.0.1" }]));
        assert_eq!(cards["net0"]["nameservers"], json!({ "addresses": ["9.9.9.9"], "search": ["example.org"] }));
        assert_eq!(cards["net1"]["dhcp4-overrides"], json!({ "use-routes": false }));
        assert_ne!(cards["net0"]["match"], cards["net1"]["match"]);
    }

    #[test]
    fn both_families_on_one_card() {
        let mut spec = server("web");
        let card = &mut spec.networks[0];
        card.address6 = Some("2001:db8::5/64".parse().unwrap());
        card.gateway6 = Some("fe80::1".parse().unwrap());
        let (_, _, network) = parts(&spec, OperationId::new());
        let card = &network["ethernets"]["net0"];
        assert_eq!((&card["dhcp4"], &card["addresses"]), (&json!(true), &json!(["2001:db8::5/64"])));
        assert_eq!(card["routes"], json!([{ "to": "::/0", "via": "fe80::1" }]));

        let card = &mut spec.networks[0];
        card.address = Address::Static("10.0.0.5/24".parse().unwrap());
        card.gateway = Some("10.0.0.1".parse().unwrap());
        let (_, _, network) = parts(&spec, OperationId::new());
        let card = &network["ethernets"]["net0"];
        assert_eq!((&card["dhcp4"], &card["addresses"]), (&json!(null), &json!(["10.0.0.5/24", "2001:db8::5/64"])));
        let routes = json!([{ "to": "0.0.0.0/0", "via": "10.0.0.1" }, { "to": "::/0", "via": "fe80::1" }]);
        assert_eq!(card["routes"], routes);
    }

    #[test]
    fn an_ipv6_gateway_is_the_ipv6_default_route() {
        let mut spec = server("web");
        spec.networks[0].address = Address::Static("2001:db8::5/64".parse().unwrap());
        spec.networks[0].gateway = Some("2001:db8::1".parse().unwrap());
        let (_, _, network) = parts(&spec, OperationId::new());
        assert_eq!(network["ethernets"]["net0"]["routes"], json!([{ "to": "::/0", "via": "2001:db8::1" }]));
    }

    #[test]
    fn a_mac_address_is_stable_local_and_of_one_card() {
        let (one, other) = (StateId::new(), StateId::new());
        let all = [(one, "web", 0), (one, "web", 1), (one, "db", 0), (other, "web", 0)];
        let macs: std::collections::BTreeSet<_> = all.map(|(owner, name, card)| mac_address(owner, name, card)).into();
        assert_eq!(macs.len(), all.len());
        assert!(macs.iter().all(|mac| mac.len() == 17 && mac.starts_with("52:54:00:")));
        assert!(macs.contains(&mac_address(one, "web", 0)));
    }
}
