//! Requests: who asks, whether it may be asked like that, and who answers.

use super::{
    NODE, Node, TOKEN_ID, TOKEN_VALUE, guest,
    schema::{self, Parameters},
    storage, tasks, templates, vms,
};
use axum::body::Bytes;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// One request that has an endpoint.
pub(super) struct Request<'a> {
    pub node: &'a Arc<Node>,
    pub endpoint: &'static str,
    pub parameters: Parameters,
    /// What was uploaded.
    pub file: Option<Bytes>,
}

impl Request<'_> {
    /// A parameter; empty where it is not given.
    pub fn get(&self, key: &str) -> &str {
        self.parameters.get(key).map_or("", String::as_str)
    }

    /// The VMID in the path.
    pub fn vmid(&self) -> u32 {
        self.get("vmid").parse().unwrap_or(0)
    }
}

/// An answer that is none.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub status: u16,
    pub message: String,
    pub errors: BTreeMap<String, String>,
}

impl Refusal {
    pub fn new(status: u16, message: &str) -> Self {
        Self { status, message: message.to_owned(), errors: BTreeMap::new() }
    }

    /// `die` in a handler.
    pub fn died(message: impl AsRef<str>) -> Self {
        Self::new(500, message.as_ref())
    }

    /// `raise_param_exc`
    pub fn parameters(errors: BTreeMap<String, String>) -> Self {
        Self { status: 400, message: "Parameter verification failed.".to_owned(), errors }
    }

    /// The same for one parameter.
    pub fn parameter(key: &str, message: &str) -> Self {
        Self::parameters([(key.to_owned(), format!("{message}\n"))].into())
    }
}

/// `raise_perm_exc`
pub(super) fn forbidden(path: &str, privileges: &str) -> Refusal {
    Refusal::new(403, &format!("Permission check failed ({path}, {privileges})"))
}

pub(super) type Reply = Result<Value, Refusal>;

/// Answers a request with this header.
pub(super) async fn answer(request: Request<'_>, authorization: &str) -> Reply {
    let token = authorization.strip_prefix("PVEAPIToken=").ok_or_else(|| Refusal::new(401, "No ticket"))?;
    match token.split_once('=') {
        Some((TOKEN_ID, TOKEN_VALUE)) => {}
        Some((TOKEN_ID, _)) => return Err(Refusal::new(401, "invalid token value!")),
        Some((other, _)) => return Err(Refusal::new(401, &format!("no such token '{other}'"))),
        None => return Err(Refusal::new(401, "authentication failure")),
    }
    let faults = schema::check(request.endpoint, &request.parameters);
    if !faults.is_empty() {
        return Err(Refusal::parameters(faults));
    }
    let node = request.get("node");
    let known = node == NODE || request.node.lock().vms.values().any(|vm| vm.moved == Some(node));
    if !node.is_empty() && !known {
        // pveproxy has nobody to hand it on to.
        return Err(Refusal::new(
            500,
            &format!("hostname lookup '{node}' failed - failed to get address info for: {node}"),
        ));
    }
    match request.endpoint {
        "GET /version" => {
            let version = request.node.lock().version.clone();
            Ok(
                json!({ "version": version, "release": version.rsplit_once('.').map(|(release, _)| release), "repoid": "abcdef0123" }),
            )
        }
        "GET /nodes" => Ok(json!([{ "node": NODE, "status": "online", "type": "node", "id": "node/pve1" }])),
        "GET /cluster/nextid" => next_id(&request),
        "GET /cluster/resources" => Ok(vms::resources(&request)),
        "GET /access/permissions" => Ok(json!(request.node.lock().grants.shown())),
        "GET /nodes/{node}/status" => status(&request),
        "GET /nodes/{node}/network" => network(&request),
        "GET /nodes/{node}/query-url-metadata" => storage::query_url(&request).await,
        "GET /nodes/{node}/storage" => storage::list(&request),
        "GET /nodes/{node}/storage/{storage}/content" => storage::content(&request),
        "POST /nodes/{node}/storage/{storage}/upload" => storage::upload(&request),
        "POST /nodes/{node}/storage/{storage}/download-url" => storage::download(&request),
        "DELETE /nodes/{node}/storage/{storage}/content/{volume}" => storage::delete(&request),
        "GET /nodes/{node}/tasks" => tasks::list(&request),
        "GET /nodes/{node}/tasks/{upid}/status" => tasks::status(&request),
        "GET /nodes/{node}/tasks/{upid}/log" => tasks::log(&request),
        "POST /nodes/{node}/qemu" => vms::create(&request),
        "POST /nodes/{node}/qemu/{vmid}/clone" => templates::clone(&request),
        "POST /nodes/{node}/qemu/{vmid}/template" => templates::make(&request),
        "DELETE /nodes/{node}/qemu/{vmid}" => vms::destroy(&request),
        "GET /nodes/{node}/qemu/{vmid}/config" => vms::config(&request),
        "PUT /nodes/{node}/qemu/{vmid}/config" => vms::configure(&request),
        "PUT /nodes/{node}/qemu/{vmid}/resize" => vms::resize(&request),
        "GET /nodes/{node}/qemu/{vmid}/status/current" => vms::status(&request),
        "POST /nodes/{node}/qemu/{vmid}/status/start" => vms::start(&request),
        "POST /nodes/{node}/qemu/{vmid}/status/stop" => vms::stop(&request),
        "POST /nodes/{node}/qemu/{vmid}/status/shutdown" => vms::shut_down(&request),
        "GET /nodes/{node}/qemu/{vmid}/agent/network-get-interfaces" => guest::interfaces(&request).await,
        endpoint => panic!("the node does not answer `{endpoint}`, which the schema has"),
    }
}

/// Declared an integer, and answered as a text.
fn next_id(request: &Request<'_>) -> Reply {
    let state = request.node.lock();
    let free = |vmid: &u32| !state.vms.contains_key(vmid);
    if let Ok(vmid) = request.get("vmid").parse::<u32>() {
        return if free(&vmid) {
            Ok(json!(vmid.to_string()))
        } else {
            Err(Refusal::parameter("vmid", &format!("VM {vmid} already exists")))
        };
    }
    Ok(json!((100..).find(free).unwrap_or(100).to_string()))
}

fn status(request: &Request<'_>) -> Reply {
    let state = request.node.lock();
    state.grants.all(&format!("/nodes/{NODE}"), &["Sys.Audit"])?;
    Ok(json!({
        "cpuinfo": { "cpus": 8, "cores": 4, "sockets": 1, "hvm": if state.hvm { "1" } else { "0" }, "model": "Fake" },
        "memory": { "total": 34_359_738_368_u64, "used": 8_589_934_592_u64, "free": 25_769_803_776_u64 },
        "pveversion": format!("pve-manager/{}/abcdef0123", state.version),
    }))
}

/// Bridges that the token may use.
fn network(request: &Request<'_>) -> Reply {
    let state = request.node.lock();
    let mut all = Vec::new();
    if !request.get("type").contains("bridge") {
        all.push(json!({ "iface": "eno1", "type": "eth", "active": 1 }));
    }
    let bridges = [
        json!({ "iface": "vmbr0", "type": "bridge", "active": 1, "cidr": "192.168.1.2/24" }),
        json!({ "iface": "vmbr1", "type": "bridge", "active": 1 }),
    ];
    let usable = |bridge: &Value| {
        state
            .grants
            .may(&format!("/sdn/zones/localnetwork/{}", bridge["iface"].as_str().unwrap_or_default()), "SDN.Use")
    };
    all.extend(bridges.into_iter().filter(usable));
    Ok(json!(all))
}
