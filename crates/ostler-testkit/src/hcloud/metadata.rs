//! The metadata service, which servers find at `http://169.254.169.254/hetzner/v1`. For clients outside their network each server's has a
//! URL of its own.
//!
//! cloud-init recognises Hetzner by the SMBIOS of a virtual machine. One that can't have that finds the same at
//! `http://169.254.169.254/nocloud/`, as cloud-init's data source NoCloud reads it.

use super::{
    Cloud,
    state::{Id, Kind, State},
};
use axum::{
    Router,
    extract::{ConnectInfo, Path, State as Shared},
    http::StatusCode,
    routing::get,
};
use serde_json::{Value, json};
use std::{fmt::Write as _, net::SocketAddr, sync::Arc};

/// Answers below `/hetzner/v1` of one server.
pub(super) async fn answer(
    Shared(cloud): Shared<Arc<Cloud>>,
    Path((server, path)): Path<(Id, String)>,
) -> Result<String, StatusCode> {
    let mut state = cloud.lock();
    state.settle();
    find(&state, server, &path).ok_or(StatusCode::NOT_FOUND)
}

/// What servers themselves reach: who asks is told by the address.
pub(super) fn inside(cloud: Arc<Cloud>) -> Router {
    Router::new().route("/hetzner/v1/{*path}", get(own)).route("/nocloud/{file}", get(nocloud)).with_state(cloud)
}

async fn own(
    Shared(cloud): Shared<Arc<Cloud>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(path): Path<String>,
) -> Result<String, StatusCode> {
    let state = cloud.lock();
    let server = state.machines.asks_from(peer.ip()).ok_or(StatusCode::NOT_FOUND)?;
    find(&state, server, &path).ok_or(StatusCode::NOT_FOUND)
}

/// What NoCloud asks for.
async fn nocloud(
    Shared(cloud): Shared<Arc<Cloud>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(file): Path<String>,
) -> Result<String, StatusCode> {
    let state = cloud.lock();
    let server = state.machines.asks_from(peer.ip()).ok_or(StatusCode::NOT_FOUND)?;
    let hidden = state.hidden.get(&server).ok_or(StatusCode::NOT_FOUND)?;
    match file.as_str() {
        "meta-data" => {
            let name = &state.doc(Kind::Server, server).map_err(|_| StatusCode::NOT_FOUND)?["name"];
            let document =
                json!({ "instance-id": server.to_string(), "local-hostname": name, "public-keys": hidden.public_keys });
            Ok(document.to_string())
        }
        "user-data" => Ok(hidden.user_data.clone()),
        "vendor-data" => Ok(vendor_data(hidden.root_password.as_deref())),
        // It has its addresses already; cloud-init would ask for this ten times.
        "network-config" => Ok(json!({ "version": 2 }).to_string()),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

/// Without a key `root` has a password, which has to be changed at the first login. How Hetzner sets it is not documented.
fn vendor_data(root_password: Option<&str>) -> String {
    let Some(password) = root_password else { return "#cloud-config\n{}\n".to_owned() };
    let users = json!([{ "name": "root", "password": password, "type": "text" }]);
    format!("#cloud-config\n{}\n", json!({ "ssh_pwauth": true, "chpasswd": { "expire": true, "users": users } }))
}

fn find(state: &State, id: Id, path: &str) -> Option<String> {
    let server = state.view(Kind::Server, id).ok()?;
    let hidden = state.hidden.get(&id)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let keys = || hidden.public_keys.iter().map(|key| format!("- {key}\n")).collect::<String>();
    Some(match path.trim_end_matches('/') {
        "userdata" => hidden.user_data.clone(),
        "metadata" => document(&server, &keys()),
        "metadata/hostname" => text(&server["name"]),
        "metadata/instance-id" => id.to_string(),
        "metadata/public-ipv4" => text(&server["public_net"]["ipv4"]["ip"]),
        "metadata/private-networks" => private_networks(state, &server),
        "metadata/availability-zone" => format!("{}-dc1", text(&server["location"]["name"])),
        "metadata/region" => text(&server["location"]["network_zone"]),
        "metadata/public-keys" => serde_json::to_string(&hidden.public_keys).unwrap_or_default(),
        _ => return None,
    })
}

/// YAML, as cloud-init's Hetzner data source reads it.
fn document(server: &Value, keys: &str) -> String {
    let at = |pointer: &str| server.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let mut text = format!(
        "availability-zone: {zone}-dc1\nhostname: {name}\ninstance-id: {id}\nlocal-ipv4: ''\npublic-ipv4: {ipv4}\nregion: {region}\n",
        zone = at("/location/name"),
        name = at("/name"),
        id = server["id"],
        ipv4 = at("/public_net/ipv4/ip"),
        region = at("/location/network_zone"),
    );
    let _ = match keys {
        "" => writeln!(text, "public-keys: []"),
        keys => write!(text, "public-keys:\n{keys}"),
    };
    let mut subnets = String::new();
    if !at("/public_net/ipv4/ip").is_empty() {
        subnets.push_str("    - ipv4: true\n      type: dhcp\n");
    }
    if let Some(network) = at("/public_net/ipv6/ip").strip_suffix("/64") {
        let _ = write!(
            subnets,
            "    - address: {network}1/64\n      dns_nameservers:\n      - 2a01:4ff:ff00::add:1\n      - 2a01:4ff:ff00::add:2\n      \
             gateway: fe80::1\n      ipv6: true\n      type: static\n"
        );
    }
    if !subnets.is_empty() {
        let mac = super::servers::mac(server["id"].as_u64().unwrap_or(0), 0);
        let _ = write!(
            text,
            "network-config:\n  version: 1\n  config:\n  - mac_address: {mac}\n    name: eth0\n    type: physical\n    subnets:\n{subnets}"
        );
    }
    text
}

/// YAML: where a server stands in private networks.
fn private_networks(state: &State, server: &Value) -> String {
    let mut text = String::new();
    for (index, net) in server["private_net"].as_array().into_iter().flatten().enumerate() {
        let network = net["network"].as_u64().and_then(|id| state.view(Kind::Network, id).ok()).unwrap_or_default();
        let subnet = network["subnets"].get(0).cloned().unwrap_or_default();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let _ = write!(
            text,
            "- ip: {}\n  alias_ips: []\n  interface_num: {}\n  mac_address: {}\n  network_id: {}\n  network_name: {}\n  network: {}\n  \
             subnet: {}\n  gateway: {}\n",
            word(&net["ip"]),
            index + 1,
            word(&net["mac_address"]),
            net["network"],
            word(&network["name"]),
            word(&network["ip_range"]),
            word(&subnet["ip_range"]),
            word(&subnet["gateway"]),
        );
    }
    text
}
