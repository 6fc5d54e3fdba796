//! Journals of earlier releases are gone on with, and what they made is destroyed.
//!
//! `journals/RELEASE/*.json` was written by the code of that release and stays for ever: a state with the world that it is about.
//! `OSTLER_WRITE_JOURNALS=RELEASE cargo test -p ostler-testkit --test operations write_journals` writes those of today, once for each
//! release whose journals differ.

use crate::{
    bench::{Bench, Verb, empty, found, on_proxmox, up, web},
    cases::{at, block_on},
    templates::template,
};
use ostler_core::{
    model::ServerRecord,
    operation::{OperationKind, OperationRecord, StepState},
    ports::Store,
    secret::Secret,
};
use ostler_testkit::world::{Effect, Fault, Moment, set_step};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, path::Path};

/// A state, and the world that it is about.
#[derive(Clone, Serialize, Deserialize)]
struct Journal {
    /// Id of the state, which its machines carry.
    state: String,
    server: ServerRecord,
    /// The server's operations, oldest first.
    operations: Vec<OperationRecord>,
    /// The server's own secrets.
    secrets: BTreeMap<String, String>,
    /// Files of the world.
    world: BTreeMap<String, String>,
}

const JOURNALS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/operations/journals");
/// Stands for the folder of the bench.
const DIR: &str = "@DIR@";
const SECRETS: [&str; 2] = ["client-key", "bootstrap-host-key"];

impl Journal {
    async fn of(bench: &Bench) -> Self {
        let store = bench.store().await;
        let name = web().name;
        let server = store.server(&name).await.unwrap().expect("a server");
        let mut operations = vec![store.operation(server.created_by).await.unwrap().expect("its creation")];
        operations.extend(store.latest_operation(&name).await.unwrap().filter(|latest| latest.id != server.created_by));
        let mut secrets = BTreeMap::new();
        for secret in SECRETS {
            if let Some(text) = store.secret(Some(&name), secret).await.unwrap() {
                secrets.insert(secret.to_owned(), text.expose().to_owned());
            }
        }
        let state = store.state_id().await.unwrap().to_string();
        store.close().await;
        let mut world = BTreeMap::new();
        for folder in ["machines", "images", "known_hosts"] {
            for file in bench.world().names(folder) {
                let path = format!("{folder}/{file}");
                world.insert(path.clone(), fs::read_to_string(bench.world().path(&path)).unwrap());
            }
        }
        Self { state, server, operations, secrets, world }
    }

    fn write(&self, path: &Path, bench: &Bench) {
        let text = serde_json::to_string_pretty(self).unwrap() + "\n";
        fs::write(path, text.replace(&bench.path().display().to_string(), DIR)).unwrap();
    }

    /// A bench with all of it.
    async fn load(text: &str) -> Bench {
        let bench = empty_async().await;
        let store = bench.store().await;
        let journal: Self = serde_json::from_str(&text.replace(DIR, &bench.path().display().to_string())).unwrap();
        let state = store.state_id().await.unwrap().to_string();
        for operation in &journal.operations {
            store.begin_operation(operation).await.unwrap();
        }
        store.put_server(&journal.server).await.unwrap();
        for (name, text) in &journal.secrets {
            store.put_secret(Some(&journal.server.name), name, &Secret::new(text.clone())).await.unwrap();
        }
        store.close().await;
        for (path, text) in &journal.world {
            fs::write(bench.world().path(path), text.replace(&journal.state, &state)).unwrap();
        }
        bench
    }
}

async fn empty_async() -> Bench {
    let bench = Bench::new();
    bench.store().await.close().await;
    bench
}

/// Where the operations of a release are caught: name, start, what is done, and how it is disturbed, if it is.
fn moments() -> Vec<(String, Bench, Verb, Option<Fault>)> {
    use OperationKind::{Apply, Create, Template};
    let step = |kind, step: &str, state, effect| Some(at(&set_step(kind, step, state), Moment::After, effect));
    let running = |kind, name| step(kind, name, StepState::Started, Effect::Kill);
    let failed = |kind, name| step(kind, name, StepState::Started, Effect::Fail);
    let mut moments = Vec::new();
    let proxmox = Verb::Up(Box::new(on_proxmox()));
    for (provider, verb) in [("local", up()), ("proxmox", proxmox), ("existing", found().1)] {
        let (half, middle) = if provider == "existing" { ("access", "trust") } else { ("machine", "cloud-init") };
        let cases = [
            ("create-running", running(Create, half)),
            ("create-failed", failed(Create, middle)),
            ("create-succeeded", Some(at("store.set_operation_state Succeeded", Moment::After, Effect::Kill))),
            ("apply-running", running(Apply, "ansible")),
            ("apply-failed", Some(at("engine.run", Moment::Middle, Effect::Fail))),
            ("apply-succeeded", None),
        ];
        for (name, fault) in cases {
            let start = if provider == "existing" { found().0 } else { empty() };
            moments.push((format!("{provider}-{name}"), start, verb.clone(), fault));
        }
        for (name, fault) in [
            ("create-unwinding", step(Create, "machine", StepState::Undoing, Effect::Kill)),
            ("create-stuck", Some(at("provider.remove", Moment::Before, Effect::Fail))),
        ] {
            let start = if provider == "existing" { found().0 } else { empty() };
            block_on(start.must(&verb));
            moments.push((format!("{provider}-{name}"), start, Verb::Destroy, fault));
        }
    }
    for (name, fault) in [
        ("template-running", running(Template, "off")),
        ("template-failed", failed(Template, "template")),
        ("template-succeeded", None),
    ] {
        moments.push((format!("local-{name}"), empty(), template(), fault));
    }
    moments
}

#[test]
fn write_journals() {
    let Ok(release) = std::env::var("OSTLER_WRITE_JOURNALS") else { return };
    let folder = Path::new(JOURNALS).join(release);
    fs::create_dir_all(&folder).unwrap();
    for (name, bench, verb, fault) in moments() {
        match &fault {
            Some(fault) if fault.effect == Effect::Kill => bench.killed(&verb, fault),
            _ => assert_eq!(block_on(bench.run(&verb, fault.clone())).result.is_err(), fault.is_some(), "{name}"),
        }
        block_on(Journal::of(&bench)).write(&folder.join(format!("{name}.json")), &bench);
    }
}
