//! Primary IPs: the public addresses of servers, which can outlive them.

use super::{
    api::{Refusal, Reply, Request},
    state::{Id, Kind, State},
};
use serde_json::{Value, json};

pub(super) fn create(state: &mut State, request: &Request) -> Reply {
    let ipv6 = request.text("type") == Some("ipv6");
    let assignee = request.number("assignee_id");
    let location = match (assignee, &request.body["location"]) {
        (Some(server), _) => {
            may_assign(state, server, ipv6)?;
            state.doc(Kind::Server, server)?["location"].as_u64().unwrap_or(0)
        }
        (None, Value::Null) => return Err(Refusal::input("location", "Missing data for required field.")),
        (None, location) => state.find(Kind::Location, location)?,
    };
    let id = make(state, request.body["name"].clone(), ipv6, location, request.flag("auto_delete", false));
    state.doc_mut(Kind::PrimaryIp, id)?["labels"] =
        if request.body["labels"].is_null() { json!({}) } else { request.body["labels"].clone() };
    let mut answer = json!({});
    if let Some(server) = assignee {
        let action = begin_assign(state, id, server);
        answer["action"] = state.action(action);
    }
    answer["primary_ip"] = state.view(Kind::PrimaryIp, id)?;
    Ok(answer)
}

/// A new one that is nobody's.
pub(super) fn make(state: &mut State, name: Value, ipv6: bool, location: Id, auto_delete: bool) -> Id {
    let number = state.next_address(ipv6);
    let (ip, dns_ptr) = if ipv6 {
        (format!("{}/64", state.machines.ipv6(number)), json!([]))
    } else {
        let ip = state.machines.ipv4(number).to_string();
        let pointer = format!("static.{}.clients.your-server.de", ip.split('.').rev().collect::<Vec<_>>().join("."));
        (ip.clone(), json!([{ "ip": ip, "dns_ptr": pointer }]))
    };
    let id = state.insert(
        Kind::PrimaryIp,
        json!({
            "name": name, "type": if ipv6 { "ipv6" } else { "ipv4" }, "ip": ip, "dns_ptr": dns_ptr, "location": location,
            "assignee_type": "unassigned", "assignee_id": null, "auto_delete": auto_delete, "blocked": false,
            "protection": { "delete": false },
        }),
    );
    if let Ok(doc) = state.doc_mut(Kind::PrimaryIp, id)
        && doc["name"].is_null()
    {
        doc["name"] = json!(format!("primary_ip-{id}"));
    }
    id
}

/// The one of a server and of a type, if it has one.
pub(super) fn of_server(state: &State, server: Id, ipv6: bool) -> Option<Id> {
    let kind = if ipv6 { "ipv6" } else { "ipv4" };
    state.all(Kind::PrimaryIp).find(|(_, ip)| ip["assignee_id"] == server && ip["type"] == kind).map(|(id, _)| id)
}

/// Gives it to a server, or to nobody.
pub(super) fn give(state: &mut State, id: Id, server: Option<Id>) {
    if let Ok(ip) = state.doc_mut(Kind::PrimaryIp, id) {
        ip["assignee_id"] = json!(server);
        ip["assignee_type"] = json!(if server.is_some() { "server" } else { "unassigned" });
    }
}

fn may_assign(state: &State, server: Id, ipv6: bool) -> Result<(), Refusal> {
    state.doc(Kind::Server, server)?;
    is_stopped(state, server)?;
    state.is_unlocked(Kind::Server, server)?;
    let (code, words) = if ipv6 { ("server_has_ipv6", "ipv6") } else { ("server_has_ipv4", "ipv4") };
    match of_server(state, server, ipv6) {
        Some(_) => Err(Refusal::rule(code, &format!("server already has an {words} address"))),
        None => Ok(()),
    }
}

fn is_stopped(state: &State, server: Id) -> Result<(), Refusal> {
    match state.view(Kind::Server, server)?["status"] == "off" {
        true => Ok(()),
        false => Err(Refusal::rule("server_not_stopped", "The server is running, but needs to be powered off")),
    }
}

fn begin_assign(state: &mut State, id: Id, server: Id) -> Id {
    state.begin("assign_primary_ip", &[(Kind::PrimaryIp, id), (Kind::Server, server)], move |state| {
        give(state, id, Some(server));
        Ok(())
    })
}

pub(super) fn delete(state: &mut State, id: Id) -> Reply {
    if !state.doc(Kind::PrimaryIp, id)?["assignee_id"].is_null() {
        return Err(Refusal::rule("must_be_unassigned", "primary IP must be unassigned"));
    }
    state.remove(Kind::PrimaryIp, id);
    Ok(Value::Null)
}

pub(super) fn act(state: &mut State, id: Id, verb: &str, request: &Request) -> Option<Reply> {
    Some(match verb {
        "assign" => assign(state, id, request),
        "unassign" => unassign(state, id),
        "change_dns_ptr" => change_dns_ptr(state, id, request),
        _ => return None,
    })
}

fn assign(state: &mut State, id: Id, request: &Request) -> Reply {
    let server = request.number("assignee_id").unwrap_or(0);
    let ip = state.doc(Kind::PrimaryIp, id)?;
    let (ipv6, location) = (ip["type"] == "ipv6", ip["location"].clone());
    if !ip["assignee_id"].is_null() {
        return Err(Refusal::rule("primary_ip_already_assigned", "primary IP is already assigned"));
    }
    may_assign(state, server, ipv6)?;
    if state.doc(Kind::Server, server)?["location"] != location {
        return Err(Refusal::input("assignee_id", "primary IP and server must be in the same location"));
    }
    let action = begin_assign(state, id, server);
    Ok(json!({ "action": state.action(action) }))
}

fn unassign(state: &mut State, id: Id) -> Reply {
    let Some(server) = state.doc(Kind::PrimaryIp, id)?["assignee_id"].as_u64() else {
        return Err(Refusal::rule("service_error", "primary IP is not assigned"));
    };
    is_stopped(state, server)?;
    state.is_unlocked(Kind::Server, server)?;
    state.act("unassign_primary_ip", &[(Kind::PrimaryIp, id), (Kind::Server, server)], move |state| {
        give(state, id, None);
        Ok(())
    })
}

/// Also for a server, whose addresses these are.
pub(super) fn change_dns_ptr(state: &mut State, id: Id, request: &Request) -> Reply {
    let (ip, pointer) = (request.body["ip"].clone(), request.body["dns_ptr"].clone());
    state.act("change_dns_ptr", &[(Kind::PrimaryIp, id)], move |state| {
        if let Some(pointers) = state.doc_mut(Kind::PrimaryIp, id).ok().and_then(|doc| doc["dns_ptr"].as_array_mut()) {
            pointers.retain(|one| one["ip"] != ip);
            if !pointer.is_null() {
                pointers.push(json!({ "ip": ip, "dns_ptr": pointer }));
            }
        }
        Ok(())
    })
}
