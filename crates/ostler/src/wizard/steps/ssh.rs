//! Who gets in, and how.

use super::{SSH, text, texts};
use crate::wizard::{
    dialog::Dialog,
    prompt::{Ask, Choice},
    talk::{Line, Step},
};
use ostler_core::spec::Value;
use std::path::PathBuf;

/// Asks.
pub fn ask(dialog: &mut Dialog<'_>) -> Step<()> {
    dialog.talk.screen(SSH);
    let user = match dialog.ask(&["user"], "User:")? {
        Some(Value::String(user)) => user,
        _ => String::new(),
    };
    let auth = dialog.ask(&["ssh", "auth"], "Log in with:")?;
    if auth == Some(text("key-and-password")) {
        let ask = Ask { question: "Password:", help: "it is kept encrypted; the file only names it" };
        let password = dialog.talk.secret("password", ask, true)?;
        let name = format!("{}-{user}", dialog.server);
        let reference = dialog.new_secret(&name, password)?;
        dialog.put(&["password"], Value::Secret(reference));
    }
    keys(dialog)?;
    dialog.ask(&["ssh", "root_login"], "May root log in?")?;
    dialog.ask(&["ssh", "port"], "Port:")?;
    Ok(())
}

fn keys(dialog: &mut Dialog<'_>) -> Step<()> {
    let good = dialog.checker(dialog.of_server(&["authorized_keys"]));
    let found = dialog.around.keys();
    let keys_of =
        |indices: &[usize]| -> Vec<String> { indices.iter().filter_map(|it| found.get(*it).cloned()).collect() };
    let mut chosen: Vec<String> = Vec::new();
    let mut more = true;
    if !found.is_empty() {
        let mut choices: Vec<Choice> =
            found.iter().map(|path| Choice::new(path.clone(), dialog.around.key_comment(path))).collect();
        choices.push(Choice::new("another", "the path of a public key, or a key itself"));
        let offered: Vec<usize> = (0..found.len()).collect();
        // What is typed afterwards may be the only one.
        let good = |indices: &[usize]| match indices.contains(&found.len()) {
            true => Ok(()),
            false => good(texts(&keys_of(indices))),
        };
        let ask = Ask { question: "Keys that may log in:", help: "" };
        let indices = dialog.talk.choose_many("keys", ask, &choices, &offered, good)?;
        chosen = keys_of(&indices);
        more = indices.contains(&found.len());
    }
    if dialog.around.new_key().is_some() {
        let mut choices = vec![
            Choice::new("make one", "~/.ssh/id_ed25519, at the very end; ssh-keygen asks for a passphrase"),
            Choice::new("another", "the path of a public key, or a key itself"),
        ];
        if good(texts(&chosen)).is_ok() {
            choices.push(Choice::new("none", "the password alone"));
        }
        let ask = Ask { question: "Keys that may log in:", help: "there is none in ~/.ssh" };
        let index = dialog.talk.choose("new key", ask, &choices, 0)?;
        more = index == 1;
        chosen.extend((index == 0).then(|| NEW_KEY.to_owned()));
    }
    while more {
        let with = |key: &str| texts(chosen.iter().chain([&key.to_owned()]));
        let line = Line { default: None, optional: good(texts(&chosen)).is_ok() };
        let help =
            if line.optional { "its path, or the key itself. Empty: no more" } else { "its path, or the key itself" };
        let ask = Ask { question: "Public key:", help };
        let key = dialog.talk.text(&format!("key {}", chosen.len()), ask, line, |key| good(with(key)))?;
        more = !key.is_empty();
        chosen.extend(Some(key).filter(|key| !key.is_empty()));
    }
    if !chosen.is_empty() {
        dialog.put(&["authorized_keys"], texts(&chosen));
    }
    Ok(())
}

/// The public half of the key that is made where there is none, as the spec names it.
const NEW_KEY: &str = "~/.ssh/id_ed25519.pub";

/// The private key that the draft names the public half of, and that is not made yet.
pub fn new_key(dialog: &Dialog<'_>) -> Option<PathBuf> {
    let keys = dialog.draft.get(&dialog.of_server(&["authorized_keys"]));
    let named = matches!(keys, Some(Value::List(keys)) if keys.contains(&text(NEW_KEY)));
    dialog.around.new_key().filter(|_| named)
}
