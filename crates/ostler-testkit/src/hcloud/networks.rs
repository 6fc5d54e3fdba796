//! Networks with their subnets and routes, and what stands in them.

use super::{
    api::{Refusal, Reply, Request},
    state::{Id, Kind, State},
};
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::Ipv4Addr};

/// Actions that change a network itself; another then is a `conflict`.
const CHANGES: [&str; 5] = ["add_subnet", "delete_subnet", "add_route", "delete_route", "change_ip_range"];

pub(super) fn create(state: &mut State, request: &Request) -> Reply {
    let range = private(request.text("ip_range").unwrap_or_default(), "ip_range")?;
    let mut doc = json!({
        "name": request.body["name"], "ip_range": range.to_string(), "labels": request.body["labels"], "subnets": [], "routes": [],
        "expose_routes_to_vswitch": request.flag("expose_routes_to_vswitch", false), "protection": { "delete": false },
    });
    for subnet in request.list("subnets") {
        let subnet = new_subnet(state, &doc, subnet)?;
        add(&mut doc, "subnets", subnet);
    }
    for route in request.list("routes") {
        let route = new_route(&doc, route)?;
        add(&mut doc, "routes", route);
    }
    let id = state.insert(Kind::Network, doc);
    Ok(json!({ "network": state.view(Kind::Network, id)? }))
}

fn add(doc: &mut Value, list: &str, item: Value) {
    doc[list].as_array_mut().expect("a list").push(item);
}

/// A range that is private as a whole.
fn private(text: &str, field: &str) -> Result<Ipv4Net, Refusal> {
    let range: Ipv4Net = text.parse().map_err(|_| Refusal::input(field, "is not in CIDR notation"))?;
    let blocks =
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"].map(|block| block.parse::<Ipv4Net>().expect("a network"));
    if range != range.trunc() {
        return Err(Refusal::input(field, "has host bits that are set"));
    }
    match blocks.iter().any(|block| block.contains(&range)) {
        true => Ok(range),
        false => Err(Refusal::input(field, "must be one of the private ranges of RFC 1918")),
    }
}

fn range_of(doc: &Value) -> Ipv4Net {
    doc["ip_range"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn subnets(network: &Value) -> Vec<Ipv4Net> {
    network["subnets"].as_array().into_iter().flatten().map(range_of).collect()
}

fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(b) || b.contains(a)
}

fn new_subnet(state: &State, network: &Value, wanted: &Value) -> Result<Value, Refusal> {
    let zone = &wanted["network_zone"];
    if !state.all(Kind::Location).any(|(_, location)| location["network_zone"] == *zone) {
        return Err(Refusal::input("network_zone", "is not a network zone"));
    }
    let (whole, taken) = (range_of(network), subnets(network));
    let free = |range: &Ipv4Net| !taken.iter().any(|other| overlap(range, other));
    let range = match wanted["ip_range"].as_str() {
        Some(text) => private(text, "ip_range")?,
        // The first /24 that is free.
        None => (whole.subnets(24.max(whole.prefix_len())).ok())
            .and_then(|mut all| all.find(free))
            .ok_or_else(|| Refusal::input("ip_range", "no range is free"))?,
    };
    if !whole.contains(&range) {
        return Err(Refusal::input("ip_range", "must be within the range of the network"));
    }
    if !free(&range) {
        return Err(Refusal::input("ip_range", "overlaps with another subnet"));
    }
    Ok(json!({
        "type": wanted["type"], "ip_range": range.to_string(), "network_zone": zone, "gateway": first(whole).to_string(),
        "vswitch_id": wanted["vswitch_id"],
    }))
}

fn new_route(network: &Value, wanted: &Value) -> Result<Value, Refusal> {
    let destination = wanted["destination"].as_str().and_then(|text| text.parse::<Ipv4Net>().ok());
    destination.ok_or_else(|| Refusal::input("destination", "is not in CIDR notation"))?;
    let gateway = wanted["gateway"].as_str().and_then(|text| text.parse::<Ipv4Addr>().ok());
    match gateway.is_some_and(|gateway| range_of(network).contains(&gateway)) {
        true => Ok(json!({ "destination": wanted["destination"], "gateway": wanted["gateway"] })),
        false => Err(Refusal::input("gateway", "must be within the range of the network")),
    }
}

/// The gateway of a network.
fn first(range: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(range.network()) + 1)
}

/// What stands in a network: the entries of `private_net` of servers and load balancers.
fn attached(state: &State, network: Id) -> Vec<(Kind, Id, Value)> {
    let of = |kind| {
        state.all(kind).flat_map(move |(id, doc)| {
            let nets = doc["private_net"].as_array().cloned().unwrap_or_default();
            nets.into_iter().filter(move |net| net["network"] == network).map(move |net| (kind, id, net))
        })
    };
    of(Kind::Server).chain(of(Kind::LoadBalancer)).collect()
}

/// Adds what stands in it.
pub(super) fn complete(state: &State, id: Id, doc: &mut Value) {
    let attached = attached(state, id);
    let of = |wanted| attached.iter().filter(|(kind, ..)| *kind == wanted).map(|(_, id, _)| *id).collect::<Vec<_>>();
    doc["servers"] = json!(of(Kind::Server));
    doc["load_balancers"] = json!(of(Kind::LoadBalancer));
}

/// An address for what is at a location: this one, or the first that is free.
pub(super) fn address(
    state: &State,
    network: Id,
    location: &Value,
    wanted: Option<&str>,
    within: Option<&str>,
) -> Result<Ipv4Addr, Refusal> {
    let doc = state.doc(Kind::Network, network)?;
    let zone = state.doc(Kind::Location, location.as_u64().unwrap_or(0))?["network_zone"].clone();
    let usable = doc["subnets"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|subnet| subnet["network_zone"] == zone && within.is_none_or(|range| subnet["ip_range"] == range));
    let ranges: Vec<Ipv4Net> = usable.map(range_of).collect();
    let text = |value: &Value| value.as_str().and_then(|text| text.parse::<Ipv4Addr>().ok());
    let mut taken: BTreeSet<Ipv4Addr> = BTreeSet::from([first(range_of(doc))]);
    for (_, _, net) in attached(state, network) {
        taken.extend(text(&net["ip"]));
        taken.extend(net["alias_ips"].as_array().into_iter().flatten().filter_map(text));
    }
    let free = |address: &Ipv4Addr| !taken.contains(address);
    if let Some(wanted) = wanted {
        let address = wanted.parse().map_err(|_| Refusal::input("ip", "is not an IP address"))?;
        return match ranges.iter().any(|range| range.contains(&address)) && free(&address) {
            true => Ok(address),
            false => Err(Refusal::rule("ip_not_available", "IP is not available")),
        };
    }
    let address = ranges.iter().flat_map(Ipv4Net::hosts).find(free);
    address.ok_or_else(|| Refusal::rule("no_subnet_available", "no subnet or IP available in the network"))
}

/// Whether a network overlaps with those that a server has.
pub(super) fn overlaps(state: &State, network: Id, others: impl Iterator<Item = Id>) -> bool {
    let range = |id| state.doc(Kind::Network, id).map(range_of).ok();
    others.into_iter().any(|other| range(other).zip(range(network)).is_some_and(|(a, b)| overlap(&a, &b)))
}

/// Servers and load balancers that are in it are detached.
pub(super) fn delete(state: &mut State, id: Id) -> Reply {
    for kind in [Kind::Server, Kind::LoadBalancer] {
        for (_, doc) in state.all_mut(kind) {
            doc["private_net"].as_array_mut().expect("a list").retain(|net| net["network"] != id);
        }
    }
    state.remove(Kind::Network, id);
    Ok(Value::Null)
}

pub(super) fn act(state: &mut State, id: Id, verb: &str, request: &Request) -> Option<Reply> {
    let command = CHANGES.into_iter().find(|command| *command == verb)?;
    Some(change(state, id, command, request))
}

fn change(state: &mut State, id: Id, command: &'static str, request: &Request) -> Reply {
    if state.actions.changes(Kind::Network, id, &CHANGES) {
        return Err(Refusal::new(409, "conflict", "network is being changed, please retry"));
    }
    let mut changed = state.doc(Kind::Network, id)?.clone();
    let body = &request.body;
    match command {
        "add_subnet" => {
            let subnet = new_subnet(state, &changed, body)?;
            add(&mut changed, "subnets", subnet);
        }
        "add_route" => {
            let route = new_route(&changed, body)?;
            add(&mut changed, "routes", route);
        }
        "delete_subnet" => {
            let range = range_of(body);
            let inside = |net: &Value| {
                net["ip"].as_str().and_then(|ip| ip.parse().ok()).is_some_and(|ip: Ipv4Addr| range.contains(&ip))
            };
            if attached(state, id).iter().any(|(_, _, net)| inside(net)) {
                return Err(Refusal::rule("service_error", "subnet is still in use"));
            }
            take(&mut changed, "subnets", |subnet| subnet["ip_range"] == body["ip_range"])?;
        }
        "delete_route" => {
            take(&mut changed, "routes", |route| {
                route["destination"] == body["destination"] && route["gateway"] == body["gateway"]
            })?;
        }
        _ => {
            let range = private(request.text("ip_range").unwrap_or_default(), "ip_range")?;
            if !range.contains(&range_of(&changed)) {
                return Err(Refusal::input("ip_range", "must contain the range of now"));
            }
            changed["ip_range"] = json!(range.to_string());
        }
    }
    state.act(command, &[(Kind::Network, id)], move |state| {
        if let Ok(network) = state.doc_mut(Kind::Network, id) {
            for part in ["subnets", "routes", "ip_range"] {
                network[part] = changed[part].clone();
            }
        }
        Ok(())
    })
}

fn take(doc: &mut Value, list: &str, is_it: impl Fn(&Value) -> bool) -> Result<(), Refusal> {
    let items = doc[list].as_array_mut().expect("a list");
    let before = items.len();
    items.retain(|item| !is_it(item));
    match items.len() < before {
        true => Ok(()),
        false => Err(Refusal::new(404, "not_found", "there is no such part of the network")),
    }
}
