//! Asks a person what the spec can say, and writes it down: a frontend like the others, which knows no rule of its own.
//!
//! Questions, their explanations and what is wrong with an answer all come from `ostler_core::spec`; what there is to choose from is
//! found out. Answers are held against the reader of the spec as soon as they are given. Nothing is written, made or stored before
//! the last of them.

mod check;
mod dialog;
mod discover;
mod draft;
mod fancy;
mod finish;
mod plain;
mod prompt;
mod steps;
mod talk;

#[cfg(test)]
mod tests;

use crate::{cli::Global, commands::spec_file, environment, wiring};
use discover::{Found, Surroundings};
use ostler_core::{
    Blame, Failure, Result,
    secret::Secret,
    spec::{CatalogSource, Questions, Value, shown},
};
use ostler_providers::proxmox::{Host, Setup};
use ostler_store::SeaStore;
use prompt::Prompter;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};
use talk::{Step, Talk, stopped};
use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
};

/// What the person decided.
#[derive(Debug)]
struct Outcome {
    /// The spec.
    text: String,
    /// Where it is written.
    file: PathBuf,
    /// Whether the servers are made at once.
    go: bool,
    /// Secrets that it names, to be kept.
    secrets: Vec<(String, Secret)>,
    /// A private key to make, which the spec names the public half of.
    key: Option<PathBuf>,
    /// A token to make on this host, and the secret that it is kept as.
    setup: Option<(Setup, String)>,
}

/// Asks, and does what is asked for. `catalog` is the URL or the folder of the one whose apps are offered, if not of the one that ships.
pub async fn run(global: &Global, catalog: Option<String>) -> Result<ExitCode> {
    let around = surroundings(global, catalog).await?;
    let host = around.host.clone();
    match ask(around).await? {
        Some(outcome) => finish::finish(global, &host, outcome).await,
        None => {
            eprintln!("nothing was written");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Asks in a thread of its own, for an answer may be long in coming, and a signal must be heard meanwhile.
async fn ask(around: Surroundings) -> Result<Option<Outcome>> {
    let before = tcgetattr(io::stdin()).ok();
    let plain = environment::plain_questions();
    let prompter: Box<dyn Prompter> =
        if plain { Box::new(plain::Plain::terminal()) } else { Box::new(fancy::Fancy::new(environment::colour())) };
    tokio::select! {
        biased;
        () = broken_off() => {
            // Whoever reads a key has switched the echo off, and is not waited for: the terminal is given back here, with its
            // cursor, its own screen, and without the marks around pasted text (DECTCEM and bracketed paste, xterm's ctlseqs).
            if let Some(before) = before {
                let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before); // it is gone, then
                let screen = if plain { "" } else { fancy::LEAVE };
                let _ = write!(io::stderr(), "\x1b[?2004l\x1b[?25h{screen}\r\n");
            }
            Err(stopped())
        }
        outcome = tokio::task::spawn_blocking(move || conversation(&around, prompter)) => {
            outcome.unwrap_or_else(|error| Err(Failure::new(Blame::Bug, error.to_string())))
        }
    }
}

async fn broken_off() {
    let listen = |kind| signal(kind).map_err(drop);
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
        (listen(SignalKind::interrupt()), listen(SignalKind::terminate()), listen(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// The URL of a folder here, which is what a spec wants; anything else is one already.
fn url_of(catalog: String) -> Result<String> {
    if !Path::new(&catalog).is_dir() {
        return Ok(catalog);
    }
    let folder = std::fs::canonicalize(&catalog)
        .map_err(|error| Failure::new(Blame::User, format!("--catalog: {catalog}: {error}")))?;
    Ok(format!("file://{}", folder.display()))
}

async fn surroundings(global: &Global, catalog: Option<String>) -> Result<Surroundings> {
    let url = catalog.map(url_of).transpose()?;
    let catalog = match &url {
        Some(url) => {
            let source =
                CatalogSource { url: url.clone(), branch: "stable".into(), commit: None, vault_password: None };
            spec_file::sync_from_flags(global, &source, |_| "--catalog".to_owned()).await?.index
        }
        None => ostler_ansible::catalog_index()?,
    };
    let state = wiring::state_dir(global)?;
    // Looking makes no state; where there is some, secrets may be kept in it.
    let store = if state.join("state.db").exists() { Some(SeaStore::open_sqlite(&state).await?) } else { None };
    Ok(Surroundings {
        home: environment::home(),
        folder: std::env::current_dir()
            .map_err(|error| Failure::new(Blame::User, error.to_string()).because_of("this folder can't be told"))?,
        host: Host::new(environment::search_path()),
        hetzner: environment::hetzner_endpoint(),
        cloudflare: environment::cloudflare_endpoint(),
        modules: ostler_ansible::module_catalog()?,
        catalog,
        catalog_url: url,
        store,
        runtime: Handle::current(),
        found: Found::default(),
    })
}

/// All questions in their order; `None` where the person leaves.
fn conversation(around: &Surroundings, prompter: Box<dyn Prompter>) -> Result<Option<Outcome>> {
    let questions = Questions::new(&around.modules, &around.catalog)?;
    Talk::new(prompter, steps::PATH).run(|talk| questions_of(talk, around, &questions))
}

fn questions_of(talk: &mut Talk, around: &Surroundings, questions: &Questions) -> Step<Outcome> {
    let mut dialog = dialog::Dialog::new(talk, around, questions);
    if let Some(url) = &around.catalog_url {
        dialog.draft.put(&["catalog", "url"], Value::String(url.clone()));
    }
    let target = steps::target::ask(&mut dialog)?;
    let bridges = steps::server::ask(&mut dialog, &target)?;
    steps::network::ask(&mut dialog, &target, &bridges)?;
    steps::ssh::ask(&mut dialog)?;
    steps::modules::ask(&mut dialog, &target)?;
    steps::tunnel::ask(&mut dialog, &target)?;
    steps::apps::ask(&mut dialog)?;
    let end = steps::summary::ask(&mut dialog)?;
    let setup = target.new_token().map(|secret| (setup_of(&dialog), secret.to_owned()));
    let key = steps::ssh::new_key(&dialog);
    Ok(Outcome { text: dialog.draft.yaml(), file: end.file, go: end.go, secrets: dialog.secrets, key, setup })
}

/// What a token made on this host must be good for.
fn setup_of(dialog: &dialog::Dialog<'_>) -> Setup {
    let named = |key| dialog.text_at(&["proxmox", key]);
    let mut bridges = vec![named("bridge")];
    if let Some(Value::List(cards)) = dialog.draft.get(&dialog.of_server(&["network"])) {
        let of_card = |card: &Value| match card {
            Value::Map(card) => card.get("bridge").map(shown),
            _ => None,
        };
        bridges.extend(cards.iter().filter_map(of_card));
        bridges.sort();
        bridges.dedup();
    }
    Setup { storage: named("storage"), images: named("images"), bridges }
}
