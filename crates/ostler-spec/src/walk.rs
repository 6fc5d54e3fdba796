//! A node held against its shape: faults, and the same values with defaults filled in.

use super::{
    SecretRef, Value,
    fault::{At, Fault, Problem, join, nearest, printable, quote},
    node::{Entry, Kind, Node},
    shape::{Choice, Field, Presence, Shape, Text, plain},
    size,
};
use std::{collections::BTreeMap, path::PathBuf};

/// A value that has been looked at, with its place.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub at: At,
    pub path: String,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    /// At fault; that has been said already.
    Bad,
    /// Sizes are whole numbers of bytes here.
    Plain(Value),
    List(Vec<Found>),
    Map(Vec<(String, Found)>),
    /// Where it is kept (`secret`, `env` or `file`), and its name there.
    Secret(String, Box<Found>),
}

impl Found {
    /// A key of a mapping; `None` also where the mapping is at fault.
    pub fn get(&self, key: &str) -> Option<&Found> {
        self.map()?.iter().find(|(name, _)| name == key).map(|(_, found)| found)
    }

    pub fn map(&self) -> Option<&[(String, Found)]> {
        if let Content::Map(entries) = &self.content { Some(entries) } else { None }
    }

    pub fn list(&self) -> Option<&[Found]> {
        if let Content::List(items) = &self.content { Some(items) } else { None }
    }

    pub fn text(&self) -> Option<&str> {
        if let Content::Plain(Value::String(text)) = &self.content { Some(text) } else { None }
    }

    pub fn int(&self) -> Option<i64> {
        if let Content::Plain(Value::Int(value)) = self.content { Some(value) } else { None }
    }

    pub fn bool(&self) -> Option<bool> {
        if let Content::Plain(Value::Bool(value)) = self.content { Some(value) } else { None }
    }

    pub fn is_null(&self) -> bool {
        matches!(self.content, Content::Plain(Value::Null))
    }

    /// The name of a secret; `file` is made a path by `resolve`.
    pub fn secret(&self, resolve: &dyn Fn(&str) -> PathBuf) -> Option<SecretRef> {
        let Content::Secret(kind, found) = &self.content else { return None };
        let name = found.text()?;
        Some(match kind.as_str() {
            "secret" => SecretRef::Secret(name.to_owned()),
            "env" => SecretRef::Env(name.to_owned()),
            _ => SecretRef::File(resolve(name)),
        })
    }

    /// The value without its places; `None` where any part of it is at fault. Files of secrets are made paths by `resolve`.
    pub fn value(&self, resolve: &dyn Fn(&str) -> PathBuf) -> Option<Value> {
        Some(match &self.content {
            Content::Bad => return None,
            Content::Plain(value) => value.clone(),
            Content::Secret(..) => Value::Secret(self.secret(resolve)?),
            Content::List(items) => Value::List(items.iter().map(|item| item.value(resolve)).collect::<Option<_>>()?),
            Content::Map(entries) => {
                let entries = entries.iter().map(|(key, found)| Some((key.clone(), found.value(resolve)?)));
                Value::Map(entries.collect::<Option<BTreeMap<_, _>>>()?)
            }
        })
    }

    /// A fault at this place.
    pub fn fault(&self, problem: Problem) -> Fault {
        problem.at(self.at, &self.path)
    }
}

/// Holds `node` against `shape`, as far as it fits.
pub(super) fn walk(node: &Node, shape: &Shape, path: &str, faults: &mut Vec<Fault>) -> Found {
    let content = match content(node, shape, path, faults) {
        Ok(content) => content,
        Err(problem) => {
            faults.push(problem.at(node.at, path));
            Content::Bad
        }
    };
    Found { at: node.at, path: path.to_owned(), content }
}

fn content(node: &Node, shape: &Shape, path: &str, faults: &mut Vec<Fault>) -> Result<Content, Problem> {
    match (shape, &node.kind) {
        (Shape::Any, _) | (Shape::Bool, Kind::Bool(_)) => {}
        (Shape::Int { min, max }, Kind::Int(value)) => {
            range(*value, (*min, i64::MIN), (*max, i64::MAX))?;
        }
        (Shape::Number { min, max }, Kind::Int(_) | Kind::Float(_)) => {
            let value = match node.kind {
                Kind::Int(value) => value as f64,
                Kind::Float(value) => value,
                _ => f64::NAN,
            };
            if !value.is_finite() {
                return Err(Problem::new("expected a finite number"));
            }
            range(value, (*min, f64::NEG_INFINITY), (*max, f64::INFINITY))?;
        }
        (Shape::Size { min, max }, Kind::Text(text)) => {
            let bytes = size::parse(text, *min, *max)?;
            return Ok(Content::Plain(Value::Int(bytes)));
        }
        (Shape::Size { .. }, Kind::Int(value)) => {
            return Err(
                Problem::new("a size needs its unit").hint(format!("did you mean `{value}MiB` or `{value}GiB`?"))
            );
        }
        (Shape::Text(rules), Kind::Text(text)) => check_text(text, rules)?,
        (Shape::Text(_), Kind::Int(_) | Kind::Float(_) | Kind::Bool(_)) => {
            let problem = Problem::new(format!("expected {}, found {}", shape.noun(), node.noun()));
            return Err(problem.hint("put text that looks like a number or a truth value in quotes"));
        }
        (Shape::Choice(choices), _) => return choice(node, choices).map(Content::Plain),
        (Shape::Secret, _) => return secret(node, path, faults),
        (Shape::List(item), Kind::List(nodes)) => {
            let items = nodes.iter().enumerate().map(|(i, node)| walk(node, item, &format!("{path}[{i}]"), faults));
            return Ok(Content::List(items.collect()));
        }
        (Shape::Map { key, value }, Kind::Map(entries)) => return Ok(map(entries, key, value, path, faults)),
        (Shape::Object { fields, open }, Kind::Map(entries)) => {
            return Ok(object(node.at, entries, fields, *open, path, faults));
        }
        (Shape::Either(shapes), _) => {
            let Some(shape) = shapes.iter().find(|shape| fits(shape, &node.kind)) else {
                return Err(wrong(node, shape));
            };
            return content(node, shape, path, faults);
        }
        _ => return Err(wrong(node, shape)),
    }
    Ok(Content::Plain(node.to_value()))
}

fn wrong(node: &Node, shape: &Shape) -> Problem {
    let problem = Problem::new(format!("expected {}, found {}", shape.noun(), node.noun()));
    match &node.kind {
        Kind::Null => problem.hint("give it a value, or leave it out"),
        // YAML 1.1 took these words for truth values, and so do many people.
        Kind::Text(word) if fits(shape, &Kind::Bool(true)) => match word.to_ascii_lowercase().as_str() {
            "yes" | "on" => problem.hint("did you mean `true`?"),
            "no" | "off" => problem.hint("did you mean `false`?"),
            _ => problem,
        },
        Kind::Text(_) | Kind::Map(_) if is_mostly_a_list(shape) => problem.hint("a list goes in brackets: `[ … ]`"),
        Kind::Text(text) if fits(shape, &Kind::Int(0)) && text.parse::<i64>().is_ok() => {
            problem.hint(format!("without the quotes it is one: `{text}`"))
        }
        Kind::Text(_) | Kind::Int(_) | Kind::Float(_) | Kind::Bool(_) => match first_required(shape) {
            Some(key) => problem.hint(format!("write `{{ {key}: … }}`")),
            None => problem,
        },
        Kind::List(items) if fits(shape, &Kind::Map(Vec::new())) => match items.first().map(|item| &item.kind) {
            Some(Kind::Text(word)) => {
                problem.hint(format!("a mapping has names and values: `{}: …`", printable(word, 20)))
            }
            _ => problem.hint("a mapping has names and values, and no dashes: `NAME: …`"),
        },
        _ => problem,
    }
}

/// The key that a mapping of this shape has in any case.
fn first_required(shape: &Shape) -> Option<&str> {
    let Shape::Object { fields, .. } = shape else { return None };
    fields.iter().find(|field| matches!(field.presence, Presence::Required)).map(|field| field.key.as_str())
}

fn is_mostly_a_list(shape: &Shape) -> bool {
    match shape {
        Shape::List(_) => true,
        Shape::Either(shapes) => matches!(shapes.first(), Some(Shape::List(_))),
        _ => false,
    }
}

/// Whether a value of this kind is what `shape` is about.
fn fits(shape: &Shape, kind: &Kind) -> bool {
    match shape {
        Shape::Bool => matches!(kind, Kind::Bool(_)),
        Shape::Int { .. } => matches!(kind, Kind::Int(_)),
        Shape::Number { .. } => matches!(kind, Kind::Int(_) | Kind::Float(_)),
        Shape::Size { .. } | Shape::Text(_) => matches!(kind, Kind::Text(_)),
        Shape::List(_) => matches!(kind, Kind::List(_)),
        Shape::Map { .. } | Shape::Object { .. } => matches!(kind, Kind::Map(_)),
        Shape::Either(shapes) => shapes.iter().any(|shape| fits(shape, kind)),
        Shape::Choice(_) | Shape::Secret | Shape::Any => true,
    }
}

/// `min` and `max` each with the value that stands for "no limit".
fn range<T: PartialOrd + std::fmt::Display>(value: T, min: (T, T), max: (T, T)) -> Result<(), Problem> {
    if value >= min.0 && value <= max.0 {
        return Ok(());
    }
    let (least, most) = (min.0 > min.1, max.0 < max.1);
    let expected = match (least, most) {
        (true, true) => format!("{} to {}", min.0, max.0),
        (true, false) => format!("at least {}", min.0),
        _ => format!("at most {}", max.0),
    };
    Err(Problem::new(format!("{value} is out of range: {expected}")))
}

pub(super) fn check_text(text: &str, rules: &Text) -> Result<(), Problem> {
    if let Some(check) = rules.check {
        check(text)?;
    }
    match &rules.pattern {
        Some(pattern) if !pattern.is_match(text) => {
            // A pattern is for programs; people learn from an example.
            let hint = rules.example.clone().unwrap_or_else(|| format!("it must match `{pattern}`"));
            Err(Problem::new(format!("{} does not have the right form", quote(text))).hint(hint))
        }
        _ => Ok(()),
    }
}

fn choice(node: &Node, choices: &[Choice]) -> Result<Value, Problem> {
    let value = node.to_value();
    let same = |choice: &&Choice| choice.word == value || choice.also.is_some_and(|also| value == Value::Bool(also));
    match choices.iter().find(same) {
        Some(choice) => Ok(choice.word.clone()),
        None => {
            let found = if let Value::String(text) = &value { quote(text) } else { node.noun().to_owned() };
            let problem = Problem::new(format!("expected {}, found {found}", Shape::Choice(choices.to_vec()).noun()));
            let known: Vec<String> = choices.iter().map(|c| plain(&c.word)).collect();
            let guess = match &value {
                Value::String(text) => nearest(text, known.iter().map(String::as_str)),
                _ => None,
            };
            // The message lists the words already.
            Err(match guess.filter(|hint| hint.starts_with("did you mean")) {
                Some(hint) => problem.hint(hint),
                None => problem,
            })
        }
    }
}

/// Never shows a value: whatever stands here may be the secret itself.
fn secret(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Result<Content, Problem> {
    const HINT: &str = "write `{ env: NAME }`, `{ file: PATH }` or `{ secret: NAME }`";
    let Kind::Map(entries) = &node.kind else {
        return Err(match node.kind {
            Kind::Null => Problem::new("expected a secret, found nothing").hint(HINT),
            _ => Problem::new("a secret must not be in this file")
                .hint(format!("{HINT}; the one that was here is exposed: choose another")),
        });
    };
    let [Entry { key, value, .. }] = entries.as_slice() else {
        return Err(Problem::new("expected exactly one of `secret`, `env` and `file`").hint(HINT));
    };
    if !["secret", "env", "file"].contains(&key.as_str()) {
        return Err(Problem::new("expected one of `secret`, `env` and `file`").hint(HINT));
    }
    let rules = Text::checked("a name or path", None, |text| {
        if text.is_empty() || text.contains(['\0', '\n']) || text.len() > 4096 {
            return Err(Problem::new("expected a name or path on one line"));
        }
        Ok(())
    });
    let path = join(path, key);
    Ok(Content::Secret(key.clone(), Box::new(walk(value, &Shape::Text(rules), &path, faults))))
}

fn map(entries: &[Entry], key: &Text, value: &Shape, path: &str, faults: &mut Vec<Fault>) -> Content {
    let mut found = Vec::new();
    for entry in entries {
        let path = join(path, &entry.key);
        if let Err(problem) = check_text(&entry.key, key) {
            faults.push(problem.at(entry.at, &path));
        }
        found.push((entry.key.clone(), walk(&entry.value, value, &path, faults)));
    }
    Content::Map(found)
}

fn object(at: At, entries: &[Entry], fields: &[Field], open: bool, path: &str, faults: &mut Vec<Fault>) -> Content {
    let mut found = Vec::new();
    for field in fields {
        let path = join(path, &field.key);
        let written = entries.iter().find(|entry| entry.key == field.key);
        let node = match (written, &field.presence) {
            (Some(Entry { value, .. }), Presence::Default(Value::Null)) if matches!(value.kind, Kind::Null) => None,
            (Some(entry), _) => Some(entry.value.clone()),
            (None, Presence::Default(Value::Null)) => None,
            (None, Presence::Default(value)) => Some(Node::from_value(value, at)),
            (None, Presence::Optional(_)) => continue,
            (None, Presence::Required) => {
                let hint = Some(field.help.clone()).filter(|help| !help.is_empty());
                faults.push(Problem::new("missing").hints(hint).at(at, &path));
                continue;
            }
        };
        let value = match node {
            Some(node) => walk(&node, &field.shape, &path, faults),
            None => Found { at: written.map_or(at, |entry| entry.at), path, content: Content::Plain(Value::Null) },
        };
        found.push((field.key.clone(), value));
    }
    for entry in entries.iter().filter(|entry| fields.iter().all(|field| field.key != entry.key)) {
        let path = join(path, &entry.key);
        if open {
            found.push((entry.key.clone(), walk(&entry.value, &Shape::Any, &path, faults)));
        } else {
            let hint = nearest(&entry.key, fields.iter().map(|field| field.key.as_str()));
            faults.push(Problem::new("unknown key").hints(hint).at(entry.at, &path));
        }
    }
    Content::Map(found)
}
