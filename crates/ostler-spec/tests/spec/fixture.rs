//! Modules, apps, files and the one `check` that all tests of the spec go through.

use ostler_spec::{CatalogIndex, CatalogSource, KeyFault, ModuleMeta, ReadError, Spec, SpecContext};
use serde_json::json;
use std::{io, path::Path};

pub const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBA ann@desk";

pub fn modules() -> Vec<ModuleMeta> {
    let metas = json!([
        {
            "name": "ufw", "title": "Firewall", "summary": "Lets in what you allow", "order": 40,
            "settings": {
                "preset": { "type": "choice", "choices": ["server-minimal", "web"], "default": "server-minimal", "help": "Rules" },
                "allow": { "type": "list", "items": { "type": "string", "pattern": "^[0-9]+/(tcp|udp)$" }, "default": [], "help": "More rules" },
                "auto_allow_app_ports": { "type": "bool", "default": true, "help": "Open the ports of the apps" },
            },
        },
        { "name": "iptables", "title": "Another firewall", "summary": "The same", "order": 41, "settings_of": "ufw" },
        {
            "name": "fail2ban", "title": "Ban attackers", "summary": "Bans addresses", "order": 50,
            "settings": {
                "max_retry": { "type": "int", "min": 1, "max": 100, "default": 5, "help": "Failed logins" },
                "ban_time": { "type": "string", "pattern": "^[0-9]+[smhdw]?$", "default": "1h", "help": "How long" },
                "ignore": { "type": "list", "items": { "type": "string", "format": "network" }, "default": [], "help": "Whom" },
            },
        },
        {
            "name": "time_sync", "title": "Right time", "summary": "By NTP", "order": 15,
            "settings": {
                "timezone": { "type": "string", "format": "timezone", "default": "", "help": "Time zone" },
                "servers": { "type": "list", "items": { "type": "string", "format": "host" }, "default": [], "help": "Servers" },
            },
        },
        {
            "name": "tools", "title": "Tools", "summary": "What one misses", "order": 10,
            "settings": {
                "extra": { "type": "list", "items": { "type": "string", "format": "package" }, "default": [], "help": "More" },
                "rules": { "type": "list", "items": { "type": "string", "format": "firewall-rule" }, "default": [], "help": "Rules" },
            },
        },
        { "name": "qemu_guest_agent", "title": "Guest agent", "summary": "Clean shutdown", "order": 60 },
    ]);
    ModuleMeta::share_settings(serde_json::from_value(metas).unwrap())
}

pub fn catalog() -> CatalogIndex {
    let port = |port: u16| json!([{ "port": port, "proto": "tcp", "scope": "public" }]);
    let index = json!({ "apps": [
        {
            "name": "nginx", "role": "nginx", "description": "Web server", "ports": port(80), "depends": ["certs"],
            "params": {
                "type": "object",
                "properties": {
                    "worker_connections": { "type": "integer", "minimum": 64, "maximum": 65536, "default": 768 },
                    "mode": { "type": "string", "enum": ["fast", "small"] },
                    "index": { "type": "array", "items": { "type": "string", "pattern": "^[a-z.]+$" } },
                    "ratio": { "type": "number", "minimum": 0, "maximum": 1 },
                },
                "additionalProperties": false,
            },
        },
        { "name": "apache", "role": "apache", "ports": port(80) },
        { "name": "certs", "role": "certs", "depends": ["base"] },
        { "name": "base", "role": "base" },
        {
            "name": "mail", "role": "mail", "ports": port(25),
            "params": {
                "type": "object",
                "properties": {
                    "domain": { "type": "string" },
                    "password": { "type": "string", "writeOnly": true, "description": "Of the postmaster" },
                    "accounts": { "type": "object", "additionalProperties": { "type": "string", "writeOnly": true } },
                    "relay": { "type": "string", "pattern": "^[a-z.]+:[0-9]+$", "description": "Where it goes, such as relay:25" },
                },
                "required": ["domain"],
                "additionalProperties": true,
            },
        },
        { "name": "hen", "role": "hen", "depends": ["egg"] },
        { "name": "egg", "role": "egg", "depends": ["hen"] },
        { "name": "widow", "role": "widow", "depends": ["gone"] },
        {
            "name": "cluster", "role": "cluster", "peer": { "param": "join", "asks": "true" },
            "params": { "type": "object", "properties": { "join": { "type": "string", "default": "" } } },
        },
        { "name": "sftp", "role": "sftp", "ports": port(22) },
    ]});
    serde_json::from_value(index).unwrap()
}

fn read_file(path: &Path) -> io::Result<String> {
    match path.to_str().unwrap() {
        "/home/ann/.ssh/id_ed25519.pub" | "/etc/specs/keys/ann.pub" => Ok(format!("{KEY}\n")),
        "/etc/specs/keys/two" => Ok(format!("# both\n\n{KEY}\nfrom=\"10.0.0.0/8, 10.1.0.0/16\" {KEY}\n")),
        "/home/ann/.ssh/id_ed25519" => Ok("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n".into()),
        "/etc/specs/keys/windows.pub" => Ok(format!("\u{feff}{KEY}  \r\n\r\n\u{feff}from=\"10.0.0.0/8\" {KEY}")),
        "/etc/specs/keys/rfc4716" => {
            Ok("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----\n".into())
        }
        "/etc/specs/keys/pem" => Ok("-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n".into()),
        "/etc/specs/keys/tls.crt" => Ok("-----BEGIN CERTIFICATE-----\nMCow\n-----END CERTIFICATE-----\n".into()),
        "/etc/specs/keys/empty" => Ok("# nobody yet\n".into()),
        "/etc/specs/keys/broken" => Ok(format!("{KEY}\nssh-ed25519 AAAAC3Nza\n")),
        "/etc/specs/keys/shut" => Err(io::ErrorKind::PermissionDenied.into()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// ssh can use `~/.ssh/box` alone.
fn check_key(path: &Path) -> Result<(), KeyFault> {
    match path.to_str().unwrap() {
        "/home/ann/.ssh/box" => Ok(()),
        path => Err(KeyFault { message: format!("`{path}` is no key for ssh"), hint: "make one".into() }),
    }
}

pub fn read(text: &str) -> Result<Spec, ReadError> {
    with_context(|context| ostler_spec::read(text, context))
}

/// Reads only where the apps come from.
pub fn read_source(text: &str) -> Result<Option<CatalogSource>, ReadError> {
    with_context(|context| ostler_spec::read_catalog(text, context))
}

fn with_context<T>(read: impl FnOnce(&SpecContext<'_>) -> T) -> T {
    let (modules, catalog) = (modules(), catalog());
    read(&SpecContext {
        path: "/etc/specs/ostler.yaml".into(),
        folder: "/etc/specs".into(),
        home: Some("/home/ann".into()),
        modules: &modules,
        catalog: &catalog,
        read_file: &read_file,
        is_file: &|path| !path.ends_with("none.qcow2") && !path.ends_with("empty/Dockerfile"),
        check_key: &check_key,
    })
}

/// Reads a good file.
pub fn good(text: &str) -> Spec {
    read(text).unwrap_or_else(|error| panic!("refused:\n{error}\n\n{text}"))
}

/// Reads a bad file and compares all its faults. The first line of both texts is empty, and so not counted.
#[track_caller]
pub fn check(text: &str, expected: &str) {
    let faults = match read(text.trim_start_matches('\n')) {
        Ok(spec) => panic!("accepted: {spec:#?}"),
        Err(error) => error.to_string().replace("/etc/specs/", ""),
    };
    assert_eq!(faults, expected.trim(), "\n--- found ---\n{faults}\n");
}

/// Like [`check`], for one server that would be good but for these lines of its own.
#[track_caller]
pub fn check_server(lines: &str, expected: &str) {
    check(&server(lines), expected);
}

/// A spec with one good server and these lines of its own, the first of which is line 3.
pub fn server(lines: &str) -> String {
    let mut text = String::from("servers:\n  web1:\n");
    for line in lines.trim_matches('\n').lines() {
        text.push_str(&format!("    {line}\n"));
    }
    if !lines.contains("authorized_keys") {
        text.push_str("    authorized_keys: [ keys/ann.pub ]\n");
    }
    text
}
