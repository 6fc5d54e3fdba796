//! Journals of earlier releases are gone on with, and what they made is destroyed.
//!
//! `journals/RELEASE/*.json` was written by the code of that release and stays for ever: a state with the world that it is about.
//! `OSTLER_WRITE_JOURNALS=RELEASE cargo test -p ostler-testkit --test operations write_journals` writes those of today, once for each
//! release whose journals differ.

use crate::{
    bench::{Bench, Verb, empty, empty_bench, found, found_on, on_proxmox, taking_over, up, web},
    cases::{at, block_on, each},
    templates::template,
};
use ostler_core::{
    ids::SubjectId,
    model::{OperationKind, OperationRecord, OperationState, ServerRecord, StepRecord, StepState},
    ports::Store,
    secret::Secret,
    subject::Subject,
};
use ostler_testkit::world::{Effect, Fault, Moment, set_step};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
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
        operations.extend(
            store.latest_operation(server.subject()).await.unwrap().filter(|latest| latest.id != server.created_by),
        );
        let mut secrets = BTreeMap::new();
        for secret in SECRETS {
            if let Some(text) = store.secret(Some(server.subject()), secret).await.unwrap() {
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

    /// What a file holds. Where servers had no ids yet, this one gets one.
    fn read(text: &str) -> Self {
        let mut journal: Json = serde_json::from_str(text).unwrap();
        if journal["server"]["id"].is_null() {
            let subject = Subject::server(SubjectId::new());
            journal["server"]["id"] = json!(subject.id);
            for operation in journal["operations"].as_array_mut().unwrap() {
                operation["subject"] = json!(subject);
                operation["name"] = operation["server"].take();
            }
        }
        serde_json::from_value(journal).unwrap()
    }

    /// A bench with all of it.
    async fn load(text: &str) -> Bench {
        let bench = empty_bench().await;
        let store = bench.store().await;
        let journal = Self::read(&text.replace(DIR, &bench.path().display().to_string()));
        let state = store.state_id().await.unwrap().to_string();
        for operation in &journal.operations {
            store.begin_operation(operation).await.unwrap();
        }
        store.put_server(&journal.server).await.unwrap();
        for (name, text) in &journal.secrets {
            store.put_secret(Some(journal.server.subject()), name, &Secret::new(text.clone())).await.unwrap();
        }
        store.close().await;
        for (path, text) in &journal.world {
            fs::write(bench.world().path(path), text.replace(&journal.state, &state)).unwrap();
        }
        bench
    }
}

/// A journal in a file: its name and its text.
struct Kept {
    name: String,
    text: String,
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// The journals of all releases.
fn kept() -> Vec<Kept> {
    let folders = fs::read_dir(JOURNALS).unwrap().map(|folder| folder.unwrap().path());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap()).map(|file| file.unwrap().path());
    let name = |path: &Path| path.strip_prefix(JOURNALS).unwrap().display().to_string();
    files.map(|path| Kept { name: name(&path), text: fs::read_to_string(&path).unwrap() }).collect()
}

/// What a spec asks for that comes to the same as a journal.
fn verb_of(journal: &Kept) -> Verb {
    let is = |word| journal.name.contains(word);
    match () {
        () if is("template") => template(),
        () if is("proxmox") => Verb::Up(Box::new(on_proxmox())),
        () if is("existing") => taking_over(),
        () => up(),
    }
}

/// World and state, less the steps, which are another version's, and the settings of a template, which keeps those of its time.
async fn outcome(bench: &Bench, journal: &Kept) -> Json {
    let mut outcome: Json = serde_json::from_str(&bench.snapshot().await).unwrap();
    for server in outcome["servers"].as_array_mut().unwrap() {
        server["creation"].as_array_mut().unwrap().truncate(1);
        server["latest"].as_array_mut().unwrap().truncate(2);
    }
    if journal.name.contains("template") {
        for machine in outcome["machines"].as_array_mut().unwrap() {
            for settings in ["config", "restarted with"] {
                machine.as_object_mut().unwrap().remove(settings);
            }
        }
    }
    outcome
}

/// What an undisturbed run of this version comes to.
async fn expected(journal: &Kept) -> Json {
    let verb = verb_of(journal);
    let bench = if journal.name.contains("existing") { found_on(empty_bench().await) } else { empty_bench().await };
    bench.must(&verb).await;
    outcome(&bench, journal).await
}

#[test]
fn they_are_gone_on_with() {
    each(&kept(), async |journal| {
        let bench = Journal::load(&journal.text).await;
        bench.must(&Verb::Resume).await;
        if ["unwinding", "stuck"].iter().any(|state| journal.name.contains(state)) {
            return assert_left(&bench, journal).await;
        }
        // What had succeeded was left as it was.
        bench.must(&verb_of(journal)).await;
        bench.assert_log(0..=1);
        assert_eq!(outcome(&bench, journal).await, expected(journal).await);
        bench.must(&Verb::Destroy).await;
        assert_left(&bench, journal).await;
    });
}

#[test]
fn what_they_made_is_destroyed() {
    each(&kept(), async |journal| {
        let bench = Journal::load(&journal.text).await;
        bench.must(&Verb::Destroy).await;
        assert_left(&bench, journal).await;
    });
}

/// Nothing is left of what Ostler made.
async fn assert_left(bench: &Bench, journal: &Kept) {
    if !journal.name.contains("existing") {
        return bench.assert_nothing_left().await;
    }
    let machine = bench.world().machine("web").expect("a server that Ostler did not make stays");
    assert_eq!(machine.guest.unwrap().authorized_keys, [""; 0], "Ostler's key is left");
    assert!(!bench.is_recorded().await);
}

/// A creation that failed at `cloud-init`, as a version with other steps had written it.
fn with_other_steps(change: impl FnOnce(&mut Vec<StepRecord>)) -> String {
    let kept = kept().into_iter().find(|kept| kept.name.ends_with("local-create-failed.json")).unwrap();
    let mut journal = Journal::read(&kept.text);
    change(&mut journal.operations[0].steps);
    serde_json::to_string(&journal).unwrap()
}

#[test]
fn the_real_steps_and_the_journal_of_a_version_with_others() {
    let remove = |name: &'static str| move |steps: &mut Vec<StepRecord>| steps.retain(|step| step.name != name);
    let texts = [
        // Steps that are new: one before and one behind the place where it failed.
        with_other_steps(remove("address")),
        with_other_steps(remove("scrub-seed")),
        with_other_steps(|steps| steps.swap(0, 1)),
        // One that is gone, and was not begun.
        with_other_steps(|steps| steps.push(StepRecord::pending("gone"))),
    ];
    block_on(async {
        for text in texts {
            let bench = Journal::load(&text).await;
            bench.must(&Verb::Resume).await;
            let kept = Kept { name: "local".into(), text };
            assert_eq!(outcome(&bench, &kept).await, expected(&kept).await);
            bench.must(&Verb::Destroy).await;
            bench.assert_nothing_left().await;
            let bench = Journal::load(&kept.text).await;
            bench.must(&Verb::Destroy).await;
            bench.assert_nothing_left().await;
        }
        let unknown = StepRecord { state: StepState::Done, ..StepRecord::pending("unheard-of") };
        let bench = Journal::load(&with_other_steps(|steps| steps.insert(1, unknown))).await;
        let before = bench.snapshot().await;
        for verb in [Verb::Resume, Verb::Destroy] {
            let failure = bench.run(&verb, None).await.result.expect_err("nobody knows what it did");
            assert!(format!("{failure:?}").contains("`unheard-of`, which this version does not know"), "{failure:?}");
            assert_eq!(bench.snapshot().await, before);
        }
    });
}

/// Killed between the run of Ansible and its proof, which needs what the run found out.
#[test]
fn what_the_run_of_an_earlier_version_found_out_is_proved() {
    let kept = kept().into_iter().find(|kept| kept.name == "2026-11/local-apply-succeeded.json").unwrap();
    let mut journal = Journal::read(&kept.text);
    let apply = &mut journal.operations[1];
    apply.state = OperationState::Running;
    apply.steps.last_mut().unwrap().state = StepState::Pending;
    let (id, outputs) = (apply.id, apply.outputs.clone());
    assert_eq!(outputs, r#"{"changed":2}"#);
    block_on(async {
        let bench = Journal::load(&serde_json::to_string(&journal).unwrap()).await;
        bench.must(&Verb::Resume).await;
        let store = bench.store().await;
        let apply = store.operation(id).await.unwrap().unwrap();
        store.close().await;
        assert_eq!((apply.state, apply.outputs), (OperationState::Succeeded, outputs));
        assert!(apply.steps.iter().all(|step| step.output.is_none()), "the run was done again: {:?}", apply.steps);
    });
}

/// Where the operations of a release are caught: name, start, what is done, and how it is disturbed, if it is.
fn moments() -> Vec<(String, Bench, Verb, Option<Fault>)> {
    use OperationKind::{Apply, Create, Template};
    let step = |kind, step: &str, state, effect| Some(at(&set_step(kind, step, state), Moment::After, effect));
    let running = |kind, name| step(kind, name, StepState::Started, Effect::Kill);
    let failed = |kind, name| step(kind, name, StepState::Started, Effect::Fail);
    let mut moments = Vec::new();
    let proxmox = Verb::Up(Box::new(on_proxmox()));
    for (provider, verb) in [("local", up()), ("proxmox", proxmox), ("existing", taking_over())] {
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
        let stuck = if provider == "existing" { "remote.forget" } else { "provider.remove" };
        for (name, fault) in [
            ("create-unwinding", step(Create, "machine", StepState::Undoing, Effect::Kill)),
            ("create-stuck", Some(at(stuck, Moment::Before, Effect::Fail))),
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
