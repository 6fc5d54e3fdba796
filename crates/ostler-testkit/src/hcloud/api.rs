//! Requests: who asks, whether it may be asked like that, and who answers.

use super::{
    READ_ONLY_TOKEN, TOKEN, actions, catalog, certificates, firewalls, load_balancers, networks, placement_groups,
    primary_ips, query,
    schema::{self, Parameters},
    server_actions, servers, ssh_keys,
    state::{Id, Kind, Seen, State},
    volumes, zones,
};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// What goes wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it is answered as ever, and the next fault is the next request's.
    Nothing,
    /// This error code with this message, and nothing is done. The status is the code's.
    Error(&'static str, &'static str),
    /// Nothing is done, and no answer comes.
    Stall,
    /// It is done, and no answer comes.
    ActAndStall,
    /// Nothing is done, and the connection ends.
    Drop,
    /// It is done, and the connection ends.
    ActAndDrop,
}

/// A request as it came.
pub(super) struct Call<'a> {
    pub method: &'a str,
    /// Without `/v1/`, decoded.
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
    /// All values of a key of the query.
    pub fn query_all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// A text of the body.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.body[key].as_str()
    }

    /// A number of the body.
    pub fn number(&self, key: &str) -> Option<Id> {
        self.body[key].as_u64()
    }

    /// A list of the body; empty where it is not given.
    pub fn list(&self, key: &str) -> &[Value] {
        self.body[key].as_array().map_or(&[], Vec::as_slice)
    }

    pub fn flag(&self, key: &str, default: bool) -> bool {
        self.body[key].as_bool().unwrap_or(default)
    }
}

/// An answer.
pub(super) struct Answer {
    pub status: u16,
    pub body: Value,
    pub headers: Vec<(&'static str, String)>,
}

/// An answer that is none.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    status: u16,
    code: String,
    message: String,
    details: Value,
}

impl Refusal {
    pub fn new(status: u16, code: &str, message: &str) -> Self {
        Self { status, code: code.to_owned(), message: message.to_owned(), details: Value::Null }
    }

    /// 422 with a code of the endpoint's own.
    pub fn rule(code: &str, message: &str) -> Self {
        Self::new(422, code, message)
    }

    /// `invalid_input` for one field.
    pub fn input(field: &str, message: &str) -> Self {
        Self::inputs(vec![(field.to_owned(), message.to_owned())])
    }

    /// The same for several.
    pub fn inputs(faults: Vec<(String, String)>) -> Self {
        let message = faults.first().map(|(field, fault)| format!("invalid input in field '{field}': {fault}"));
        let fields: Vec<Value> =
            faults.iter().map(|(name, message)| json!({ "name": name, "messages": [message] })).collect();
        let details = json!({ "fields": fields });
        Self { details, ..Self::new(422, "invalid_input", &message.unwrap_or_default()) }
    }

    pub fn not_unique(field: &str, message: &str) -> Self {
        Self { details: json!({ "fields": [{ "name": field }] }), ..Self::new(409, "uniqueness_error", message) }
    }

    /// What the documentation gives a code for a status.
    fn of_code(code: &str, message: &str) -> Self {
        let status = match code {
            "json_error" => 400,
            "unauthorized" | "token_readonly" => 401,
            "forbidden" | "maintenance" | "resource_limit_exceeded" => 403,
            "not_found" => 404,
            "method_not_allowed" => 405,
            "uniqueness_error" | "conflict" => 409,
            "deprecated_api_endpoint" => 410,
            "resource_unavailable" | "placement_error" | "precondition_failed" => 412,
            "locked" | "protected" | "resource_locked" => 423,
            "rate_limit_exceeded" => 429,
            "server_error" => 500,
            "bad_gateway" => 502,
            "unavailable" => 503,
            "timeout" => 504,
            _ => 422,
        };
        Self::new(status, code, message)
    }

    fn body(&self) -> Value {
        json!({ "error": { "code": self.code, "message": self.message, "details": self.details } })
    }
}

pub(super) type Reply = Result<Value, Refusal>;

/// Answers a call, and says what goes wrong with the answer.
pub(super) fn answer(state: &mut State, call: Call<'_>) -> (Answer, Option<Fault>) {
    let path: Vec<String> = call.path.split('/').map(str::to_owned).collect();
    let found = schema::endpoint(call.method, &path);
    let endpoint =
        found.as_ref().map_or_else(|| format!("{} /{}", call.method, call.path), |(name, _)| (*name).to_owned());
    let body = if call.body.is_empty() { Some(json!({})) } else { serde_json::from_slice::<Value>(call.body).ok() };
    state.requests.push(Seen {
        endpoint: endpoint.clone(),
        path: format!("/{}", call.path),
        query: call.query.clone(),
        body: if call.body.is_empty() { Value::Null } else { body.clone().unwrap_or_default() },
    });
    let fault = state.faults.get_mut(&endpoint).and_then(VecDeque::pop_front);
    let mut headers = Vec::new();
    let reply = (|| {
        let token = authenticate(call.authorization)?;
        let within = count(state, token, &mut headers);
        match &fault {
            Some(Fault::Error(code, message)) => return Err(Refusal::of_code(code, message)),
            Some(Fault::Stall | Fault::Drop) => return Ok(Value::Null),
            Some(Fault::Nothing | Fault::ActAndStall | Fault::ActAndDrop) | None => within?,
        }
        let (endpoint, parameters) = found.ok_or_else(|| nowhere(&path))?;
        if token == READ_ONLY_TOKEN && call.method != "GET" {
            return Err(Refusal::new(401, "token_readonly", "The token is only allowed to perform GET requests."));
        }
        let body = body.ok_or_else(|| Refusal::new(400, "json_error", "invalid JSON input in your request"))?;
        let faults = schema::check_request(endpoint, &call.query, &body);
        if !faults.is_empty() {
            return Err(Refusal::inputs(faults));
        }
        if let Some(labels) = body["labels"].as_object() {
            query::check_labels(labels)?;
        }
        let reply = dispatch(state, endpoint, &Request { path: parameters, query: call.query, body })?;
        match schema::check_answer(endpoint, &reply).first() {
            Some((at, fault)) => {
                let message = format!("the fake's answer to `{endpoint}` is not Hetzner's: `{at}` {fault}");
                Err(Refusal::new(500, "fake_error", &message))
            }
            None => Ok(reply),
        }
    })();
    let answer = match reply {
        Ok(body) => Answer {
            status: schema::endpoint(call.method, &path).map_or(200, |(name, _)| schema::status(name)),
            body,
            headers,
        },
        Err(refusal) => Answer { status: refusal.status, body: refusal.body(), headers },
    };
    (answer, fault)
}

fn authenticate(authorization: &str) -> Result<&str, Refusal> {
    let token = authorization.strip_prefix("Bearer ").unwrap_or_default();
    match [TOKEN, READ_ONLY_TOKEN].contains(&token) {
        true => Ok(token),
        false => Err(Refusal::new(401, "unauthorized", "unable to authenticate")),
    }
}

/// Counts a request, and says so in the headers. Refused where there are too many; the message then has half of the token in it, as
/// Hetzner's has.
fn count(state: &mut State, token: &str, headers: &mut Vec<(&'static str, String)>) -> Result<(), Refusal> {
    let rate = &mut state.rate;
    let limit = f64::from(rate.limit);
    let back = rate.since.elapsed().as_secs_f64() * limit / 3600.0;
    rate.since = Instant::now();
    rate.remaining = (rate.remaining + back).min(limit);
    let within = rate.remaining >= 1.0;
    if within {
        rate.remaining -= 1.0;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let full = now + ((limit - rate.remaining) * 3600.0 / limit).ceil() as u64;
    headers.push(("RateLimit-Limit", rate.limit.to_string()));
    headers.push(("RateLimit-Remaining", (rate.remaining as u32).to_string()));
    headers.push(("RateLimit-Reset", full.to_string()));
    match within {
        true => Ok(()),
        false => {
            let message = format!(
                "Limit of '{}' requests per hour for token '{}...' reached.",
                rate.limit,
                &token[..token.len() / 2]
            );
            Err(Refusal::new(429, "rate_limit_exceeded", &message))
        }
    }
}

/// Why no endpoint fits.
fn nowhere(path: &[String]) -> Refusal {
    if path[0] == "datacenters" {
        return Refusal::new(410, "deprecated_api_endpoint", "The API endpoint functionality was removed.");
    }
    match schema::is_path(path) {
        true => Refusal::new(405, "method_not_allowed", "The request method is not allowed"),
        false => Refusal::new(404, "not_found", "the requested endpoint was not found"),
    }
}

fn dispatch(state: &mut State, endpoint: &str, request: &Request) -> Reply {
    let (method, path) = endpoint.split_once(" /").expect("a method and a path");
    let words: Vec<&str> = path.split('/').collect();
    match (method, words.as_slice()) {
        ("GET", ["actions"]) => return actions::list(state, request, None, None),
        ("GET", ["actions", "{id}"] | [_, "actions", "{id}"]) => return actions::get(state, &request.path["id"]),
        ("GET", ["pricing"]) => return Ok(catalog::pricing(state)),
        ("GET", [.., "{action_id}"]) => return actions::get(state, &request.path["action_id"]),
        _ => {}
    }
    let kind = Kind::of(words[0]).ok_or_else(|| lacking(endpoint))?;
    let resource = |state: &State| match (request.path.get("id"), request.path.get("id_or_name")) {
        (Some(id), _) => {
            let number = id.parse().unwrap_or(0);
            state.doc(kind, number).map(|_| number)
        }
        (None, Some(name)) => state.find(kind, &json!(name)),
        (None, None) => Err(lacking(endpoint)),
    };
    match (method, &words[1..]) {
        ("GET", []) => list(state, kind, request),
        ("POST", []) => create(state, kind, request).unwrap_or_else(|| Err(lacking(endpoint))),
        ("GET", ["actions"]) => actions::list(state, request, Some(kind), None),
        ("GET", [_, "actions"]) => actions::list(state, request, Some(kind), Some(resource(state)?)),
        ("GET", [_]) => Ok(json!({ kind.singular(): state.view(kind, resource(state)?)? })),
        ("PUT", [_]) => update(state, kind, resource(state)?, request),
        ("DELETE", [_]) => delete(state, kind, resource(state)?),
        ("POST", [_, "actions", verb]) => {
            let id = resource(state)?;
            act(state, kind, id, verb, request).unwrap_or_else(|| Err(lacking(endpoint)))
        }
        (_, [_, "zonefile" | "rrsets", ..]) => zones::records(state, resource(state)?, method, &words[2..], request),
        _ => Err(lacking(endpoint)),
    }
}

/// What Hetzner does and this can't.
fn lacking(endpoint: &str) -> Refusal {
    Refusal::new(501, "fake_error", &format!("the fake does not answer `{endpoint}`"))
}

fn list(state: &State, kind: Kind, request: &Request) -> Reply {
    let ids: Vec<Id> = state.all(kind).map(|(id, _)| id).collect();
    let mut all = ids.into_iter().map(|id| state.view(kind, id)).collect::<Result<Vec<_>, _>>()?;
    if kind == Kind::Image && request.query("include_deprecated") != Some("true") {
        all.retain(|image| image["deprecation"].is_null());
    }
    query::list(request, &kind.plural(), all)
}

fn create(state: &mut State, kind: Kind, request: &Request) -> Option<Reply> {
    if request.body.get("name").is_some()
        && let Err(refusal) = state.name_is_free(kind, &request.body["name"], None)
    {
        return Some(Err(refusal));
    }
    Some(match kind {
        Kind::Certificate => certificates::create(state, request),
        Kind::Firewall => firewalls::create(state, request),
        Kind::LoadBalancer => load_balancers::create(state, request),
        Kind::Network => networks::create(state, request),
        Kind::PlacementGroup => placement_groups::create(state, request),
        Kind::PrimaryIp => primary_ips::create(state, request),
        Kind::Server => servers::create(state, request),
        Kind::SshKey => ssh_keys::create(state, request),
        Kind::Volume => volumes::create(state, request),
        Kind::Zone => zones::create(state, request),
        Kind::Image | Kind::Iso | Kind::LoadBalancerType | Kind::Location | Kind::ServerType => return None,
    })
}

/// What is given replaces what is there; the schema has seen to it that nothing else is.
fn update(state: &mut State, kind: Kind, id: Id, request: &Request) -> Reply {
    if request.body.get("name").is_some() {
        state.name_is_free(kind, &request.body["name"], Some(id))?;
        if kind == Kind::Server {
            servers::check_name(&request.body["name"])?;
        }
    }
    let doc = state.doc_mut(kind, id)?;
    for (key, value) in request.body.as_object().into_iter().flatten() {
        doc[key] = value.clone();
    }
    Ok(json!({ kind.singular(): state.view(kind, id)? }))
}

fn delete(state: &mut State, kind: Kind, id: Id) -> Reply {
    if kind != Kind::Zone {
        state.is_unprotected(kind, id, "delete")?;
    }
    state.is_unlocked(kind, id)?;
    match kind {
        Kind::Firewall => firewalls::delete(state, id),
        Kind::Certificate => certificates::delete(state, id),
        Kind::LoadBalancer => load_balancers::delete(state, id),
        Kind::Network => networks::delete(state, id),
        Kind::PlacementGroup => placement_groups::delete(state, id),
        Kind::PrimaryIp => primary_ips::delete(state, id),
        Kind::Server => servers::delete(state, id),
        Kind::Volume => volumes::delete(state, id),
        Kind::Zone => zones::delete(state, id),
        Kind::Image if state.doc(kind, id)?["type"] == "system" => {
            Err(Refusal::new(403, "forbidden", "system images can't be deleted"))
        }
        Kind::Image | Kind::SshKey | Kind::Iso | Kind::LoadBalancerType | Kind::Location | Kind::ServerType => {
            state.remove(kind, id);
            Ok(Value::Null)
        }
    }
}

fn act(state: &mut State, kind: Kind, id: Id, verb: &str, request: &Request) -> Option<Reply> {
    if verb == "change_protection" {
        return Some(change_protection(state, kind, id, request));
    }
    match kind {
        Kind::Firewall => firewalls::act(state, id, verb, request),
        Kind::LoadBalancer => load_balancers::act(state, id, verb, request),
        Kind::Network => networks::act(state, id, verb, request),
        Kind::PrimaryIp => primary_ips::act(state, id, verb, request),
        Kind::Server => server_actions::act(state, id, verb, request),
        Kind::Volume => volumes::act(state, id, verb, request),
        Kind::Zone => zones::act(state, id, verb, request),
        _ => None,
    }
}

fn change_protection(state: &mut State, kind: Kind, id: Id, request: &Request) -> Reply {
    state.is_unlocked(kind, id)?;
    let wanted = request.body.clone();
    if kind == Kind::Server && wanted["delete"] != wanted["rebuild"] {
        return Err(Refusal::input("delete", "delete and rebuild must be the same"));
    }
    state.act("change_protection", &[(kind, id)], move |state| {
        if let Ok(doc) = state.doc_mut(kind, id) {
            for (key, value) in wanted.as_object().into_iter().flatten() {
                doc["protection"][key] = value.clone();
            }
        }
        Ok(())
    })
}
