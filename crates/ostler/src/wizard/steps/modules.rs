//! Which modules, and with which settings. What there is, and what is asked of each, its metadata says.

use super::{MODULES, choices, defaults, picked, target::Target};
use crate::wizard::{dialog::Dialog, prompt::Ask, talk::Step};
use ostler_core::spec::{FIREWALLS, ModuleMeta, QuestionKind, Value};

/// Asks.
pub fn ask(dialog: &mut Dialog<'_>, target: &Target) -> Step<()> {
    dialog.talk.screen(MODULES);
    let mut modules: Vec<&ModuleMeta> = dialog.around.modules.iter().collect();
    modules.sort_by_key(|meta| (meta.order, &meta.name));
    if modules.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = modules.iter().map(|meta| meta.name.clone()).collect();
    let meaning =
        |name: &str| modules.iter().find(|meta| meta.name == name).map_or(String::new(), |meta| meta.summary.clone());
    // A new machine is hardened unless somebody minds; one that is there already is somebody's.
    let offered: Vec<usize> = match target {
        Target::Existing => Vec::new(),
        _ => (0..names.len()).filter(|index| !FIREWALLS[1..].contains(&names[*index].as_str())).collect(),
    };
    let one_firewall = |chosen: &[usize]| {
        let firewalls = chosen.iter().filter(|index| FIREWALLS.contains(&names[**index].as_str()));
        if firewalls.count() > 1 {
            Err(format!("a server has one firewall: {}", FIREWALLS.join(" or ")))
        } else {
            Ok(())
        }
    };
    let ask = Ask { question: "What should Ostler take care of?", help: "" };
    let chosen = dialog.talk.choose_many("modules", ask, &choices(&names, meaning), &offered, one_firewall)?;
    let chosen = picked(&names, &chosen);
    for name in &chosen {
        dialog.put(&["modules", name], Value::Bool(true));
    }
    let question = |dialog: &Dialog<'_>, name: &str| dialog.question(&dialog.of_server(&["modules", name]));
    let has_settings =
        |name: &&String| matches!(question(dialog, name).kind, QuestionKind::Fields(fields) if !fields.is_empty());
    let with_settings: Vec<String> = chosen.iter().filter(has_settings).cloned().collect();
    if with_settings.is_empty() {
        return Ok(());
    }
    let offers = choices(&with_settings, |name| defaults(&question(dialog, name)));
    let ask = Ask { question: "Whose settings do you want to change?", help: "" };
    let changed = dialog.talk.choose_many("settings", ask, &offers, &[], |_| Ok(()))?;
    for name in picked(&with_settings, &changed) {
        dialog.ask_fields(&["modules", &name])?;
    }
    Ok(())
}
