//! A shape as Markdown tables, so that the reference can't say anything else than the check does.

use super::{
    Value, grammar,
    schema::help,
    shape::{Field, Presence, Shape, plain},
    size,
};
use crate::ModuleMeta;
use std::fmt::Write;

/// Every key of the file, and which modules there are.
pub(super) fn tables(shape: &Shape) -> String {
    let mut tables = Tables { main: HEAD.to_owned(), modules: String::new() };
    tables.rows("", shape);
    write_to(
        &mut tables.main,
        format_args!(
            "| `{}NAME` | any value |  | Yours: whatever servers share by anchors; Ostler does not look at it |\n",
            grammar::SHARED
        ),
    );
    format!("### Keys\n\n{}\n### Modules\n\n| module | what it does |\n|---|---|\n{}", tables.main, tables.modules)
}

/// A module's page.
pub(super) fn page(module: &ModuleMeta, shape: &Shape, more: &str) -> String {
    let ModuleMeta { name, title, summary, leaves, .. } = module;
    let mut page = format!("# Module `{name}`\n\n{title}. {summary}.\n\n");
    match shape {
        Shape::Object { fields, .. } if !fields.is_empty() => {
            page.push_str(HEAD);
            for field in fields {
                row(&mut page, &field.key, field);
            }
        }
        _ => page.push_str("It has no settings.\n"),
    }
    write_to(&mut page, format_args!("\n`{name}: false` takes back what it did; {leaves}.\n"));
    if !more.is_empty() {
        write_to(&mut page, format_args!("\n{more}"));
    }
    page
}

const HEAD: &str = "| key | value | default | meaning |\n|---|---|---|---|\n";

struct Tables {
    main: String,
    modules: String,
}

impl Tables {
    fn rows(&mut self, path: &str, shape: &Shape) {
        match shape {
            Shape::Object { fields, .. } => {
                for field in fields {
                    let path = if path.is_empty() { field.key.clone() } else { format!("{path}.{}", field.key) };
                    row(&mut self.main, &path, field);
                    match (&field.shape, field.key.as_str()) {
                        (Shape::Object { fields, .. }, "modules") => self.modules(fields),
                        // An app's parameters are its catalog's to document.
                        (_, "app_params") => {}
                        (shape, _) => self.rows(&path, shape),
                    }
                }
            }
            Shape::Map { value, .. } => self.rows(&format!("{path}.NAME"), value),
            Shape::Either(shapes) => {
                if let Some(shape) = shapes.iter().find(|shape| matches!(shape, Shape::Object { .. })) {
                    self.rows(path, shape);
                }
            }
            _ => {}
        }
    }

    fn modules(&mut self, modules: &[Field]) {
        for Field { key, help, .. } in modules {
            write_to(&mut self.modules, format_args!("| [`{key}`](modules/{key}.md) | {help} |\n"));
        }
    }
}

/// A parameter of an app, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its key under `app_params.APP`.
    pub name: String,
    /// What may stand there.
    pub value: String,
    /// What holds where it is not given; `required` where it must be.
    pub default: String,
    /// What it is for.
    pub help: String,
}

/// The parameters of an app, of the shape that its schema describes.
pub(super) fn parameters(shape: &Shape) -> Vec<Parameter> {
    let Shape::Object { fields, .. } = shape else { return Vec::new() };
    let parameter = |field: &Field| Parameter {
        name: field.key.clone(),
        value: value(&field.shape),
        default: default(field),
        help: help(field),
    };
    fields.iter().map(parameter).collect()
}

fn row(table: &mut String, path: &str, field: &Field) {
    let default = match (default(field), &field.presence) {
        (text, Presence::Required) => text,
        (text, _) if text.is_empty() => text,
        (text, _) => format!("`{text}`"),
    };
    let cell = |text: String| text.replace('|', "\\|");
    let (value, help) = (cell(value(&field.shape)), cell(help(field)));
    write_to(table, format_args!("| `{path}` | {value} | {default} | {help} |\n"));
}

fn default(field: &Field) -> String {
    match &field.presence {
        Presence::Required => "required".to_owned(),
        Presence::Optional(None) | Presence::Default(Value::Null) => String::new(),
        Presence::Default(Value::Map(_)) => String::new(),
        Presence::Default(value) | Presence::Optional(Some(value)) => plain(value),
    }
}

/// What may stand there.
fn value(shape: &Shape) -> String {
    match shape {
        Shape::Int { min, max } if *min > i64::MIN && *max < i64::MAX => format!("{min} to {max}"),
        Shape::Size { min, max } => format!("{} to {}", size::show(*min), size::show(*max)),
        Shape::List(item) => format!("list: {}", value(item)),
        Shape::Either(shapes) => shapes.iter().map(value).collect::<Vec<_>>().join(" or "),
        shape => shape.noun(),
    }
}

fn write_to(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a String can't fail");
}
