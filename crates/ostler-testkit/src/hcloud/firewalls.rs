//! Firewalls: rules, and the servers that they are applied to, by id or by label.

use super::{
    api::{Refusal, Reply, Request},
    machines::FirewallRule,
    query::Selector,
    state::{Id, Kind, State},
};
use serde_json::{Value, json};

const MOST_RULES: usize = 50;
const MOST_ADDRESSES: usize = 100;

pub(super) fn create(state: &mut State, request: &Request) -> Reply {
    let rules = check_rules(request.list("rules"))?;
    for target in request.list("apply_to") {
        check_target(state, target, 422)?;
    }
    let id = state.insert(
        Kind::Firewall,
        json!({ "name": request.body["name"], "labels": request.body["labels"], "rules": rules, "applied_to": [] }),
    );
    let mut actions = vec![state.begin("set_firewall_rules", &[(Kind::Firewall, id)], |_| Ok(()))];
    for target in request.list("apply_to") {
        actions.push(begin_apply(state, id, target)?);
    }
    let actions: Vec<Value> = actions.into_iter().map(|action| state.action(action)).collect();
    Ok(json!({ "firewall": state.view(Kind::Firewall, id)?, "actions": actions }))
}

/// The rules as they are kept, or why they are refused.
fn check_rules(rules: &[Value]) -> Result<Vec<Value>, Refusal> {
    if rules.len() > MOST_RULES {
        return Err(Refusal::input("rules", "a firewall can have 50 rules at most"));
    }
    rules
        .iter()
        .enumerate()
        .map(|(index, rule)| {
            check_rule(rule).map_err(|(field, fault)| Refusal::input(&format!("rules[{index}].{field}"), fault))
        })
        .collect()
}

fn check_rule(rule: &Value) -> Result<Value, (&'static str, &'static str)> {
    let (used, unused) =
        if rule["direction"] == "in" { ("source_ips", "destination_ips") } else { ("destination_ips", "source_ips") };
    let addresses = rule[used].as_array().filter(|addresses| !addresses.is_empty());
    let addresses = addresses.ok_or((used, "Missing data for required field."))?;
    if addresses.len() > MOST_ADDRESSES {
        return Err((used, "has too many items"));
    }
    if rule[unused].as_array().is_some_and(|others| !others.is_empty()) {
        return Err((unused, "is not for rules of this direction"));
    }
    for address in addresses {
        let network: ipnet::IpNet =
            address.as_str().and_then(|text| text.parse().ok()).ok_or((used, "is not in CIDR notation"))?;
        // A single host, or a network with empty host bits.
        if network.prefix_len() != network.max_prefix_len() && network.addr() != network.network() {
            return Err((used, "has host bits that are set"));
        }
    }
    let with_ports = matches!(rule["protocol"].as_str(), Some("tcp" | "udp"));
    match (with_ports, rule["port"].as_str()) {
        (true, None) => return Err(("port", "Missing data for required field.")),
        (true, Some(port)) if !is_port(port) => return Err(("port", "is not a port or a range of ports")),
        (false, Some(_)) => return Err(("port", "is only for tcp and udp")),
        _ => {}
    }
    let mut kept = json!({
        "direction": rule["direction"], "protocol": rule["protocol"], "port": rule["port"], "description": rule["description"],
    });
    kept[used] = rule[used].clone();
    kept[unused] = json!([]);
    Ok(kept)
}

/// `80`, `1024-5000` or `any`.
fn is_port(text: &str) -> bool {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    match text.split_once('-') {
        Some((low, high)) => port(low).zip(port(high)).is_some_and(|(low, high)| low <= high),
        None => text == "any" || port(text).is_some(),
    }
}

/// The rules of all that apply to a server; `None` where there is no firewall.
pub(super) fn rules_of_server(state: &State, server: Id) -> Option<Vec<FirewallRule>> {
    let firewalls = of_server(state, server);
    let docs = firewalls.iter().filter_map(|id| state.doc(Kind::Firewall, *id).ok());
    let rules = docs.flat_map(|firewall| firewall["rules"].as_array().into_iter().flatten()).map(rule).collect();
    (!firewalls.is_empty()).then_some(rules)
}

/// A rule that has been checked.
fn rule(rule: &Value) -> FirewallRule {
    let inbound = rule["direction"] == "in";
    let peers = rule[if inbound { "source_ips" } else { "destination_ips" }].as_array().into_iter().flatten();
    let number = |text: &str| text.parse::<u16>().unwrap_or_default();
    let ports = rule["port"].as_str().map(|ports| match (ports, ports.split_once('-')) {
        ("any", _) => 1..=u16::MAX,
        (_, Some((low, high))) => number(low)..=number(high),
        (port, None) => number(port)..=number(port),
    });
    FirewallRule {
        inbound,
        protocol: rule["protocol"].as_str().unwrap_or_default().to_owned(),
        ports,
        peers: peers.filter_map(|peer| peer.as_str()?.parse().ok()).collect(),
    }
}

fn check_target(state: &State, target: &Value, missing: u16) -> Result<(), Refusal> {
    if target["type"] == "label_selector" {
        return Selector::parse(target["label_selector"]["selector"].as_str().unwrap_or_default()).map(drop);
    }
    let server = target["server"]["id"].as_u64().unwrap_or(0);
    let server = state.view(Kind::Server, server);
    let server = server
        .map_err(|_| Refusal::new(missing, "firewall_resource_not_found", "the firewall resource was not found"))?;
    let public = &server["public_net"];
    match public["ipv4"].is_null() && public["ipv6"].is_null() {
        true => Err(Refusal::rule("private_net_only_server", "the server has no public interface")),
        false => Ok(()),
    }
}

/// What of a target is kept.
fn kept(target: &Value) -> Value {
    let field = if target["type"] == "server" { "server" } else { "label_selector" };
    json!({ "type": target["type"], field: target[field] })
}

fn begin_apply(state: &mut State, id: Id, target: &Value) -> Result<Id, Refusal> {
    let target = kept(target);
    let applied = state.doc_mut(Kind::Firewall, id)?["applied_to"].as_array_mut().expect("a list");
    if applied.contains(&target) {
        return Err(Refusal::rule("firewall_already_applied", "firewall is already applied"));
    }
    applied.push(target.clone());
    let mut resources = vec![(Kind::Firewall, id)];
    resources.extend(target["server"]["id"].as_u64().map(|server| (Kind::Server, server)));
    Ok(state.begin("apply_firewall", &resources, |_| Ok(())))
}

/// Applies one to a server that is being made.
pub(super) fn apply_at_creation(state: &mut State, id: Id, server: Id) {
    if let Some(applied) = state.doc_mut(Kind::Firewall, id).ok().and_then(|doc| doc["applied_to"].as_array_mut()) {
        applied.push(json!({ "type": "server", "server": { "id": server } }));
    }
}

/// Those that apply to a server.
pub(super) fn of_server(state: &State, server: Id) -> Vec<Id> {
    state
        .all(Kind::Firewall)
        .filter(|(_, firewall)| servers(state, firewall).contains(&server))
        .map(|(id, _)| id)
        .collect()
}

/// Takes a server that goes out of all of them.
pub(super) fn forget(state: &mut State, server: Id) {
    for (_, firewall) in state.all_mut(Kind::Firewall) {
        firewall["applied_to"].as_array_mut().expect("a list").retain(|target| target["server"]["id"] != server);
    }
}

fn servers(state: &State, firewall: &Value) -> Vec<Id> {
    firewall["applied_to"].as_array().into_iter().flatten().flat_map(|target| selected(state, target)).collect()
}

fn selected(state: &State, target: &Value) -> Vec<Id> {
    match target["label_selector"]["selector"].as_str() {
        None => target["server"]["id"].as_u64().into_iter().collect(),
        Some(selector) => Selector::parse(selector).map_or_else(
            |_| Vec::new(),
            |selector| {
                state
                    .all(Kind::Server)
                    .filter(|(_, server)| selector.fits(&server["labels"]))
                    .map(|(id, _)| id)
                    .collect()
            },
        ),
    }
}

/// Adds the servers that selectors find.
pub(super) fn complete(state: &State, doc: &mut Value) {
    for target in doc["applied_to"].as_array_mut().into_iter().flatten() {
        if target["type"] == "label_selector" {
            let found =
                selected(state, target).into_iter().map(|id| json!({ "type": "server", "server": { "id": id } }));
            target["applied_to_resources"] = found.collect();
        }
    }
}

pub(super) fn delete(state: &mut State, id: Id) -> Reply {
    if state.doc(Kind::Firewall, id)?["applied_to"].as_array().is_some_and(|applied| !applied.is_empty()) {
        return Err(Refusal::rule("resource_in_use", "firewall is still in use"));
    }
    state.remove(Kind::Firewall, id);
    Ok(Value::Null)
}

pub(super) fn act(state: &mut State, id: Id, verb: &str, request: &Request) -> Option<Reply> {
    let actions = match verb {
        "set_rules" => set_rules(state, id, request),
        "apply_to_resources" => apply(state, id, request),
        "remove_from_resources" => remove(state, id, request),
        _ => return None,
    };
    Some(actions.map(|ids| json!({ "actions": ids.into_iter().map(|id| state.action(id)).collect::<Vec<_>>() })))
}

fn set_rules(state: &mut State, id: Id, request: &Request) -> Result<Vec<Id>, Refusal> {
    let rules = check_rules(request.list("rules"))?;
    let applied = servers(state, state.doc(Kind::Firewall, id)?);
    let mut actions = vec![state.begin("set_firewall_rules", &[(Kind::Firewall, id)], move |state| {
        if let Ok(firewall) = state.doc_mut(Kind::Firewall, id) {
            firewall["rules"] = json!(rules);
        }
        Ok(())
    })];
    for server in applied {
        actions.push(state.begin("apply_firewall", &[(Kind::Firewall, id), (Kind::Server, server)], |_| Ok(())));
    }
    Ok(actions)
}

fn apply(state: &mut State, id: Id, request: &Request) -> Result<Vec<Id>, Refusal> {
    for target in request.list("apply_to") {
        check_target(state, target, 404)?;
    }
    request.list("apply_to").iter().map(|target| begin_apply(state, id, target)).collect()
}

fn remove(state: &mut State, id: Id, request: &Request) -> Result<Vec<Id>, Refusal> {
    let targets: Vec<Value> = request.list("remove_from").iter().map(kept).collect();
    let firewall = state.doc(Kind::Firewall, id)?;
    let applied = firewall["applied_to"].as_array().expect("a list");
    if let Some(target) = targets.iter().find(|target| !applied.contains(target)) {
        let by_label = target["server"]["id"].as_u64().is_some_and(|server| servers(state, firewall).contains(&server));
        return Err(match by_label {
            true => Refusal::rule("firewall_managed_by_label_selector", "firewall is applied by a label selector"),
            false => Refusal::new(404, "firewall_resource_not_found", "the firewall resource was not found"),
        });
    }
    let actions = targets.into_iter().map(|target| {
        let mut resources = vec![(Kind::Firewall, id)];
        resources.extend(target["server"]["id"].as_u64().map(|server| (Kind::Server, server)));
        state.begin("remove_firewall", &resources, move |state| {
            if let Ok(firewall) = state.doc_mut(Kind::Firewall, id) {
                firewall["applied_to"].as_array_mut().expect("a list").retain(|one| *one != target);
            }
            Ok(())
        })
    });
    Ok(actions.collect())
}
