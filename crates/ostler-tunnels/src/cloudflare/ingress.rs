//! Our rule among the ingress rules of a tunnel. The last rule catches everything, and stays last; what else the document holds is left as
//! it is.

use serde_json::{Value, json};

/// The document with our rule; `None`: it has it already.
pub(super) fn with_rule(config: Value, hostname: &str, service: &str) -> Option<Value> {
    let (mut config, mut rules) = parts(config);
    match rules.iter_mut().find(|rule| is_ours(rule, hostname)) {
        Some(rule) if rule["service"] == service => return None,
        Some(rule) => rule["service"] = json!(service),
        None => {
            if !rules.last().is_some_and(catches_all) {
                rules.push(json!({ "service": "http_status:404" }));
            }
            rules.insert(rules.len() - 1, json!({ "hostname": hostname, "service": service }));
        }
    }
    config["ingress"] = Value::Array(rules);
    Some(config)
}

/// The document without our rule, `None` where it has none; and how many rules of others lead anywhere.
pub(super) fn without_rule(config: Value, hostname: &str) -> (Option<Value>, usize) {
    let (mut config, mut rules) = parts(config);
    let all = rules.len();
    rules.retain(|rule| !is_ours(rule, hostname));
    let others = rules.iter().filter(|rule| !catches_all(rule)).count();
    if rules.len() == all {
        return (None, others);
    }
    config["ingress"] = Value::Array(rules);
    (Some(config), others)
}

fn parts(config: Value) -> (Value, Vec<Value>) {
    let mut config = if config.is_object() { config } else { json!({}) };
    let rules = match config["ingress"].take() {
        Value::Array(rules) => rules,
        _ => Vec::new(),
    };
    (config, rules)
}

fn is_ours(rule: &Value, hostname: &str) -> bool {
    rule["hostname"] == hostname && empty(&rule["path"])
}

fn catches_all(rule: &Value) -> bool {
    empty(&rule["hostname"]) && empty(&rule["path"])
}

fn empty(value: &Value) -> bool {
    value.as_str().unwrap_or_default().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(config: &Value) -> Vec<String> {
        let name = |rule: &Value| rule["hostname"].as_str().unwrap_or("*").to_owned();
        config["ingress"].as_array().unwrap().iter().map(name).collect()
    }

    #[test]
    fn the_first_rule_of_all_gets_one_that_catches_the_rest() {
        let config = with_rule(Value::Null, "ssh.example.com", "ssh://localhost:22").unwrap();
        assert_eq!(rules(&config), ["ssh.example.com", "*"]);
        assert_eq!(config["ingress"][1]["service"], "http_status:404");
        assert_eq!(with_rule(config.clone(), "ssh.example.com", "ssh://localhost:22"), None);
        let moved = with_rule(config.clone(), "ssh.example.com", "ssh://localhost:2200").unwrap();
        assert_eq!((rules(&moved), &moved["ingress"][0]["service"]), (rules(&config), &json!("ssh://localhost:2200")));
        let (left, others) = without_rule(config, "ssh.example.com");
        assert_eq!((rules(&left.unwrap()), others), (vec!["*".to_owned()], 0));
    }

    #[test]
    fn rules_and_settings_of_others_stay_as_they_are() {
        let theirs = json!({
            "warp-routing": { "enabled": true },
            "ingress": [
                { "hostname": "www.example.com", "service": "http://localhost:80", "originRequest": { "noTLSVerify": true } },
                { "hostname": "ssh.example.com", "path": "api", "service": "http://localhost:81" },
                { "service": "http://localhost:8080" },
            ],
        });
        let config = with_rule(theirs.clone(), "ssh.example.com", "ssh://localhost:22").unwrap();
        assert_eq!(rules(&config), ["www.example.com", "ssh.example.com", "ssh.example.com", "*"]);
        assert_eq!(config["warp-routing"], theirs["warp-routing"]);
        assert_eq!(without_rule(config, "ssh.example.com"), (Some(theirs.clone()), 2));
        assert_eq!(without_rule(theirs, "other.example.com"), (None, 2));
    }
}
