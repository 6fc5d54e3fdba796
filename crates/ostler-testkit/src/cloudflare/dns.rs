//! Records of zones.

use super::{
    ZONE,
    api::{Refusal, Reply, Request},
    state::{self, State, now},
};
use serde_json::{Value, json};

pub(super) fn answer(state: &mut State, endpoint: &str, request: &Request) -> Reply {
    state::doc(&state.zones, &request.path["zone_id"], "zone")?;
    let method = endpoint.split(' ').next().unwrap_or_default();
    let missing = || Refusal::new(404, 81044, "Record does not exist.");
    match (method, request.path.get("dns_record_id")) {
        ("GET", None) => Ok(list(state, request)),
        ("POST", None) => {
            let id = state.hex();
            let record = record(state, None, &id, json!({ "proxied": false, "comment": null, "tags": [] }), request)?;
            state.dns_records.insert(id, record.clone());
            Ok(record)
        }
        ("GET", Some(id)) => state.dns_records.get(id).cloned().ok_or_else(missing),
        ("PATCH", Some(id)) => {
            let old = state.dns_records.get(id).cloned().ok_or_else(missing)?;
            let record = record(state, Some(id), id, old, request)?;
            state.dns_records.insert(id.clone(), record.clone());
            Ok(record)
        }
        ("DELETE", Some(id)) => state.dns_records.remove(id).map(|_| json!({ "id": id })).ok_or_else(missing),
        _ => Err(Refusal::new(501, 1, "the fake does not answer that")),
    }
}

fn list(state: &State, request: &Request) -> Value {
    let fits = |record: &&Value, field: &str| {
        let wanted = request.query(field).or_else(|| request.query(&format!("{field}.exact")));
        wanted.is_none_or(|wanted| record[field] == wanted)
    };
    let all = state.dns_records.values();
    all.filter(|record| ["name", "type", "content", "comment"].iter().all(|field| fits(record, field)))
        .cloned()
        .collect()
}

/// The record with what the request says; refused as the vendor does where it can't stand beside the others.
fn record(state: &State, own: Option<&String>, id: &str, mut record: Value, request: &Request) -> Reply {
    for (field, value) in request.body.as_object().into_iter().flatten() {
        record[field] = value.clone();
    }
    let name = record["name"].as_str().unwrap_or_default().trim_end_matches('.').to_lowercase();
    let name = if name == "@" || name.is_empty() { ZONE.to_owned() } else { name };
    // A name that does not end with the zone's is one below it.
    let name = if name == ZONE || name.ends_with(&format!(".{ZONE}")) { name } else { format!("{name}.{ZONE}") };
    record["name"] = json!(name);
    record["id"] = json!(id);
    record["created_on"] = json!(now());
    record["modified_on"] = json!(now());
    record["proxiable"] = json!(["A", "AAAA", "CNAME"].contains(&record["type"].as_str().unwrap_or_default()));
    if !["A", "AAAA", "CNAME", "TXT", "MX", "SRV", "CAA", "NS"].contains(&record["type"].as_str().unwrap_or_default()) {
        return Err(Refusal::new(400, 9004, "Invalid DNS record type"));
    }
    let others = state.dns_records.iter().filter(|(other, _)| own != Some(other)).map(|(_, other)| other);
    let same_name: Vec<&Value> = others.filter(|other| other["name"] == record["name"]).collect();
    let is_host = |record: &Value| record["proxiable"] == true;
    if same_name.iter().any(|other| other["type"] == record["type"] && other["content"] == record["content"]) {
        return Err(Refusal::new(400, 81058, "An identical record already exists."));
    }
    if same_name
        .iter()
        .any(|other| is_host(other) && is_host(&record) && (other["type"] == "CNAME" || record["type"] == "CNAME"))
    {
        return Err(Refusal::new(400, 81053, "An A, AAAA, or CNAME record with that host already exists."));
    }
    Ok(record)
}
