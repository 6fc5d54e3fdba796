//! YAML text as a tree in which every node knows its place.
//!
//! The tree is built from the parser's events and not by `saphyr`'s own loader, because that one forgets duplicate keys and
//! follows aliases without limit: here size and depth are bounded, so that no file can exhaust memory or stack.

use super::{
    Value,
    fault::{At, Fault, Problem, join, quote},
};
use saphyr::Scalar;
use saphyr_parser::{Event, Marker, Parser, ScanError, Span, Tag};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

const MAX_BYTES: usize = 1 << 20;
const MAX_DEPTH: usize = 32;
const MAX_NODES: usize = 100_000;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub at: At,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub at: At,
    pub value: Node,
}

/// The one document of `text`. A text without any is `null`.
pub(super) fn load(text: &str) -> Result<Node, Fault> {
    if text.len() > MAX_BYTES {
        return Err(Problem::new("the file is larger than 1 MiB").at(START, ""));
    }
    Loader::default().load(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// What the parser says of a text that is not YAML.
pub(super) fn syntax_fault(text: &str) -> Option<Fault> {
    Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)).find_map(|event| Some(not_yaml(&event.err()?)))
}

fn not_yaml(error: &ScanError) -> Fault {
    Problem::new(format!("not valid YAML: {}", error.info())).at(place(error.marker()), "")
}

/// Keys that stand more than once in a mapping.
pub(super) fn duplicates(node: &Node, path: &str, faults: &mut Vec<Fault>) {
    match &node.kind {
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                duplicates(item, &format!("{path}[{index}]"), faults);
            }
        }
        Kind::Map(entries) => {
            let mut first: HashMap<&str, At> = HashMap::new();
            for entry in entries {
                let path = join(path, &entry.key);
                match first.get(entry.key.as_str()) {
                    Some(at) => {
                        let problem = Problem::new("duplicate key");
                        faults.push(problem.hint(format!("it stands in line {} already", at.line)).at(entry.at, &path));
                    }
                    None => {
                        first.insert(&entry.key, entry.at);
                    }
                }
                duplicates(&entry.value, &path, faults);
            }
        }
        _ => {}
    }
}

impl Node {
    /// A value that no text was read for, as if it stood at `at`.
    pub fn from_value(value: &Value, at: At) -> Self {
        let kind = match value {
            Value::Null => Kind::Null,
            Value::Bool(value) => Kind::Bool(*value),
            Value::Int(value) => Kind::Int(*value),
            Value::Float(value) => Kind::Float(*value),
            Value::String(value) => Kind::Text(value.clone()),
            Value::Secret(secret) => {
                let (key, name) = secret.parts();
                let value = Node { at, kind: Kind::Text(name.into_owned()) };
                Kind::Map(vec![Entry { key: key.to_owned(), at, value }])
            }
            Value::List(items) => Kind::List(items.iter().map(|item| Self::from_value(item, at)).collect()),
            Value::Map(map) => Kind::Map(
                map.iter()
                    .map(|(key, value)| Entry { key: key.clone(), at, value: Self::from_value(value, at) })
                    .collect(),
            ),
        };
        Self { at, kind }
    }

    /// The value without its places. Of duplicate keys the first counts.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Int(value) => Value::Int(*value),
            Kind::Float(value) => Value::Float(*value),
            Kind::Text(value) => Value::String(value.clone()),
            Kind::List(items) => Value::List(items.iter().map(Self::to_value).collect()),
            Kind::Map(entries) => {
                let mut map = BTreeMap::new();
                for entry in entries {
                    map.entry(entry.key.clone()).or_insert_with(|| entry.value.to_value());
                }
                Value::Map(map)
            }
        }
    }

    /// What it is, for messages.
    pub fn noun(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nothing",
            Kind::Bool(true) => "`true`",
            Kind::Bool(false) => "`false`",
            Kind::Int(_) => "a whole number",
            Kind::Float(_) => "a decimal number",
            Kind::Text(_) => "a text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }

    /// (levels, nodes)
    fn extent(&self) -> (usize, usize) {
        let children: Vec<_> = match &self.kind {
            Kind::List(items) => items.iter().map(Self::extent).collect(),
            Kind::Map(entries) => entries.iter().map(|entry| entry.value.extent()).collect(),
            _ => Vec::new(),
        };
        let levels = children.iter().map(|(levels, _)| *levels).max().unwrap_or(0);
        (levels + 1, children.iter().map(|(_, nodes)| *nodes).sum::<usize>() + 1)
    }
}

const START: At = At { line: 1, column: 1 };

/// A collection that is not yet complete.
struct Open {
    node: Node,
    anchor: usize,
    key: Option<(String, At)>,
}

#[derive(Default)]
struct Loader {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    nodes: usize,
}

impl Loader {
    fn load(mut self, text: &str) -> Result<Node, Fault> {
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| not_yaml(&error))?;
            self.take(event, span)?;
        }
        Ok(self.root.unwrap_or(Node { at: START, kind: Kind::Null }))
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let at = place(&span.start);
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                return Err(Problem::new("a second YAML document").hint("one file is one spec").at(at, ""));
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.as_ref(), at)?;
                if self.wants_key() {
                    let node = Node { at, kind: Kind::Text(text.clone().into_owned()) };
                    self.anchors.insert(anchor, node);
                    self.set_key(text.into_owned(), at);
                    return Ok(());
                }
                let Some(scalar) = Scalar::parse_from_cow_and_metadata(text, style, tag.as_ref()) else {
                    return Err(Problem::new("the value is not of the type that its tag says").at(at, &self.path()));
                };
                self.complete(Node { at, kind: scalar_kind(scalar) }, anchor)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.as_ref(), at)?;
                self.begin(Node { at, kind: Kind::List(Vec::new()) }, anchor)?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.as_ref(), at)?;
                self.begin(Node { at, kind: Kind::Map(Vec::new()) }, anchor)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(done) = self.open.pop() {
                    self.complete(done.node, done.anchor)?;
                }
            }
            Event::Alias(anchor) => {
                let Some(mut node) = self.anchors.get(&anchor).cloned() else {
                    return Err(Problem::new("an alias inside of what it stands for").at(at, &self.path()));
                };
                let (levels, nodes) = node.extent();
                self.nodes += nodes;
                if self.open.len() + levels > MAX_DEPTH {
                    return Err(too_deep(at));
                }
                match (self.wants_key(), &node.kind) {
                    (true, Kind::Text(text)) => self.set_key(text.clone(), at),
                    (true, _) => return Err(Problem::new("a key must be a plain word").at(at, &self.path())),
                    (false, _) => {
                        node.at = at;
                        self.complete(node, 0)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        if self.wants_key() {
            return Err(Problem::new("a key must be a plain word").at(node.at, &self.path()));
        }
        if self.open.len() + 1 >= MAX_DEPTH {
            return Err(too_deep(node.at));
        }
        self.open.push(Open { node, anchor, key: None });
        Ok(())
    }

    fn complete(&mut self, mut node: Node, anchor: usize) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Problem::new("the file holds too many values").at(node.at, ""));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open { node: Node { kind: Kind::List(items), .. }, .. }) => items.push(node),
            Some(Open { node: Node { kind: Kind::Map(entries), .. }, key, .. }) => {
                if let Some((key, at)) = key.take() {
                    // Of a value that begins on a later line, or is not there at all, its key is what people look for.
                    if node.at.line != at.line || matches!(node.kind, Kind::Null) {
                        node.at = at;
                    }
                    entries.push(Entry { key, at, value: node });
                }
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { node: Node { kind: Kind::Map(_), .. }, key: None, .. }))
    }

    fn set_key(&mut self, key: String, at: At) {
        if let Some(open) = self.open.last_mut() {
            open.key = Some((key, at));
        }
    }

    fn path(&self) -> String {
        self.open.iter().filter_map(|open| open.key.as_ref()).fold(String::new(), |path, (key, _)| join(&path, key))
    }

    /// Only the core schema's own tags have a meaning here, and a tag that is ignored would be a wish unheard.
    fn refuse_tag(&self, tag: Option<&Cow<'_, Tag>>, at: At) -> Result<(), Fault> {
        match tag {
            Some(tag) if !tag.is_yaml_core_schema() => {
                let tag = format!("{}{}", tag.handle, tag.suffix);
                Err(Problem::new(format!("the tag {} means nothing here", quote(&tag))).at(at, &self.path()))
            }
            _ => Ok(()),
        }
    }
}

fn scalar_kind(scalar: Scalar<'_>) -> Kind {
    match scalar {
        Scalar::Null => Kind::Null,
        Scalar::Boolean(value) => Kind::Bool(value),
        Scalar::Integer(value) => Kind::Int(value),
        Scalar::FloatingPoint(value) => Kind::Float(value.into_inner()),
        Scalar::String(value) => Kind::Text(value.into_owned()),
    }
}

fn too_deep(at: At) -> Fault {
    Problem::new(format!("nested more than {MAX_DEPTH} levels deep")).at(at, "")
}

fn place(marker: &Marker) -> At {
    At { line: marker.line().max(1), column: marker.col() + 1 }
}
