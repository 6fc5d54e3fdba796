//! A shape as JSON Schema, so that editors complete and check the spec while it is written.
//!
//! It says less than Ostler checks: what joins several keys, or takes more than a pattern, is left to `ostler plan`.

use super::{
    Value, grammar, rules,
    shape::{Choice, Field, Presence, Shape, Text},
    size,
    timezone::{self, TIMEZONE},
};
use serde_json::{Map, Value as Json, json};

/// The schema of a whole file.
pub(super) fn document(shape: &Shape) -> Json {
    let mut document = schema(shape);
    document["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    document["title"] = json!("ostler.yaml");
    document["patternProperties"] = json!({ (format!("^{}", grammar::SHARED)): {
        "description": "Yours: whatever servers share by anchors (`&NAME`, `*NAME`, `<<: *NAME`); Ostler does not look at it",
    } });
    document
}

fn schema(shape: &Shape) -> Json {
    match shape {
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::Int { min, max } => {
            let mut schema = json!({ "type": "integer" });
            if *min > i64::MIN {
                schema["minimum"] = json!(min);
            }
            if *max < i64::MAX {
                schema["maximum"] = json!(max);
            }
            schema
        }
        Shape::Number { min, max } => {
            let mut schema = json!({ "type": "number" });
            if min.is_finite() {
                schema["minimum"] = json!(min);
            }
            if max.is_finite() {
                schema["maximum"] = json!(max);
            }
            schema
        }
        Shape::Size { .. } => json!({ "type": "string", "pattern": size::PATTERN }),
        Shape::Text(rules) => text(rules),
        Shape::Choice(choices) => choice(choices),
        Shape::Secret => json!({
            "type": "object",
            "properties": {
                "secret": { "type": "string", "description": "Name in Ostler's own encrypted store" },
                "env": { "type": "string", "description": "Environment variable" },
                "file": { "type": "string", "description": "File" },
            },
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": false,
        }),
        Shape::List(item) => json!({ "type": "array", "items": schema(item) }),
        Shape::Map { key, value } => {
            json!({ "type": "object", "propertyNames": text(key), "additionalProperties": schema(value) })
        }
        Shape::Object { fields, open } => object(fields, *open),
        Shape::Either(shapes) => json!({ "anyOf": shapes.iter().map(schema).collect::<Vec<_>>() }),
        Shape::Any => json!({}),
    }
}

fn text(rules: &Text) -> Json {
    let mut schema = json!({ "type": "string" });
    if let Some(pattern) = &rules.pattern {
        schema["pattern"] = json!(pattern.as_str());
    }
    match rules.noun {
        TIMEZONE => schema["enum"] = json!(std::iter::once("").chain(timezone::names()).collect::<Vec<_>>()),
        rules::IMAGE => schema["examples"] = json!(rules::IMAGES),
        rules::PROVIDER => schema["examples"] = json!(rules::PROVIDERS),
        _ => {}
    }
    schema
}

fn choice(choices: &[Choice]) -> Json {
    let also = choices.iter().filter_map(|choice| choice.also).map(Value::Bool);
    json!({ "enum": choices.iter().map(|choice| choice.word.clone()).chain(also).collect::<Vec<_>>() })
}

fn object(fields: &[Field], open: bool) -> Json {
    let properties: Map<String, Json> = fields.iter().map(|field| (field.key.clone(), property(field))).collect();
    let required = fields.iter().filter(|field| matches!(field.presence, Presence::Required));
    let required: Vec<&str> = required.map(|field| field.key.as_str()).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": open });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn property(field: &Field) -> Json {
    let mut property = schema(&field.shape);
    if let Presence::Default(Value::Null) = field.presence {
        property = json!({ "anyOf": [property, { "type": "null" }] });
    }
    let help = help(field);
    if !help.is_empty() {
        property["description"] = json!(help);
    }
    if let Presence::Default(value) | Presence::Optional(Some(value)) = &field.presence {
        property["default"] = json!(value);
    }
    property
}

/// Help of a key, with that of its words.
pub(super) fn help(field: &Field) -> String {
    let Shape::Choice(choices) = &field.shape else { return field.help.clone() };
    let words = choices.iter().filter(|choice| !choice.help.is_empty());
    let words: Vec<_> =
        words.map(|choice| format!("`{}`: {}", super::shape::plain(&choice.word), choice.help)).collect();
    if words.is_empty() { field.help.clone() } else { format!("{} ({})", field.help, words.join("; ")) }
}
