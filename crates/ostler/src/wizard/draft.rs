//! The answers as the spec that they become: a tree in the order of the questions, and its text.

use ostler_core::spec::{self, Value};
use std::path::Path;

/// A spec in the making.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft(Vec<(String, Node)>);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Value(Value),
    Map(Vec<(String, Node)>),
}

/// Longest line on which a mapping stands as a whole.
const WIDTH: usize = 78;

impl Draft {
    /// Puts a value at a path, in the place of what stands there.
    ///
    /// # Panics
    /// If the path is empty.
    pub fn put<K: AsRef<str>>(&mut self, path: &[K], value: Value) {
        let (last, above) = path.split_last().expect("a path has a key");
        let mut entries = &mut self.0;
        for key in above {
            entries = inner(entries, key.as_ref());
        }
        match entries.iter_mut().find(|(key, _)| key == last.as_ref()) {
            Some((_, node)) => *node = Node::Value(value),
            None => entries.push((last.as_ref().to_owned(), Node::Value(value))),
        }
    }

    /// The same with one more value.
    pub fn with<K: AsRef<str>>(&self, path: &[K], value: Value) -> Self {
        let mut draft = self.clone();
        draft.put(path, value);
        draft
    }

    /// The value at a path, if one stands there.
    pub fn get<K: AsRef<str>>(&self, path: &[K]) -> Option<Value> {
        let (last, above) = path.split_last()?;
        let find = |entries: &'_ [(String, Node)], key: &str| entries.iter().position(|(name, _)| name == key);
        let mut entries = &self.0;
        for key in above {
            match &entries[find(entries, key.as_ref())?].1 {
                Node::Map(inner) => entries = inner,
                Node::Value(_) => return None,
            }
        }
        Some(value(&entries[find(entries, last.as_ref())?].1))
    }

    /// Its text.
    pub fn yaml(&self) -> String {
        let mut text = String::new();
        block(&self.0, 0, &mut text);
        text
    }
}

/// The mapping under `key`, which takes the place of a plain value.
fn inner<'a>(entries: &'a mut Vec<(String, Node)>, key: &str) -> &'a mut Vec<(String, Node)> {
    let index = entries.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
        entries.push((key.to_owned(), Node::Map(Vec::new())));
        entries.len() - 1
    });
    let node = &mut entries[index].1;
    if let Node::Value(_) = node {
        *node = Node::Map(Vec::new());
    }
    match node {
        Node::Map(entries) => entries,
        Node::Value(_) => unreachable!("it was made a mapping"),
    }
}

/// A node without the order of its keys.
fn value(node: &Node) -> Value {
    match node {
        Node::Value(value) => value.clone(),
        Node::Map(entries) => Value::Map(entries.iter().map(|(key, node)| (key.clone(), value(node))).collect()),
    }
}

/// Entries a line each. The file's own two levels are always written so.
fn block(entries: &[(String, Node)], depth: usize, text: &mut String) {
    for (key, node) in entries {
        let start = format!("{}{}:", "  ".repeat(depth), scalar(key));
        let line = format!("{start} {}", flow(node));
        match node {
            Node::Map(entries) if depth < 2 || has_mappings(entries) || line.chars().count() > WIDTH => {
                text.push_str(&format!("{start}\n"));
                block(entries, depth + 1, text);
            }
            Node::Value(Value::List(items)) if line.chars().count() > WIDTH => {
                let indent = "  ".repeat(depth + 1);
                text.push_str(&format!("{start}\n"));
                items.iter().for_each(|item| text.push_str(&format!("{indent}- {}\n", flow_value(item))));
            }
            _ => text.push_str(&format!("{line}\n")),
        }
    }
}

fn has_mappings(entries: &[(String, Node)]) -> bool {
    entries.iter().any(|(_, node)| matches!(node, Node::Map(_) | Node::Value(Value::Map(_))))
}

fn flow(node: &Node) -> String {
    match node {
        Node::Value(value) => flow_value(value),
        Node::Map(entries) => braces(entries.iter().map(|(key, node)| format!("{}: {}", scalar(key), flow(node)))),
    }
}

fn flow_value(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::String(text) => scalar(text),
        Value::List(items) if items.is_empty() => "[]".to_owned(),
        Value::List(items) => format!("[ {} ]", items.iter().map(flow_value).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) => {
            braces(entries.iter().map(|(key, value)| format!("{}: {}", scalar(key), flow_value(value))))
        }
        Value::Secret(reference) => {
            let (key, name) = reference.parts();
            format!("{{ {key}: {} }}", scalar(&name))
        }
    }
}

fn braces(entries: impl Iterator<Item = String>) -> String {
    let entries: Vec<String> = entries.collect();
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}

/// A text as it is, if every reader takes it for just that, else in quotes. JSON's are YAML's, too.
fn scalar(text: &str) -> String {
    // As a key and as a value, alone on a line and among others. A colon is no harm in YAML 1.2, but `12:30` is a number in 1.1.
    let odd = |c: char| c.is_control() || c == ':' || c == '\\';
    let plain = || {
        let read = spec::plain_yaml(Path::new(""), &format!("{text}: {text}\n..: {{ {text}: [ {text}, {text} ] }}\n"));
        let item = Value::String(text.to_owned());
        let list = Value::List(vec![item.clone(), item.clone()]);
        let within = Value::Map([(text.to_owned(), list)].into());
        read == Ok(Value::Map([(text.to_owned(), item), ("..".to_owned(), within)].into()))
    };
    if text.is_ascii() && !text.contains(odd) && plain() {
        return text.to_owned();
    }
    serde_json::to_string(text).expect("a text is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::spec::SecretRef;

    fn text(value: &str) -> Value {
        Value::String(value.into())
    }

    #[test]
    fn what_belongs_together_stands_on_a_line() {
        let mut draft = Draft::default();
        draft.put(&["servers", "web1", "provider"], text("pve1"));
        draft.put(&["servers", "web1", "size", "cpus"], Value::Int(2));
        draft.put(&["servers", "web1", "size", "memory"], text("4GiB"));
        draft.put(&["servers", "web1", "password"], Value::Secret(SecretRef::Secret("web1-ops".into())));
        draft.put(&["servers", "web1", "modules", "ufw"], Value::Bool(true));
        draft.put(&["servers", "web1", "modules", "ufw", "preset"], text("web"));
        draft.put(&["servers", "web1", "modules", "fail2ban"], Value::Bool(true));
        draft.put(&["servers", "web1", "apps"], Value::List(vec![text("nginx")]));
        let expected = "\
servers:
  web1:
    provider: pve1
    size: { cpus: 2, memory: 4GiB }
    password: { secret: web1-ops }
    modules:
      ufw: { preset: web }
      fail2ban: true
    apps: [ nginx ]
";
        assert_eq!(draft.yaml(), expected);
        let other = draft.with(&["servers", "web1", "size", "cpus"], Value::Int(4)).yaml();
        assert_eq!(other, expected.replace("cpus: 2", "cpus: 4"));
    }

    #[test]
    fn what_is_too_long_for_a_line_gets_several() {
        let mut draft = Draft::default();
        draft.put(&["a", "b", "long", "first"], text(&"x".repeat(40)));
        draft.put(&["a", "b", "long", "second"], text(&"y".repeat(40)));
        draft.put(&["a", "b", "list"], Value::List(vec![text(&"x".repeat(40)), text(&"y".repeat(40))]));
        let (x, y) = ("x".repeat(40), "y".repeat(40));
        let long = format!("    long:\n      first: {x}\n      second: {y}\n");
        assert_eq!(draft.yaml(), format!("a:\n  b:\n{long}    list:\n      - {x}\n      - {y}\n"));
    }

    #[test]
    fn a_text_is_read_as_what_it_was() {
        for nasty in [
            "",
            "no",
            "true",
            "null",
            "~",
            "1",
            "1.5",
            "0x1f",
            "1e3",
            "a, b",
            "a: b",
            "a #b",
            "#a",
            "- a",
            "[a",
            "{a",
            "*a",
            "&a",
            "!a",
            "|",
            ">",
            "'a",
            "\"a\"",
            "%a",
            "@a",
            "`a",
            " a",
            "a ",
            "a\tb",
            "a\nb",
            "AB:CD",
            "äöü",
            "https://pve1:8006",
            "a\\b",
            "?",
            ": a",
            "a]",
            "a}",
            ".inf",
            "2026-01-01",
            "<<",
            "---",
        ] {
            let mut draft = Draft::default();
            draft.put(&["a", "b", nasty], Value::List(vec![text(nasty), text("x")]));
            let read = spec::plain_yaml(Path::new("x"), &draft.yaml());
            let Ok(Value::Map(read)) = read else { panic!("`{nasty}`: {read:?} of {}", draft.yaml()) };
            let Value::Map(b) = &read["a"] else { panic!("{read:?}") };
            let Value::Map(b) = &b["b"] else { panic!("{read:?}") };
            assert_eq!(b[nasty], Value::List(vec![text(nasty), text("x")]), "{}", draft.yaml());
        }
        for plain in
            ["web1", "~/.ssh/id_ed25519.pub", "192.168.1.20/24", "2GiB", "1.1.1.1", "no", "ssh-ed25519 AAAA+/= a@b"]
        {
            assert_eq!(scalar(plain), plain);
        }
    }
}
