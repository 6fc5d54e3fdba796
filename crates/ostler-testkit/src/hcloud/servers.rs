//! Servers: how they are made, shown and deleted. What is done with one that is there stands in `server_actions`.

use super::{
    api::{Refusal, Reply, Request},
    catalog, firewalls,
    machines::{Attachments, Machine, Power, PrivateCard},
    networks, placement_groups, primary_ips, schema,
    state::{Hidden, Id, Kind, State},
    volumes,
};
use serde_json::{Value, json};

/// Bytes.
const MOST_USER_DATA: usize = 32 << 10;

/// What a server is to be made of, as it was found.
struct Plan {
    server_type: Id,
    location: Id,
    image: Id,
    public_keys: Vec<String>,
    /// Primary IPs that are there already: IPv4 and IPv6; and whether it gets any.
    addresses: [(bool, Option<Id>); 2],
    networks: Vec<Id>,
    volumes: Vec<Id>,
    firewalls: Vec<Id>,
}

pub(super) fn create(state: &mut State, request: &Request) -> Reply {
    check_name(&request.body["name"])?;
    check_user_data(request)?;
    let plan = plan(state, request)?;
    let Plan { location, .. } = plan;
    let disk = state.doc(Kind::ServerType, plan.server_type)?["disk"].clone();
    let id = state.insert(
        Kind::Server,
        json!({
            "name": request.body["name"], "labels": request.body["labels"], "status": "initializing", "server_type": plan.server_type,
            "image": plan.image, "location": location, "placement_group": request.body["placement_group"], "iso": null,
            "private_net": [], "primary_disk_size": disk, "backup_window": null, "rescue_enabled": false,
            "protection": { "delete": false, "rebuild": false }, "included_traffic": 21_990_232_555_520_u64, "ingoing_traffic": 0,
            "outgoing_traffic": 0,
        }),
    );
    let root_password = plan.public_keys.is_empty().then(|| password(id));
    let user_data = request.text("user_data").unwrap_or_default().to_owned();
    state.hidden.insert(id, Hidden { user_data, public_keys: plan.public_keys, root_password: root_password.clone() });
    for (ipv6, (wanted, given)) in [false, true].into_iter().zip(plan.addresses) {
        if wanted {
            let ip = given.unwrap_or_else(|| primary_ips::make(state, Value::Null, ipv6, location, true));
            primary_ips::give(state, ip, Some(id));
        }
    }
    for firewall in plan.firewalls {
        firewalls::apply_at_creation(state, firewall, id);
    }

    let server = [(Kind::Server, id)];
    let created = state.begin("create_server", &server, move |state| {
        let machine = machine(state, id).map_err(|_| "the server is gone")?;
        set_status(state, id, "");
        state.machines.create(&machine)
    });
    let mut next = Vec::new();
    for network in plan.networks {
        next.push(state.begin_after(
            Some(created),
            "attach_to_network",
            &[server[0], (Kind::Network, network)],
            move |state| attach(state, id, network, None, &json!([])),
        ));
    }
    for volume in plan.volumes {
        next.push(volumes::begin_attach(state, Some(created), volume, id));
    }
    if request.flag("start_after_create", true) {
        let before = next.last().copied().unwrap_or(created);
        next.push(state.begin_after(Some(before), "start_server", &server, move |state| {
            state.machines.clone().power(id, Power::On)
        }));
    }
    Ok(json!({
        "server": state.view(Kind::Server, id)?,
        "action": state.action(created),
        "next_actions": next.into_iter().map(|action| state.action(action)).collect::<Vec<_>>(),
        "root_password": root_password,
    }))
}

/// RFC 1123.
pub(super) fn check_name(name: &Value) -> Result<(), Refusal> {
    const NAME: &str = r"^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$";
    match name.as_str().is_some_and(|name| name.len() <= 253 && schema::matches(NAME, name)) {
        true => Ok(()),
        false => Err(Refusal::input("name", "is not a valid hostname")),
    }
}

pub(super) fn check_user_data(request: &Request) -> Result<(), Refusal> {
    match request.text("user_data").is_some_and(|data| data.len() > MOST_USER_DATA) {
        true => Err(Refusal::input("user_data", "is too long")),
        false => Ok(()),
    }
}

/// Looks up all that a request names, and refuses what doesn't go together. Changes nothing.
fn plan(state: &State, request: &Request) -> Result<Plan, Refusal> {
    let server_type = state.find(Kind::ServerType, &request.body["server_type"])?;
    let location = place(state, server_type, &request.body["location"])?;
    let image = find_image(state, &request.body["image"], server_type)?;
    let keys = request.list("ssh_keys").iter().map(|key| {
        let key = state.find(Kind::SshKey, key)?;
        Ok(state.doc(Kind::SshKey, key)?["public_key"].as_str().unwrap_or_default().to_owned())
    });
    let public_keys = keys.collect::<Result<_, Refusal>>()?;
    if let Some(group) = request.number("placement_group") {
        placement_groups::has_room(state, group)?;
    }
    let ids = |key: &str, kind| -> Result<Vec<Id>, Refusal> {
        let ids = request.list(key).iter().map(|item| item["firewall"].as_u64().or_else(|| item.as_u64()).unwrap_or(0));
        ids.map(|id| state.doc(kind, id).map(|_| id)).collect()
    };
    let networks = ids("networks", Kind::Network)?;
    for network in &networks {
        networks::address(state, *network, &json!(location), None, None)?;
    }
    let volumes = ids("volumes", Kind::Volume)?;
    for volume in &volumes {
        let doc = state.doc(Kind::Volume, *volume)?;
        if !doc["server"].is_null() {
            return Err(Refusal::rule("volume_already_attached", "volume is already attached to a server"));
        }
        if doc["location"] != location {
            return Err(Refusal::input("volumes", "server and volume must be in the same location"));
        }
        state.is_unlocked(Kind::Volume, *volume)?;
    }
    let public = &request.body["public_net"];
    let address = |ipv6: bool| -> Result<(bool, Option<Id>), Refusal> {
        let kind = if ipv6 { "ipv6" } else { "ipv4" };
        let wanted = public[format!("enable_{kind}")].as_bool().unwrap_or(true);
        let given = public[kind].as_u64();
        if let Some(id) = given {
            let ip = state.doc(Kind::PrimaryIp, id)?;
            let refused = |code, message| Err(Refusal::rule(code, message));
            if !wanted {
                return Err(Refusal::input(&format!("public_net.{kind}"), "is given, and not enabled"));
            } else if ip["type"] != kind {
                return refused("primary_ip_version_mismatch", "primary IP has the wrong version");
            } else if !ip["assignee_id"].is_null() {
                return refused("primary_ip_assigned", "primary IP is already assigned");
            } else if ip["location"] != location {
                return refused("primary_ip_datacenter_mismatch", "primary IP is in a different location");
            }
        }
        Ok((wanted, given))
    };
    let addresses = [address(false)?, address(true)?];
    let firewalls = ids("firewalls", Kind::Firewall)?;
    if !firewalls.is_empty() && addresses.iter().all(|(wanted, _)| !wanted) {
        return Err(Refusal::rule("private_net_only_server", "the server has no public interface"));
    }
    Ok(Plan { server_type, location, image, public_keys, addresses, networks, volumes, firewalls })
}

/// Where a server of a type comes: the location that is wanted, or the first that has any.
fn place(state: &State, server_type: Id, wanted: &Value) -> Result<Id, Refusal> {
    let doc = state.view(Kind::ServerType, server_type)?;
    if catalog::is_gone(&doc) {
        return Err(Refusal::input("server_type", "server type is deprecated and can no longer be ordered"));
    }
    let locations = doc["locations"].as_array().map_or(&[][..], Vec::as_slice);
    let at = match wanted {
        Value::Null => locations.iter().find(|location| location["available"] == true).unwrap_or(&Value::Null),
        wanted => {
            let id = state.find(Kind::Location, wanted)?;
            let supported = locations.iter().find(|location| location["id"] == id);
            supported.ok_or_else(|| Refusal::input("location", "unsupported location for server type"))?
        }
    };
    match at["available"] == true {
        true => Ok(at["id"].as_u64().unwrap_or(0)),
        false => Err(Refusal::new(412, "resource_unavailable", "error during placement")),
    }
}

/// An image that fits the architecture of a server type: names are there once for each.
pub(super) fn find_image(state: &State, wanted: &Value, server_type: Id) -> Result<Id, Refusal> {
    let architecture = &state.doc(Kind::ServerType, server_type)?["architecture"];
    let named = |(_, image): &(Id, &Value)| image["name"] == *wanted && image["architecture"] == *architecture;
    let id = match state.all(Kind::Image).find(named) {
        Some((id, _)) => id,
        None => state.find(Kind::Image, wanted)?,
    };
    let image = state.doc(Kind::Image, id)?;
    if image["architecture"] != *architecture {
        return Err(Refusal::input("image", "image has an architecture that the server type has not"));
    }
    match image["status"] == "available" {
        true => Ok(id),
        false => Err(Refusal::new(412, "resource_unavailable", "image is not available")),
    }
}

/// Takes a server off its machine, and all that belongs to it from where it is.
pub(super) fn delete(state: &mut State, id: Id) -> Reply {
    set_status(state, id, "deleting");
    state.act("delete_server", &[(Kind::Server, id)], move |state| {
        state.machines.delete(id);
        for (_, volume) in state.all_mut(Kind::Volume).filter(|(_, volume)| volume["server"] == id) {
            volume["server"] = Value::Null;
        }
        for ip in
            [false, true].into_iter().filter_map(|ipv6| primary_ips::of_server(state, id, ipv6)).collect::<Vec<_>>()
        {
            primary_ips::give(state, ip, None);
            if state.doc(Kind::PrimaryIp, ip).is_ok_and(|doc| doc["auto_delete"] == true) {
                state.remove(Kind::PrimaryIp, ip);
            }
        }
        for (_, balancer) in state.all_mut(Kind::LoadBalancer) {
            balancer["targets"].as_array_mut().expect("a list").retain(|target| target["server"]["id"] != id);
        }
        firewalls::forget(state, id);
        state.remove(Kind::Server, id);
        Ok(())
    })
}

/// What it is doing now; empty: whatever its machine does.
pub(super) fn set_status(state: &mut State, id: Id, status: &str) {
    if let Ok(server) = state.doc_mut(Kind::Server, id) {
        server["status"] = json!(status);
    }
}

/// Puts it into a network, at this address or any.
pub(super) fn attach(
    state: &mut State,
    id: Id,
    network: Id,
    ip: Option<&str>,
    alias_ips: &Value,
) -> Result<(), String> {
    let server = state.doc(Kind::Server, id).map_err(|_| "the server is gone")?;
    let number = server["private_net"].as_array().map_or(0, Vec::len) as u64 + 1;
    let address = networks::address(state, network, &server["location"], ip, None)
        .map_err(|_| "ip_not_available\nIP is not available")?;
    let net = json!({ "network": network, "ip": address.to_string(), "alias_ips": alias_ips, "mac_address": mac(id, number) });
    let server = state.doc_mut(Kind::Server, id).map_err(|_| "the server is gone")?;
    server["private_net"].as_array_mut().expect("a list").push(net);
    Ok(())
}

/// MAC address of one of its cards; the first is the public one.
pub(super) fn mac(id: Id, number: u64) -> String {
    let first = if number == 0 { "96:00" } else { "86:00" };
    let bytes: Vec<String> = (id * 16 + number).to_be_bytes()[4..].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{first}:{}", bytes.join(":"))
}

/// A password for `root`.
pub(super) fn password(id: Id) -> String {
    format!("rVRnkwYz{id}Xq")
}

/// What its machine is made of now.
pub(super) fn machine(state: &State, id: Id) -> Result<Machine, Refusal> {
    let server = state.view(Kind::Server, id)?;
    let hidden = state.hidden.get(&id).cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let image = &server["image"];
    Ok(Machine {
        id,
        name: text(&server["name"]).unwrap_or_default(),
        image: text(&image["name"]).unwrap_or_else(|| image["id"].to_string()),
        cores: number(&server["server_type"]["cores"]),
        memory: number(&server["server_type"]["memory"]),
        disk: number(&server["primary_disk_size"]),
        ipv4: text(&server["public_net"]["ipv4"]["ip"]),
        ipv6: text(&server["public_net"]["ipv6"]["ip"]),
        user_data: hidden.user_data,
        public_keys: hidden.public_keys,
        root_password: hidden.root_password,
        metadata_url: format!("{}/{id}/hetzner/v1", state.metadata_url),
    })
}

/// Tells the machines of all servers what they are attached to.
pub(super) fn attach_machines(state: &State) {
    for (id, server) in state.all(Kind::Server) {
        let ip = |ipv6| {
            let ip = state.doc(Kind::PrimaryIp, primary_ips::of_server(state, id, ipv6)?).ok()?;
            ip["ip"].as_str()
        };
        let cards = server["private_net"].as_array().into_iter().flatten().filter_map(|net| {
            let network = net["network"].as_u64()?;
            let range = state.doc(Kind::Network, network).ok()?["ip_range"].as_str()?.parse().ok()?;
            let mac = net["mac_address"].as_str()?.to_owned();
            Some(PrivateCard { network, address: net["ip"].as_str()?.parse().ok()?, range, mac })
        });
        let attachments = Attachments {
            ipv4: ip(false).and_then(|ip| ip.parse().ok()),
            ipv6: ip(true).and_then(|ip| ip.parse().ok()),
            networks: cards.collect(),
            firewall: firewalls::rules_of_server(state, id),
            volumes: volumes::sizes(state, id),
        };
        state.machines.attach(id, &attachments);
    }
}

/// Adds what stands elsewhere: its status, its addresses, and what is attached and applied to it.
pub(super) fn complete(state: &State, id: Id, doc: &mut Value) {
    if doc["status"] == "" {
        doc["status"] = json!(if state.machines.runs(id) { "running" } else { "off" });
    }
    doc["locked"] = json!(state.actions.lock(Kind::Server, id) || state.locked_for_good.contains(&id));
    doc["volumes"] = json!(volumes::of_server(state, id));
    let aims = |balancer: &Value| {
        let mut targets = balancer["targets"].as_array().into_iter().flatten();
        targets.any(|target| target["server"]["id"] == id)
    };
    let balancers = state.all(Kind::LoadBalancer).filter(|(_, balancer)| aims(balancer)).map(|(id, _)| id);
    doc["load_balancers"] = balancers.collect();
    let ip = |ipv6| {
        let id = primary_ips::of_server(state, id, ipv6)?;
        let ip = state.doc(Kind::PrimaryIp, id).ok()?;
        let pointers =
            if ipv6 { ip["dns_ptr"].clone() } else { json!(ip["dns_ptr"][0]["dns_ptr"].as_str().unwrap_or_default()) };
        Some(json!({ "id": id, "ip": ip["ip"], "blocked": ip["blocked"], "dns_ptr": pointers }))
    };
    let firewalls = firewalls::of_server(state, id).into_iter().map(|id| json!({ "id": id, "status": "applied" }));
    doc["public_net"] = json!({
        "ipv4": ip(false), "ipv6": ip(true), "floating_ips": [], "firewalls": firewalls.collect::<Vec<_>>(),
    });
}

/// Adds its servers to a placement group.
pub(super) fn complete_group(state: &State, id: Id, doc: &mut Value) {
    doc["servers"] = json!(placement_groups::members(state, id));
}
