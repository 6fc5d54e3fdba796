//! What Hetzner has to offer: locations, types, images and prices. A choice of it, with made-up prices; the names and sizes are
//! Hetzner's of autumn 2026, and each trap is there once: a type that is gone, one that will be, and one that only some locations have.

use super::state::{Id, Kind, State};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const LOCATIONS: [(Id, &str, &str, &str, &str); 6] = [
    (1, "fsn1", "DE", "Falkenstein", "eu-central"),
    (2, "nbg1", "DE", "Nuremberg", "eu-central"),
    (3, "hel1", "FI", "Helsinki", "eu-central"),
    (4, "ash", "US", "Ashburn, VA", "us-east"),
    (5, "hil", "US", "Hillsboro, OR", "us-west"),
    (6, "sin", "SG", "Singapore", "ap-southeast"),
];

/// Id, name, architecture, CPU type, cores, memory and disk in GB, locations, EUR a month.
type ServerType = (Id, &'static str, &'static str, &'static str, u64, u64, u64, &'static [&'static str], f64);

const EUROPE: &[&str] = &["fsn1", "nbg1", "hel1"];
const EVERYWHERE: &[&str] = &["fsn1", "nbg1", "hel1", "ash", "hil", "sin"];

const SERVER_TYPES: [ServerType; 9] = [
    (22, "cpx11", "x86", "shared", 2, 2, 40, EVERYWHERE, 4.35),
    (45, "cax11", "arm", "shared", 2, 4, 40, EUROPE, 3.79),
    (93, "cax21", "arm", "shared", 4, 8, 80, EUROPE, 6.49),
    (97, "ccx13", "x86", "dedicated", 2, 8, 80, EVERYWHERE, 12.49),
    (104, "cx22", "x86", "shared", 2, 4, 40, EUROPE, 3.79),
    (108, "cpx22", "x86", "shared", 2, 4, 80, &["fsn1", "nbg1", "hel1", "sin"], 6.49),
    (114, "cx23", "x86", "shared", 2, 4, 40, EUROPE, 3.49),
    (115, "cx33", "x86", "shared", 4, 8, 80, EUROPE, 5.49),
    (116, "cx43", "x86", "shared", 8, 16, 160, EUROPE, 9.49),
];

/// Types that are or will be gone: when that was said, and when it is so.
const DEPRECATED: [(&str, &str, &str); 2] = [
    ("cx22", "2025-10-16T06:00:00Z", "2026-02-01T00:00:00Z"),
    ("cpx11", "2026-11-02T06:00:00Z", "2099-12-31T00:00:00Z"),
];

const IMAGES: [(Id, &str, &str, &str, &str, &str); 8] = [
    (45_557_056, "debian-11", "x86", "debian", "11", "system"),
    (114_690_387, "debian-12", "x86", "debian", "12", "system"),
    (114_690_389, "debian-12", "arm", "debian", "12", "system"),
    (310_557_660, "debian-13", "x86", "debian", "13", "system"),
    (310_557_661, "debian-13", "arm", "debian", "13", "system"),
    (161_547_269, "ubuntu-24.04", "x86", "ubuntu", "24.04", "system"),
    (161_547_270, "ubuntu-24.04", "arm", "ubuntu", "24.04", "system"),
    (40_093_247, "docker-ce", "x86", "ubuntu", "24.04", "app"),
];

/// Id, name, services, targets, EUR a month.
const LOAD_BALANCER_TYPES: [(Id, &str, u64, u64, f64); 2] = [(1, "lb11", 5, 25, 5.39), (2, "lb21", 15, 75, 16.40)];

/// The tables of it.
pub(super) fn tables() -> BTreeMap<Kind, BTreeMap<Id, Value>> {
    let table = |docs: Vec<Value>| docs.into_iter().map(|doc| (doc["id"].as_u64().unwrap_or(0), doc)).collect();
    BTreeMap::from([
        (Kind::Location, table(LOCATIONS.map(location).into())),
        (Kind::ServerType, table(SERVER_TYPES.map(server_type).into())),
        (Kind::Image, table(IMAGES.map(image).into())),
        (Kind::Iso, table(vec![iso()])),
        (Kind::LoadBalancerType, table(LOAD_BALANCER_TYPES.map(load_balancer_type).into())),
    ])
}

fn location((id, name, country, city, zone): (Id, &str, &str, &str, &str)) -> Value {
    json!({
        "id": id, "name": name, "description": format!("{city} DC Park 1"), "country": country, "city": city,
        "latitude": 50.47612, "longitude": 12.370071, "network_zone": zone,
    })
}

fn server_type((id, name, architecture, cpu, cores, memory, disk, locations, price): ServerType) -> Value {
    let ending = DEPRECATED
        .iter()
        .find(|(deprecated, ..)| *deprecated == name)
        .map_or(Value::Null, |(_, said, gone)| deprecation(said, gone));
    let places: Vec<Value> = LOCATIONS
        .iter()
        .filter(|(_, location, ..)| locations.contains(location))
        .map(|(id, location, ..)| json!({ "id": id, "name": location, "deprecation": ending }))
        .collect();
    let prices: Vec<Value> = locations.iter().map(|location| price_per_time(location, price)).collect();
    json!({
        "id": id, "name": name, "description": name.to_uppercase(), "architecture": architecture, "cpu_type": cpu,
        "category": "Cost-Optimized", "cores": cores, "memory": memory, "disk": disk, "storage_type": "local", "locations": places,
        "prices": prices, "deprecated": !ending.is_null(), "deprecation": ending,
    })
}

fn deprecation(announced: &str, gone: &str) -> Value {
    json!({ "announced": announced, "unavailable_after": gone })
}

/// Adds whether it can be had, by location.
pub(super) fn complete_server_type(state: &State, doc: &mut Value) {
    let name = doc["name"].as_str().unwrap_or_default().to_owned();
    let gone = is_gone(doc);
    for location in doc["locations"].as_array_mut().into_iter().flatten() {
        let place = location["name"].as_str().unwrap_or_default().to_owned();
        let available = !gone && !state.sold_out.contains(&(name.clone(), place));
        location["available"] = json!(available);
        location["recommended"] = json!(available && location["deprecation"].is_null());
    }
}

/// Whether a type can't be ordered any more.
pub(super) fn is_gone(server_type: &Value) -> bool {
    let after = server_type["deprecation"]["unavailable_after"].as_str().and_then(|time| time.parse().ok());
    after.is_some_and(|after: jiff::Timestamp| after < jiff::Timestamp::now())
}

fn image((id, name, architecture, flavor, version, kind): (Id, &str, &str, &str, &str, &str)) -> Value {
    json!({
        "id": id, "name": name, "type": kind, "status": "available", "architecture": architecture, "os_flavor": flavor,
        "os_version": version, "description": format!("{name} Standard 64 bit"), "disk_size": 5, "image_size": null,
        "rapid_deploy": true, "created": "2025-08-12T05:44:27Z", "created_from": null, "bound_to": null, "deleted": null,
        "deprecation": (name == "debian-11").then(|| deprecation("2026-05-31T00:00:00Z", "2026-08-31T00:00:00Z")), "labels": {}, "protection": { "delete": false },
    })
}

fn iso() -> Value {
    json!({
        "id": 94_001, "name": "debian-13.1.0-amd64-netinst.iso", "description": "Debian 13.1 (amd64/netinstall)", "type": "public",
        "architecture": "x86", "deprecation": null,
    })
}

fn load_balancer_type((id, name, services, targets, price): (Id, &str, u64, u64, f64)) -> Value {
    let prices: Vec<Value> = EVERYWHERE.iter().map(|location| price_per_time(location, price)).collect();
    json!({
        "id": id, "name": name, "description": name.to_uppercase(), "max_connections": 10_000, "max_services": services,
        "max_targets": targets, "max_assigned_certificates": 10, "deprecated": null, "prices": prices,
    })
}

fn price(net: f64) -> Value {
    json!({ "net": format!("{net:.4}"), "gross": format!("{:.4}", net * 1.19) })
}

fn price_per_time(location: &str, monthly: f64) -> Value {
    json!({
        "location": location, "price_hourly": price(monthly / 624.0), "price_monthly": price(monthly),
        "price_per_tb_traffic": price(1.0), "included_traffic": 21_990_232_555_520_u64,
    })
}

/// All prices.
pub(super) fn pricing(state: &State) -> Value {
    let of = |kind| -> Vec<Value> {
        state.all(kind).map(|(id, doc)| json!({ "id": id, "name": doc["name"], "prices": doc["prices"] })).collect()
    };
    let addresses = |monthly: f64| -> Vec<Value> {
        let prices = |location: &&str| json!({ "location": location, "price_hourly": price(monthly / 624.0), "price_monthly": price(monthly) });
        EVERYWHERE.iter().map(prices).collect()
    };
    json!({ "pricing": {
        "currency": "EUR",
        "vat_rate": "19.00",
        "image": { "price_per_gb_month": price(0.011) },
        "volume": { "price_per_gb_month": price(0.044) },
        "server_backup": { "percentage": "20.00" },
        "floating_ip": { "price_monthly": price(3.0) },
        "floating_ips": [],
        "primary_ips": [{ "type": "ipv4", "prices": addresses(0.5) }, { "type": "ipv6", "prices": addresses(0.0) }],
        "server_types": of(Kind::ServerType),
        "load_balancer_types": of(Kind::LoadBalancerType),
    } })
}
