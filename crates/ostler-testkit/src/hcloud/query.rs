//! Labels, and what lists take: filters, `label_selector`, `sort`, `page` and `per_page`.

use super::{
    api::{Refusal, Reply, Request},
    schema,
};
use serde_json::{Map, Value, json};
use std::cmp::Ordering;

const PER_PAGE: usize = 25;
const MOST_PER_PAGE: usize = 50;

/// Fields that lists are filtered by, wherever an endpoint takes them.
const FIELDS: [&str; 8] = ["name", "status", "type", "fingerprint", "ip", "architecture", "mode", "bound_to"];

/// The answer to a list: of `all`, what the query wants.
pub(super) fn list(request: &Request, name: &str, mut all: Vec<Value>) -> Reply {
    for field in FIELDS {
        let wanted: Vec<&str> = request.query_all(field).collect();
        all.retain(|doc| wanted.is_empty() || wanted.iter().any(|wanted| is(&doc[field], wanted)));
    }
    if let Some(selector) = request.query("label_selector") {
        let selector = Selector::parse(selector)?;
        all.retain(|doc| selector.fits(&doc["labels"]));
    }
    let sort: Vec<&str> = request.query_all("sort").collect();
    all.sort_by(|a, b| sort.iter().fold(Ordering::Equal, |so_far, by| so_far.then_with(|| compare(a, b, by))));

    let number = |key: &str, default: usize| match request.query(key) {
        None => Ok(default),
        Some(text) => match text.parse() {
            Ok(0) | Err(_) => Err(Refusal::input(key, "must be greater than 0")),
            Ok(number) => Ok(number),
        },
    };
    let (page, per_page) = (number("page", 1)?, number("per_page", PER_PAGE)?.min(MOST_PER_PAGE));
    let total = all.len();
    let last = total.div_ceil(per_page).max(1);
    let shown: Vec<Value> = all.into_iter().skip((page - 1).saturating_mul(per_page)).take(per_page).collect();
    Ok(json!({
        name: shown,
        "meta": { "pagination": {
            "page": page,
            "per_page": per_page,
            "previous_page": (page > 1).then(|| page - 1),
            "next_page": (page < last).then(|| page + 1),
            "last_page": last,
            "total_entries": total,
        } },
    }))
}

fn is(value: &Value, wanted: &str) -> bool {
    value.as_str() == Some(wanted) || value.as_u64().is_some_and(|number| wanted.parse() == Ok(number))
}

fn compare(a: &Value, b: &Value, by: &str) -> Ordering {
    let (field, direction) = by.split_once(':').unwrap_or((by, "asc"));
    let order = match (&a[field], &b[field]) {
        (Value::Number(a), Value::Number(b)) => a.as_u64().cmp(&b.as_u64()),
        (a, b) => a.as_str().cmp(&b.as_str()),
    };
    if direction == "desc" { order.reverse() } else { order }
}

/// Refuses labels that Hetzner refuses. The schema has looked at the values.
pub(super) fn check_labels(labels: &Map<String, Value>) -> Result<(), Refusal> {
    match labels.keys().find(|key| !is_key(key)) {
        Some(key) => Err(Refusal::input("labels", &format!("label key '{key}' is not valid"))),
        None => Ok(()),
    }
}

/// `[PREFIX/]NAME`: the prefix a DNS name that isn't Hetzner's own, the name of up to 63 characters.
fn is_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_prefix = |prefix: &str| {
        prefix.len() <= 253
            && schema::matches(
                r"^[a-z0-9A-Z]([-a-z0-9A-Z]*[a-z0-9A-Z])?(\.[a-z0-9A-Z]([-a-z0-9A-Z]*[a-z0-9A-Z])?)*$",
                prefix,
            )
            && prefix != "hetzner.cloud"
            && !prefix.ends_with(".hetzner.cloud")
    };
    prefix.is_none_or(is_prefix) && schema::matches(r"^[a-z0-9A-Z]([-_.a-z0-9A-Z]{0,61}[a-z0-9A-Z])?$", name)
}

/// Labels that a resource has to have.
pub(super) struct Selector(Vec<Term>);

enum Term {
    Has(String),
    Lacks(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

impl Selector {
    /// Reads `k`, `!k`, `k=v`, `k==v`, `k!=v`, `k in (v, w)` and `k notin (v, w)`, with commas between.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let fault = || Refusal::input("label_selector", "is not a valid label selector");
        // A comma in parentheses separates values.
        let mut depth = 0;
        let parts = text.split(|c: char| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            c == ',' && depth == 0
        });
        parts.map(|part| Self::term(part.trim()).ok_or_else(fault)).collect::<Result<_, _>>().map(Self)
    }

    fn term(text: &str) -> Option<Term> {
        let words = |key: &str, values: &str| {
            let values = values.trim().strip_prefix('(')?.strip_suffix(')')?;
            Some((Self::key(key)?, values.split(',').map(Self::value).collect::<Option<Vec<_>>>()?))
        };
        if let Some((key, values)) = text.split_once(" notin ") {
            return words(key, values).map(|(key, values)| Term::NotIn(key, values));
        }
        if let Some((key, values)) = text.split_once(" in ") {
            return words(key, values).map(|(key, values)| Term::In(key, values));
        }
        if let Some((key, value)) = text.split_once("!=") {
            return Some(Term::NotIn(Self::key(key)?, vec![Self::value(value)?]));
        }
        if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
            return Some(Term::In(Self::key(key)?, vec![Self::value(value)?]));
        }
        match text.strip_prefix('!') {
            Some(key) => Self::key(key).map(Term::Lacks),
            None => Self::key(text).map(Term::Has),
        }
    }

    fn key(text: &str) -> Option<String> {
        Some(text.trim().to_owned()).filter(|key| is_key(key))
    }

    fn value(text: &str) -> Option<String> {
        let text = text.trim();
        let is_value = text.is_empty()
            || (text.len() <= 63 && schema::matches(r"^[a-z0-9A-Z]([-_.a-z0-9A-Z]*[a-z0-9A-Z])?$", text));
        is_value.then(|| text.to_owned())
    }

    pub fn fits(&self, labels: &Value) -> bool {
        let is_one = |key: &str, values: &[String]| {
            labels[key].as_str().is_some_and(|value| values.iter().any(|wanted| wanted == value))
        };
        self.0.iter().all(|term| match term {
            Term::Has(key) => labels[key].is_string(),
            Term::Lacks(key) => !labels[key].is_string(),
            Term::In(key, values) => is_one(key, values),
            Term::NotIn(key, values) => !is_one(key, values),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_select() {
        let labels = json!({ "env": "prod", "ostler.dev/id": "web1", "empty": "" });
        let fits = |text: &str| Selector::parse(text).ok().map(|selector| selector.fits(&labels));
        for text in [
            "env",
            "!other",
            "env=prod",
            "env==prod",
            "env!=test",
            "other!=test",
            "env in (test, prod)",
            "env notin (test,stage)",
            "ostler.dev/id=web1,env",
            "empty=",
            "env in (prod),!other,env!=x",
        ] {
            assert_eq!(fits(text), Some(true), "{text}");
        }
        for text in ["other", "!env", "env=test", "env!=prod", "env in (test)", "env notin (prod,test)", "env,other"] {
            assert_eq!(fits(text), Some(false), "{text}");
        }
        for text in ["", "env=a b", "-env", "env in prod", "a/b/c", "env,,other"] {
            assert_eq!(fits(text), None, "{text}");
        }
    }

    #[test]
    fn keys_are_what_hetzner_takes() {
        let (long, too_long) = ("a".repeat(63), "a".repeat(64));
        for key in ["a", "A-b_c.d", "example.com/my", long.as_str()] {
            assert!(is_key(key), "{key}");
        }
        for key in
            ["", "-a", "a-", "a b", "/a", "a/", "hetzner.cloud/a", "x.hetzner.cloud/a", "a_b/c", too_long.as_str()]
        {
            assert!(!is_key(key), "{key}");
        }
    }
}
