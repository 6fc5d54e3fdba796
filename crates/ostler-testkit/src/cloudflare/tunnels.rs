//! Tunnels of kind `cfd_tunnel`, and their configurations.

use super::{
    ACCOUNT,
    api::{Refusal, Reply, Request},
    state::{self, State, now},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

pub(super) fn answer(state: &mut State, endpoint: &str, request: &Request) -> Reply {
    let (method, path) = endpoint.split_once(" /accounts/{account_id}/cfd_tunnel").expect("an endpoint of tunnels");
    let Some(id) = request.path.get("tunnel_id") else {
        return if method == "POST" { create(state, request) } else { Ok(list(state, request)) };
    };
    let shown = view(state, id).ok_or_else(|| Refusal::new(404, 1003, "Tunnel not found"))?;
    match (method, path.trim_start_matches("/{tunnel_id}")) {
        ("GET", "") => Ok(shown),
        ("PATCH", "") => {
            let tunnel = state.tunnels.get_mut(id).expect("it was just shown");
            if request.body.get("name").is_some() {
                tunnel["name"] = request.body["name"].clone();
            }
            Ok(tunnel.clone())
        }
        ("DELETE", "") => delete(state, id, shown),
        ("GET", "/token") => {
            let token = json!({ "a": ACCOUNT, "t": id, "s": state.tunnel_secrets[id], "e": state.edge.to_string() });
            Ok(json!(STANDARD.encode(token.to_string())))
        }
        ("GET", "/configurations") => {
            let empty = || json!({ "account_id": ACCOUNT, "tunnel_id": id, "version": 0, "config": null });
            Ok(state.configurations.get(id).cloned().unwrap_or_else(empty))
        }
        ("PUT", "/configurations") => {
            let version = state.configurations.get(id).map_or(0, |old| old["version"].as_u64().unwrap_or(0)) + 1;
            let put = json!({
                "account_id": ACCOUNT, "tunnel_id": id, "version": version, "source": "cloudflare", "created_at": now(),
                "config": request.body["config"],
            });
            state.configurations.insert(id.clone(), put.clone());
            Ok(put)
        }
        ("GET", "/connections") => Ok(shown["connections"].clone()),
        // Connectors that live come back by themselves; the fake's just stay.
        ("DELETE", "/connections") => Ok(json!({})),
        _ => Err(Refusal::new(501, 1, "the fake does not answer that")),
    }
}

/// With what follows from its connectors.
pub(super) fn view(state: &State, id: &str) -> Option<Value> {
    let mut tunnel = state.tunnels.get(id)?.clone();
    let connections: Vec<Value> = state
        .connectors
        .iter()
        .filter(|(_, connector)| connector.tunnel == id)
        .map(|(number, connector)| {
            json!({
                "id": format!("c0ffee00-0000-4000-9000-{number:012x}"), "uuid": format!("c0ffee00-0000-4000-9000-{number:012x}"),
                "client_version": connector.version, "colo_name": "fake01", "is_pending_reconnect": false,
            })
        })
        .collect();
    let status = match (connections.is_empty(), tunnel["conns_active_at"].is_null()) {
        (false, _) => "healthy",
        (true, true) => "inactive",
        (true, false) => "down",
    };
    tunnel["status"] = json!(status);
    tunnel["connections"] = json!(connections);
    Some(tunnel)
}

fn list(state: &State, request: &Request) -> Value {
    let deleted = request.query("is_deleted");
    let all = state.tunnels.keys().filter_map(|id| view(state, id));
    all.filter(|tunnel| request.query("name").is_none_or(|name| tunnel["name"] == name))
        .filter(|tunnel| request.query("uuid").is_none_or(|id| tunnel["id"] == id))
        .filter(|tunnel| request.query("status").is_none_or(|status| tunnel["status"] == status))
        .filter(|tunnel| deleted.is_none_or(|deleted| (deleted == "true") != tunnel["deleted_at"].is_null()))
        .collect()
}

fn create(state: &mut State, request: &Request) -> Reply {
    let name = request.text("name");
    if name.is_empty() {
        return Err(Refusal::new(400, 1001, "Tunnel name is required"));
    }
    if state.tunnels.values().any(|tunnel| tunnel["name"] == name && tunnel["deleted_at"].is_null()) {
        return Err(Refusal::new(409, 1013, "You already have a tunnel with this name. Please choose another name."));
    }
    let id = state.uuid();
    let source = request.body.get("config_src").cloned().unwrap_or_else(|| json!("local"));
    let tunnel = json!({
        "id": id, "account_tag": ACCOUNT, "name": name, "created_at": now(), "deleted_at": null, "conns_active_at": null,
        "conns_inactive_at": null, "tun_type": "cfd_tunnel", "metadata": {}, "config_src": source,
        "remote_config": source == "cloudflare",
    });
    state.tunnels.insert(id.clone(), tunnel);
    let secret = STANDARD.encode(format!("secret of the tunnel {id:.48}"));
    state.tunnel_secrets.insert(id.clone(), secret);
    view(state, &id).ok_or_else(|| Refusal::new(500, 1, "the tunnel is not there"))
}

fn delete(state: &mut State, id: &str, shown: Value) -> Reply {
    if !shown["deleted_at"].is_null() {
        return Err(Refusal::new(404, 1003, "Tunnel not found"));
    }
    if shown["connections"].as_array().is_some_and(|connections| !connections.is_empty()) {
        let message = "Cannot delete tunnel because it has active connections. Clean up connections first.";
        return Err(Refusal::new(400, 1022, message));
    }
    let tunnel = state.tunnels.get_mut(id).expect("it was just shown");
    tunnel["deleted_at"] = json!(now());
    state.configurations.remove(id);
    state::doc(&state.tunnels, id, "Tunnel").cloned()
}
