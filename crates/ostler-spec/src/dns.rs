//! Zones of the DNS in the spec, and who answers for them.

use crate::{
    SecretRef, Value,
    fault::{Fault, Problem, quote},
    grammar::null,
    hetzner, rules,
    shape::{Choice, Field, Presence::Default, Presence::Required, Shape, Text},
    tunnel,
    walk::Found,
};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// A zone that records are made in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneSpec {
    /// Its name, in lower case and without a dot at the end.
    pub name: String,
    /// Who takes its records.
    pub dns: DnsOptions,
    /// Authoritative servers to look at; empty: those that the zone's NS records name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<SocketAddr>,
}

impl ZoneSpec {
    /// Whether a name lies in it, which may be a wildcard.
    pub fn holds(&self, name: &str) -> bool {
        let name = name.strip_prefix("*.").unwrap_or(name);
        name.strip_suffix(self.name.as_str()).is_some_and(|below| below.is_empty() || below.ends_with('.'))
    }
}

/// Who takes a zone's records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum DnsOptions {
    /// Cloudflare's DNS.
    Cloudflare {
        /// API token that may read the zone and write its DNS.
        token: SecretRef,
        /// Where the API answers.
        url: String,
    },
    /// The DNS of Hetzner Cloud.
    Hetzner {
        /// API token of the project that the zone is in.
        token: SecretRef,
        /// Where the API answers.
        url: String,
    },
    /// A server that takes dynamic updates (RFC 2136), signed by TSIG (RFC 8945).
    Rfc2136 {
        /// Where it answers.
        server: SocketAddr,
        /// Name of the key.
        key: String,
        /// Its algorithm, such as `hmac-sha256`.
        algorithm: String,
        /// The key, in base64.
        secret: SecretRef,
    },
    /// A person.
    Manual,
}

/// Where DNS servers listen.
const PORT: u16 = 53;

/// `dns.ZONE`: all keys of all kinds; which belong to a kind is checked where the kind is known.
pub(super) fn shape() -> Shape {
    let kind = Shape::Choice(vec![
        Choice::new("cloudflare", "Cloudflare's DNS"),
        Choice::new("hetzner", "the DNS of Hetzner Cloud"),
        Choice::new("rfc2136", "a server that takes dynamic updates, such as BIND or Knot"),
        Choice::new("manual", "you make the records; Ostler says which, and waits"),
    ]);
    let algorithms = ["hmac-sha256", "hmac-sha384", "hmac-sha512"];
    let algorithms = Shape::Choice(algorithms.map(|word| Choice::new(word, "")).into());
    Shape::object(vec![
        Field::new("kind", kind, Required, "Who takes the zone's records"),
        Field::new(
            "token",
            Shape::Secret,
            null(),
            "Of `cloudflare` and `hetzner`: API token that may read the zone and write its DNS",
        ),
        Field::new(
            "endpoint",
            Shape::Text(tunnel::url()),
            null(),
            "Where the API answers; without it, the vendor's own",
        ),
        Field::new(
            "server",
            Shape::Text(socket()),
            null(),
            "Of `rfc2136`: address of the server, with a port unless that is 53",
        ),
        Field::new("key", Shape::Text(zone_name()), null(), "Of `rfc2136`: name of the key that signs updates (TSIG)"),
        Field::new("algorithm", algorithms, Default(Value::String("hmac-sha256".into())), "What that signs by"),
        Field::new("secret", Shape::Secret, null(), "Of `rfc2136`: the key itself, in base64"),
        Field::new(
            "nameservers",
            Shape::List(Box::new(Shape::Text(socket()))),
            Default(Value::List(Vec::new())),
            "Addresses of the authoritative servers that are asked whether a record is there; without them, those that the \
             zone's NS records name",
        ),
    ])
}

/// A key under `dns`.
pub(super) fn zone_name() -> Text {
    Text::checked("the name of a zone", Some(r"^[a-z0-9_-]+(\.[a-z0-9_-]+)*$"), |text| {
        let plain = text.replace('_', "-");
        let is_domain = (rules::domain().check.expect("it has one"))(plain.trim_matches('-')).is_ok();
        match is_domain && !text.contains(|c: char| c.is_ascii_uppercase()) {
            true => Ok(()),
            false => Err(Problem::new(format!("{} is not the name of a zone", quote(text)))
                .hint("in lower case and without a dot at the end, such as `example.com`")),
        }
    })
}

fn socket() -> Text {
    Text::checked("an address", None, |text| match address(text) {
        Some(_) => Ok(()),
        None => Err(Problem::new(format!("{} is not the address of a server", quote(text)))
            .hint("an IP address, with a port or without: `192.0.2.53`, `192.0.2.53:5353`, `[2001:db8::53]:5353`")),
    })
}

fn address(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, PORT)))
}

/// An entry of `dns`; `None` where it is at fault.
pub(super) fn read(
    name: &str,
    found: &Found,
    secret: &dyn Fn(&Found) -> Option<Option<SecretRef>>,
    faults: &mut Vec<Fault>,
) -> Option<ZoneSpec> {
    let kind = found.get("kind")?.text()?;
    let (needed, allowed): (&[&str], &[&str]) = match kind {
        "cloudflare" | "hetzner" => (&["token"], &["endpoint"]),
        "rfc2136" => (&["server", "key", "secret"], &[]),
        _ => (&[], &[]),
    };
    let mut whole = true;
    for key in ["token", "endpoint", "server", "key", "secret"] {
        let value = found.get(key)?;
        if needed.contains(&key) && value.is_null() {
            faults.push(found.fault(Problem::new(format!("a zone of kind {} needs `{key}`", quote(kind)))));
            whole = false;
        }
        if !needed.contains(&key) && !allowed.contains(&key) && !value.is_null() {
            let problem = Problem::new(format!("a zone of kind {} has no `{key}`", quote(kind)));
            faults.push(value.fault(problem.hint("take it out")));
            whole = false;
        }
    }
    if !whole {
        return None;
    }
    let url = |own: &str| {
        let endpoint = found.get("endpoint")?;
        Some(if endpoint.is_null() { own } else { endpoint.text()? }.trim_end_matches('/').to_owned())
    };
    let dns = match kind {
        "cloudflare" => DnsOptions::Cloudflare { token: secret(found.get("token")?)??, url: url(tunnel::CLOUDFLARE)? },
        "hetzner" => DnsOptions::Hetzner { token: secret(found.get("token")?)??, url: url(hetzner::API)? },
        "rfc2136" => DnsOptions::Rfc2136 {
            server: address(found.get("server")?.text()?)?,
            key: found.get("key")?.text()?.to_owned(),
            algorithm: found.get("algorithm")?.text()?.to_owned(),
            secret: secret(found.get("secret")?)??,
        },
        _ => DnsOptions::Manual,
    };
    let nameservers = found.get("nameservers")?.list()?;
    let nameservers = nameservers.iter().map(|item| address(item.text()?)).collect::<Option<_>>()?;
    Some(ZoneSpec { name: name.to_owned(), dns, nameservers })
}
