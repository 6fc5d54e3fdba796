//! A catalog's `index.json`, read with a place for everything that is wrong with it.
//!
//! What serde would say of a wrong index is its first fault only. JSON is YAML, so the reader of specs finds all of them.

use super::{
    Value,
    fault::{At, Fault, Problem, join, nearest, quote},
    node::{self, Kind, Node},
    params, rules,
    shape::{
        Choice, Field,
        Presence::{self, Required},
        Shape, Text,
    },
    walk::{Found, walk},
};
use crate::{AppMeta, AppPort, CatalogIndex, Proto, hint::Hint};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::PathBuf,
};

/// What an `index.json` says.
#[derive(Clone, Debug)]
pub struct IndexReading {
    /// The index; none where anything is at fault.
    pub index: Option<CatalogIndex>,
    /// Everything that is at fault, in the order of lines.
    pub faults: Vec<Fault>,
    /// What will surprise somebody one day, but is no fault.
    pub warnings: Vec<Fault>,
    /// The roles that it names, with their places, also where something else is at fault.
    pub roles: Vec<RolePlace>,
}

/// A role that an index names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolePlace {
    /// Its name: a good one, fit to be a folder's; of a role of a collection with two dots.
    pub role: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// `apps[0].role`
    pub key_path: String,
}

impl RolePlace {
    /// A fault at this place.
    pub fn fault(&self, message: impl Into<String>, hint: impl Into<Hint>) -> Fault {
        let at = At { line: self.line, column: self.column };
        Problem::new(message).hint(hint).at(at, &self.key_path)
    }
}

/// Reads an `index.json`.
pub fn read_index(text: &str) -> IndexReading {
    let mut reading = Reading { faults: Vec::new(), warnings: Vec::new() };
    let (index, roles) = reading.read(text);
    for list in [&mut reading.faults, &mut reading.warnings] {
        list.sort_by(|a, b| (a.line, a.column, &a.key_path).cmp(&(b.line, b.column, &b.key_path)));
    }
    let index = index.filter(|_| reading.faults.is_empty());
    IndexReading { index, faults: reading.faults, warnings: reading.warnings, roles }
}

fn shape() -> Shape {
    let text = |noun| Shape::Text(Text::any(noun));
    let list = |item| Shape::List(Box::new(item));
    let empty = || Presence::Default(Value::List(Vec::new()));
    let null = || Presence::Default(Value::Null);
    let word = |word: &str| Presence::Default(Value::String(word.to_owned()));
    let choice = |words: &[&str]| Shape::Choice(words.iter().map(|word| Choice::new(word, "")).collect());
    let port = Shape::object(vec![
        Field::new("port", Shape::Int { min: 1, max: 65535 }, Required, ""),
        Field::new("proto", choice(&["tcp", "udp"]), Required, "`tcp` or `udp`"),
        Field::new(
            "scope",
            choice(&["public", "lan", "local"]),
            Required,
            "who may reach it: `public`, `lan` or `local`",
        ),
    ]);
    let promise = Shape::object(vec![
        Field::new("says", text("a sentence"), Required, "what holds on a server once the role has run"),
        Field::new(
            "check",
            text("a script for `sh`"),
            Required,
            "what tries it there as root, and exits with 0 where it holds",
        ),
    ]);
    let script = |key, help| Field::new(key, text("a script for `sh`"), Required, help);
    let leave = Shape::object(vec![
        script(
            "member",
            "run on the server itself: prints `ID manager` or `ID worker`, or nothing where it is no member",
        ),
        script("members", "run on a manager: prints `ID ROLE STATE ADDRESS NAME` for each member"),
        script("only", "run on a manager: prints what runs on the member `$1` alone"),
        script("drain", "run on another manager: has all that runs on `$1` run elsewhere"),
        script("demote", "run on another manager: makes `$1` no manager any more"),
        script("leave", "run on the server itself: leaves, unless it is a manager"),
        script("forget", "run on another manager: forgets `$1`, which has left unless `$2` is `force`"),
    ]);
    let peer = Shape::object(vec![
        Field::new("param", text("a parameter"), Required, "the parameter that names another server"),
        Field::new("asks", text("a script for `sh`"), Required, "what is run there as root for the role to hear"),
        Field::new("plain", list(text("a word")), empty(), "the words whose texts anybody may see"),
        Field::new("leave", leave, null(), "how a server is taken out again of what it joined"),
    ]);
    let app = Shape::object(vec![
        Field::new("name", Shape::Text(rules::app_name()), Required, "what specs call it"),
        Field::new(
            "role",
            Shape::Text(rules::app_role()),
            Required,
            "its folder under `roles/apps/`, or `NAMESPACE.COLLECTION.ROLE`",
        ),
        Field::new("description", text("a text"), word(""), ""),
        Field::new("version", text("a version in quotes"), null(), ""),
        Field::new("packages", list(Shape::Text(rules::package())), empty(), ""),
        Field::new("ports", list(port), empty(), ""),
        Field::new("depends", list(Shape::Text(rules::app_name())), empty(), ""),
        Field::new("strategy", choice(&["mitogen", "linear"]), word("mitogen"), ""),
        Field::new("facts", choice(&["all", "release"]), word("all"), ""),
        Field::new("template", Shape::Bool, Presence::Default(Value::Bool(false)), ""),
        Field::new("promises", list(promise), empty(), ""),
        Field::new("peer", peer, null(), ""),
        Field::new("params", Shape::Any, null(), ""),
    ]);
    Shape::object(vec![Field::new("apps", list(app), Required, "`\"apps\": []` is a catalog without any")])
}

struct Reading {
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

/// An app that has the right shape, and where it stands.
struct Placed<'a> {
    meta: AppMeta,
    found: &'a Found,
    node: &'a Node,
}

impl Placed<'_> {
    fn fault(&self, key: &str, problem: Problem) -> Fault {
        self.found.get(key).unwrap_or(self.found).fault(problem)
    }
}

impl Reading {
    fn read(&mut self, text: &str) -> (Option<CatalogIndex>, Vec<RolePlace>) {
        let json: serde_json::Value = match serde_json::from_str(text) {
            Ok(json) => json,
            Err(error) => {
                let what = error.to_string();
                let what = what.split(" at line ").next().unwrap_or_default();
                let at = At { line: error.line().max(1), column: error.column().max(1) };
                self.faults.push(Problem::new(format!("not valid JSON: {what}")).at(at, ""));
                return (None, Vec::new());
            }
        };
        let node = match node::load(text) {
            Ok(node) => node,
            // What only JSON can say, such as a tab before a key, has no places.
            Err(_) => match serde_json::from_value(json) {
                Ok(value) => Node::from_value(&value, At { line: 1, column: 1 }),
                Err(_) => return (None, Vec::new()),
            },
        };
        node::duplicates(&node, "", &mut self.faults);
        let found = walk(&node, &shape(), "", &mut self.faults);
        let Some(list) = found.get("apps").and_then(Found::list) else { return (None, Vec::new()) };
        let nodes = match child(&node, "apps").map(|apps| &apps.kind) {
            Some(Kind::List(nodes)) => nodes.as_slice(),
            _ => return (None, Vec::new()),
        };
        let mut apps = Vec::new();
        for (found, node) in list.iter().zip(nodes) {
            let meta = found
                .value(&|path| PathBuf::from(path))
                .and_then(|value| serde_json::from_value(serde_json::to_value(value).ok()?).ok());
            apps.extend(meta.map(|meta| Placed { meta, found, node }));
        }
        // What one app says of another is only looked at where all of them can be read.
        let whole = apps.len() == list.len();
        self.check_names(&apps);
        apps.iter().for_each(|app| self.check_params(app));
        if whole {
            self.check_dependencies(&apps);
            self.check_ports(&apps);
        }
        let roles = apps.iter().filter_map(|app| {
            let found = app.found.get("role")?;
            let (At { line, column }, key_path) = (found.at, found.path.clone());
            Some(RolePlace { role: app.meta.role.clone(), line, column, key_path })
        });
        let roles = roles.collect();
        (whole.then(|| CatalogIndex { apps: apps.into_iter().map(|app| app.meta).collect() }), roles)
    }

    fn check_names(&mut self, apps: &[Placed<'_>]) {
        let mut names: HashMap<String, usize> = HashMap::new();
        let mut roles: HashMap<&str, usize> = HashMap::new();
        for app in apps {
            let AppMeta { name, role, .. } = &app.meta;
            let line = app.found.at.line;
            // `a-b` and `a_b` would have the same variables.
            if let Some(first) = names.insert(prefix(name), line) {
                let problem = Problem::new(format!("there is an app {} already", quote(name)));
                self.faults.push(
                    app.fault(
                        "name",
                        problem.hint(format!("it begins in line {first}; `-` and `_` count as the same")),
                    ),
                );
            }
            if let Some(first) = roles.insert(role, line) {
                let problem = Problem::new(format!("role {} belongs to another app already", quote(role)));
                self.faults.push(app.fault("role", problem.hint(format!("that one begins in line {first}"))));
            }
            if ["ansible_", "ostler_"].iter().any(|ours| prefix(name).starts_with(ours)) {
                let problem = Problem::new("variables that begin like this belong to Ansible and Ostler");
                self.faults.push(app.fault(
                    "name",
                    problem.hint("an app's parameters become variables that begin with its name: choose another"),
                ));
            }
        }
    }

    /// All that is wrong with the schema of an app's parameters, each at its property.
    fn check_params(&mut self, app: &Placed<'_>) {
        let Some(params) = child(app.node, "params") else { return };
        let path = join(&app.found.path, "params");
        let before = self.faults.len();
        if let Some(Node { kind: Kind::Map(entries), .. }) = child(params, "properties") {
            for entry in entries {
                let path = format!("{path}.properties.{}", entry.key);
                if !is_variable(&entry.key) {
                    let problem =
                        Problem::new("not a name for a variable").hint("a-z, 0-9 and `_`, beginning with a letter");
                    self.faults.push(problem.at(entry.at, &path));
                }
                if ["params", "ports"].contains(&entry.key.as_str()) && app.meta.name == "app" {
                    self.faults.push(Problem::new("this variable is Ostler's own").at(entry.at, &path));
                }
                let alone =
                    serde_json::json!({ "type": "object", "properties": { &entry.key: entry.value.to_value() } });
                let alone = AppMeta { params: Some(alone), ..app.meta.clone() };
                if let Err(error) = params::check_app(&alone) {
                    self.faults.push(schema_problem(&error).at(entry.at, &path));
                }
            }
        }
        if self.faults.len() == before
            && let Err(error) = params::check_app(&app.meta)
        {
            self.faults.push(schema_problem(&error).at(params.at, &path));
        }
    }

    fn check_dependencies(&mut self, apps: &[Placed<'_>]) {
        let by_name: BTreeMap<&str, &Placed<'_>> = apps.iter().map(|app| (app.meta.name.as_str(), app)).collect();
        for app in apps {
            let name = &app.meta.name;
            for found in app.found.get("depends").and_then(Found::list).unwrap_or_default() {
                let Some(dependency) = found.text() else { continue };
                if !by_name.contains_key(dependency) {
                    let problem = Problem::new(format!("the catalog has no app {}", quote(dependency)));
                    let hint = nearest(dependency, by_name.keys().copied().filter(|other| *other != name));
                    self.faults.push(found.fault(problem.hints(hint)));
                }
                // Each circle is said once, where its first app of the file begins it.
                if let Some(circle) = way(&by_name, dependency, name)
                    && apps
                        .iter()
                        .find(|app| circle.contains(&app.meta.name.as_str()))
                        .is_some_and(|first| first.meta.name == *name)
                {
                    let circle = format!("{name} -> {}", circle.join(" -> "));
                    self.faults
                        .push(found.fault(Problem::new(format!("apps depend on one another in a circle: {circle}"))));
                }
            }
        }
    }

    fn check_ports(&mut self, apps: &[Placed<'_>]) {
        let by_name: BTreeMap<&str, &Placed<'_>> = apps.iter().map(|app| (app.meta.name.as_str(), app)).collect();
        let mut taken: HashMap<(u16, Proto), Vec<&Placed<'_>>> = HashMap::new();
        for app in apps {
            let places = app.found.get("ports").and_then(Found::list).unwrap_or_default();
            for (place, AppPort { port, proto, .. }) in places.iter().zip(&app.meta.ports) {
                let shown = format!("port {port}/{}", if *proto == Proto::Tcp { "tcp" } else { "udp" });
                if (*port, *proto) == (22, Proto::Tcp) {
                    let problem = Problem::new(format!("{shown} is the SSH server's"));
                    self.faults.push(place.fault(problem.hint("no server could have this app")));
                }
                let others = taken.entry((*port, *proto)).or_default();
                for other in others.iter() {
                    let (name, other_name) = (app.meta.name.as_str(), other.meta.name.as_str());
                    if name == other_name {
                        self.faults.push(place.fault(Problem::new(format!("{shown} is named twice"))));
                    } else if needs(&by_name, name, other_name) || needs(&by_name, other_name, name) {
                        let problem = Problem::new(format!(
                            "{shown} is also that of app `{other_name}`, and one of them needs the other"
                        ));
                        self.faults.push(place.fault(problem.hint("no server could have them both")));
                    } else {
                        let problem = Problem::new(format!("{shown} is also that of app `{other_name}`"));
                        self.warnings.push(place.fault(problem.hint("one server can have only one of them")));
                    }
                }
                others.push(app);
            }
        }
    }
}

fn schema_problem(error: &params::ShapeError) -> Problem {
    use crate::error::Classify;
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    Problem { message: format!("{error}{cause}"), hints: error.hints() }
}

/// What variables of an app begin with.
fn prefix(app: &str) -> String {
    format!("{}_", app.replace('-', "_"))
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Whether `app` depends on `other`, directly or not.
fn needs(apps: &BTreeMap<&str, &Placed<'_>>, app: &str, other: &str) -> bool {
    app != other && way(apps, app, other).is_some()
}

/// A shortest way from one app to another along dependencies, both ends included.
fn way<'a>(apps: &BTreeMap<&'a str, &'a Placed<'_>>, from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut came_from: HashMap<&str, &str> = HashMap::new();
    let mut open = VecDeque::from([from]);
    while let Some(name) = open.pop_front() {
        if name == to {
            let mut way = vec![name];
            while let Some(before) = came_from.get(way[way.len() - 1]).filter(|_| way[way.len() - 1] != from) {
                way.push(before);
            }
            way.reverse();
            return Some(way);
        }
        let depends = apps.get(name).map(|app| app.meta.depends.as_slice()).unwrap_or_default();
        for next in depends {
            let Some((next, _)) = apps.get_key_value(next.as_str()) else { continue };
            if *next != from && !came_from.contains_key(next) {
                came_from.insert(next, name);
                open.push_back(next);
            }
        }
    }
    None
}

fn child<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let Kind::Map(entries) = &node.kind else { return None };
    entries
        .iter()
        .find(|entry| entry.key == key)
        .map(|entry| &entry.value)
        .filter(|node| !matches!(node.kind, Kind::Null))
}
