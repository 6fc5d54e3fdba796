//! Requests: who asks, whether it may be asked like that, and who answers.

use super::{
    ACCOUNT, access, dns,
    rules::{RULES, Rule},
    state::{self, Seen, State, Token},
    tunnels,
};
use crate::endpoint::{self, Parameters};
use serde_json::{Value, json};
use std::{collections::VecDeque, sync::LazyLock};

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it is answered as ever, and the next fault is the next request's.
    Nothing,
    /// This HTTP status with this error code, and nothing is done.
    Error(u16, u32),
    /// Nothing is done, and the connection ends.
    Drop,
    /// It is done, and the connection ends.
    ActAndDrop,
}

/// A request as it came.
pub(super) struct Call<'a> {
    pub method: &'a str,
    /// Without `/client/v4/`, decoded.
    pub path: &'a str,
    pub query: Vec<(String, String)>,
    pub authorization: &'a str,
    pub body: &'a [u8],
}

/// One that has an endpoint, and holds what the endpoint takes.
pub(super) struct Request {
    pub path: Parameters,
    pub query: Vec<(String, String)>,
    pub body: Value,
}

impl Request {
    pub fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub fn text(&self, key: &str) -> &str {
        self.body[key].as_str().unwrap_or_default()
    }
}

/// An answer that is none.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub status: u16,
    code: u32,
    message: String,
}

impl Refusal {
    pub fn new(status: u16, code: u32, message: &str) -> Self {
        Self { status, code, message: message.to_owned() }
    }

    fn body(&self) -> Value {
        json!({
            "success": false, "errors": [{ "code": self.code, "message": self.message }], "messages": [], "result": null,
        })
    }
}

/// A result, whose lists are cut into pages.
pub(super) type Reply = Result<Value, Refusal>;

/// Answers a call, and says what goes wrong with the answer.
pub(super) fn answer(state: &mut State, call: Call<'_>) -> (u16, Value, Option<Fault>) {
    static ENDPOINTS: LazyLock<Vec<String>> =
        LazyLock::new(|| RULES.iter().map(|rule| rule.endpoint.to_owned()).collect());
    let path: Vec<String> = call.path.split('/').map(str::to_owned).collect();
    let found = endpoint::find(ENDPOINTS.iter(), call.method, &path);
    let endpoint =
        found.as_ref().map_or_else(|| format!("{} /{}", call.method, call.path), |(name, _)| (*name).to_owned());
    let body = if call.body.is_empty() { Some(json!({})) } else { serde_json::from_slice::<Value>(call.body).ok() };
    let seen = if call.body.is_empty() { Value::Null } else { body.clone().unwrap_or_default() };
    state.requests.push(Seen { endpoint: endpoint.clone(), path: format!("/{}", call.path), body: seen });
    let fault = state.faults.get_mut(&endpoint).and_then(VecDeque::pop_front);
    let reply = (|| {
        let token = authenticate(state, call.authorization, &endpoint)?;
        match fault {
            Some(Fault::Error(status, code)) => return Err(Refusal::new(status, code, "a fault that was asked for")),
            Some(Fault::Drop) => return Ok((Value::Null, Value::Null)),
            Some(Fault::Nothing | Fault::ActAndDrop) | None => {}
        }
        let (endpoint, path) = found.ok_or_else(|| Refusal::new(404, 7003, "Could not route to this endpoint"))?;
        let rule = RULES.iter().find(|rule| rule.endpoint == endpoint).expect("it was found among them");
        authorise(rule, token, &path)?;
        let body = body.ok_or_else(|| Refusal::new(400, 9207, "Request body is invalid"))?;
        rule.check(&call.query, &body)?;
        let token_id = token.id.clone();
        let request = Request { path, query: call.query, body };
        let result = dispatch(state, endpoint, &token_id, &request)?;
        page(result, &request)
    })();
    match reply {
        Ok((result, info)) => {
            let mut body = json!({ "success": true, "errors": [], "messages": [], "result": result });
            if !info.is_null() {
                body["result_info"] = info;
            }
            (200, body, fault)
        }
        Err(refusal) => (refusal.status, refusal.body(), fault),
    }
}

fn authenticate<'a>(state: &'a State, authorization: &str, endpoint: &str) -> Result<&'a Token, Refusal> {
    let token = authorization.strip_prefix("Bearer ").unwrap_or_default();
    state.tokens.get(token).ok_or_else(|| match endpoint {
        "GET /user/tokens/verify" => Refusal::new(401, 1000, "Invalid API Token"),
        _ => Refusal::new(403, 9109, "Invalid access token"),
    })
}

fn authorise(rule: &Rule, token: &Token, path: &Parameters) -> Result<(), Refusal> {
    let is_ours = path.get("account_id").is_none_or(|account| account == ACCOUNT);
    // Zones that a token may not see are missing from the list.
    match is_ours && (rule.permits(&token.permissions) || rule.endpoint == "GET /zones") {
        true => Ok(()),
        false => Err(Refusal::new(403, 10000, "Authentication error")),
    }
}

fn dispatch(state: &mut State, endpoint: &str, token: &str, request: &Request) -> Reply {
    let account = json!({ "id": ACCOUNT, "name": "Ostler's fake account", "type": "standard" });
    match endpoint {
        "GET /user/tokens/verify" => Ok(json!({ "id": token, "status": "active" })),
        "GET /user/tokens/{token_id}" => token_of(state, &request.path["token_id"]),
        "GET /accounts" => Ok(json!([account])),
        "GET /accounts/{account_id}" => Ok(account),
        "GET /zones" => Ok(zones(state, token, request)),
        "GET /zones/{zone_id}" => state::doc(&state.zones, &request.path["zone_id"], "zone").cloned(),
        _ if endpoint.contains("/cfd_tunnel") => tunnels::answer(state, endpoint, request),
        _ if endpoint.contains("/dns_records") => dns::answer(state, endpoint, request),
        _ => access::answer(state, endpoint, request),
    }
}

fn token_of(state: &State, id: &str) -> Reply {
    let token = state.tokens.values().find(|token| token.id == id);
    let token = token.ok_or_else(|| Refusal::new(404, 1003, "Token not found"))?;
    let groups: Vec<Value> = token.permissions.iter().map(|name| json!({ "name": name })).collect();
    Ok(json!({ "id": id, "status": "active", "policies": [{ "effect": "allow", "permission_groups": groups }] }))
}

fn zones(state: &State, token: &str, request: &Request) -> Value {
    let holder = state.tokens.values().find(|known| known.id == token);
    let sees = holder
        .is_some_and(|token| token.permissions.iter().any(|name| ["Zone Read", "Zone Write"].contains(&name.as_str())));
    let fits = |zone: &&Value| sees && request.query("name").is_none_or(|name| zone["name"] == name);
    state.zones.values().filter(fits).cloned().collect()
}

/// The page that is asked for of a list, with what the API says of it.
fn page(result: Value, request: &Request) -> Result<(Value, Value), Refusal> {
    let Value::Array(all) = result else { return Ok((result, Value::Null)) };
    let number = |key: &str, default: usize| match request.query(key) {
        Some(text) => text.parse().ok().filter(|number| *number > 0),
        None => Some(default),
    };
    let (Some(page), Some(per_page)) = (number("page", 1), number("per_page", 20)) else {
        return Err(Refusal::new(400, 1004, "page and per_page are numbers from 1"));
    };
    let total = all.len();
    let items: Vec<Value> = all.into_iter().skip((page - 1) * per_page).take(per_page).collect();
    let info = json!({
        "page": page, "per_page": per_page, "count": items.len(), "total_count": total,
        "total_pages": total.div_ceil(per_page),
    });
    Ok((Value::Array(items), info))
}
