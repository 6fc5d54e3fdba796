//! YAML text as a tree in which every node knows its place.
//!
//! The tree is built from the parser's events and not by `saphyr`'s own loader, because that one forgets duplicate keys and
//! follows aliases without limit: here size and depth are bounded, so that no file can exhaust memory or stack.
//!
//! Merge keys (`<<`, yaml.org/type/merge.html) are YAML 1.1's, and so much in use that they are taken. What comes by an alias keeps the
//! place where it was written, for there it is mended; the key path says where it is used.

use super::{
    Value,
    fault::{At, Fault, Problem, join, quote},
};
use saphyr::Scalar;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
};

const MAX_BYTES: usize = 1 << 20;
const MAX_DEPTH: usize = 32;
const MAX_NODES: usize = 100_000;
/// Bytes of text, each counted as often as aliases repeat it.
const MAX_TEXT: usize = 8 << 20;

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
    let problem = Problem::new(format!("not valid YAML: {}", error.info()));
    let problem = if error.info().starts_with("tab") { problem.hint("indent with spaces") } else { problem };
    problem.at(place(error.marker()), "")
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
                        faults.push(problem.hint(format!("it is already in line {}", at.line)).at(entry.at, &path));
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

    /// Takes keys out of a mapping.
    pub fn forget(&mut self, is_one: impl Fn(&str) -> bool) {
        if let Kind::Map(entries) = &mut self.kind {
            entries.retain(|entry| !is_one(&entry.key));
        }
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

    fn extent(&self) -> Extent {
        let mut all = Extent { levels: 0, nodes: 1, text: 0 };
        let mut add = |child: Extent| {
            all = Extent {
                levels: all.levels.max(child.levels),
                nodes: all.nodes + child.nodes,
                text: all.text + child.text,
            };
        };
        match &self.kind {
            Kind::Text(text) => add(Extent { levels: 0, nodes: 0, text: text.len() }),
            Kind::List(items) => items.iter().for_each(|item| add(item.extent())),
            Kind::Map(entries) => entries.iter().for_each(|entry| {
                add(entry.value.extent());
                add(Extent { levels: 0, nodes: 0, text: entry.key.len() });
            }),
            _ => {}
        }
        Extent { levels: all.levels + 1, ..all }
    }
}

/// How much a node is, with all that it holds.
struct Extent {
    levels: usize,
    nodes: usize,
    text: usize,
}

const START: At = At { line: 1, column: 1 };

/// A collection that is not yet complete.
struct Open {
    node: Node,
    anchor: usize,
    key: Option<Key>,
    /// What `<<` names, and where that key stands.
    merged: Option<(At, Node)>,
}

struct Key {
    text: String,
    at: At,
    /// It is `<<`.
    merges: bool,
}

#[derive(Default)]
struct Loader {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    nodes: usize,
    /// Bytes that aliases repeat.
    repeated: usize,
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
                let tag = tag.as_ref();
                if self.wants_key() {
                    self.refuse_tag(tag, &["str", "merge"], at)?;
                    if anchor > 0 {
                        self.anchors.insert(anchor, Node { at, kind: Kind::Text(text.clone().into_owned()) });
                    }
                    let merges = text == "<<" && style == ScalarStyle::Plain && !is(tag, "str");
                    self.set_key(Key { text: text.into_owned(), at, merges });
                    return Ok(());
                }
                self.refuse_tag(tag, &["str", "int", "float", "bool", "null"], at)?;
                let plain = style == ScalarStyle::Plain;
                let scalar = Scalar::parse_from_cow_and_metadata(text.clone(), style, tag)
                    .filter(|_| plain || tag.is_none() || is(tag, "str"));
                let Some(scalar) = scalar else {
                    return Err(Problem::new("the value is not of the type that its tag says").at(at, &self.path()));
                };
                if matches!(scalar, Scalar::Integer(_)) && has_leading_zero(&text) {
                    // It may be a secret that stands in the wrong place, so it is not shown.
                    let problem = Problem::new("YAML readers disagree about numbers that begin with a zero");
                    return Err(problem.hint("remove the zero, or put text in quotes").at(at, &self.path()));
                }
                self.complete(Node { at, kind: scalar_kind(scalar) }, anchor)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.as_ref(), &["seq"], at)?;
                self.begin(Node { at, kind: Kind::List(Vec::new()) }, anchor)?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.as_ref(), &["map"], at)?;
                self.begin(Node { at, kind: Kind::Map(Vec::new()) }, anchor)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(mut done) = self.open.pop() {
                    if let Some((key, sources)) = done.merged.take() {
                        let path = join(&self.path(), MERGE);
                        merge(&mut done.node, sources).map_err(|(at, problem)| problem.at(at.unwrap_or(key), &path))?;
                    }
                    self.complete(done.node, done.anchor)?;
                }
            }
            Event::Alias(anchor) => {
                let kind = self.named(anchor, at)?.kind;
                match (self.wants_key(), kind) {
                    (true, Kind::Text(text)) => self.set_key(Key { text, at, merges: false }),
                    (true, _) => return Err(Problem::new("a key must be a plain word").at(at, &self.path())),
                    (false, kind) => self.complete(Node { at, kind }, 0)?,
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A copy of what an alias stands for, within all bounds.
    fn named(&mut self, anchor: usize, at: At) -> Result<Node, Fault> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Problem::new("an alias inside the value that it stands for").at(at, &self.path()));
        };
        let Extent { levels, nodes, text } = node.extent();
        self.nodes += nodes;
        self.repeated += text;
        if self.open.len() + levels > MAX_DEPTH {
            return Err(too_deep(at));
        }
        if self.nodes > MAX_NODES {
            return Err(too_many(at));
        }
        if self.repeated > MAX_TEXT {
            return Err(Problem::new("aliases make more than 8 MiB of this file").at(at, ""));
        }
        Ok(node.clone())
    }

    fn begin(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        if self.wants_key() {
            return Err(Problem::new("a key must be a plain word").at(node.at, &self.path()));
        }
        if self.open.len() + 1 >= MAX_DEPTH {
            return Err(too_deep(node.at));
        }
        self.open.push(Open { node, anchor, key: None, merged: None });
        Ok(())
    }

    fn complete(&mut self, mut node: Node, anchor: usize) -> Result<(), Fault> {
        self.nodes += 1;
        if anchor > 0 {
            // A copy is kept of it.
            self.nodes += node.extent().nodes;
        }
        if self.nodes > MAX_NODES {
            return Err(too_many(node.at));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        if let Some(Open { key: Some(Key { at, merges: true, .. }), merged: Some(_), .. }) = self.open.last() {
            let problem = Problem::new("it appears here twice").hint("`<<: [ *a, *b ]` merges several mappings");
            return Err(problem.at(*at, &self.path()));
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open { node: Node { kind: Kind::List(items), .. }, .. }) => items.push(node),
            Some(Open { node: Node { kind: Kind::Map(entries), .. }, key, merged, .. }) => match key.take() {
                Some(Key { at, merges: true, .. }) => *merged = Some((at, node)),
                Some(Key { text, at, .. }) => {
                    // Of a value that begins on a later line, or is not there at all, its key is what people look for.
                    if node.at.line != at.line || matches!(node.kind, Kind::Null) {
                        node.at = at;
                    }
                    entries.push(Entry { key: text, at, value: node });
                }
                None => {}
            },
            Some(_) => {}
        }
        Ok(())
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { node: Node { kind: Kind::Map(_), .. }, key: None, .. }))
    }

    fn set_key(&mut self, key: Key) {
        if let Some(open) = self.open.last_mut() {
            open.key = Some(key);
        }
    }

    fn path(&self) -> String {
        self.open.iter().filter_map(|open| open.key.as_ref()).fold(String::new(), |path, key| join(&path, &key.text))
    }

    /// Only the core schema's own tags have a meaning, and only where they fit: one that is ignored would be a wish unheard.
    fn refuse_tag(&self, tag: Option<&Cow<'_, Tag>>, fit: &[&str], at: At) -> Result<(), Fault> {
        match tag {
            Some(tag) if !tag.is_yaml_core_schema() || !fit.contains(&tag.suffix.as_ref()) => {
                let handle = if tag.is_yaml_core_schema() { "!!" } else { &tag.handle };
                let tag = format!("{handle}{}", tag.suffix);
                Err(Problem::new(format!("the tag {} means nothing here", quote(&tag))).at(at, &self.path()))
            }
            _ => Ok(()),
        }
    }
}

/// The key that takes other mappings in.
const MERGE: &str = "<<";

/// Takes `sources`, a mapping or a list of them, into a mapping: its own keys win, and of the others the first. A fault without a place
/// of its own is at the key.
fn merge(into: &mut Node, sources: Node) -> Result<(), (Option<At>, Problem)> {
    let wrong = |found: &Node| {
        let problem = Problem::new(format!("expected a mapping to merge, or a list of them, found {}", found.noun()));
        problem.hint("`<<: *NAME` merges the mapping that `&NAME` marks")
    };
    let sources = match sources.kind {
        Kind::Map(_) => vec![sources],
        Kind::List(items) => items,
        _ => return Err((None, wrong(&sources))),
    };
    let Kind::Map(entries) = &mut into.kind else { return Ok(()) };
    let mut known: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    for source in sources {
        let Kind::Map(more) = source.kind else { return Err((Some(source.at), wrong(&source))) };
        // A key that stands twice in one mapping is still found to do so.
        let new: Vec<Entry> = more.into_iter().filter(|entry| !known.contains(&entry.key)).collect();
        known.extend(new.iter().map(|entry| entry.key.clone()));
        entries.extend(new);
    }
    Ok(())
}

fn is(tag: Option<&Cow<'_, Tag>>, kind: &str) -> bool {
    tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == kind)
}

/// YAML 1.1 takes `022` for an octal number, YAML 1.2 does not.
fn has_leading_zero(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
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

fn too_many(at: At) -> Fault {
    Problem::new("the file holds too many values").at(at, "")
}

fn place(marker: &Marker) -> At {
    At { line: marker.line().max(1), column: marker.col() + 1 }
}
