//! Access: applications with their policies, and service tokens.

use super::{
    api::{Refusal, Reply, Request},
    state::{State, now},
};
use serde_json::{Value, json};

pub(super) fn answer(state: &mut State, endpoint: &str, request: &Request) -> Reply {
    let (method, path) = endpoint.split_once(" /accounts/{account_id}/access/").expect("an endpoint of Access");
    match (method, path) {
        ("GET", "apps") => Ok(list(state.apps.values(), request, &["name", "domain", "aud"])),
        ("POST", "apps") => create_app(state, request),
        ("GET", "service_tokens") => Ok(list(state.service_tokens.values(), request, &["name"])),
        ("POST", "service_tokens") => create_token(state, request),
        _ if path.starts_with("apps/") => app(state, method, path, request),
        _ => service_token(state, method, path, request),
    }
}

fn list<'a>(all: impl Iterator<Item = &'a Value>, request: &Request, fields: &[&str]) -> Value {
    let fits =
        |item: &&Value| fields.iter().all(|field| request.query(field).is_none_or(|wanted| item[*field] == wanted));
    all.filter(fits).cloned().collect()
}

fn missing() -> Refusal {
    Refusal::new(404, 11021, "access.api.error.not_found")
}

fn create_app(state: &mut State, request: &Request) -> Reply {
    let domain = request.text("domain");
    if request.text("type") != "self_hosted" || domain.is_empty() {
        return Err(Refusal::new(
            400,
            12130,
            "access.api.error.invalid_request: the fake takes self-hosted applications with a domain",
        ));
    }
    let id = state.uuid();
    if state.apps.values().any(|app| app["domain"] == domain) {
        return Err(Refusal::new(409, 11010, "access.api.error.application_already_exists"));
    }
    let mut policies = Vec::new();
    for policy in request.body["policies"].as_array().into_iter().flatten() {
        policies.push(new_policy(state, policy)?);
    }
    let mut app = request.body.clone();
    app["id"] = json!(id);
    app["aud"] = json!(format!("{:0>64}", id.replace('-', "")));
    app["created_at"] = json!(now());
    app["updated_at"] = json!(now());
    app["policies"] = json!(policies);
    state.apps.insert(id, app.clone());
    Ok(app)
}

fn new_policy(state: &mut State, policy: &Value) -> Reply {
    let decision = policy["decision"].as_str().unwrap_or_default();
    let bad = |why: &str| Err(Refusal::new(400, 12130, &format!("access.api.error.invalid_request: {why}")));
    if !["allow", "deny", "non_identity", "bypass"].contains(&decision) || policy["name"].as_str().is_none() {
        return bad("policy needs a name and a decision");
    }
    let Some(include) = policy["include"].as_array().filter(|include| !include.is_empty()) else {
        return bad("policy needs rules to include");
    };
    for rule in include {
        if let Some(token) = rule["service_token"]["token_id"].as_str()
            && !state.service_tokens.contains_key(token)
        {
            return bad("policy names a service token that does not exist");
        }
    }
    let mut policy = policy.clone();
    policy["id"] = json!(state.uuid());
    Ok(policy)
}

fn app(state: &mut State, method: &str, path: &str, request: &Request) -> Reply {
    let id = &request.path["app_id"];
    let old = state.apps.get(id).cloned().ok_or_else(missing)?;
    match (method, path.trim_start_matches("apps/{app_id}")) {
        ("GET", "") => Ok(old),
        ("PUT", "") => {
            let mut app = old;
            for (field, value) in request.body.as_object().into_iter().flatten() {
                app[field] = value.clone();
            }
            state.apps.insert(id.clone(), app.clone());
            Ok(app)
        }
        ("DELETE", "") => {
            state.apps.remove(id);
            Ok(json!({ "id": id }))
        }
        ("GET", "/policies") => Ok(old["policies"].clone()),
        ("POST", "/policies") => {
            let policy = new_policy(state, &request.body)?;
            let app = state.apps.get_mut(id).ok_or_else(missing)?;
            app["policies"].as_array_mut().expect("it always has some").push(policy.clone());
            Ok(policy)
        }
        ("DELETE", _) => {
            let policy = &request.path["policy_id"];
            let app = state.apps.get_mut(id).ok_or_else(missing)?;
            app["policies"].as_array_mut().expect("it always has some").retain(|held| held["id"] != *policy);
            Ok(json!({ "id": policy }))
        }
        _ => Err(Refusal::new(501, 1, "the fake does not answer that")),
    }
}

fn create_token(state: &mut State, request: &Request) -> Reply {
    let id = state.uuid();
    let client_id = format!("{}.access", state.hex());
    let duration = request.body.get("duration").cloned().unwrap_or_else(|| json!("8760h"));
    let token = json!({
        "id": id, "name": request.body["name"], "client_id": client_id, "duration": duration, "enabled": true,
        "created_at": now(), "updated_at": now(), "expires_at": "2099-01-01T00:00:00Z",
    });
    state.service_tokens.insert(id, token.clone());
    Ok(with_secret(state, token))
}

/// Shown this once.
fn with_secret(state: &mut State, mut token: Value) -> Value {
    let secret = format!("{}{}", state.hex(), state.hex());
    state.client_secrets.insert(token["client_id"].as_str().unwrap_or_default().to_owned(), secret.clone());
    token["client_secret"] = json!(secret);
    token
}

fn service_token(state: &mut State, method: &str, path: &str, request: &Request) -> Reply {
    let id = &request.path["service_token_id"];
    let token = state.service_tokens.get(id).cloned().ok_or_else(missing)?;
    match (method, path.ends_with("/rotate")) {
        ("GET", _) => Ok(token),
        ("POST", true) => Ok(with_secret(state, token)),
        _ => {
            let uses = |app: &Value| app["policies"].to_string().contains(id.as_str());
            if state.apps.values().any(uses) {
                return Err(Refusal::new(400, 12132, "access.api.error.service_token_in_use"));
            }
            state.service_tokens.remove(id);
            Ok(token)
        }
    }
}

/// Whether a connection for a host name may pass with these credentials: one that no application protects is open to everybody.
pub(super) fn admits(state: &State, hostname: &str, client_id: &str, client_secret: &str) -> bool {
    let Some(app) = state.apps.values().find(|app| app["domain"] == hostname) else { return true };
    let known = state.client_secrets.get(client_id).is_some_and(|secret| secret == client_secret);
    let token = state.service_tokens.values().find(|token| known && token["client_id"] == client_id);
    let Some(token) = token else { return false };
    let policies = app["policies"].as_array().into_iter().flatten();
    policies.filter(|policy| policy["decision"] == "non_identity").any(|policy| {
        policy["include"].as_array().into_iter().flatten().any(|rule| {
            rule["service_token"]["token_id"] == token["id"] || rule.get("any_valid_service_token").is_some()
        })
    })
}
