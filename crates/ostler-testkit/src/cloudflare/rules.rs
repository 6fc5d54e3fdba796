//! What each endpoint takes, and the permission that it asks for. From the vendor's API reference and the types of its Python client,
//! 5.9.0.

use super::api::Refusal;
use serde_json::Value;

/// Types of a body's fields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Number,
    Flag,
    List,
    Map,
}
use Type::{Flag, List, Map, Number, Text};

pub(super) struct Rule {
    /// Such as `GET /zones/{zone_id}`.
    pub endpoint: &'static str,
    /// Without `Read` or `Write`, which the method decides; empty: any token.
    pub permission: &'static str,
    /// Keys of the query that it knows.
    query: &'static [&'static str],
    required: &'static [(&'static str, Type)],
    optional: &'static [(&'static str, Type)],
}

const fn rule(endpoint: &'static str, permission: &'static str) -> Rule {
    Rule { endpoint, permission, query: &[], required: &[], optional: &[] }
}

const TUNNEL: &str = "Cloudflare Tunnel";
const APPS: &str = "Access: Apps and Policies";
const SERVICE_TOKENS: &str = "Access: Service Tokens";
const PAGES: [&str; 2] = ["page", "per_page"];
const RECORD: &[(&str, Type)] =
    &[("proxied", Flag), ("comment", Text), ("tags", List), ("settings", Map), ("priority", Number), ("data", Map)];
const APP: &[(&str, Type)] = &[
    ("name", Text),
    ("domain", Text),
    ("session_duration", Text),
    ("app_launcher_visible", Flag),
    ("service_auth_401_redirect", Flag),
    ("auto_redirect_to_identity", Flag),
    ("allowed_idps", List),
    ("policies", List),
    ("tags", List),
    ("destinations", List),
];
const POLICY: &[(&str, Type)] =
    &[("exclude", List), ("require", List), ("precedence", Number), ("session_duration", Text)];

pub(super) const RULES: &[Rule] = &[
    rule("GET /user/tokens/verify", ""),
    rule("GET /user/tokens/{token_id}", "API Tokens"),
    Rule { query: &["name", "page", "per_page", "direction"], ..rule("GET /accounts", "") },
    rule("GET /accounts/{account_id}", ""),
    Rule {
        query: &[
            "name",
            "uuid",
            "is_deleted",
            "status",
            "include_prefix",
            "exclude_prefix",
            "existed_at",
            "was_active_at",
            "was_inactive_at",
            "page",
            "per_page",
        ],
        ..rule("GET /accounts/{account_id}/cfd_tunnel", TUNNEL)
    },
    Rule {
        required: &[("name", Text)],
        optional: &[("config_src", Text), ("tunnel_secret", Text)],
        ..rule("POST /accounts/{account_id}/cfd_tunnel", TUNNEL)
    },
    rule("GET /accounts/{account_id}/cfd_tunnel/{tunnel_id}", TUNNEL),
    Rule {
        optional: &[("name", Text), ("tunnel_secret", Text)],
        ..rule("PATCH /accounts/{account_id}/cfd_tunnel/{tunnel_id}", TUNNEL)
    },
    rule("DELETE /accounts/{account_id}/cfd_tunnel/{tunnel_id}", TUNNEL),
    // Reading the token lets a connector run, so it takes Write.
    rule("GET /accounts/{account_id}/cfd_tunnel/{tunnel_id}/token", TUNNEL),
    rule("GET /accounts/{account_id}/cfd_tunnel/{tunnel_id}/configurations", TUNNEL),
    Rule {
        optional: &[("config", Map)],
        ..rule("PUT /accounts/{account_id}/cfd_tunnel/{tunnel_id}/configurations", TUNNEL)
    },
    rule("GET /accounts/{account_id}/cfd_tunnel/{tunnel_id}/connections", TUNNEL),
    Rule { query: &["client_id"], ..rule("DELETE /accounts/{account_id}/cfd_tunnel/{tunnel_id}/connections", TUNNEL) },
    Rule {
        query: &["name", "account.id", "account.name", "status", "match", "order", "direction", "page", "per_page"],
        ..rule("GET /zones", "Zone")
    },
    rule("GET /zones/{zone_id}", "Zone"),
    Rule {
        query: &[
            "name",
            "name.exact",
            "type",
            "content",
            "content.exact",
            "comment",
            "comment.exact",
            "match",
            "order",
            "direction",
            "page",
            "per_page",
        ],
        ..rule("GET /zones/{zone_id}/dns_records", "DNS")
    },
    Rule {
        required: &[("name", Text), ("type", Text), ("content", Text), ("ttl", Number)],
        optional: RECORD,
        ..rule("POST /zones/{zone_id}/dns_records", "DNS")
    },
    rule("GET /zones/{zone_id}/dns_records/{dns_record_id}", "DNS"),
    Rule {
        required: &[("name", Text), ("type", Text), ("ttl", Number)],
        optional: &[("content", Text), ("proxied", Flag), ("comment", Text), ("tags", List), ("settings", Map)],
        ..rule("PATCH /zones/{zone_id}/dns_records/{dns_record_id}", "DNS")
    },
    rule("DELETE /zones/{zone_id}/dns_records/{dns_record_id}", "DNS"),
    Rule {
        query: &["name", "domain", "aud", "search", "exact", "target_attributes", "page", "per_page"],
        ..rule("GET /accounts/{account_id}/access/apps", APPS)
    },
    Rule { required: &[("type", Text)], optional: APP, ..rule("POST /accounts/{account_id}/access/apps", APPS) },
    rule("GET /accounts/{account_id}/access/apps/{app_id}", APPS),
    Rule {
        required: &[("type", Text)],
        optional: APP,
        ..rule("PUT /accounts/{account_id}/access/apps/{app_id}", APPS)
    },
    rule("DELETE /accounts/{account_id}/access/apps/{app_id}", APPS),
    Rule { query: &PAGES, ..rule("GET /accounts/{account_id}/access/apps/{app_id}/policies", APPS) },
    Rule {
        required: &[("name", Text), ("decision", Text), ("include", List)],
        optional: POLICY,
        ..rule("POST /accounts/{account_id}/access/apps/{app_id}/policies", APPS)
    },
    rule("DELETE /accounts/{account_id}/access/apps/{app_id}/policies/{policy_id}", APPS),
    Rule {
        query: &["name", "search", "page", "per_page"],
        ..rule("GET /accounts/{account_id}/access/service_tokens", SERVICE_TOKENS)
    },
    Rule {
        required: &[("name", Text)],
        optional: &[("duration", Text), ("enabled", Flag)],
        ..rule("POST /accounts/{account_id}/access/service_tokens", SERVICE_TOKENS)
    },
    rule("GET /accounts/{account_id}/access/service_tokens/{service_token_id}", SERVICE_TOKENS),
    rule("DELETE /accounts/{account_id}/access/service_tokens/{service_token_id}", SERVICE_TOKENS),
    rule("POST /accounts/{account_id}/access/service_tokens/{service_token_id}/rotate", SERVICE_TOKENS),
];

impl Rule {
    /// Whether these permissions suffice.
    pub fn permits(&self, permissions: &[String]) -> bool {
        let reads = self.endpoint.starts_with("GET ") && !self.endpoint.ends_with("/token");
        let held = |kind: &str| permissions.contains(&format!("{} {kind}", self.permission));
        self.permission.is_empty() || held("Write") || (reads && held("Read"))
    }

    /// Why a request is not one that the endpoint takes.
    pub fn check(&self, query: &[(String, String)], body: &Value) -> Result<(), Refusal> {
        if let Some((key, _)) = query.iter().find(|(key, _)| !self.query.contains(&key.as_str())) {
            return Err(Refusal::new(400, 1004, &format!("the fake knows no parameter `{key}` of {}", self.endpoint)));
        }
        check_fields(body, self.required, self.optional)?;
        if let Some(config) = body.get("config") {
            check_config(config)?;
        }
        Ok(())
    }
}

fn check_fields(body: &Value, required: &[(&str, Type)], optional: &[(&str, Type)]) -> Result<(), Refusal> {
    let fault = |message: String| Err(Refusal::new(400, 1004, &message));
    let Some(fields) = body.as_object() else { return fault("the body is no object".to_owned()) };
    for (name, _) in required {
        if !fields.contains_key(*name) {
            return fault(format!("`{name}` is required"));
        }
    }
    for (name, value) in fields {
        let Some((_, wanted)) = required.iter().chain(optional).find(|(known, _)| known == name) else {
            return fault(format!("`{name}` is not a field of this request"));
        };
        let fits = match wanted {
            Text => value.is_string(),
            Number => value.is_number(),
            Flag => value.is_boolean(),
            List => value.is_array(),
            Map => value.is_object(),
        };
        if !fits {
            return fault(format!("`{name}` has the wrong type"));
        }
    }
    Ok(())
}

const SCHEMES: [&str; 8] = ["http://", "https://", "unix:", "tcp://", "ssh://", "rdp://", "smb://", "http_status:"];

/// Ingress rules, of which the last one catches everything, as the vendor wants it.
fn check_config(config: &Value) -> Result<(), Refusal> {
    let fault = |message: String| Err(Refusal::new(400, 1056, &format!("Bad Configuration: {message}")));
    check_fields(config, &[], &[("ingress", List), ("originRequest", Map), ("warp-routing", Map)])?;
    let rules = config["ingress"].as_array().map_or(&[][..], Vec::as_slice);
    for (at, rule) in rules.iter().enumerate() {
        let text = [("service", Text)];
        check_fields(rule, &text, &[("hostname", Text), ("path", Text), ("originRequest", Map)])?;
        let catches_all = rule["hostname"].as_str().unwrap_or_default().is_empty()
            && rule["path"].as_str().unwrap_or_default().is_empty();
        if catches_all != (at + 1 == rules.len()) {
            return fault(format!("rule {at}: the last rule, and no other, must match all URLs"));
        }
        let service = rule["service"].as_str().unwrap_or_default();
        if !SCHEMES.iter().any(|scheme| service.starts_with(scheme)) {
            return fault(format!("rule {at}: `{service}` is not a service"));
        }
    }
    Ok(())
}
