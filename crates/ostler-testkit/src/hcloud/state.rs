//! What the project holds. Each resource is the JSON document that the API shows of it, less what follows from others: a server's
//! volumes stand with the volumes, a network's servers with the servers. `view` adds these.

use super::{
    actions::Actions,
    api::{Fault, Refusal},
    catalog, certificates, firewalls, load_balancers,
    machines::Machines,
    networks, servers, volumes, zones,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

/// Number of a resource; no two have the same.
pub(super) type Id = u64;

/// A family of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Certificate,
    Firewall,
    Image,
    Iso,
    LoadBalancer,
    LoadBalancerType,
    Location,
    Network,
    PlacementGroup,
    PrimaryIp,
    Server,
    ServerType,
    SshKey,
    Volume,
    Zone,
}

impl Kind {
    const ALL: [Self; 15] = [
        Self::Certificate,
        Self::Firewall,
        Self::Image,
        Self::Iso,
        Self::LoadBalancer,
        Self::LoadBalancerType,
        Self::Location,
        Self::Network,
        Self::PlacementGroup,
        Self::PrimaryIp,
        Self::Server,
        Self::ServerType,
        Self::SshKey,
        Self::Volume,
        Self::Zone,
    ];

    /// What an answer calls one of them.
    pub fn singular(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Firewall => "firewall",
            Self::Image => "image",
            Self::Iso => "iso",
            Self::LoadBalancer => "load_balancer",
            Self::LoadBalancerType => "load_balancer_type",
            Self::Location => "location",
            Self::Network => "network",
            Self::PlacementGroup => "placement_group",
            Self::PrimaryIp => "primary_ip",
            Self::Server => "server",
            Self::ServerType => "server_type",
            Self::SshKey => "ssh_key",
            Self::Volume => "volume",
            Self::Zone => "zone",
        }
    }

    /// What the path and lists call them.
    pub fn plural(self) -> String {
        format!("{}s", self.singular())
    }

    /// The family of a path's first word.
    pub fn of(plural: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.plural() == plural)
    }
}

/// What a server has that the API does not show.
#[derive(Clone, Default)]
pub(super) struct Hidden {
    pub user_data: String,
    pub public_keys: Vec<String>,
    pub root_password: Option<String>,
}

/// A request that came.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Such as `GET /servers/{id}`; the path itself where that is none of the API's.
    pub endpoint: String,
    /// The path without `/v1`.
    pub path: String,
    /// Its query, decoded.
    pub query: Vec<(String, String)>,
    /// Its body; null where it has none.
    pub body: Value,
}

/// How many requests may come.
pub(super) struct Rate {
    /// In an hour; they come back evenly.
    pub limit: u32,
    pub remaining: f64,
    pub since: Instant,
}

/// All of it.
pub(super) struct State {
    last_id: Id,
    tables: BTreeMap<Kind, BTreeMap<Id, Value>>,
    pub hidden: BTreeMap<Id, Hidden>,
    /// By zone, name and type.
    pub rrsets: BTreeMap<(Id, String, String), Value>,
    pub actions: Actions,
    pub machines: Arc<dyn Machines>,
    /// What requests to an endpoint meet.
    pub faults: HashMap<String, VecDeque<Fault>>,
    pub rate: Rate,
    /// Server types that nobody gets in a location: (type, location).
    pub sold_out: BTreeSet<(String, String)>,
    /// Health of load balancers' targets by server name, where it is not `healthy`.
    pub health: BTreeMap<String, String>,
    /// Resources that support has locked.
    pub locked_for_good: BTreeSet<Id>,
    pub requests: Vec<Seen>,
    /// Where the metadata service answers, without a slash at the end.
    pub metadata_url: String,
    next_ipv4: u32,
    next_ipv6: u32,
}

impl State {
    pub fn new(machines: Arc<dyn Machines>, metadata_url: String) -> Self {
        Self {
            // Ids of what is made are eight digits long, as they are at Hetzner.
            last_id: 10_000_000,
            tables: catalog::tables(),
            hidden: BTreeMap::new(),
            rrsets: BTreeMap::new(),
            actions: Actions::new(Duration::from_millis(20)),
            machines,
            faults: HashMap::new(),
            rate: Rate { limit: 3600, remaining: 3600.0, since: Instant::now() },
            sold_out: BTreeSet::new(),
            health: BTreeMap::new(),
            locked_for_good: BTreeSet::new(),
            requests: Vec::new(),
            metadata_url,
            next_ipv4: 0,
            next_ipv6: 0,
        }
    }

    pub fn new_id(&mut self) -> Id {
        self.last_id += 1;
        self.last_id
    }

    /// A number for an IPv4 address, and one for an IPv6 network; none comes twice.
    pub fn next_address(&mut self, ipv6: bool) -> u32 {
        let next = if ipv6 { &mut self.next_ipv6 } else { &mut self.next_ipv4 };
        *next += 1;
        *next
    }

    /// Adds a resource; its document gets `id`, `created` and `labels`.
    pub fn insert(&mut self, kind: Kind, mut doc: Value) -> Id {
        let id = self.new_id();
        doc["id"] = json!(id);
        doc["created"] = json!(now());
        if !doc["labels"].is_object() {
            doc["labels"] = json!({});
        }
        self.tables.entry(kind).or_default().insert(id, doc);
        id
    }

    pub fn remove(&mut self, kind: Kind, id: Id) {
        self.tables.entry(kind).or_default().remove(&id);
        self.hidden.remove(&id);
    }

    /// All documents of a family, in the order of their ids.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = (Id, &Value)> {
        self.tables.get(&kind).into_iter().flatten().map(|(id, doc)| (*id, doc))
    }

    pub fn all_mut(&mut self, kind: Kind) -> impl Iterator<Item = (Id, &mut Value)> {
        self.tables.get_mut(&kind).into_iter().flatten().map(|(id, doc)| (*id, doc))
    }

    pub fn doc(&self, kind: Kind, id: Id) -> Result<&Value, Refusal> {
        self.tables.get(&kind).and_then(|table| table.get(&id)).ok_or_else(|| not_found(kind, &id.to_string()))
    }

    pub fn doc_mut(&mut self, kind: Kind, id: Id) -> Result<&mut Value, Refusal> {
        let table = self.tables.get_mut(&kind);
        table.and_then(|table| table.get_mut(&id)).ok_or_else(|| not_found(kind, &id.to_string()))
    }

    /// The resource of an id, a text with an id, or a name.
    pub fn find(&self, kind: Kind, id_or_name: &Value) -> Result<Id, Refusal> {
        let number = id_or_name.as_u64().or_else(|| id_or_name.as_str()?.parse().ok());
        let by_id = number.filter(|id| self.doc(kind, *id).is_ok());
        let named = |(id, doc): (Id, &Value)| (id_or_name.is_string() && doc["name"] == *id_or_name).then_some(id);
        by_id.or_else(|| self.all(kind).find_map(named)).ok_or_else(|| {
            not_found(kind, id_or_name.as_str().map_or_else(|| id_or_name.to_string(), str::to_owned).as_str())
        })
    }

    /// Refuses a name that another resource of the family has.
    pub fn name_is_free(&self, kind: Kind, name: &Value, own: Option<Id>) -> Result<(), Refusal> {
        match self.all(kind).any(|(id, doc)| doc["name"] == *name && own != Some(id)) {
            true => Err(Refusal::not_unique("name", &format!("{} name is already used", kind.singular()))),
            false => Ok(()),
        }
    }

    /// Refuses to touch what is protected against it: `delete` or `rebuild`.
    pub fn is_unprotected(&self, kind: Kind, id: Id, against: &str) -> Result<(), Refusal> {
        match self.doc(kind, id)?["protection"][against] == true {
            true => {
                Err(Refusal::new(423, "protected", &format!("{} {against} protection is enabled", kind.singular())))
            }
            false => Ok(()),
        }
    }

    /// Refuses to touch what an action is running on.
    pub fn is_unlocked(&self, kind: Kind, id: Id) -> Result<(), Refusal> {
        if self.locked_for_good.contains(&id) {
            let message = format!("{} {id} is locked, please contact the support", kind.singular());
            return Err(Refusal::new(423, "resource_locked", &message));
        }
        match self.actions.lock(kind, id) {
            true => Err(Refusal::new(423, "locked", &format!("{} is locked", kind.singular()))),
            false => Ok(()),
        }
    }

    /// What the API shows of a resource.
    pub fn view(&self, kind: Kind, id: Id) -> Result<Value, Refusal> {
        let mut doc = self.doc(kind, id)?.clone();
        match kind {
            Kind::Certificate => certificates::complete(self, id, &mut doc),
            Kind::Firewall => firewalls::complete(self, &mut doc),
            Kind::LoadBalancer => load_balancers::complete(self, &mut doc),
            Kind::Network => networks::complete(self, id, &mut doc),
            Kind::PlacementGroup => servers::complete_group(self, id, &mut doc),
            Kind::Server => servers::complete(self, id, &mut doc),
            Kind::ServerType => catalog::complete_server_type(self, &mut doc),
            Kind::Volume => volumes::complete(&mut doc),
            Kind::Zone => zones::complete(self, id, &mut doc),
            Kind::Image | Kind::Iso | Kind::LoadBalancerType | Kind::Location | Kind::PrimaryIp | Kind::SshKey => {}
        }
        const NESTED: [(&str, Kind); 6] = [
            ("location", Kind::Location),
            ("server_type", Kind::ServerType),
            ("image", Kind::Image),
            ("iso", Kind::Iso),
            ("placement_group", Kind::PlacementGroup),
            ("load_balancer_type", Kind::LoadBalancerType),
        ];
        for (field, nested) in NESTED {
            if let Some(id) = doc[field].as_u64() {
                doc[field] = self.view(nested, id).unwrap_or_default();
            }
        }
        Ok(doc)
    }
}

fn not_found(kind: Kind, id: &str) -> Refusal {
    Refusal::new(404, "not_found", &format!("{} with ID '{id}' not found", kind.singular()))
}

/// The time as the API shows it.
pub(super) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
