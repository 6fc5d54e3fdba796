//! Settings of modules and parameters of apps as shapes: what `meta/ostler.yml` and the catalog declare.

use super::fault::At;
use super::node::Node;
use super::{
    Value, format,
    reference::{self, Parameter},
    shape::{Choice, Field, Presence, Shape, Text},
    walk::walk,
};
use crate::{
    AppMeta, CatalogIndex, ModuleMeta, Setting, SettingType, TextFormat,
    error::{Blame, Classify},
    hint::Hint,
};
use regex::Regex;
use serde_json::{Map, Value as Json};

/// A module or an app whose own description is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// A regular expression that is none.
    #[error("`{path}`: bad pattern")]
    Pattern {
        /// `ufw.allow`, `nginx.worker_connections`.
        path: String,
        /// What is wrong with it.
        source: regex::Error,
    },
    /// A default that the declared type does not allow.
    #[error("`{path}`: bad default: {message}")]
    Default {
        /// Module and setting, or app and parameter.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// A keyword of JSON Schema, or a use of one, that Ostler does not check.
    #[error("`{path}`: unsupported in a schema of parameters: `{keyword}`")]
    Keyword {
        /// App and parameter.
        path: String,
        /// The keyword.
        keyword: String,
    },
    /// A secret with a rule: nobody looks at its text before the run, so the rule would not be checked.
    #[error("`{path}`: a secret (`writeOnly`) is a string without further rules: `{keyword}` can't be checked")]
    Secret {
        /// App and parameter.
        path: String,
        /// The keyword that says the rule.
        keyword: String,
    },
}

impl Classify for ShapeError {
    fn blame(&self) -> Blame {
        Blame::Configuration
    }

    fn hints(&self) -> Vec<Hint> {
        match self {
            ShapeError::Keyword { .. } => vec![format!("supported: {}", super::fault::words(&KEYWORDS)).into()],
            _ => Vec::new(),
        }
    }
}

/// Checks what a module declares of itself.
pub fn check_module(meta: &ModuleMeta) -> Result<(), ShapeError> {
    module(meta).map(drop)
}

/// Checks what an app declares of its parameters.
pub fn check_app(meta: &AppMeta) -> Result<(), ShapeError> {
    app(meta).map(drop)
}

/// The parameters of an app, for people.
pub fn app_parameters(meta: &AppMeta) -> Result<Vec<Parameter>, ShapeError> {
    app(meta).map(|shape| reference::parameters(&shape))
}

/// `modules:`
pub(super) fn modules(modules: &[ModuleMeta]) -> Result<Shape, ShapeError> {
    let mut sorted: Vec<_> = modules.iter().collect();
    sorted.sort_by_key(|meta| (meta.order, &meta.name));
    let fields = sorted.into_iter().map(|meta| {
        let shape = Shape::Either(vec![Shape::Bool, module(meta)?]);
        Ok(Field::new(&meta.name, shape, Presence::Optional(None), &format!("{}. {}", meta.title, meta.summary)))
    });
    Ok(Shape::object(fields.collect::<Result<_, _>>()?))
}

/// `app_params:`
pub(super) fn apps(catalog: &CatalogIndex) -> Result<Shape, ShapeError> {
    let fields = catalog
        .apps
        .iter()
        .map(|meta| Ok(Field::new(&meta.name, app(meta)?, Presence::Optional(None), &meta.description)));
    Ok(Shape::object(fields.collect::<Result<_, _>>()?))
}

/// The settings of one module.
pub(super) fn module(meta: &ModuleMeta) -> Result<Shape, ShapeError> {
    let fields = meta.settings.iter().map(|(key, setting)| {
        let path = format!("{}.{key}", meta.name);
        let shape = self::setting(setting, &path)?;
        check_default(&setting.default, &shape, &path)?;
        Ok(Field::new(key, shape, Presence::Default(setting.default.clone()), &setting.help))
    });
    Ok(Shape::object(fields.collect::<Result<_, _>>()?))
}

fn setting(setting: &Setting, path: &str) -> Result<Shape, ShapeError> {
    Ok(match setting.kind {
        SettingType::Bool => Shape::Bool,
        SettingType::Int => Shape::Int { min: setting.min.unwrap_or(i64::MIN), max: setting.max.unwrap_or(i64::MAX) },
        SettingType::String => Shape::Text(text(setting.pattern.as_deref(), setting.format, &setting.help, path)?),
        SettingType::Choice => Shape::Choice(setting.choices.iter().map(|word| Choice::new(word, "")).collect()),
        SettingType::List => {
            let items = setting.items.as_ref();
            let pattern = items.and_then(|items| items.pattern.as_deref());
            let format = items.and_then(|items| items.format);
            Shape::List(Box::new(Shape::Text(text(pattern, format, &setting.help, path)?)))
        }
    })
}

fn text(pattern: Option<&str>, format: Option<TextFormat>, help: &str, path: &str) -> Result<Text, ShapeError> {
    let compile = |pattern| Regex::new(pattern).map_err(|source| ShapeError::Pattern { path: path.to_owned(), source });
    let example = help.contains("such as").then(|| help.to_owned());
    let known = format.map_or_else(|| Text::any("a text"), format::text);
    let pattern = pattern.map(compile).transpose()?.or(known.pattern);
    Ok(Text { pattern, example, ..known })
}

fn check_default(default: &Value, shape: &Shape, path: &str) -> Result<(), ShapeError> {
    let mut faults = Vec::new();
    walk(&Node::from_value(default, At { line: 0, column: 0 }), shape, path, &mut faults);
    match faults.into_iter().next() {
        Some(fault) => Err(ShapeError::Default { path: path.to_owned(), message: fault.message }),
        None => Ok(()),
    }
}

fn app(meta: &AppMeta) -> Result<Shape, ShapeError> {
    match &meta.params {
        Some(schema) => match schema_shape(schema, &meta.name)? {
            shape @ (Shape::Object { .. } | Shape::Map { .. }) => Ok(shape),
            _ => Err(ShapeError::Keyword { path: meta.name.clone(), keyword: "type".into() }),
        },
        None => Ok(Shape::object(Vec::new())),
    }
}

const KEYWORDS: [&str; 16] = [
    "type",
    "enum",
    "minimum",
    "maximum",
    "pattern",
    "format",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "default",
    "description",
    "title",
    "writeOnly",
    "$schema",
    "$comment",
];

/// What may stand beside `writeOnly`.
const BESIDE_WRITE_ONLY: [&str; 6] = ["type", "description", "title", "writeOnly", "$schema", "$comment"];

/// The shape that a schema of the supported subset of JSON Schema (draft 2020-12) describes. Everything else is refused:
/// a rule that is not checked would be a promise not kept.
fn schema_shape(schema: &Json, path: &str) -> Result<Shape, ShapeError> {
    let refuse = |keyword: &str| ShapeError::Keyword { path: path.to_owned(), keyword: keyword.to_owned() };
    let Json::Object(schema) = schema else { return Err(refuse("a schema that is not an object")) };
    if let Some(keyword) = schema.keys().find(|key| !KEYWORDS.contains(&key.as_str())) {
        return Err(refuse(keyword));
    }
    match schema.get("writeOnly") {
        Some(Json::Bool(true)) => return secret(schema, path),
        Some(Json::Bool(false)) | None => {}
        Some(_) => return Err(refuse("writeOnly")),
    }
    if let Some(values) = schema.get("enum") {
        let values = values.as_array().ok_or_else(|| refuse("enum"))?;
        return values
            .iter()
            .map(|value| choice(value).ok_or_else(|| refuse("enum")))
            .collect::<Result<_, _>>()
            .map(Shape::Choice);
    }
    let bound = |key: &str| schema.get(key).map(|value| value.as_f64().ok_or_else(|| refuse(key))).transpose();
    let shape = match schema.get("type").map(|kind| kind.as_str().unwrap_or("")) {
        Some("boolean") => Shape::Bool,
        Some("integer") => Shape::Int {
            min: bound("minimum")?.map_or(i64::MIN, |min| min.ceil() as i64),
            max: bound("maximum")?.map_or(i64::MAX, |max| max.floor() as i64),
        },
        Some("number") => Shape::Number {
            min: bound("minimum")?.unwrap_or(f64::NEG_INFINITY),
            max: bound("maximum")?.unwrap_or(f64::INFINITY),
        },
        Some("string") => {
            let word = |key: &str| schema.get(key).and_then(Json::as_str);
            let format = schema.get("format").map(|name| serde_json::from_value(name.clone()));
            let format = format.transpose().map_err(|_| refuse("format"))?;
            Shape::Text(text(word("pattern"), format, word("description").unwrap_or_default(), path)?)
        }
        Some("array") => Shape::List(Box::new(match schema.get("items") {
            Some(items) => schema_shape(items, &format!("{path}[]"))?,
            None => Shape::Any,
        })),
        Some("object") => object(schema, path)?,
        None if !schema.contains_key("properties") => Shape::Any,
        _ => return Err(refuse("type")),
    };
    Ok(shape)
}

/// `writeOnly` is JSON Schema's annotation of passwords (draft 2020-12, validation, section 9.4).
fn secret(schema: &Map<String, Json>, path: &str) -> Result<Shape, ShapeError> {
    let is_string = schema.get("type").is_some_and(|kind| kind == "string");
    let rule = schema.keys().map(String::as_str).find(|key| !BESIDE_WRITE_ONLY.contains(key));
    match rule.or((!is_string).then_some("type")) {
        Some(rule) => Err(ShapeError::Secret { path: path.to_owned(), keyword: rule.to_owned() }),
        None => Ok(Shape::Secret),
    }
}

fn object(schema: &Map<String, Json>, path: &str) -> Result<Shape, ShapeError> {
    let refuse = |keyword: &str| ShapeError::Keyword { path: path.to_owned(), keyword: keyword.to_owned() };
    let none = Map::new();
    let properties = match schema.get("properties") {
        Some(properties) => properties.as_object().ok_or_else(|| refuse("properties"))?,
        None => &none,
    };
    let required: Vec<&str> = match schema.get("required") {
        Some(Json::Array(keys)) => keys.iter().filter_map(Json::as_str).collect(),
        Some(_) => return Err(refuse("required")),
        None => Vec::new(),
    };
    if required.iter().any(|key| !properties.contains_key(*key)) {
        return Err(refuse("required"));
    }
    let open = match schema.get("additionalProperties") {
        None | Some(Json::Bool(true)) => true,
        Some(Json::Bool(false)) => false,
        Some(rest) if properties.is_empty() => {
            let value = Box::new(schema_shape(rest, &format!("{path}.*"))?);
            return Ok(Shape::Map { key: Text::any("a key"), value });
        }
        Some(_) => return Err(refuse("additionalProperties")),
    };
    let mut fields = Vec::new();
    for (key, property) in properties {
        let path = format!("{path}.{key}");
        let shape = schema_shape(property, &path)?;
        let default = property.get("default").map(plain_value);
        if let Some(default) = &default {
            check_default(default, &shape, &path)?;
        }
        let presence = if required.contains(&key.as_str()) { Presence::Required } else { Presence::Optional(default) };
        let help = property.get("description").or_else(|| property.get("title")).and_then(Json::as_str).unwrap_or("");
        fields.push(Field::new(key, shape, presence, help));
    }
    Ok(Shape::Object { fields, open })
}

fn choice(value: &Json) -> Option<Choice> {
    let word = match plain_value(value) {
        Value::List(_) | Value::Map(_) | Value::Secret(_) => return None,
        word => word,
    };
    Some(Choice { word, also: None, help: "" })
}

/// JSON as a plain value; every JSON value is one.
fn plain_value(json: &Json) -> Value {
    serde_json::from_value(json.clone()).unwrap_or(Value::Null)
}
