//! Which apps, and with which parameters. What there is, and what is asked of each, the catalog says.

use super::{APPS, choices, defaults, picked, texts};
use crate::{
    commands::catalog::ports,
    wizard::{dialog::Dialog, prompt::Ask, talk::Step},
};
use ostler_core::spec::{AppMeta, CatalogIndex, QuestionKind};

/// Asks.
pub fn ask(dialog: &mut Dialog<'_>) -> Step<()> {
    let catalog = &dialog.around.catalog;
    if catalog.apps.is_empty() {
        return Ok(());
    }
    dialog.talk.screen(APPS);
    let names: Vec<String> = catalog.apps.iter().map(|app| app.name.clone()).collect();
    let meaning = |name: &str| catalog.apps.iter().find(|app| app.name == name).map_or(String::new(), meaning);
    let good = dialog.checker(dialog.of_server(&["apps"]));
    let good = |chosen: &[usize]| good(texts(&picked(&names, chosen)));
    let ask = Ask { question: "Which apps?", help: "" };
    let chosen = dialog.talk.choose_many("apps", ask, &choices(&names, meaning), &[], good)?;
    let chosen = picked(&names, &chosen);
    if chosen.is_empty() {
        return Ok(());
    }
    dialog.put(&["apps"], texts(&chosen));
    parameters(dialog, with_dependencies(catalog, &chosen))
}

fn parameters(dialog: &mut Dialog<'_>, apps: Vec<String>) -> Step<()> {
    let question = |dialog: &Dialog<'_>, name: &str| dialog.question(&dialog.of_server(&["app_params", name]));
    let (mut needed, mut offered) = (Vec::new(), Vec::new());
    for app in apps {
        match question(dialog, &app).kind {
            QuestionKind::Fields(fields) if fields.iter().any(|field| field.required) => needed.push(app),
            QuestionKind::Fields(fields) if fields.is_empty() => {}
            _ => offered.push(app),
        }
    }
    if !offered.is_empty() {
        let offers = choices(&offered, |name| defaults(&question(dialog, name)));
        let ask = Ask { question: "Whose parameters do you want to change?", help: "" };
        let changed = dialog.talk.choose_many("parameters", ask, &offers, &[], |_| Ok(()))?;
        needed.extend(picked(&offered, &changed));
    }
    for app in needed {
        dialog.ask_fields(&["app_params", &app])?;
    }
    Ok(())
}

/// Ports, what it brings along, and what it is.
fn meaning(app: &AppMeta) -> String {
    let ports = ports(app).join(", ");
    let brings = if app.depends.is_empty() { String::new() } else { format!("with {}", app.depends.join(", ")) };
    let parts = [ports, brings, app.description.clone()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// The apps with all that they depend on, each once.
fn with_dependencies(catalog: &CatalogIndex, chosen: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut open: Vec<String> = chosen.iter().rev().cloned().collect();
    while let Some(name) = open.pop() {
        if !all.contains(&name) {
            let app = catalog.apps.iter().find(|app| app.name == name);
            open.extend(app.into_iter().flat_map(|app| app.depends.iter().rev().cloned()));
            all.push(name);
        }
    }
    all
}
