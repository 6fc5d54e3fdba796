//! Load balancers of Hetzner Cloud in the spec: described under `providers`, and named by the servers that are their targets.

use super::{
    Value,
    fault::{Fault, Problem, nearest, quote},
    grammar::{null, text},
    hetzner::{NAME, WORD},
    proxmox::matching,
    shape::{
        Choice, Field,
        Presence::{Default, Required},
        Shape,
    },
    walk::Found,
};
use crate::{HetznerAddress, HetznerOptions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A load balancer. Ostler makes it with the first server that names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HetznerBalancer {
    /// Its name at the vendor.
    pub name: String,
    /// `lb11` and the like.
    pub balancer_type: String,
    /// Where it is.
    pub location: String,
    /// Name of the private network by which it reaches its servers; `None`: by their public IPv4 addresses.
    pub network: Option<String>,
    /// What it listens for, at least one, each on a port of its own.
    pub services: Vec<HetznerService>,
}

/// One port of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HetznerService {
    /// Whether it reads HTTP, or passes on whatever comes.
    pub http: bool,
    /// Port of the load balancer.
    pub listen: u16,
    /// Port of the servers.
    pub to: u16,
    /// Whether each connection begins with the client's address, by the proxy protocol.
    pub proxy_protocol: bool,
    /// When a server gets traffic.
    pub health: HetznerHealth,
}

/// How a load balancer finds out whether a server can take traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HetznerHealth {
    /// Port of the servers.
    pub port: u16,
    /// What it asks for; `None`: that a connection opens suffices.
    pub http: Option<HetznerHttpCheck>,
    /// Seconds between two checks.
    pub interval: u16,
    /// Seconds, at most `interval`.
    pub timeout: u16,
    /// Checks in a row that decide.
    pub retries: u16,
}

/// A request that must be answered with 2xx or 3xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HetznerHttpCheck {
    /// With the slash at its beginning.
    pub path: String,
    /// The host that is asked for.
    pub domain: Option<String>,
    /// Whether by HTTPS; no certificate is refused.
    pub tls: bool,
}

/// Those of an entry of `providers`; `None` where one is at fault.
pub(super) type Balancers = BTreeMap<String, Option<HetznerBalancer>>;

/// `providers.NAME.load_balancers`
pub(super) fn field() -> Field {
    Field::new(
        "load_balancers",
        Shape::Map { key: matching("the name of a load balancer", NAME), value: Box::new(balancer()) },
        Default(Value::Map(BTreeMap::new())),
        "Hetzner Cloud: load balancers, each under its name at Hetzner, that `hetzner.load_balancer` of a server can name",
    )
}

/// `servers.NAME.hetzner.load_balancer`
pub(super) fn named() -> Field {
    Field::new(
        "load_balancer",
        Shape::Text(matching("the name of a load balancer", NAME)),
        null(),
        "Load balancer under `load_balancers` of its provider that sends traffic to it once it is what the spec says",
    )
}

fn balancer() -> Shape {
    Shape::object(vec![
        Field::new(
            "type",
            Shape::Text(matching("a load balancer type such as `lb11`", WORD)),
            text("lb11"),
            "Its type, which says how many services, servers and connections it can have",
        ),
        Field::new(
            "location",
            Shape::Text(matching("a location such as `fsn1`", WORD)),
            Required,
            "Where it is; it can't be moved",
        ),
        Field::new(
            "network",
            Shape::Text(matching("the name of a network", NAME)),
            null(),
            "Private network by which it reaches its servers, which must all be in it; without one, it reaches them by their \
             public IPv4 addresses",
        ),
        Field::new("services", Shape::List(Box::new(service())), Required, "What it listens for"),
    ])
}

fn service() -> Shape {
    let port = || Shape::Int { min: 1, max: 65_535 };
    let seconds = |min| Shape::Int { min, max: 60 };
    let protocols = vec![
        Choice::new("tcp", "passes connections on as they come, TLS too"),
        Choice::new("http", "reads HTTP without TLS, and adds `X-Forwarded-For`"),
    ];
    let checks = vec![
        Choice::new("tcp", "a connection opens"),
        Choice::new("http", "a request is answered with 2xx or 3xx"),
        Choice::new("https", "the same by HTTPS, with any certificate"),
    ];
    let health = Shape::object(vec![
        Field::new("protocol", Shape::Choice(checks), text("tcp"), "What a healthy server does"),
        Field::new("port", port(), null(), "Port of the servers; without it, `to`"),
        Field::new(
            "path",
            Shape::Text(matching("a path such as `/ping`", PATH)),
            null(),
            "What HTTP asks for; without it, `/`",
        ),
        Field::new("domain", Shape::Text(matching("a host name", DOMAIN)), null(), "The host that HTTP asks for"),
        Field::new("interval", seconds(3), Default(Value::Int(15)), "Seconds between two checks"),
        Field::new("timeout", seconds(1), Default(Value::Int(10)), "Seconds that a check may take, at most `interval`"),
        Field::new(
            "retries",
            Shape::Int { min: 1, max: 5 },
            Default(Value::Int(3)),
            "Checks in a row that must fail until a server gets no more traffic, or succeed until it gets some again",
        ),
    ]);
    Shape::object(vec![
        Field::new("protocol", Shape::Choice(protocols), text("tcp"), "What it understands"),
        Field::new("listen", port(), Required, "Its port"),
        Field::new("to", port(), null(), "Port of the servers; without it, the same"),
        Field::new(
            "proxy_protocol",
            Shape::Bool,
            Default(Value::Bool(false)),
            "Whether it tells servers the client's address by the proxy protocol, which what listens there must understand",
        ),
        Field::new("health", health, Default(Value::Map(BTreeMap::new())), "When a server gets traffic"),
    ])
}

/// The vendor takes no spaces.
const PATH: &str = "^/[!-~]*$";
const DOMAIN: &str = "^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?$";

/// Those of an entry of `providers`.
pub(super) fn read(provider: &Found, faults: &mut Vec<Fault>) -> Balancers {
    let entries = provider.get("load_balancers").and_then(Found::map).into_iter().flatten();
    entries.map(|(name, found)| (name.clone(), read_one(name, found, faults))).collect()
}

fn read_one(name: &str, found: &Found, faults: &mut Vec<Fault>) -> Option<HetznerBalancer> {
    let written = found.get("services")?;
    if written.list()?.is_empty() {
        faults.push(written.fault(Problem::new("at least one is needed")));
        return None;
    }
    // Each is looked at, so that all faults show at once.
    let services: Vec<_> = written.list()?.iter().map(|entry| (entry, read_service(entry, faults))).collect();
    let mut taken: BTreeMap<u16, &str> = BTreeMap::new();
    for (entry, service) in &services {
        let Some(service) = service else { continue };
        if let Some(other) = taken.insert(service.listen, &entry.path) {
            let problem = Problem::new(format!("port {} is listened on already: `{other}`", service.listen));
            faults.push(entry.get("listen")?.fault(problem.hint("give each service a port of its own")));
        }
    }
    Some(HetznerBalancer {
        name: name.to_owned(),
        balancer_type: found.get("type")?.text()?.to_owned(),
        location: found.get("location")?.text()?.to_owned(),
        network: found.get("network")?.text().map(str::to_owned),
        services: services.into_iter().map(|(_, service)| service).collect::<Option<_>>()?,
    })
}

fn read_service(found: &Found, faults: &mut Vec<Fault>) -> Option<HetznerService> {
    let number = |found: &Found, key: &str| u16::try_from(found.get(key)?.int()?).ok();
    let or =
        |found: &Found, key: &str, other: u16| if found.get(key)?.is_null() { Some(other) } else { number(found, key) };
    let listen = number(found, "listen")?;
    let to = or(found, "to", listen)?;
    let health = found.get("health")?;
    let (path, domain) = (health.get("path")?, health.get("domain")?);
    let http = match health.get("protocol")?.text()? {
        "tcp" => {
            for written in [path, domain].into_iter().filter(|it| !it.is_null()) {
                let problem = Problem::new("a check by TCP asks for nothing");
                faults.push(written.fault(problem.hint("write `protocol: http` beside it, or take it out")));
            }
            None
        }
        protocol => Some(HetznerHttpCheck {
            path: if path.is_null() { "/" } else { path.text()? }.to_owned(),
            domain: domain.text().map(str::to_owned),
            tls: protocol == "https",
        }),
    };
    let (interval, timeout) = (number(health, "interval")?, number(health, "timeout")?);
    if timeout > interval {
        let problem =
            Problem::new(format!("a check of {timeout} s takes longer than the {interval} s to the next one"));
        faults.push(health.get("timeout")?.fault(problem.hint("write at most `interval`")));
    }
    Some(HetznerService {
        http: found.get("protocol")?.text()? == "http",
        listen,
        to,
        proxy_protocol: found.get("proxy_protocol")?.bool()?,
        health: HetznerHealth {
            port: or(health, "port", to)?,
            http,
            interval,
            timeout,
            retries: number(health, "retries")?,
        },
    })
}

/// The one that a server names; `None` where it is at fault.
pub(super) fn of_server(
    found: &Found,
    known: &Balancers,
    options: &HetznerOptions,
    faults: &mut Vec<Fault>,
) -> Option<Option<HetznerBalancer>> {
    let written = found.get("load_balancer")?;
    if written.is_null() {
        return Some(None);
    }
    let name = written.text()?;
    let Some(balancer) = known.get(name) else {
        let provider = &options.endpoint.name;
        let problem = Problem::new(format!("`providers.{provider}` has no load balancer {}", quote(name)));
        let problem = match known.is_empty() {
            true => problem.hint(
                "describe it there, such as `load_balancers: { front: { location: fsn1, services: [ { listen: 443 } ] } }`",
            ),
            false => problem.hints(nearest(name, known.keys().map(String::as_str))),
        };
        faults.push(written.fault(problem));
        return None;
    };
    let balancer = balancer.clone()?;
    let is_in = options.network.as_ref().map(|network| &network.name);
    match &balancer.network {
        Some(network) if is_in != Some(network) => {
            let problem = Problem::new(format!(
                "{} reaches its servers by the network {}, and this one is not in it",
                quote(name),
                quote(network)
            ));
            faults.push(written.fault(problem.hint(format!("write `network: {network}` beside it"))));
        }
        None if options.ipv4 == HetznerAddress::None => {
            let problem = Problem::new(format!(
                "{} reaches its servers by their public IPv4 addresses, and this one has none",
                quote(name)
            ));
            faults.push(written.fault(problem.hint("give both the same `network`, or leave `ipv4` on")));
        }
        _ => {}
    }
    Some(Some(balancer))
}
