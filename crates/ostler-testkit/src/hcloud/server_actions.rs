//! What is done with a server that is there.

use super::{
    api::{Refusal, Reply, Request},
    catalog,
    machines::Power,
    networks, placement_groups, primary_ips,
    servers::{attach, check_user_data, find_image, machine, password, set_status},
    state::{Id, Kind, State},
};
use serde_json::{Value, json};

pub(super) fn act(state: &mut State, id: Id, verb: &str, request: &Request) -> Option<Reply> {
    // Everything but a look at its console waits for what is running.
    if verb != "request_console"
        && let Err(refusal) = state.is_unlocked(Kind::Server, id)
    {
        return Some(Err(refusal));
    }
    Some(match verb {
        "poweron" => power(state, id, "start_server", "starting", Power::On),
        "poweroff" => power(state, id, "stop_server", "stopping", Power::Off),
        "reset" => power(state, id, "reset_server", "starting", Power::Reset),
        "shutdown" => button(state, id, "shutdown_server", Power::Button),
        "reboot" => button(state, id, "reboot_server", Power::Reboot),
        "rebuild" => rebuild(state, id, request),
        "change_type" => change_type(state, id, request),
        "enable_backup" => set(state, id, "enable_backup", "backup_window", json!("22-02")),
        "disable_backup" => set(state, id, "disable_backup", "backup_window", Value::Null),
        "enable_rescue" => enable_rescue(state, id, request),
        "disable_rescue" => set(state, id, "disable_rescue", "rescue_enabled", json!(false)),
        "attach_iso" => match state.find(Kind::Iso, &request.body["iso"]) {
            Ok(iso) => set(state, id, "attach_iso", "iso", json!(iso)),
            Err(refusal) => Err(refusal),
        },
        "detach_iso" => set(state, id, "detach_iso", "iso", Value::Null),
        "add_to_placement_group" => add_to_placement_group(state, id, request),
        "remove_from_placement_group" => set(state, id, "remove_from_placement_group", "placement_group", Value::Null),
        "attach_to_network" => attach_to_network(state, id, request),
        "detach_from_network" => detach_from_network(state, id, request),
        "change_alias_ips" => change_alias_ips(state, id, request),
        "change_dns_ptr" => change_dns_ptr(state, id, request),
        "reset_password" => reset_password(state, id),
        "create_image" => create_image(state, id, request),
        "request_console" => request_console(state, id),
        _ => return None,
    })
}

fn power(state: &mut State, id: Id, command: &'static str, meanwhile: &str, power: Power) -> Reply {
    set_status(state, id, meanwhile);
    state.act(command, &[(Kind::Server, id)], move |state| {
        set_status(state, id, "");
        state.machines.power(id, power)
    })
}

/// What asks the guest: it takes a running one.
fn button(state: &mut State, id: Id, command: &'static str, power: Power) -> Reply {
    is(state, id, "running")?;
    state.act(command, &[(Kind::Server, id)], move |state| state.machines.power(id, power))
}

fn is(state: &State, id: Id, status: &str) -> Result<(), Refusal> {
    match (state.view(Kind::Server, id)?["status"] == status, status) {
        (true, _) => Ok(()),
        (false, "off") => Err(Refusal::rule("server_not_stopped", "server must be stopped")),
        (false, _) => Err(Refusal::rule("service_error", "server is not running")),
    }
}

/// Changes one thing that the API shows.
fn set(state: &mut State, id: Id, command: &'static str, field: &'static str, value: Value) -> Reply {
    state.act(command, &[(Kind::Server, id)], move |state| {
        if let Ok(server) = state.doc_mut(Kind::Server, id) {
            server[field] = value;
        }
        Ok(())
    })
}

/// Without user data in the request the old one is served again.
fn rebuild(state: &mut State, id: Id, request: &Request) -> Reply {
    state.is_unprotected(Kind::Server, id, "rebuild")?;
    check_user_data(request)?;
    let server_type = state.doc(Kind::Server, id)?["server_type"].as_u64().unwrap_or(0);
    let image = find_image(state, &request.body["image"], server_type)?;
    let root_password = state.hidden.get(&id).is_some_and(|hidden| hidden.public_keys.is_empty()).then(|| password(id));
    let (fresh, user_data) = (root_password.clone(), request.text("user_data").map(str::to_owned));
    set_status(state, id, "rebuilding");
    let action = state.begin("rebuild_server", &[(Kind::Server, id)], move |state| {
        if let Some(hidden) = state.hidden.get_mut(&id) {
            hidden.root_password = fresh;
            hidden.user_data = user_data.unwrap_or_else(|| std::mem::take(&mut hidden.user_data));
        }
        if let Ok(server) = state.doc_mut(Kind::Server, id) {
            server["image"] = json!(image);
        }
        set_status(state, id, "");
        let machine = machine(state, id).map_err(|_| "the server is gone")?;
        state.machines.create(&machine)?;
        state.machines.power(id, Power::On)
    });
    let mut answer = json!({ "action": state.action(action) });
    if let Some(password) = root_password {
        answer["root_password"] = json!(password);
    }
    Ok(answer)
}

/// It is started again afterwards.
fn change_type(state: &mut State, id: Id, request: &Request) -> Reply {
    is(state, id, "off")?;
    let wanted = state.find(Kind::ServerType, &request.body["server_type"])?;
    let (new, server) = (state.view(Kind::ServerType, wanted)?, state.view(Kind::Server, id)?);
    let (old, disk) = (&server["server_type"], server["primary_disk_size"].as_f64());
    let refused = |words| Err(Refusal::rule("invalid_server_type", words));
    if catalog::is_gone(&new) {
        return refused("server type is deprecated");
    } else if new["architecture"] != old["architecture"] || new["id"] == old["id"] || new["disk"].as_f64() < disk {
        return refused("server type does not fit the server");
    }
    let place = new["locations"].as_array().into_iter().flatten().find(|place| place["id"] == server["location"]["id"]);
    match place {
        None => return refused("server type is not offered in the location"),
        Some(place) if place["available"] != true => {
            return Err(Refusal::new(412, "resource_unavailable", "error during placement"));
        }
        Some(_) => {}
    }
    let disk = request.flag("upgrade_disk", false).then(|| new["disk"].clone());
    set_status(state, id, "migrating");
    state.act("change_server_type", &[(Kind::Server, id)], move |state| {
        set_status(state, id, "");
        if let Ok(server) = state.doc_mut(Kind::Server, id) {
            server["server_type"] = json!(wanted);
            if let Some(disk) = disk {
                server["primary_disk_size"] = disk;
            }
        }
        state.machines.power(id, Power::On)
    })
}

fn enable_rescue(state: &mut State, id: Id, request: &Request) -> Reply {
    for key in request.list("ssh_keys") {
        state.find(Kind::SshKey, key)?;
    }
    let mut answer = set(state, id, "enable_rescue", "rescue_enabled", json!(true))?;
    answer["root_password"] = json!(password(id));
    Ok(answer)
}

fn reset_password(state: &mut State, id: Id) -> Reply {
    is(state, id, "running")?;
    let mut answer = state.act("reset_password", &[(Kind::Server, id)], |_| Ok(()))?;
    answer["root_password"] = json!(password(id));
    Ok(answer)
}

fn request_console(state: &mut State, id: Id) -> Reply {
    let url = state.machines.console(id);
    let mut answer = state.act("request_console", &[(Kind::Server, id)], |_| Ok(()))?;
    answer["wss_url"] = json!(url);
    answer["password"] = json!(password(id));
    Ok(answer)
}

fn add_to_placement_group(state: &mut State, id: Id, request: &Request) -> Reply {
    is(state, id, "off")?;
    let group = request.number("placement_group").unwrap_or(0);
    placement_groups::has_room(state, group)?;
    set(state, id, "add_to_placement_group", "placement_group", json!(group))
}

fn nets(state: &State, id: Id) -> Result<Vec<Id>, Refusal> {
    let nets = state.doc(Kind::Server, id)?["private_net"].as_array().into_iter().flatten();
    Ok(nets.filter_map(|net| net["network"].as_u64()).collect())
}

fn attach_to_network(state: &mut State, id: Id, request: &Request) -> Reply {
    let network = request.number("network").unwrap_or(0);
    state.doc(Kind::Network, network)?;
    let there = nets(state, id)?;
    if there.contains(&network) {
        return Err(Refusal::rule("server_already_attached", "server is already attached to the network"));
    }
    if networks::overlaps(state, network, there.into_iter()) {
        return Err(Refusal::rule("networks_overlap", "networks of a server must not overlap"));
    }
    let location = state.doc(Kind::Server, id)?["location"].clone();
    let address =
        networks::address(state, network, &location, request.text("ip"), request.text("ip_range"))?.to_string();
    let aliases = json!(request.list("alias_ips"));
    state.act("attach_to_network", &[(Kind::Server, id), (Kind::Network, network)], move |state| {
        attach(state, id, network, Some(&address), &aliases)
    })
}

fn is_attached(state: &State, id: Id, request: &Request) -> Result<Id, Refusal> {
    let network = request.number("network").unwrap_or(0);
    match nets(state, id)?.contains(&network) {
        true => Ok(network),
        false => Err(Refusal::new(404, "not_found", "server is not attached to the network")),
    }
}

fn detach_from_network(state: &mut State, id: Id, request: &Request) -> Reply {
    let network = is_attached(state, id, request)?;
    state.act("detach_from_network", &[(Kind::Server, id), (Kind::Network, network)], move |state| {
        if let Ok(server) = state.doc_mut(Kind::Server, id) {
            server["private_net"].as_array_mut().expect("a list").retain(|net| net["network"] != network);
        }
        Ok(())
    })
}

fn change_alias_ips(state: &mut State, id: Id, request: &Request) -> Reply {
    let network = is_attached(state, id, request)?;
    let aliases = json!(request.list("alias_ips"));
    state.act("change_alias_ips", &[(Kind::Server, id), (Kind::Network, network)], move |state| {
        let nets = state.doc_mut(Kind::Server, id).ok().and_then(|server| server["private_net"].as_array_mut());
        for net in nets.into_iter().flatten().filter(|net| net["network"] == network) {
            net["alias_ips"] = aliases.clone();
        }
        Ok(())
    })
}

fn change_dns_ptr(state: &mut State, id: Id, request: &Request) -> Reply {
    let ipv6 = request.text("ip").is_some_and(|ip| ip.contains(':'));
    let ip = primary_ips::of_server(state, id, ipv6);
    let ip = ip.ok_or_else(|| Refusal::input("ip", "is not an address of the server"))?;
    primary_ips::change_dns_ptr(state, ip, request)
}

fn create_image(state: &mut State, id: Id, request: &Request) -> Reply {
    let kind = request.text("type").unwrap_or("snapshot");
    let server = state.view(Kind::Server, id)?;
    if kind == "backup" && server["backup_window"].is_null() {
        return Err(Refusal::rule("service_error", "backups are not enabled"));
    }
    let image = state.insert(
        Kind::Image,
        json!({
            "name": null, "type": kind, "status": "creating", "architecture": server["server_type"]["architecture"],
            "os_flavor": server["image"]["os_flavor"].as_str().unwrap_or("unknown"), "os_version": server["image"]["os_version"],
            "description": request.text("description").unwrap_or("snapshot"), "disk_size": server["primary_disk_size"],
            "image_size": null, "rapid_deploy": false, "created_from": { "id": id, "name": server["name"] },
            "bound_to": (kind == "backup").then_some(id), "deleted": null, "deprecation": null, "labels": request.body["labels"],
            "protection": { "delete": false },
        }),
    );
    let mut answer = state.act("create_image", &[(Kind::Server, id), (Kind::Image, image)], move |state| {
        if let Ok(image) = state.doc_mut(Kind::Image, image) {
            image["status"] = json!("available");
            image["image_size"] = json!(2.3);
        }
        Ok(())
    })?;
    answer["image"] = state.view(Kind::Image, image)?;
    Ok(answer)
}
