//! What the account holds: each resource is the JSON document that the API shows of it, by id.

use super::{
    ACCOUNT, PERMISSIONS, TOKEN, ZONE,
    api::{Fault, Refusal},
    edge::Connector,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
};

pub(super) type Table = BTreeMap<String, Value>;

/// A request that came.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Such as `GET /zones/{zone_id}/dns_records`; the path itself where that is none of the API's.
    pub endpoint: String,
    /// The path without `/client/v4`.
    pub path: String,
    /// Its body; null where it has none.
    pub body: Value,
}

pub(super) struct Token {
    pub id: String,
    pub permissions: Vec<String>,
}

pub(super) struct State {
    last: u64,
    /// By the token itself.
    pub tokens: HashMap<String, Token>,
    pub zones: Table,
    pub tunnels: Table,
    /// By tunnel.
    pub tunnel_secrets: HashMap<String, String>,
    /// By tunnel; one that was never put is missing.
    pub configurations: Table,
    pub dns_records: Table,
    pub apps: Table,
    pub service_tokens: Table,
    /// By client id.
    pub client_secrets: HashMap<String, String>,
    pub edge: SocketAddr,
    pub takes_connectors: bool,
    /// By connection.
    pub connectors: BTreeMap<u64, Connector>,
    /// Clients that wait for their connector, by stream.
    pub waiting: HashMap<u64, tokio::sync::oneshot::Sender<tokio::net::TcpStream>>,
    pub faults: HashMap<String, VecDeque<Fault>>,
    pub requests: Vec<Seen>,
}

impl State {
    pub fn new(edge: SocketAddr) -> Self {
        let mut state = Self {
            last: 0,
            tokens: HashMap::new(),
            zones: Table::new(),
            tunnels: Table::new(),
            tunnel_secrets: HashMap::new(),
            configurations: Table::new(),
            dns_records: Table::new(),
            apps: Table::new(),
            service_tokens: Table::new(),
            client_secrets: HashMap::new(),
            edge,
            takes_connectors: true,
            connectors: BTreeMap::new(),
            waiting: HashMap::new(),
            faults: HashMap::new(),
            requests: Vec::new(),
        };
        let id = state.hex();
        let everything = PERMISSIONS.map(str::to_owned).to_vec();
        state.tokens.insert(TOKEN.to_owned(), Token { id, permissions: everything });
        let id = state.hex();
        let account = json!({ "id": ACCOUNT, "name": "Ostler's fake account" });
        let zone = json!({
            "id": id, "name": ZONE, "status": "active", "type": "full", "paused": false, "account": account,
            "name_servers": [format!("a.ns.{ZONE}"), format!("b.ns.{ZONE}")],
        });
        state.zones.insert(id, zone);
        state
    }

    pub fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// An id as zones, records and tokens have it.
    pub fn hex(&mut self) -> String {
        format!("{:032x}", 0x00c0_ffee_u128 << 64 | u128::from(self.number()))
    }

    /// An id as tunnels and Access have it.
    pub fn uuid(&mut self) -> String {
        format!("c0ffee00-0000-4000-8000-{:012x}", self.number())
    }

    pub fn new_token(&mut self, permissions: &[&str]) -> String {
        let id = self.hex();
        let token = format!("cfut_limited_{id}");
        let permissions = permissions.iter().map(|name| (*name).to_owned()).collect();
        self.tokens.insert(token.clone(), Token { id, permissions });
        token
    }
}

/// The document of an id in a table.
pub(super) fn doc<'a>(table: &'a Table, id: &str, what: &str) -> Result<&'a Value, Refusal> {
    table.get(id).ok_or_else(|| Refusal::new(404, 1003, &format!("{what} not found")))
}

/// The time as the API shows it.
pub(super) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
