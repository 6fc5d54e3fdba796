//! DNS zones and their record sets. Nothing answers DNS queries.

use super::{
    api::{Refusal, Reply, Request},
    query,
    state::{Id, Kind, State},
};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, Ipv6Addr};

const NAMESERVERS: [&str; 3] = ["hydrogen.ns.hetzner.com.", "oxygen.ns.hetzner.com.", "helium.ns.hetzner.de."];

pub(super) fn create(state: &mut State, request: &Request) -> Reply {
    const NAME: &str = r"^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
    if !request.text("name").is_some_and(|name| super::schema::matches(NAME, name)) {
        return Err(Refusal::input("name", "is not a valid domain name"));
    }
    if !request.body["zonefile"].is_null() {
        return Err(Refusal::new(501, "fake_error", "the fake reads no zone files"));
    }
    let secondary = request.text("mode") == Some("secondary");
    if secondary && request.list("primary_nameservers").is_empty() {
        return Err(Refusal::input("primary_nameservers", "Missing data for required field."));
    }
    let mut doc = json!({
        "name": request.body["name"], "mode": request.body["mode"], "labels": request.body["labels"], "status": "ok",
        "ttl": request.number("ttl").unwrap_or(3600), "registrar": "other", "protection": { "delete": false },
        "authoritative_nameservers": {
            "assigned": NAMESERVERS, "delegated": [], "delegation_last_check": null, "delegation_status": "unregistered",
        },
    });
    if secondary {
        doc["primary_nameservers"] = request.body["primary_nameservers"].clone();
    }
    for set in request.list("rrsets") {
        check_set(set)?;
    }
    let id = state.insert(Kind::Zone, doc);
    if !secondary {
        let soa = format!("{} dns.hetzner.com. 2026113000 86400 10800 3600000 3600", NAMESERVERS[0]);
        insert(state, id, &json!({ "name": "@", "type": "SOA", "records": [{ "value": soa }] }));
        let servers: Vec<Value> = NAMESERVERS.iter().map(|name| json!({ "value": name })).collect();
        insert(state, id, &json!({ "name": "@", "type": "NS", "records": servers }));
        for set in request.list("rrsets") {
            insert(state, id, set);
        }
    }
    let action = state.begin("create_zone", &[(Kind::Zone, id)], |_| Ok(()));
    Ok(json!({ "zone": state.view(Kind::Zone, id)?, "action": state.action(action) }))
}

/// Adds how many records it has.
pub(super) fn complete(state: &State, id: Id, doc: &mut Value) {
    let count: usize = sets(state, id).map(|set| set["records"].as_array().map_or(0, Vec::len)).sum();
    doc["record_count"] = json!(count);
}

fn sets(state: &State, zone: Id) -> impl Iterator<Item = &Value> {
    state.rrsets.iter().filter(move |((of, ..), _)| *of == zone).map(|(_, set)| set)
}

pub(super) fn delete(state: &mut State, id: Id) -> Reply {
    state.is_unprotected(Kind::Zone, id, "delete")?;
    state.act("delete_zone", &[(Kind::Zone, id)], move |state| {
        state.rrsets.retain(|(zone, ..), _| *zone != id);
        state.remove(Kind::Zone, id);
        Ok(())
    })
}

pub(super) fn act(state: &mut State, id: Id, verb: &str, request: &Request) -> Option<Reply> {
    let (command, field, mode) = match verb {
        "change_ttl" => ("change_zone_ttl", "ttl", "primary"),
        "change_primary_nameservers" => ("change_primary_nameservers", "primary_nameservers", "secondary"),
        _ => return None,
    };
    let value = request.body[field].clone();
    Some(has_mode(state, id, mode).and_then(|()| {
        state.act(command, &[(Kind::Zone, id)], move |state| {
            if let Ok(zone) = state.doc_mut(Kind::Zone, id) {
                zone[field] = value;
            }
            Ok(())
        })
    }))
}

fn has_mode(state: &State, id: Id, mode: &str) -> Result<(), Refusal> {
    match state.doc(Kind::Zone, id)?["mode"] == mode {
        true => Ok(()),
        false => Err(Refusal::rule("incorrect_zone_mode", "This operation is not supported for this Zone's mode.")),
    }
}

/// What stands below a zone: `rest` is `zonefile`, or begins with `rrsets`.
pub(super) fn records(state: &mut State, zone: Id, method: &str, rest: &[&str], request: &Request) -> Reply {
    has_mode(state, zone, "primary")?;
    let word = |key: &str| request.path.get(key).cloned().unwrap_or_default();
    let key = (zone, word("rr_name"), word("rr_type"));
    let exists = |state: &State| match state.rrsets.get(&key) {
        Some(set) => Ok(set.clone()),
        None => Err(Refusal::new(404, "not_found", &format!("RRSet '{}/{}' not found", key.1, key.2))),
    };
    match (method, &rest[1..]) {
        ("GET", []) if rest == ["zonefile"] => Ok(json!({ "zonefile": zone_file(state, zone)? })),
        ("GET", []) => query::list(request, "rrsets", sets(state, zone).cloned().collect()),
        ("POST", []) => create_set(state, zone, request),
        ("GET", [_, _]) => Ok(json!({ "rrset": exists(state)? })),
        ("PUT", [_, _]) => {
            let mut set = exists(state)?;
            if !request.body["labels"].is_null() {
                set["labels"] = request.body["labels"].clone();
            }
            state.rrsets.insert(key, set.clone());
            Ok(json!({ "rrset": set }))
        }
        ("DELETE", [_, _]) => {
            is_changeable(&exists(state)?)?;
            state.act("delete_rrset", &[(Kind::Zone, zone)], move |state| {
                state.rrsets.remove(&key);
                Ok(())
            })
        }
        (_, [_, _, "actions", verb]) => {
            let set = match (state.rrsets.get(&key), *verb) {
                // It is made where it is not there.
                (None, "add_records") => {
                    json!({ "name": key.1, "type": key.2, "ttl": request.body["ttl"], "records": [] })
                }
                _ => exists(state)?,
            };
            change_set(state, zone, set, verb, request)
        }
        _ => Err(Refusal::new(501, "fake_error", "the fake does not do this with a zone")),
    }
}

fn is_changeable(set: &Value) -> Result<(), Refusal> {
    match set["protection"]["change"] == true {
        true => Err(Refusal::new(423, "protected", "rrset change protection is enabled")),
        false => Ok(()),
    }
}

/// Refuses records that no zone takes.
fn check_set(set: &Value) -> Result<(), Refusal> {
    const NAME: &str = r"^(@|(\*|[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*)$";
    if !set["name"].as_str().is_some_and(|name| super::schema::matches(NAME, name)) {
        return Err(Refusal::input("name", "is not a name in the zone, or has capital letters"));
    }
    let records = set["records"].as_array().map_or(&[][..], Vec::as_slice);
    for (index, record) in records.iter().enumerate() {
        let value = record["value"].as_str().unwrap_or_default();
        let fits = match set["type"].as_str().unwrap_or_default() {
            "A" => value.parse::<Ipv4Addr>().is_ok(),
            "AAAA" => value.parse::<Ipv6Addr>().is_ok(),
            "TXT" => value.len() > 1 && value.starts_with('"') && value.ends_with('"'),
            _ => !value.is_empty(),
        };
        if !fits {
            return Err(Refusal::input(&format!("records[{index}].value"), "is not a value of this type"));
        }
        if records[..index].iter().any(|other| other["value"] == record["value"]) {
            return Err(Refusal::input(&format!("records[{index}].value"), "is there twice"));
        }
    }
    Ok(())
}

/// Refuses a CNAME beside others, and others beside a CNAME.
fn is_alone(state: &State, zone: Id, set: &Value) -> Result<(), Refusal> {
    let mut others = sets(state, zone).filter(|other| other["name"] == set["name"] && other["type"] != set["type"]);
    match others.any(|other| other["type"] == "CNAME" || set["type"] == "CNAME") {
        true => Err(Refusal::input("type", "a CNAME must be the only RRSet of its name")),
        false => Ok(()),
    }
}

/// Keeps a set as the API shows it; returns that.
fn insert(state: &mut State, zone: Id, set: &Value) -> Value {
    let text = |key: &str| set[key].as_str().unwrap_or_default().to_owned();
    let (name, kind) = (text("name"), text("type"));
    let or = |key: &str, default: Value| if set[key].is_null() { default } else { set[key].clone() };
    let records = set["records"].as_array().into_iter().flatten();
    let records: Vec<Value> = records
        .map(|record| json!({ "value": record["value"], "comment": record["comment"].as_str().unwrap_or_default() }))
        .collect();
    let kept = json!({
        "id": format!("{name}/{kind}"), "zone": zone, "name": name, "type": kind, "ttl": set["ttl"], "labels": or("labels", json!({})),
        "protection": or("protection", json!({ "change": false })), "records": records,
    });
    state.rrsets.insert((zone, name, kind), kept.clone());
    kept
}

fn create_set(state: &mut State, zone: Id, request: &Request) -> Reply {
    let set = &request.body;
    check_set(set)?;
    is_alone(state, zone, set)?;
    if sets(state, zone).any(|other| other["name"] == set["name"] && other["type"] == set["type"]) {
        return Err(Refusal::not_unique("name", "RRSet with this name and type already exists"));
    }
    let kept = insert(state, zone, set);
    let action = state.begin("create_rrset", &[(Kind::Zone, zone)], |_| Ok(()));
    Ok(json!({ "rrset": kept, "action": state.action(action) }))
}

fn change_set(state: &mut State, zone: Id, mut set: Value, verb: &str, request: &Request) -> Reply {
    let (verb, body) = (verb.to_owned(), request.body.clone());
    let command = change(&mut set, &verb, &body)?;
    check_set(&set)?;
    is_alone(state, zone, &set)?;
    state.act(command, &[(Kind::Zone, zone)], move |state| {
        // Another change may have come between.
        let text = |key: &str| set[key].as_str().unwrap_or_default().to_owned();
        let key = (zone, text("name"), text("type"));
        if let Some(now) = state.rrsets.get(&key) {
            let mut now = now.clone();
            change(&mut now, &verb, &body).map_err(|_| "the RRSet has changed")?;
            set = now;
        }
        // One without records is none.
        if insert(state, zone, &set)["records"] == json!([]) {
            state.rrsets.remove(&key);
        }
        Ok(())
    })
}

/// Changes a set; returns the command of the action.
fn change(set: &mut Value, verb: &str, body: &Value) -> Result<&'static str, Refusal> {
    if verb != "change_protection" {
        is_changeable(set)?;
    }
    let given = body["records"].as_array().map_or(&[][..], Vec::as_slice);
    let records = set["records"].as_array_mut().expect("a list");
    let is_given = |record: &Value| given.iter().find(|one| one["value"] == record["value"]);
    let missing =
        |records: &[Value]| given.iter().any(|one| !records.iter().any(|record| record["value"] == one["value"]));
    Ok(match verb {
        "add_records" => {
            records.extend(given.iter().cloned());
            "add_rrset_records"
        }
        "set_records" => {
            *records = given.to_vec();
            "set_rrset_records"
        }
        "remove_records" | "update_records" if missing(records) => {
            return Err(Refusal::new(404, "not_found", "record not found"));
        }
        "remove_records" => {
            records.retain(|record| is_given(record).is_none());
            "remove_rrset_records"
        }
        "update_records" => {
            for record in records {
                if let Some(given) = is_given(record) {
                    record["comment"] = given["comment"].clone();
                }
            }
            "update_rrset_records"
        }
        "change_ttl" => {
            set["ttl"] = body["ttl"].clone();
            "change_rrset_ttl"
        }
        "change_protection" => {
            set["protection"] = json!({ "change": body["change"] });
            "change_rrset_protection"
        }
        _ => return Err(Refusal::new(501, "fake_error", "the fake does not do this with an RRSet")),
    })
}

fn zone_file(state: &State, zone: Id) -> Result<String, Refusal> {
    let doc = state.doc(Kind::Zone, zone)?;
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut text = format!("$ORIGIN\t{}.\n$TTL\t{}\n", word(&doc["name"]), doc["ttl"]);
    for set in sets(state, zone) {
        let ttl = set["ttl"].as_u64().map(|ttl| ttl.to_string()).unwrap_or_default();
        for record in set["records"].as_array().into_iter().flatten() {
            text.push_str(&format!(
                "{}\t{ttl}\tIN\t{}\t{}\n",
                word(&set["name"]),
                word(&set["type"]),
                word(&record["value"])
            ));
        }
    }
    Ok(text)
}
