//! Hetzner Cloud in the spec: how its API is reached, and what a server is made of.

use super::{
    HetznerAddress, HetznerEndpoint, HetznerNetwork, HetznerOptions, HetznerVolume, SecretRef, Value, VolumeFormat,
    balancer::{self, Balancers},
    fault::{At, Fault, Problem, quote},
    grammar::{none, null, text},
    mount,
    proxmox::matching,
    rules,
    shape::{
        Choice, Field,
        Presence::{Default, Required},
        Shape, Text,
    },
    walk::{Found, check_text},
};

/// Where the vendor's API is.
pub(super) const API: &str = "https://api.hetzner.cloud/v1";

/// Keys of `providers.NAME` that only this kind has.
pub(super) fn provider() -> Vec<Field> {
    vec![
        Field::new(
            "endpoint",
            Shape::Text(endpoint_url()),
            null(),
            "Hetzner Cloud: where its API is, if not at Hetzner's own address",
        ),
        balancer::field(),
    ]
}

/// `servers.NAME.hetzner`
pub(super) fn place() -> Shape {
    let words = |noun: &'static str| {
        let word = Shape::Text(matching(noun, WORD));
        Shape::Either(vec![word.clone(), Shape::List(Box::new(word))])
    };
    let name = |noun: &'static str| Shape::Text(matching(noun, NAME));
    let on = |on| Default(Value::Bool(on));
    let address = |family: &'static str| Shape::Either(vec![Shape::Bool, name(family)]);
    let network = Shape::object(vec![
        Field::new("name", name("the name of a network"), Required, "Its name at Hetzner"),
        Field::new("range", Shape::Text(range()), text("10.0.0.0/16"), "Its addresses, where Ostler makes it"),
    ]);
    let volume = Shape::object(vec![
        Field::new("name", name("the name of a volume"), Required, "Its name at Hetzner"),
        Field::new(
            "size",
            Shape::Int { min: i64::from(HetznerVolume::SMALLEST), max: 10_240 },
            null(),
            "GB; without it, as large as it is, and 10 where Ostler makes it. It can grow",
        ),
        Field::new(
            "format",
            Shape::Choice(vec![Choice::new("ext4", "ext4"), Choice::new("xfs", "XFS")]),
            text("ext4"),
            "Its file system, which Ostler makes where the volume holds nothing at all",
        ),
        Field::new("mount", Shape::Text(mount::path()), null(), "Where it is mounted, such as `/srv/data`"),
    ]);
    Shape::object(vec![
        Field::new(
            "type",
            words("a server type such as `cx23`"),
            Required,
            "Server type, or several in the order in which they are tried",
        ),
        Field::new(
            "location",
            words("a location such as `fsn1`"),
            Required,
            "Location, or several in the order in which they are tried for each type",
        ),
        Field::new(
            "network",
            Shape::Either(vec![name("the name of a network"), network]),
            null(),
            "Private network that it is in: one that is there, or one that Ostler makes",
        ),
        Field::new(
            "volumes",
            Shape::List(Box::new(Shape::Either(vec![name("the name of a volume"), volume]))),
            none(),
            "Volumes that are attached to it, and mounted where `mount` says so: those that are there, or those that Ostler makes. \
             They outlive the server",
        ),
        Field::new(
            "placement",
            name("the name of a placement group"),
            null(),
            "Placement group, whose servers stand on different hosts: one that is there, or one that Ostler makes",
        ),
        Field::new(
            "ipv4",
            address("the name of a Primary IP"),
            on(true),
            "Whether it has a public IPv4 address; or the name of a Primary IP, made where there is none, that outlives the server",
        ),
        Field::new("ipv6", address("the name of a Primary IP"), on(true), "Likewise for IPv6"),
        Field::new("backups", Shape::Bool, on(false), "Hetzner's daily backups, for a fifth of its price"),
        Field::new(
            "protect",
            Shape::Bool,
            on(false),
            "Whether Hetzner refuses to delete or rebuild it; Ostler takes that off where it is asked to destroy or rebuild it",
        ),
        Field::new(
            "firewall",
            Shape::Bool,
            on(true),
            "Whether a firewall of Hetzner stands in front of it, with the ports of SSH, of its apps and of its firewall module",
        ),
        balancer::named(),
    ])
}

/// Server types and locations.
pub(super) const WORD: &str = "^[a-z0-9][a-z0-9-]*$";
/// Names that people give at Hetzner.
pub(super) const NAME: &str = "^[a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?$";

fn endpoint_url() -> Text {
    Text::checked("the URL of Hetzner's API", Some("^https?://[^/@?#]+(/[^@?#]*)?$"), |text| {
        if text.contains('@') {
            return Err(Problem::new("the URL holds a user or password").hint("the token goes under `token`"));
        }
        let host = |rest: &str| {
            let authority = rest.split('/').next().unwrap_or_default();
            let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
            ["127.0.0.1", "localhost", "[::1]"].contains(&host)
        };
        match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) if !rest.is_empty() => Ok(()),
            (_, Some(rest)) if host(rest) => Ok(()),
            _ => Err(Problem::new(format!("{} is not the URL of Hetzner's API", quote(text)))
                .hint(format!("leave it out for `{API}`; only on this machine it may begin with `http://`"))),
        }
    })
}

/// An endpoint that stands in no file; without a URL, the vendor's own.
pub fn hetzner_endpoint(name: &str, url: Option<&str>, token: SecretRef) -> Result<HetznerEndpoint, Fault> {
    let url = url.unwrap_or(API);
    check_text(url, &endpoint_url()).map_err(|problem| problem.at(At { line: 1, column: 1 }, "endpoint"))?;
    Ok(HetznerEndpoint { name: name.to_owned(), url: url.trim_end_matches('/').to_owned(), token })
}

fn range() -> Text {
    Text::checked("a private range such as `10.0.0.0/16`", None, |text| {
        let private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
        let range: Option<ipnet::Ipv4Net> = text.parse().ok();
        let inside = |range: &ipnet::Ipv4Net| {
            private.iter().any(|block| block.parse::<ipnet::Ipv4Net>().is_ok_and(|block| block.contains(range)))
        };
        match range {
            Some(range) if range == range.trunc() && inside(&range) && range.prefix_len() <= 24 => Ok(()),
            _ => Err(Problem::new(format!("{} is not a private range", quote(text)))
                .hint("`10.0.0.0/16`, or another of RFC 1918 with a prefix of 24 or less")),
        }
    })
}

/// An entry of `providers`; `None` where it is at fault.
pub(super) fn endpoint(
    name: &str,
    found: &Found,
    token: Option<SecretRef>,
    faults: &mut Vec<Fault>,
) -> Option<HetznerEndpoint> {
    let mut good = true;
    for key in ["url", "fingerprint", "ca"] {
        if let Some(written) = found.get(key).filter(|value| !value.is_null()) {
            let problem = Problem::new("only Proxmox VE has it");
            faults.push(
                written.fault(problem.hint("take it out; another address of Hetzner's API goes under `endpoint`")),
            );
            good = false;
        }
    }
    let endpoint = found.get("endpoint")?;
    let url = if endpoint.is_null() { API } else { endpoint.text()? };
    let url = url.trim_end_matches('/').to_owned();
    Some(HetznerEndpoint { name: name.to_owned(), url, token: token? }).filter(|_| good)
}

/// What `hetzner` of a server says.
pub(super) fn options(
    server: &Found,
    endpoint: Option<HetznerEndpoint>,
    balancers: &Balancers,
    faults: &mut Vec<Fault>,
) -> Option<HetznerOptions> {
    for key in ["size", "network", "local"] {
        if let Some(written) = server.get(key).filter(|value| value.at != server.at) {
            let problem = Problem::new(match key {
                "size" => "the server type says the size of a server of Hetzner",
                "network" => "Hetzner gives a server its cards and addresses",
                _ => "ports are forwarded by provider `local` only",
            });
            faults.push(written.fault(problem.hint("take it out")));
        }
    }
    if let Some(image) = server.get("image").filter(|image| !image.text().is_some_and(|it| rules::IMAGES.contains(&it)))
    {
        let problem = Problem::new("a server of Hetzner boots from one of Hetzner's images");
        faults.push(image.fault(problem.hint(format!("write its name: `{}`", rules::IMAGES[0]))));
    }
    let found = server.get("hetzner")?;
    if found.is_null() {
        let problem = Problem::new("the spec must say what to make the server of");
        let hint = "write at least `hetzner: { type: cx23, location: fsn1 }`";
        faults.push(server.get("provider")?.fault(problem.hint(hint)));
        return None;
    }
    let (types, locations) = (words(found.get("type")?, faults), words(found.get("location")?, faults));
    let (ipv4, ipv6) = (address(found.get("ipv4")?)?, address(found.get("ipv6")?)?);
    if (&ipv4, &ipv6) == (&HetznerAddress::None, &HetznerAddress::None) {
        let problem = Problem::new("a server without a public address can't be reached");
        faults.push(found.get("ipv4")?.fault(problem.hint("leave `ipv4` or `ipv6` on")));
    }
    let network = found.get("network")?;
    let network = match network.text() {
        _ if network.is_null() => None,
        Some(name) => Some(HetznerNetwork { name: name.to_owned(), range: "10.0.0.0/16".parse().expect("a range") }),
        None => Some(HetznerNetwork {
            name: network.get("name")?.text()?.to_owned(),
            range: network.get("range")?.text()?.parse().ok()?,
        }),
    };
    let volumes = volumes(found.get("volumes")?.list()?, faults);
    let flag = |key| found.get(key)?.bool();
    let options = HetznerOptions {
        types: types?,
        locations: locations?,
        network,
        volumes: volumes?,
        placement: found.get("placement")?.text().map(str::to_owned),
        ipv4,
        ipv6,
        backups: flag("backups")?,
        protect: flag("protect")?,
        firewall: flag("firewall")?,
        load_balancer: None,
        endpoint: endpoint?,
    };
    let load_balancer = balancer::of_server(found, balancers, &options, faults)?;
    Some(HetznerOptions { load_balancer, ..options })
}

/// One word, or several in their order.
fn words(found: &Found, faults: &mut Vec<Fault>) -> Option<Vec<String>> {
    if let Some(word) = found.text() {
        return Some(vec![word.to_owned()]);
    }
    let words: Vec<String> = found.list()?.iter().map(|word| Some(word.text()?.to_owned())).collect::<Option<_>>()?;
    if words.is_empty() {
        faults.push(found.fault(Problem::new("at least one is needed")));
        return None;
    }
    Some(words)
}

/// Each named once, and none mounted within another.
fn volumes(entries: &[Found], faults: &mut Vec<Fault>) -> Option<Vec<HetznerVolume>> {
    let mut volumes: Vec<HetznerVolume> = Vec::new();
    for entry in entries {
        let volume = volume(entry)?;
        if volumes.iter().any(|other| other.name == volume.name) {
            let problem = Problem::new(format!("{} is named twice", quote(&volume.name)));
            faults.push(entry.fault(problem.hint("take one of them out")));
        }
        let overlapping = volumes.iter().find_map(|other| {
            let (mine, theirs) = (volume.mount.as_deref()?, other.mount.as_deref()?);
            mount::overlap(mine, theirs).then(|| Problem::new(format!("{} overlaps {}", quote(mine), quote(theirs))))
        });
        if let Some(problem) = overlapping {
            faults.push(entry.get("mount")?.fault(problem.hint("mount each volume at a place of its own")));
        }
        volumes.push(volume);
    }
    Some(volumes)
}

fn volume(found: &Found) -> Option<HetznerVolume> {
    if let Some(name) = found.text() {
        return Some(HetznerVolume::raw(name));
    }
    let (size, mount) = (found.get("size")?, found.get("mount")?);
    Some(HetznerVolume {
        name: found.get("name")?.text()?.to_owned(),
        size: if size.is_null() { None } else { Some(size.int()?.try_into().ok()?) },
        format: match found.get("format")?.text()? {
            "xfs" => VolumeFormat::Xfs,
            _ => VolumeFormat::Ext4,
        },
        mount: if mount.is_null() { None } else { Some(mount.text()?.to_owned()) },
    })
}

fn address(found: &Found) -> Option<HetznerAddress> {
    Some(match (found.bool(), found.text()) {
        (Some(false), _) => HetznerAddress::None,
        (Some(true), _) => HetznerAddress::Own,
        (None, name) => HetznerAddress::Kept(name?.to_owned()),
    })
}
