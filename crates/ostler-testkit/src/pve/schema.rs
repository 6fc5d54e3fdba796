//! Holds requests against Proxmox VE's own schema of them (`schema.json`, made by `extract.py`).
//!
//! What the schema names and this can't check is a panic, so that no check is ever skipped.

use regex::Regex;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{LazyLock, Mutex},
};

pub use crate::endpoint::Parameters;

/// Rule of one parameter.
#[derive(Debug, Deserialize)]
struct Rule {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default, rename = "enum")]
    words: Option<Vec<String>>,
    #[serde(default)]
    minimum: Option<f64>,
    #[serde(default)]
    maximum: Option<f64>,
    #[serde(default, rename = "minLength")]
    min_length: Option<usize>,
    #[serde(default, rename = "maxLength")]
    max_length: Option<usize>,
    #[serde(default)]
    pattern: Option<String>,
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    optional: u8,
    #[serde(default)]
    requires: Option<String>,
    #[serde(default)]
    default_key: u8,
    #[serde(default)]
    alias: Option<String>,
    #[serde(default, rename = "keyAlias")]
    key_alias: Option<String>,
    /// A property string: `a=1,b=2`.
    #[serde(default)]
    properties: Option<BTreeMap<String, Rule>>,
}

type Table = BTreeMap<String, BTreeMap<String, Rule>>;

static TABLE: LazyLock<Table> =
    LazyLock::new(|| serde_json::from_str(include_str!("schema.json")).expect("the schema is JSON of this form"));

/// The endpoint that a request is for, such as `GET /nodes/{node}/status`, with the parameters that stand in its path.
pub fn endpoint(method: &str, path: &[String]) -> Option<(&'static str, Parameters)> {
    crate::endpoint::find(TABLE.keys(), method, path)
}

/// Everything that is wrong with the parameters of a request, by parameter, as PVE words it.
pub fn check(endpoint: &str, parameters: &Parameters) -> BTreeMap<String, String> {
    let rules = &TABLE[endpoint];
    let mut faults = BTreeMap::new();
    for (key, value) in parameters {
        let fault = match rule_of(rules, key) {
            None => Err("property is not defined in schema and the schema does not allow additional properties".into()),
            Some(rule) => match &rule.requires {
                Some(other) if !parameters.contains_key(other) => {
                    Err(format!("missing property - '{other}' requires this"))
                }
                _ => one(rule, value),
            },
        };
        if let Err(fault) = fault {
            faults.insert(key.clone(), fault);
        }
    }
    for (key, rule) in rules {
        if rule.optional == 0 && !key.ends_with("[n]") && !parameters.contains_key(key) {
            faults.insert(key.clone(), "property is missing and it is not optional".to_owned());
        }
    }
    faults
}

/// `net0` is one of `net[n]`.
fn rule_of<'r>(rules: &'r BTreeMap<String, Rule>, key: &str) -> Option<&'r Rule> {
    rules.get(key).or_else(|| {
        let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
        let numbered = stem != key && !stem.is_empty();
        numbered.then(|| rules.get(&format!("{stem}[n]"))).flatten()
    })
}

fn one(rule: &Rule, value: &str) -> Result<(), String> {
    match rule.kind.as_str() {
        "boolean" if !matches!(value, "0" | "1") => {
            return Err(format!("type check ('boolean') failed - got '{value}'"));
        }
        "integer" => {
            let number: i64 = value.parse().map_err(|_| format!("type check ('integer') failed - got '{value}'"))?;
            range(rule, number as f64)?;
        }
        "number" => {
            let number: f64 = value.parse().map_err(|_| format!("type check ('number') failed - got '{value}'"))?;
            range(rule, number)?;
        }
        "boolean" | "string" | "" => {}
        kind => panic!("the checker knows no type `{kind}`"),
    }
    if let Some(words) = &rule.words
        && !words.iter().any(|word| word == value)
    {
        return Err(format!("value '{value}' does not have a value in the enumeration '{}'", words.join(", ")));
    }
    let length = value.chars().count();
    if rule.min_length.is_some_and(|least| length < least) {
        return Err(format!("value must be at least {} characters long", rule.min_length.unwrap_or(0)));
    }
    if rule.max_length.is_some_and(|most| length > most) {
        return Err(format!("value may only be {} characters long", rule.max_length.unwrap_or(0)));
    }
    if let Some(pattern) = &rule.pattern
        && !matches(pattern, value)
    {
        return Err("value does not match the regex pattern".to_owned());
    }
    if let Some(properties) = &rule.properties {
        return property_string(properties, value);
    }
    match &rule.format {
        Some(format) if !has_format(format, value) => {
            Err(format!("invalid format - value '{value}' does not look like a valid {format}"))
        }
        _ => Ok(()),
    }
}

fn range(rule: &Rule, number: f64) -> Result<(), String> {
    match (rule.minimum, rule.maximum) {
        (Some(least), _) if number < least => Err(format!("value must have a minimum value of {least}")),
        (_, Some(most)) if number > most => Err(format!("value must have a maximum value of {most}")),
        _ => Ok(()),
    }
}

/// `virtio=52:54:00:00:00:01,bridge=vmbr0`: parts with commas between; one without a key is the default key's.
fn property_string(properties: &BTreeMap<String, Rule>, value: &str) -> Result<(), String> {
    let mut found: BTreeMap<&str, &str> = BTreeMap::new();
    let mut put = |key, value| match found.insert(key, value) {
        Some(_) => Err(format!("invalid format - duplicate key in comma-separated list property: {key}")),
        None => Ok(()),
    };
    for part in value.split(',') {
        let Some((key, value)) = part.split_once('=') else {
            let default = properties.iter().find(|(_, rule)| rule.default_key == 1);
            let (key, _) =
                default.ok_or("invalid format - value without key, but schema does not define a default key")?;
            put(key.as_str(), part)?;
            continue;
        };
        let Some(rule) = properties.get_key_value(key) else {
            return Err(format!("invalid format - format error\n{key}: property is not defined in schema"));
        };
        match (&rule.1.alias, &rule.1.key_alias) {
            // `virtio=MAC` says both `model=virtio` and `macaddr=MAC`.
            (Some(alias), Some(key_alias)) => {
                put(key_alias.as_str(), rule.0.as_str())?;
                put(alias.as_str(), value)?;
            }
            (Some(alias), None) => put(alias.as_str(), value)?,
            _ => put(rule.0.as_str(), value)?,
        }
    }
    for (key, rule) in properties {
        match found.get(key.as_str()) {
            Some(value) => {
                one(rule, value).map_err(|fault| format!("invalid format - format error\n{key}: {fault}"))?
            }
            None if rule.optional == 0 && rule.alias.is_none() => {
                return Err(format!(
                    "invalid format - format error\n{key}: property is missing and it is not optional"
                ));
            }
            None => {}
        }
    }
    Ok(())
}

/// The named formats that requests of ours use.
fn has_format(format: &str, value: &str) -> bool {
    let list =
        |one: &str| value.split([',', ';', ' ']).filter(|part| !part.is_empty()).all(|part| has_format(one, part));
    const LABEL: &str = "[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?";
    match format {
        "pve-node" => matches(LABEL, value),
        "pve-vmid" => matches("[1-9][0-9]{2,8}", value),
        "dns-name" => matches(&format!(r"{LABEL}(\.{LABEL})*"), value),
        "pve-storage-id" => matches("(?i:[a-z][a-z0-9_.-]*[a-z0-9])", value),
        "pve-bridge-id" => matches("[a-zA-Z0-9_.-]+", value),
        "mac-addr" => matches("(?i:[a-f0-9][02468ace](:[a-f0-9]{2}){5})", value),
        "pve-configid-list" => list("pve-configid"),
        "pve-configid" => matches("(?i:[a-z][a-z0-9_-]+)", value),
        "pve-tag-list" => list("pve-tag"),
        "pve-tag" => matches("(?i:[a-z0-9_][a-z0-9_+.-]*)", value),
        "address-list" => list("address"),
        "address" => value.parse::<IpAddr>().is_ok() || has_format("dns-name", value),
        "pve-storage-content-list" => list("pve-storage-content"),
        "pve-storage-content" => matches("images|rootdir|vztmpl|iso|backup|snippets|import|none", value),
        "disk-size" => matches(r"\d+(\.\d+)?[KMGT]?", value),
        "pve-qm-boot" => matches(r"(legacy=)?[acdn]{1,4}|order=([a-z]+\d+(;[a-z]+\d+)*)?", value),
        "pve-vm-cpu-conf" => matches(r"(cputype=)?[a-zA-Z0-9_.-]+(,[a-z-]+=[^,]+)*", value),
        "pve-volume-id" => matches(r"[a-zA-Z][a-zA-Z0-9_.-]*[a-zA-Z0-9]:\S+", value),
        "pve-volume-id-or-absolute-path" => value.starts_with('/') || has_format("pve-volume-id", value),
        "pve-volume-id-or-qm-path" => {
            matches("none|cdrom", value) || has_format("pve-volume-id-or-absolute-path", value)
        }
        "urlencoded" => matches(r"[-%a-zA-Z0-9_.!~*'()]*", value),
        format => panic!("the checker knows no format `{format}`, and a request has it: `{value}`"),
    }
}

/// Whether the whole of `value` is what `pattern` says.
fn matches(pattern: &str, value: &str) -> bool {
    static COMPILED: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().expect("no panic while held");
    let regex = compiled
        .entry(pattern.to_owned())
        .or_insert_with(|| Regex::new(&format!("^(?:{pattern})$")).expect("a pattern that this engine knows"));
    regex.is_match(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(endpoint: &str, parameters: &[(&str, &str)]) -> Vec<String> {
        let parameters = parameters.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        check(endpoint, &parameters).into_keys().collect()
    }

    #[test]
    fn a_vm_is_held_against_every_rule() {
        const CREATE: &str = "POST /nodes/{node}/qemu";
        let base = [("node", "pve1"), ("vmid", "100")];
        let with = |more: &[(&str, &str)]| faults(CREATE, &[&base[..], more].concat());
        assert_eq!(with(&[]), [""; 0]);
        assert_eq!(faults(CREATE, &[("node", "pve1")]), ["vmid"]);
        assert_eq!(with(&[("memroy", "512"), ("cores", "0"), ("cores2", "1")]), ["cores", "cores2", "memroy"]);
        assert_eq!(
            with(&[("net0", "virtio=52:54:00:00:00:01,bridge=vmbr0,tag=7"), ("net1", "virtio,bridge=vmbr0")]),
            [""; 0]
        );
        assert_eq!(
            with(&[("net0", "bridge=vmbr0"), ("net1", "virtio,tag=5000"), ("net2", "virtio,vlan=1")]),
            ["net0", "net1", "net2"]
        );
        assert_eq!(
            with(&[("scsi0", "local-lvm:0,import-from=local:import/x.qcow2"), ("scsi1", "local-lvm:0,cache=on")]),
            ["scsi1"]
        );
        assert_eq!(with(&[("sshkeys", "ssh-ed25519%20AAAA"), ("tags", "a;b")]), [""; 0]);
        assert_eq!(
            with(&[("sshkeys", "ssh-ed25519 AAAA"), ("tags", "a,ü"), ("onboot", "yes")]),
            ["onboot", "sshkeys", "tags"]
        );
        assert_eq!(with(&[("force", "1")]), ["force"], "it requires another");
    }

    #[test]
    fn the_endpoint_of_a_request_is_found() {
        let path = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        let (endpoint, found) = endpoint("GET", &path("nodes/pve1/qemu/100/status/current")).unwrap();
        assert_eq!(endpoint, "GET /nodes/{node}/qemu/{vmid}/status/current");
        assert_eq!((found["node"].as_str(), found["vmid"].as_str()), ("pve1", "100"));
        assert!(super::endpoint("DELETE", &path("nodes/pve1")).is_none());
    }
}
