//! Load balancers: services, targets and what they say of their health. They balance nothing.

use super::{
    api::{Refusal, Reply, Request},
    networks,
    query::Selector,
    state::{Id, Kind, State},
};
use serde_json::{Value, json};

pub(super) fn create(state: &mut State, request: &Request) -> Reply {
    let kind = state.find(Kind::LoadBalancerType, &request.body["load_balancer_type"])?;
    let location = match (&request.body["location"], request.text("network_zone")) {
        (Value::Null, Some(zone)) => {
            state.all(Kind::Location).find(|(_, doc)| doc["network_zone"] == zone).map(|(id, _)| id)
        }
        (Value::Null, None) => None,
        (location, _) => Some(state.find(Kind::Location, location)?),
    };
    let location = location.ok_or_else(|| Refusal::input("location", "location or network_zone is needed"))?;
    let mut doc = json!({
        "name": request.body["name"], "labels": request.body["labels"], "load_balancer_type": kind, "location": location,
        "algorithm": { "type": request.body["algorithm"]["type"].as_str().unwrap_or("round_robin") }, "services": [], "targets": [],
        "private_net": [], "protection": { "delete": false }, "included_traffic": 21_990_232_555_520_u64, "ingoing_traffic": 0,
        "outgoing_traffic": 0,
    });
    if let Some(network) = request.number("network") {
        let ip = networks::address(state, network, &json!(location), None, None)?;
        list(&mut doc, "private_net").push(json!({ "network": network, "ip": ip.to_string() }));
    }
    doc["public_net"] = json!({ "enabled": request.flag("public_interface", true) });
    for service in request.list("services") {
        add_service(state, &mut doc, service)?;
    }
    for target in request.list("targets") {
        add_target(state, &mut doc, target)?;
    }
    let (ipv4, ipv6) = (state.next_address(false), state.next_address(true));
    let (ipv4, ipv6) = (state.machines.ipv4(ipv4), state.machines.ipv6(ipv6));
    doc["public_net"] = json!({
        "enabled": request.flag("public_interface", true),
        "ipv4": { "ip": ipv4.to_string(), "dns_ptr": null }, "ipv6": { "ip": format!("{ipv6}1"), "dns_ptr": null },
    });
    let id = state.insert(Kind::LoadBalancer, doc);
    let action = state.begin("create_load_balancer", &[(Kind::LoadBalancer, id)], |_| Ok(()));
    Ok(json!({ "load_balancer": state.view(Kind::LoadBalancer, id)?, "action": state.action(action) }))
}

fn list<'a>(doc: &'a mut Value, name: &str) -> &'a mut Vec<Value> {
    doc[name].as_array_mut().expect("a list")
}

fn add_service(state: &State, doc: &mut Value, wanted: &Value) -> Result<(), Refusal> {
    let protocol = wanted["protocol"].as_str().unwrap_or("tcp");
    let default = match protocol {
        "http" => json!(80),
        "https" => json!(443),
        _ => Value::Null,
    };
    let or = |value: &Value, default: &Value| if value.is_null() { default.clone() } else { value.clone() };
    let mut service = wanted.clone();
    service["listen_port"] = or(&wanted["listen_port"], &default);
    let behind = if protocol == "https" { json!(80) } else { service["listen_port"].clone() };
    service["destination_port"] = or(&wanted["destination_port"], &behind);
    service["proxyprotocol"] = or(&wanted["proxyprotocol"], &json!(false));
    if service["listen_port"].is_null() {
        return Err(Refusal::input("listen_port", "Missing data for required field."));
    }
    if protocol == "https" && wanted["http"]["certificates"].as_array().is_none_or(Vec::is_empty) {
        return Err(Refusal::input("http.certificates", "Missing data for required field."));
    }
    if list(doc, "services").iter().any(|other| other["listen_port"] == service["listen_port"]) {
        return Err(Refusal::rule("source_port_already_used", "source port is already in use"));
    }
    let mut check =
        json!({ "protocol": "tcp", "port": service["destination_port"], "interval": 15, "timeout": 10, "retries": 3 });
    check.as_object_mut().expect("an object").extend(wanted["health_check"].as_object().cloned().unwrap_or_default());
    service["health_check"] = check;
    check_health(&service)?;
    list(doc, "services").push(service);
    fits(state, doc, &doc["load_balancer_type"])
}

/// A check must be over before the next one begins.
fn check_health(service: &Value) -> Result<(), Refusal> {
    let check = &service["health_check"];
    let path = check["http"]["path"].as_str().unwrap_or("/");
    match check["timeout"].as_u64() > check["interval"].as_u64() || !path.starts_with('/') || path.contains(' ') {
        true => Err(Refusal::input("health_check", "invalid input in field 'health_check'")),
        false => Ok(()),
    }
}

/// Whether a type takes that many services and targets.
fn fits(state: &State, doc: &Value, balancer_type: &Value) -> Result<(), Refusal> {
    let balancer_type = state.doc(Kind::LoadBalancerType, balancer_type.as_u64().unwrap_or(0))?;
    for (parts, most) in [("services", "max_services"), ("targets", "max_targets")] {
        if list_of(doc, parts).len() as u64 > balancer_type[most].as_u64().unwrap_or(0) {
            return Err(Refusal::new(403, "resource_limit_exceeded", &format!("{most} exceeded")));
        }
    }
    Ok(())
}

fn add_target(state: &State, doc: &mut Value, wanted: &Value) -> Result<(), Refusal> {
    let private = wanted["use_private_ip"] == true;
    if private && list(doc, "private_net").is_empty() {
        return Err(Refusal::rule(
            "load_balancer_not_attached_to_network",
            "load balancer is not attached to a network",
        ));
    }
    if let Some(selector) = wanted["label_selector"]["selector"].as_str() {
        Selector::parse(selector)?;
    }
    if let Some(server) = wanted["server"]["id"].as_u64() {
        let server = state.view(Kind::Server, server)?;
        let shares = |net: &Value| list_of(doc, "private_net").iter().any(|own| own["network"] == net["network"]);
        if private && !server["private_net"].as_array().is_some_and(|nets| nets.iter().any(shares)) {
            return Err(Refusal::rule("server_not_attached_to_network", "server is not attached to the network"));
        }
        if !private && server["public_net"]["ipv4"].is_null() {
            return Err(Refusal::rule("missing_ipv4", "server has no public IPv4 address"));
        }
        if !private && doc["public_net"]["enabled"] != true {
            let message = "the public interface is disabled";
            return Err(Refusal::rule("load_balancer_public_interface_disabled", message));
        }
    }
    let target = json!({ "type": wanted["type"], "use_private_ip": private });
    let mut target = with_aim(target, wanted);
    if target["type"] == "ip" {
        target.as_object_mut().expect("an object").remove("use_private_ip");
    }
    if list(doc, "targets").iter().any(|other| is_same(other, &target)) {
        return Err(Refusal::rule("target_already_defined", "target is already defined"));
    }
    list(doc, "targets").push(target);
    fits(state, doc, &doc["load_balancer_type"])
}

fn list_of<'a>(doc: &'a Value, name: &str) -> &'a [Value] {
    doc[name].as_array().map_or(&[], Vec::as_slice)
}

const AIMS: [&str; 3] = ["server", "label_selector", "ip"];

fn with_aim(mut target: Value, wanted: &Value) -> Value {
    for aim in AIMS.into_iter().filter(|aim| !wanted[*aim].is_null()) {
        target[aim] = wanted[aim].clone();
    }
    target
}

fn is_same(a: &Value, b: &Value) -> bool {
    a["type"] == b["type"] && AIMS.iter().all(|aim| a[*aim] == b[*aim])
}

/// Adds the health of each target by service, and what selectors find.
pub(super) fn complete(state: &State, doc: &mut Value) {
    let ports: Vec<Value> = list_of(doc, "services").iter().map(|service| service["listen_port"].clone()).collect();
    let health = |server: Option<Id>| -> Value {
        let name = server.and_then(|id| state.doc(Kind::Server, id).ok()).and_then(|doc| doc["name"].as_str());
        let runs = server.is_none_or(|id| state.machines.runs(id));
        let told = name.and_then(|name| state.health.get(name)).map(String::as_str);
        let status = told.unwrap_or(if runs { "healthy" } else { "unhealthy" });
        ports.iter().map(|port| json!({ "listen_port": port, "status": status })).collect()
    };
    for target in doc["targets"].as_array_mut().into_iter().flatten() {
        if let Some(selector) = target["label_selector"]["selector"].as_str() {
            let selector = Selector::parse(selector);
            let fits = |labels: &Value| selector.as_ref().is_ok_and(|selector| selector.fits(labels));
            let found = state.all(Kind::Server).filter(|(_, server)| fits(&server["labels"]));
            target["targets"] = found
                .map(|(id, _)| json!({
                    "type": "server", "server": { "id": id }, "health_status": health(Some(id)), "use_private_ip": target["use_private_ip"],
                }))
                .collect();
        } else {
            target["health_status"] = health(target["server"]["id"].as_u64());
        }
    }
}

pub(super) fn delete(state: &mut State, id: Id) -> Reply {
    state.act("delete_load_balancer", &[(Kind::LoadBalancer, id)], move |state| {
        state.remove(Kind::LoadBalancer, id);
        Ok(())
    })
}

pub(super) fn act(state: &mut State, id: Id, verb: &str, request: &Request) -> Option<Reply> {
    const COMMANDS: [&str; 11] = [
        "add_service",
        "update_service",
        "delete_service",
        "add_target",
        "remove_target",
        "attach_to_network",
        "detach_from_network",
        "change_algorithm",
        "change_type",
        "enable_public_interface",
        "disable_public_interface",
    ];
    let command = COMMANDS.into_iter().find(|command| *command == verb)?;
    Some(change(state, id, command, request))
}

fn change(state: &mut State, id: Id, command: &'static str, request: &Request) -> Reply {
    state.is_unlocked(Kind::LoadBalancer, id)?;
    let mut changed = state.doc(Kind::LoadBalancer, id)?.clone();
    let body = &request.body;
    let missing = |what: &str| Refusal::new(404, "not_found", &format!("there is no such {what}"));
    match command {
        "add_service" => add_service(state, &mut changed, body)?,
        "update_service" => {
            let service =
                list(&mut changed, "services").iter_mut().find(|service| service["listen_port"] == body["listen_port"]);
            let service = service.ok_or_else(|| missing("service"))?;
            for (key, value) in body.as_object().into_iter().flatten() {
                match (service[key].as_object_mut(), value.as_object()) {
                    (Some(old), Some(new)) => old.extend(new.clone()),
                    _ => service[key] = value.clone(),
                }
            }
            check_health(service)?;
        }
        "delete_service" => remove(&mut changed, "services", |service| service["listen_port"] == body["listen_port"])?,
        "add_target" => add_target(state, &mut changed, body)?,
        "remove_target" => {
            let wanted = with_aim(json!({ "type": body["type"] }), body);
            remove(&mut changed, "targets", |target| is_same(target, &wanted))?;
        }
        "attach_to_network" => {
            if !list(&mut changed, "private_net").is_empty() {
                return Err(Refusal::rule(
                    "load_balancer_already_attached",
                    "load balancer is already attached to a network",
                ));
            }
            let network = request.number("network").unwrap_or(0);
            let ip =
                networks::address(state, network, &changed["location"], request.text("ip"), request.text("ip_range"))?;
            list(&mut changed, "private_net").push(json!({ "network": network, "ip": ip.to_string() }));
        }
        "detach_from_network" => remove(&mut changed, "private_net", |net| net["network"] == body["network"])?,
        "change_algorithm" => changed["algorithm"] = json!({ "type": body["type"] }),
        "change_type" => {
            let wanted = json!(state.find(Kind::LoadBalancerType, &body["load_balancer_type"])?);
            if wanted == changed["load_balancer_type"] || fits(state, &changed, &wanted).is_err() {
                let message = "load balancer type does not fit the load balancer";
                return Err(Refusal::rule("invalid_load_balancer_type", message));
            }
            changed["load_balancer_type"] = wanted;
        }
        "enable_public_interface" => changed["public_net"]["enabled"] = json!(true),
        _ => {
            if list(&mut changed, "targets").iter().any(|target| target["use_private_ip"] != true) {
                return Err(Refusal::rule(
                    "targets_without_use_private_ip",
                    "load balancer has targets with public addresses",
                ));
            }
            changed["public_net"]["enabled"] = json!(false);
        }
    }
    state.act(command, &[(Kind::LoadBalancer, id)], move |state| {
        if let Ok(doc) = state.doc_mut(Kind::LoadBalancer, id) {
            for part in ["services", "targets", "private_net", "algorithm", "load_balancer_type", "public_net"] {
                doc[part] = changed[part].clone();
            }
        }
        Ok(())
    })
}

fn remove(doc: &mut Value, name: &str, is_it: impl Fn(&Value) -> bool) -> Result<(), Refusal> {
    let items = list(doc, name);
    let before = items.len();
    items.retain(|item| !is_it(item));
    match items.len() < before {
        true => Ok(()),
        false => Err(Refusal::new(404, "not_found", "the load balancer has no such part")),
    }
}
