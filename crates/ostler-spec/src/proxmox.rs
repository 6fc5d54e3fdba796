//! Proxmox VE in the spec: where its API is, and where on it a server is made.

use super::{
    ProxmoxEndpoint, ProxmoxOptions, ProxmoxTrust, SecretRef, SpecContext,
    fault::{Fault, Problem, join, quote},
    grammar::{none, null, text},
    shape::{Field, Presence::Required, Shape, Text},
    walk::Found,
};

/// Keys of `providers.NAME` that only this kind has.
pub(super) fn provider() -> Vec<Field> {
    vec![
        Field::new("url", Shape::Text(url()), null(), WHERE),
        Field::new(
            "fingerprint",
            Shape::Text(fingerprint()),
            null(),
            "Proxmox VE: SHA-256 of its certificate, `AB:CD:…`; `pvenode cert info` shows it",
        ),
        Field::new(
            "ca",
            Shape::Text(Text::any("the path of a certificate")),
            null(),
            "Instead: file with the certificate of the cluster's own authority, a copy of `/etc/pve/pve-root-ca.pem`",
        ),
    ]
}

/// Help of `url`.
const WHERE: &str = "Proxmox VE: where its API is, `https://HOST:8006`";

/// `servers.NAME.proxmox`
pub(super) fn place() -> Shape {
    let vmid = Shape::Either(vec![Shape::Int { min: 100, max: 999_999_999 }, Shape::Text(auto())]);
    let name = |noun, pattern| Shape::Text(matching(noun, pattern));
    Shape::object(vec![
        Field::new("node", name("the name of a node", NODE), Required, "Node that the server is made on"),
        Field::new("vmid", vmid, text("auto"), "Its VMID; `auto`: the next free one, chosen once and kept"),
        Field::new("storage", name("the name of a storage", STORAGE), text("local-lvm"), "Storage of its disk"),
        Field::new(
            "images",
            name("the name of a storage", STORAGE),
            text("local"),
            "Storage that images and seeds are put on; its content types include `import` and `iso`",
        ),
        Field::new("bridge", bridge(), text("vmbr0"), "Bridge of its network cards"),
        Field::new("vlan", vlan(), null(), "VLAN of its network cards"),
        Field::new("tags", Shape::List(Box::new(name("a tag", TAG))), none(), "Tags that Proxmox VE shows"),
    ])
}

/// Of one card, or of all.
pub(super) fn bridge() -> Shape {
    Shape::Text(matching("the name of a bridge", BRIDGE))
}

/// Likewise.
pub(super) fn vlan() -> Shape {
    Shape::Int { min: 1, max: 4094 }
}

/// Formats `pve-node`, `pve-storage-id`, `pve-bridge-id` and `pve-tag` of Proxmox VE's API.
const NODE: &str = "^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$";
const STORAGE: &str = "^[a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9]$";
const BRIDGE: &str = "^[a-zA-Z0-9_.-]{1,15}$";
const TAG: &str = "^[a-z0-9_][a-z0-9_+.-]*$";

pub(super) fn matching(noun: &'static str, pattern: &str) -> Text {
    Text {
        noun,
        pattern: Some(regex::Regex::new(pattern).expect("a pattern of this crate")),
        example: None,
        check: None,
    }
}

fn auto() -> Text {
    Text::checked("`auto`", Some("^auto$"), |text| match text {
        "auto" => Ok(()),
        _ => Err(Problem::new("not a VMID").hint("100 to 999999999, or `auto` for the next free one")),
    })
}

fn url() -> Text {
    Text::checked("the URL of a Proxmox VE node", Some("^https://[^/@?#]+/?$"), |text| {
        let authority = text.strip_prefix("https://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        let bad = |c: char| c.is_whitespace() || c.is_control() || "/@?#".contains(c);
        match authority {
            Some(authority) if !authority.is_empty() && !authority.contains(bad) => Ok(()),
            Some(authority) if authority.contains('@') => {
                Err(Problem::new("the URL holds a user or password").hint("the token goes under `token`"))
            }
            _ => Err(Problem::new(format!("{} is not the URL of a Proxmox VE node", quote(text)))
                .hint("`https://`, its name or address, and its port: `https://pve1.example.org:8006`")),
        }
    })
}

fn fingerprint() -> Text {
    Text::checked("a fingerprint such as `AB:CD:…`", Some("^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){31}$"), |text| {
        let byte = |byte: &str| byte.len() == 2 && byte.bytes().all(|b| b.is_ascii_hexdigit());
        if text.split(':').count() == 32 && text.split(':').all(byte) {
            return Ok(());
        }
        Err(Problem::new(format!("{} is not the SHA-256 fingerprint of a certificate", quote(text)))
            .hint("32 pairs of hexadecimal digits with colons between; `pvenode cert info` shows them on the node"))
    })
}

/// An entry of `providers`; `None` where it is at fault.
pub(super) fn endpoint(
    name: &str,
    found: &Found,
    token: Option<SecretRef>,
    context: &SpecContext<'_>,
    faults: &mut Vec<Fault>,
) -> Option<ProxmoxEndpoint> {
    if let Some(written) = found.get("endpoint").filter(|value| !value.is_null()) {
        faults.push(written.fault(Problem::new("only Hetzner Cloud has it").hint("the address goes under `url`")));
    }
    if let Some(written) = found.get("load_balancers").filter(|it| it.map().is_none_or(|it| !it.is_empty())) {
        faults.push(written.fault(Problem::new("only Hetzner Cloud has it").hint("take it out")));
    }
    if found.get("url")?.is_null() {
        faults.push(Problem::new("missing").hint(WHERE).at(found.at, &join(&found.path, "url")));
    }
    let (fingerprint, ca) = (found.get("fingerprint")?, found.get("ca")?);
    let trust = match (fingerprint.is_null(), ca.is_null()) {
        (false, true) => Some(ProxmoxTrust::fingerprint(fingerprint.text()?)),
        (true, false) => authority(ca, context, faults),
        (true, true) => {
            let problem = Problem::new("nothing says which certificate is the right one");
            faults.push(found.fault(problem.hint("write `fingerprint`, or `ca`; Ostler trusts no certificate unseen")));
            None
        }
        (false, false) => {
            faults.push(ca.fault(Problem::new("`fingerprint` and `ca` exclude each other").hint("take one out")));
            None
        }
    };
    Some(ProxmoxEndpoint {
        name: name.to_owned(),
        url: found.get("url")?.text()?.trim_end_matches('/').to_owned(),
        token: token?,
        trust: trust?,
    })
}

fn authority(found: &Found, context: &SpecContext<'_>, faults: &mut Vec<Fault>) -> Option<ProxmoxTrust> {
    let path = context.resolve(found.text()?);
    let problem = match (context.read_file)(&path) {
        Ok(pem) if pem.contains("PRIVATE KEY") => {
            Problem::new(format!("{} holds a PRIVATE key", quote(&path.to_string_lossy())))
                .hint("only the certificate is wanted: `/etc/pve/pve-root-ca.pem`")
        }
        Ok(pem) if pem.contains("-----BEGIN CERTIFICATE-----") => return Some(ProxmoxTrust::Authority(pem)),
        Ok(_) => Problem::new(format!("{} holds no certificate in PEM", quote(&path.to_string_lossy()))),
        Err(error) => Problem::new(format!("{} can't be read: {error}", quote(&path.to_string_lossy()))),
    };
    faults.push(found.fault(problem));
    None
}

/// A number, where there is one and no word.
pub(super) fn number<N: TryFrom<i64>>(found: &Found) -> Option<Option<N>> {
    found.int().map(N::try_from).transpose().ok()
}

/// What `proxmox` of a server says.
pub(super) fn options(found: &Found, endpoint: Option<ProxmoxEndpoint>) -> Option<ProxmoxOptions> {
    let text = |key| Some(found.get(key)?.text()?.to_owned());
    let tags = found.get("tags")?.list()?.iter().map(|tag| tag.text().map(str::to_owned));
    Some(ProxmoxOptions {
        node: text("node")?,
        vmid: number(found.get("vmid")?)?,
        storage: text("storage")?,
        images: text("images")?,
        bridge: text("bridge")?,
        vlan: number(found.get("vlan")?)?,
        tags: tags.collect::<Option<_>>()?,
        endpoint: endpoint?,
    })
}
