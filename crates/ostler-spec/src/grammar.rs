//! The shape of `ostler.yaml`: every key with its default and its help, said once.

use super::{
    ShapeError, Value, dns, hetzner, params, proxmox, rules,
    shape::{
        Choice, Field,
        Presence::{self, Default, Required},
        Shape, Text,
    },
    site, tunnel,
};
use crate::{CatalogIndex, ModuleMeta};
use std::collections::BTreeMap;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// What top-level keys begin with that are the user's own: a place for parts that several servers share by anchors.
pub(super) const SHARED: &str = "x-";

/// The shape of a whole file, with the settings of these modules and the parameters of these apps, or of any where the
/// catalog is not known.
pub(super) fn spec(modules: &[ModuleMeta], catalog: Option<&CatalogIndex>) -> Result<Shape, ShapeError> {
    let servers = Shape::Map { key: rules::server_name(), value: Box::new(server(modules, catalog)?) };
    Ok(Shape::object(vec![
        Field::new(
            "catalog",
            self::catalog(),
            null(),
            "Where apps come from; without it, from the catalog that ships with Ostler",
        ),
        Field::new(
            "providers",
            Shape::Map { key: rules::provider_name(), value: Box::new(provider()) },
            empty(),
            "Where else servers come from, each under a name that `provider` of a server can use",
        ),
        Field::new(
            "tunnels",
            Shape::Map { key: tunnel::name(), value: Box::new(tunnel::endpoint()) },
            empty(),
            "Where tunnels end, each under a name that `tunnel` of a server can use",
        ),
        Field::new(
            "dns",
            Shape::Map { key: dns::zone_name(), value: Box::new(dns::shape()) },
            empty(),
            "Zones that records are made in, each under its name",
        ),
        Field::new("servers", servers, empty(), "The servers, each under its name, which is also its host name"),
        Field::new(
            "sites",
            Shape::Map { key: site::name(), value: Box::new(site::shape()) },
            empty(),
            "What is served, each under its name: a program behind Traefik, with its domains",
        ),
    ]))
}

/// `providers.NAME`: all keys of all kinds; which belong to a kind is checked where the kind is known.
fn provider() -> Shape {
    let kind = Shape::Choice(vec![
        Choice::new("proxmox", "a Proxmox VE node or cluster, 8.4 or later"),
        Choice::new("hetzner", "a project of Hetzner Cloud"),
    ]);
    let mut fields = vec![
        Field::new("kind", kind, Required, "What it is"),
        Field::new("token", Shape::Secret, Required, "API token; that of Proxmox VE as `USER@REALM!TOKENID=UUID`"),
    ];
    fields.extend(proxmox::provider());
    fields.extend(hetzner::provider());
    Shape::object(fields)
}

/// `catalog:`
pub(super) fn catalog() -> Shape {
    Shape::object(vec![
        Field::new(
            "url",
            Shape::Text(rules::git_url()),
            Required,
            "Git repository of the catalog: `https://`, `http://`, `ssh://` or `file://`",
        ),
        Field::new("branch", Shape::Text(rules::branch()), text("stable"), "Branch to follow"),
        Field::new("commit", Shape::Text(rules::commit()), null(), "The one commit to use, whatever the branch says"),
        Field::new("vault_password", Shape::Secret, null(), "Password of what its roles encrypt with `ansible-vault`"),
    ])
}

fn server(modules: &[ModuleMeta], catalog: Option<&CatalogIndex>) -> Result<Shape, ShapeError> {
    let app_params = match catalog {
        Some(catalog) => params::apps(catalog)?,
        None => Shape::Map { key: Text::any("the name of an app"), value: Box::new(Shape::Any) },
    };
    let apps = Shape::List(Box::new(Shape::Text(Text::any("the name of an app"))));
    Ok(Shape::object(vec![
        Field::new(
            "provider",
            Shape::Text(rules::provider_name()),
            text("local"),
            "Where the server comes from: `local`, a virtual machine on this computer; `existing`, a server that is there \
             already and that SSH reaches; or a name under `providers`",
        ),
        Field::new(
            "image",
            image(),
            text("debian-13"),
            "What it boots from: a name that Ostler knows, a path, or a URL with its checksum",
        ),
        Field::new("size", size(), empty(), "Its virtual hardware"),
        Field::new(
            "network",
            Shape::Either(vec![network(), Shape::List(Box::new(network()))]),
            empty(),
            "Its network card, or a list of several; the first one carries the default route",
        ),
        Field::new(
            "user",
            Shape::Text(rules::user_name()),
            text("ops"),
            "The account that you and Ostler log in as; it may become root with sudo",
        ),
        Field::new(
            "password",
            Shape::Secret,
            null(),
            "Password of that account, for `auth: key-and-password` and the console",
        ),
        Field::new(
            "authorized_keys",
            authorized_keys(),
            none(),
            "Public keys that may log in: files (from this file's folder, or `~/`), or the keys themselves. Other keys of \
             the account are kept; `{ keys: [ … ], exclusive: true }` removes them",
        ),
        Field::new("ssh", ssh(), empty(), "Policy of the SSH server"),
        Field::new(
            "modules",
            params::modules(modules)?,
            empty(),
            "Parts of the system configuration; what is not named is left alone",
        ),
        Field::new("apps", apps, none(), "Apps of the catalog; the apps that they depend on are added"),
        Field::new("app_params", app_params, empty(), "Parameters of the apps"),
        Field::new("tunnel", tunnel::way(), null(), "A tunnel that leads to its SSH, without an open port"),
        Field::new("ansible", ansible(), empty(), "How Ansible is run"),
        Field::new("local", local(), empty(), "Options of provider `local` only"),
        Field::new("existing", existing(), null(), "Options of provider `existing` only: how to log in now"),
        Field::new("proxmox", proxmox::place(), null(), "Options of Proxmox VE only: where the server is made"),
        Field::new("hetzner", hetzner::place(), null(), "Options of Hetzner Cloud only: what the server is made of"),
    ]))
}

fn image() -> Shape {
    let download = Shape::object(vec![
        Field::new("url", Shape::Text(rules::url()), Required, "Where to download a qcow2 or raw image"),
        Field::new(
            "checksum",
            Shape::Text(rules::checksum()),
            Required,
            "`sha256:` or `sha512:` and the sum in hexadecimal",
        ),
    ]);
    Shape::Either(vec![Shape::Text(rules::image()), download])
}

fn size() -> Shape {
    Shape::object(vec![
        Field::new("cpus", Shape::Int { min: 1, max: 256 }, Default(Value::Int(2)), "Virtual CPUs"),
        Field::new("memory", Shape::Size { min: 256 * MIB, max: 16 << 40 }, text("2GiB"), "Memory"),
        Field::new(
            "disk",
            Shape::Size { min: 2 * GIB, max: 64 << 40 },
            text("10GiB"),
            "First disk; it can grow later, never shrink",
        ),
    ])
}

fn network() -> Shape {
    let addresses = Shape::List(Box::new(Shape::Text(rules::ip())));
    let domains = Shape::List(Box::new(Shape::Text(rules::domain())));
    Shape::object(vec![
        Field::new(
            "address",
            Shape::Text(rules::card_address()),
            text("dhcp"),
            "`dhcp`, or an address with its prefix such as `192.168.1.20/24`",
        ),
        Field::new("gateway", Shape::Text(rules::ip()), null(), "Default gateway of a fixed address"),
        Field::new(
            "address6",
            Shape::Text(rules::card_address6()),
            null(),
            "A fixed IPv6 address beside it, such as `2001:db8::20/64`; without it, as routers announce",
        ),
        Field::new("gateway6", Shape::Text(rules::ip6()), null(), "Default gateway of `address6`, such as `fe80::1`"),
        Field::new("dns", addresses, none(), "Name servers; empty: as DHCP or the provider says"),
        Field::new("search", domains, none(), "Domains that short names are looked up in"),
        Field::new(
            "bridge",
            proxmox::bridge(),
            null(),
            "On Proxmox VE: bridge of this card; without it, that under `proxmox`",
        ),
        Field::new(
            "vlan",
            proxmox::vlan(),
            null(),
            "On Proxmox VE: VLAN of this card; without it, that under `proxmox` unless the card has a bridge of its own",
        ),
    ])
}

fn ssh() -> Shape {
    let auth = Shape::Choice(vec![
        Choice::new("key-only", "public keys"),
        Choice::new("key-and-password", "public keys or the password; either suffices"),
    ]);
    let root_login = Shape::Choice(vec![
        Choice::new("no", "never").also(false),
        Choice::new("prohibit-password", "with a key"),
        Choice::new("yes", "with whatever `auth` allows").also(true),
    ]);
    let port = Shape::Int { min: 1, max: 65535 };
    let crypto = Shape::Choice(vec![
        Choice::new("modern", "those without known doubts, safe from quantum computers first"),
        Choice::new("compatible", "those of older clients too"),
        Choice::new("system", "as the server is configured"),
    ]);
    let match_blocks = Shape::Choice(vec![
        Choice::new("keep", "they stay, with a warning"),
        Choice::new("take-over", "their lines that are against the policy become comments"),
    ]);
    Shape::object(vec![
        Field::new(
            "enabled",
            Shape::Bool,
            Default(Value::Bool(true)),
            "Whether the SSH server runs; `false` only where there is another way in",
        ),
        Field::new("auth", auth, text("key-only"), "How users log in"),
        Field::new("root_login", root_login, text("no"), "Whether root may log in"),
        Field::new("port", port, Default(Value::Int(22)), "Its port"),
        Field::new("crypto", crypto, text("modern"), "Which algorithms a connection may use"),
        Field::new(
            "match_blocks",
            match_blocks,
            text("keep"),
            "What becomes of your own `Match` blocks that override the policy for some users or addresses",
        ),
    ])
}

fn ansible() -> Shape {
    let strategy = Shape::Choice(vec![
        Choice::new("mitogen", "fast: one Python stays on the server"),
        Choice::new("linear", "Ansible's own, slower"),
    ]);
    Shape::object(vec![Field::new("strategy", strategy, text("mitogen"), "Strategy of Ansible")])
}

fn local() -> Shape {
    let guest = Shape::Int { min: 1, max: 65535 };
    let forward = Shape::Map { key: rules::host_port(), value: Box::new(guest) };
    Shape::object(vec![Field::new(
        "forward",
        forward,
        empty(),
        "TCP ports of 127.0.0.1 here (`auto`: any that is free) and the port of the server that each leads to",
    )])
}

fn authorized_keys() -> Shape {
    let keys = Shape::List(Box::new(Shape::Text(rules::key_or_path())));
    let exclusive =
        Field::new("exclusive", Shape::Bool, Default(Value::Bool(false)), "Remove other keys of the account");
    let object = Shape::object(vec![Field::new("keys", keys.clone(), Required, "The keys"), exclusive]);
    Shape::Either(vec![keys, object])
}

fn existing() -> Shape {
    let port = Shape::Int { min: 1, max: 65535 };
    Shape::object(vec![
        Field::new("address", Shape::Text(rules::host()), Required, "IP address or name of the server"),
        Field::new("port", port, Default(Value::Int(22)), "Where its sshd listens before Ostler sets it up"),
        Field::new(
            "user",
            Shape::Text(rules::account()),
            text("root"),
            "The account that Ostler logs in as first: root, or one that may use sudo",
        ),
        Field::new(
            "password",
            Shape::Secret,
            null(),
            "Password of that account, for SSH and sudo; without it and a key, Ostler uses your ssh-agent or, \
             in a terminal, asks you",
        ),
        Field::new(
            "key",
            Shape::Text(Text::any("the path of a private key")),
            null(),
            "Private key of that account; one with a passphrase, or only its public half, where your ssh-agent holds it",
        ),
        Field::new(
            "host_key",
            Shape::Text(rules::fingerprint()),
            null(),
            "Fingerprint of the server's host key, `SHA256:…`; without it, it is shown to you for confirmation",
        ),
    ])
}

pub(super) fn text(value: &str) -> Presence {
    Default(Value::String(value.to_owned()))
}

pub(super) fn null() -> Presence {
    Default(Value::Null)
}

pub(super) fn none() -> Presence {
    Default(Value::List(Vec::new()))
}

fn empty() -> Presence {
    Default(Value::Map(BTreeMap::new()))
}
