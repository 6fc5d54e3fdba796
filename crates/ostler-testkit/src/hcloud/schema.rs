//! Holds requests, and the fake's own answers, against Hetzner's schema of them (`schema.json`, made by `extract.py`).
//!
//! What the schema names and this can't check is an error when it is read, so that no check is ever skipped. A property that the
//! schema doesn't know is refused, where Hetzner passes over it: a misspelt one must not go unnoticed.

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{LazyLock, Mutex},
};

pub(super) use crate::endpoint::Parameters;

/// Faults of a value: where, and what.
pub(super) type Faults = Vec<(String, String)>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    endpoints: BTreeMap<String, Endpoint>,
    schemas: BTreeMap<String, Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Endpoint {
    status: u16,
    query: BTreeMap<String, Rule>,
    body: Option<Rule>,
    answer: Option<Rule>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Rule {
    #[serde(rename = "$ref")]
    reference: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(rename = "enum")]
    words: Option<Vec<String>>,
    nullable: bool,
    minimum: Option<f64>,
    maximum: Option<f64>,
    min_length: Option<usize>,
    max_length: Option<usize>,
    min_items: Option<usize>,
    max_items: Option<usize>,
    pattern: Option<String>,
    format: Option<String>,
    required: Vec<String>,
    properties: Option<BTreeMap<String, Rule>>,
    additional_properties: Option<Box<Rule>>,
    items: Option<Box<Rule>>,
}

static TABLE: LazyLock<Table> =
    LazyLock::new(|| serde_json::from_str(include_str!("schema.json")).expect("the schema is JSON of this form"));

/// The endpoint that a request is for, such as `GET /servers/{id}`, with what stands in its path.
pub(super) fn endpoint(method: &str, path: &[String]) -> Option<(&'static str, Parameters)> {
    crate::endpoint::find(TABLE.endpoints.keys(), method, path)
}

/// Whether a path has endpoints for other methods.
pub(super) fn is_path(path: &[String]) -> bool {
    ["GET", "POST", "PUT", "DELETE"].iter().any(|method| endpoint(method, path).is_some())
}

/// The status of an answer to an endpoint.
pub(super) fn status(endpoint: &str) -> u16 {
    TABLE.endpoints[endpoint].status
}

/// Everything that is wrong with a request.
pub(super) fn check_request(endpoint: &str, query: &[(String, String)], body: &Value) -> Faults {
    let endpoint = &TABLE.endpoints[endpoint];
    let mut faults = Faults::new();
    for (key, value) in query {
        // Hetzner passes over what it doesn't know here, and its clients count on it.
        let Some(rule) = endpoint.query.get(key) else { continue };
        let rule = rule.items.as_deref().unwrap_or(rule);
        let typed = match rule.kind.as_deref() {
            Some("integer") => value.parse::<i64>().map_or_else(|_| value.as_str().into(), Value::from),
            Some("boolean") => value.parse::<bool>().map_or_else(|_| value.as_str().into(), Value::from),
            _ => value.as_str().into(),
        };
        check(rule, &typed, key, &mut faults);
    }
    if let Some(rule) = &endpoint.body {
        check(rule, body, "", &mut faults);
    }
    faults
}

/// Everything that is wrong with an answer of the fake's.
pub(super) fn check_answer(endpoint: &str, body: &Value) -> Faults {
    let mut faults = Faults::new();
    match &TABLE.endpoints[endpoint].answer {
        Some(rule) => check(rule, body, "", &mut faults),
        None if body.is_null() => {}
        None => faults.push((String::new(), "no content is expected".to_owned())),
    }
    faults
}

fn check(rule: &Rule, value: &Value, at: &str, faults: &mut Faults) {
    if value.is_null() && rule.nullable {
        return;
    }
    if let Some(name) = &rule.reference {
        return check(&TABLE.schemas[name], value, at, faults);
    }
    let mut fault = |message: String| faults.push((at.to_owned(), message));
    match (rule.kind.as_deref(), value) {
        (Some("object"), Value::Object(_)) | (Some("array"), Value::Array(_)) | (None, _) => {}
        (Some("string"), Value::String(text)) => check_text(rule, text, &mut fault),
        (Some("boolean"), Value::Bool(_)) => {}
        (Some("integer"), Value::Number(number)) if number.is_i64() || number.is_u64() => {
            check_number(rule, number, &mut fault);
        }
        (Some("number"), Value::Number(number)) => check_number(rule, number, &mut fault),
        (Some(_), Value::Null) => return fault("may not be null".to_owned()),
        (Some(kind), _) => return fault(format!("is not a valid {kind}")),
    }
    if let Value::Array(items) = value {
        if rule.min_items.is_some_and(|least| items.len() < least) {
            fault("has too few items".to_owned());
        }
        if rule.max_items.is_some_and(|most| items.len() > most) {
            fault("has too many items".to_owned());
        }
        for (index, item) in items.iter().enumerate() {
            if let Some(rule) = &rule.items {
                check(rule, item, &format!("{at}[{index}]"), faults);
            }
        }
    }
    if let Value::Object(object) = value {
        let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
        for key in rule.required.iter().filter(|key| !object.contains_key(*key)) {
            faults.push((below(key), "Missing data for required field.".to_owned()));
        }
        for (key, value) in object {
            let known = rule.properties.as_ref().and_then(|known| known.get(key));
            match known.or(rule.additional_properties.as_deref()) {
                Some(rule) => check(rule, value, &below(key), faults),
                None if rule.properties.is_none() => {}
                None => faults.push((below(key), "Unknown field.".to_owned())),
            }
        }
    }
}

fn check_text(rule: &Rule, text: &str, fault: &mut impl FnMut(String)) {
    if rule.words.as_ref().is_some_and(|words| !words.iter().any(|word| word == text)) {
        fault("is not a valid choice".to_owned());
    }
    if rule.min_length.is_some_and(|least| text.chars().count() < least) {
        fault("is too short".to_owned());
    }
    if rule.max_length.is_some_and(|most| text.chars().count() > most) {
        fault("is too long".to_owned());
    }
    if rule.pattern.as_ref().is_some_and(|pattern| !matches(pattern, text)) {
        fault("does not match the pattern".to_owned());
    }
    let formed = match rule.format.as_deref() {
        Some("date-time") => text.parse::<jiff::Timestamp>().is_ok(),
        Some("decimal") => text.parse::<f64>().is_ok(),
        None => true,
        Some(format) => panic!("the checker knows no format `{format}` of a text"),
    };
    if !formed {
        fault("has not the right format".to_owned());
    }
}

fn check_number(rule: &Rule, number: &serde_json::Number, fault: &mut impl FnMut(String)) {
    let number = number.as_f64().unwrap_or(f64::NAN);
    if rule.minimum.is_some_and(|least| number < least) {
        fault("is too small".to_owned());
    }
    if rule.maximum.is_some_and(|most| number > most) {
        fault("is too large".to_owned());
    }
}

/// Whether `text` matches a pattern of the schema's.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().expect("no panic while held");
    let regex = compiled
        .entry(pattern.to_owned())
        .or_insert_with(|| Regex::new(pattern).expect("a pattern that this engine knows"));
    regex.is_match(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(endpoint: &str, body: &Value) -> Vec<String> {
        check_request(endpoint, &[], body).into_iter().map(|(at, _)| at).collect()
    }

    #[test]
    fn a_request_is_held_against_every_rule() {
        let create = |more: Value| {
            let mut body = json!({ "name": "web1", "server_type": "cx23", "image": "debian-13" });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            faults("POST /servers", &body)
        };
        assert_eq!(create(json!({})), [""; 0]);
        assert_eq!(create(json!({ "ssh_keys": [1, "two"], "public_net": { "ipv4": null } })), [""; 0]);
        assert_eq!(create(json!({ "networks": ["one"], "automount": 1 })), ["automount", "networks[0]"]);
        assert_eq!(create(json!({ "labels": { "a": "-" } })), ["labels.a"]);
        assert_eq!(create(json!({ "datacenter": "fsn1-dc14" })), ["datacenter"], "it is gone");
        assert_eq!(faults("POST /servers", &json!({})), ["image", "name", "server_type"]);
        let rule = json!({ "direction": "in", "protocol": "sctp" });
        assert_eq!(
            faults("POST /firewalls/{id}/actions/set_rules", &json!({ "rules": [rule] })),
            ["rules[0].protocol"]
        );
    }

    #[test]
    fn the_endpoint_of_a_request_is_found() {
        let path = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(endpoint("GET", &path("servers/actions")).unwrap().0, "GET /servers/actions");
        let (found, parameters) = endpoint("DELETE", &path("zones/example.org/rrsets/@/TXT")).unwrap();
        assert_eq!(found, "DELETE /zones/{id_or_name}/rrsets/{rr_name}/{rr_type}");
        assert_eq!((parameters["id_or_name"].as_str(), parameters["rr_name"].as_str()), ("example.org", "@"));
        assert!(endpoint("PATCH", &path("servers/1")).is_none());
        assert!(is_path(&path("servers/1")) && !is_path(&path("datacenters")));
    }
}
