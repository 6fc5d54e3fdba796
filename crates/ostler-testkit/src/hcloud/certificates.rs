//! Certificates: uploaded ones are kept as they are, and managed ones are issued at once.

use super::{
    api::{Refusal, Reply, Request},
    state::{Id, Kind, State},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(super) fn create(state: &mut State, request: &Request) -> Reply {
    let managed = request.text("type") == Some("managed");
    let needed: &[&str] = if managed { &["domain_names"] } else { &["certificate", "private_key"] };
    if let Some(missing) = needed.iter().find(|key| request.body[**key].is_null()) {
        return Err(Refusal::input(missing, "Missing data for required field."));
    }
    let pem =
        request.text("certificate").unwrap_or("-----BEGIN CERTIFICATE-----\nmanaged\n-----END CERTIFICATE-----\n");
    let fingerprint: Vec<String> = Sha256::digest(pem).iter().map(|byte| format!("{byte:02x}")).collect();
    let status = json!({ "issuance": "completed", "renewal": "scheduled", "error": null });
    let id = state.insert(
        Kind::Certificate,
        json!({
            "name": request.body["name"], "type": if managed { "managed" } else { "uploaded" }, "certificate": pem,
            "labels": request.body["labels"], "domain_names": request.list("domain_names"), "fingerprint": fingerprint.join(":"),
            "not_valid_before": super::state::now(), "not_valid_after": "2099-12-31T00:00:00Z",
            "status": if managed { status } else { Value::Null },
        }),
    );
    let action = managed.then(|| state.begin("create_certificate", &[(Kind::Certificate, id)], |_| Ok(())));
    Ok(json!({
        "certificate": state.view(Kind::Certificate, id)?,
        "action": action.map(|action| state.action(action)),
    }))
}

/// Adds the load balancers that show it.
pub(super) fn complete(state: &State, id: Id, doc: &mut Value) {
    let users = state.all(Kind::LoadBalancer).filter(|(_, balancer)| uses(balancer, id));
    doc["used_by"] = users.map(|(id, _)| json!({ "id": id, "type": "load_balancer" })).collect();
}

fn uses(balancer: &Value, id: Id) -> bool {
    let services = balancer["services"].as_array().into_iter().flatten();
    services.filter_map(|service| service["http"]["certificates"].as_array()).flatten().any(|used| *used == id)
}

pub(super) fn delete(state: &mut State, id: Id) -> Reply {
    if state.all(Kind::LoadBalancer).any(|(_, balancer)| uses(balancer, id)) {
        return Err(Refusal::rule("resource_in_use", "certificate is still in use"));
    }
    state.remove(Kind::Certificate, id);
    Ok(Value::Null)
}
