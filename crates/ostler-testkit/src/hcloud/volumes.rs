//! Volumes: in one location, attached to one server at most, and never smaller than they were.

use super::{
    api::{Refusal, Reply, Request},
    state::{Id, Kind, State},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// GB.
const SIZES: std::ops::RangeInclusive<u64> = 10..=10_240;
/// That a server can have.
const MOST: usize = 16;

pub(super) fn create(state: &mut State, request: &Request) -> Reply {
    let size = request.number("size").filter(|size| SIZES.contains(size));
    let size = size.ok_or_else(|| Refusal::input("size", "must be between 10 and 10240"))?;
    if let Some(format) = request.text("format").filter(|format| !["ext4", "xfs"].contains(format)) {
        return Err(Refusal::input("format", &format!("'{format}' is not one of ext4, xfs")));
    }
    let server = request.number("server");
    let location = match (server, &request.body["location"]) {
        (Some(_), Value::String(_) | Value::Number(_)) => {
            return Err(Refusal::input("location", "must not be used together with server"));
        }
        (Some(server), _) => state.doc(Kind::Server, server)?["location"].as_u64().unwrap_or(0),
        (None, Value::Null) => return Err(Refusal::input("location", "Missing data for required field.")),
        (None, location) => state.find(Kind::Location, location)?,
    };
    if request.flag("automount", false) && server.is_none() {
        return Err(Refusal::input("automount", "can only be used together with server"));
    }
    if let Some(server) = server {
        may_attach(state, server, 1)?;
        state.is_unlocked(Kind::Server, server)?;
    }
    let id = state.insert(
        Kind::Volume,
        json!({
            "name": request.body["name"], "size": size, "location": location, "format": request.body["format"], "server": null,
            "status": "creating", "labels": request.body["labels"], "protection": { "delete": false },
        }),
    );
    let action = state.begin("create_volume", &[(Kind::Volume, id)], move |state| {
        if let Ok(volume) = state.doc_mut(Kind::Volume, id) {
            volume["status"] = json!("available");
        }
        Ok(())
    });
    let next = server.map(|server| begin_attach(state, Some(action), id, server));
    Ok(json!({
        "volume": state.view(Kind::Volume, id)?,
        "action": state.action(action),
        "next_actions": next.map(|next| state.action(next)).into_iter().collect::<Vec<_>>(),
    }))
}

/// Begins to attach one that is nobody's.
pub(super) fn begin_attach(state: &mut State, after: Option<Id>, volume: Id, server: Id) -> Id {
    // Nobody else gets it meanwhile: the action locks it.
    state.begin_after(after, "attach_volume", &[(Kind::Volume, volume), (Kind::Server, server)], move |state| {
        if let Ok(volume) = state.doc_mut(Kind::Volume, volume) {
            volume["server"] = json!(server);
        }
        Ok(())
    })
}

/// Refuses more volumes than a server can have.
pub(super) fn may_attach(state: &State, server: Id, more: usize) -> Result<(), Refusal> {
    let there = of_server(state, server).len();
    match there + more <= MOST {
        true => Ok(()),
        false => Err(Refusal::new(403, "resource_limit_exceeded", "a server can have 16 volumes at most")),
    }
}

/// Volumes of a server.
pub(super) fn of_server(state: &State, server: Id) -> Vec<Id> {
    state.all(Kind::Volume).filter(|(_, volume)| volume["server"] == server).map(|(id, _)| id).collect()
}

/// GB of each volume of a server.
pub(super) fn sizes(state: &State, server: Id) -> BTreeMap<Id, u64> {
    let size = |id| Some((id, state.doc(Kind::Volume, id).ok()?["size"].as_u64()?));
    of_server(state, server).into_iter().filter_map(size).collect()
}

/// Adds the device that it is on a server.
pub(super) fn complete(doc: &mut Value) {
    doc["linux_device"] = json!(format!("/dev/disk/by-id/scsi-0HC_Volume_{}", doc["id"]));
}

pub(super) fn delete(state: &mut State, id: Id) -> Reply {
    if !state.doc(Kind::Volume, id)?["server"].is_null() {
        let message = format!("volume with ID '{id}' is still attached to a server");
        return Err(Refusal::rule("service_error", &message));
    }
    state.remove(Kind::Volume, id);
    state.machines.delete_volume(id);
    Ok(Value::Null)
}

pub(super) fn act(state: &mut State, id: Id, verb: &str, request: &Request) -> Option<Reply> {
    Some(match verb {
        "attach" => attach(state, id, request),
        "detach" => detach(state, id),
        "resize" => resize(state, id, request),
        _ => return None,
    })
}

fn attach(state: &mut State, id: Id, request: &Request) -> Reply {
    let server = request.number("server").unwrap_or(0);
    let there = state.doc(Kind::Server, server)?["location"].clone();
    let volume = state.doc(Kind::Volume, id)?;
    if !volume["server"].is_null() {
        return Err(Refusal::rule("volume_already_attached", "volume is already attached to a server"));
    }
    if volume["location"] != there {
        return Err(Refusal::input("server", "server and volume must be in the same location"));
    }
    state.is_unlocked(Kind::Volume, id)?;
    state.is_unlocked(Kind::Server, server)?;
    may_attach(state, server, 1)?;
    let action = begin_attach(state, None, id, server);
    Ok(json!({ "action": state.action(action) }))
}

fn detach(state: &mut State, id: Id) -> Reply {
    let Some(server) = state.doc(Kind::Volume, id)?["server"].as_u64() else {
        return Err(Refusal::rule("service_error", "volume is not attached to a server"));
    };
    state.is_unlocked(Kind::Volume, id)?;
    state.is_unlocked(Kind::Server, server)?;
    state.act("detach_volume", &[(Kind::Volume, id), (Kind::Server, server)], move |state| {
        if let Ok(volume) = state.doc_mut(Kind::Volume, id) {
            volume["server"] = Value::Null;
        }
        Ok(())
    })
}

fn resize(state: &mut State, id: Id, request: &Request) -> Reply {
    let size = request.body["size"].as_f64().map_or(0, |size| size as u64);
    let now = state.doc(Kind::Volume, id)?["size"].as_u64().unwrap_or(0);
    if size <= now || !SIZES.contains(&size) {
        return Err(Refusal::input("size", &format!("must be between {} and 10240", now + 1)));
    }
    state.is_unlocked(Kind::Volume, id)?;
    state.act("resize_volume", &[(Kind::Volume, id)], move |state| {
        if let Ok(volume) = state.doc_mut(Kind::Volume, id) {
            volume["size"] = json!(size);
        }
        Ok(())
    })
}
