//! A state directory that an earlier release left is listed, gone on with, and destroyed, and all of its secrets are found.
//!
//! Where a journal of `journals/` is one server that today's code puts into a new database, this is the whole database as that release wrote
//! it, with servers of every provider in every state. `OSTLER_WRITE_STATES=RELEASE cargo test -p ostler-testkit --test operations
//! write_state` writes that of today, once for each release that changes the schema.

use crate::{
    bench::{Bench, Verb, copy_dir, empty, found_as, on_proxmox, taking_over, web},
    cases::{at, block_on},
    templates::template,
};
use ostler_core::{
    ids::{EventNumber, ServerName},
    model::{OperationKind, OperationState, Phase, StepState},
    ports::{EventFilter, Store},
    secret::Secret,
    spec::{ProviderKind, SecretRef, ServerSpec},
};
use ostler_testkit::{
    earlier::{EarlierState, WRITE, hide},
    world::{Effect, Fault, Moment, set_step},
};
use std::{fs, path::Path};

/// Its folder among the states of a release.
const NAME: &str = "every-server";
/// The user's own secrets: one that no spec names, and one that all of them do.
const OWN: [(&str, &str); 2] = [("admin-password", "correct horse"), ("token", "battery staple")];

/// What becomes of a server in the state: by what it is called, and where its last operation stands.
const FATES: [(&str, OperationKind, OperationState); 7] = [
    ("ready", OperationKind::Apply, OperationState::Succeeded),
    ("half-made", OperationKind::Create, OperationState::Running),
    ("unreachable", OperationKind::Create, OperationState::Failed),
    ("cut-off", OperationKind::Apply, OperationState::Running),
    ("misapplied", OperationKind::Apply, OperationState::Failed),
    ("going", OperationKind::Create, OperationState::Unwinding),
    ("stuck", OperationKind::Create, OperationState::Stuck),
];
const PROVIDERS: [&str; 3] = ["existing", "local", "proxmox"];
const TEMPLATE: &str = "a-template";

fn spec_of(server: &str) -> ServerSpec {
    let spec = match server.split('-').next() {
        Some("local") => web(),
        Some("proxmox") => on_proxmox(),
        Some("existing") => spec_in(taking_over()),
        _ => spec_in(template()),
    };
    let password = (server != TEMPLATE).then(|| SecretRef::Secret(OWN[0].0.into()));
    ServerSpec { name: ServerName::parse(server).unwrap(), password, ..spec }
}

fn spec_in(verb: Verb) -> ServerSpec {
    match verb {
        Verb::Up(spec) | Verb::Template(spec) => *spec,
        other => panic!("{other:?} has no spec"),
    }
}

/// What brings the server to its spec.
fn verb_of(server: &str) -> Verb {
    let spec = Box::new(spec_of(server));
    if server == TEMPLATE { Verb::Template(spec) } else { Verb::Up(spec) }
}

/// The servers of the state with their fates, by name.
fn servers() -> Vec<(String, OperationKind, OperationState)> {
    let named = |provider| FATES.map(|(fate, kind, state)| (format!("{provider}-{fate}"), kind, state));
    let mut servers: Vec<_> = PROVIDERS.into_iter().flat_map(named).collect();
    servers.push((TEMPLATE.to_owned(), OperationKind::Template, OperationState::Succeeded));
    servers.sort_by(|one, other| one.0.cmp(&other.0));
    servers
}

fn is_going(state: OperationState) -> bool {
    matches!(state, OperationState::Unwinding | OperationState::Stuck)
}

/// The state of a release with its world.
async fn restored(state: &EarlierState) -> Bench {
    let bench = Bench::new();
    let dir = bench.path().display().to_string();
    state.restore(&bench.path().join("state"), &[("@DIR@", &dir)]).await;
    copy_dir(&state.path("world"), &bench.path().join("world"));
    bench
}

fn each_restored(check: impl AsyncFn(&Bench)) {
    block_on(async {
        for state in EarlierState::all(NAME) {
            check(&restored(&state).await).await;
        }
    });
}

#[test]
fn all_of_it_is_listed_with_its_history() {
    each_restored(async |bench| {
        let store = bench.store().await;
        let listed = store.overview().await.unwrap();
        let listed = listed.into_iter().map(|server| {
            let operation = server.operation.expect("it was begun to be made");
            (server.name.to_string(), operation.kind, operation.state)
        });
        assert_eq!(listed.collect::<Vec<_>>(), servers());
        for (name, kind, state) in servers() {
            let server = store.server(&spec_of(&name).name).await.unwrap().expect("it is listed");
            assert_eq!(server.phase == Phase::Ready, state == OperationState::Succeeded || is_going(state), "{name}");
            let events = store.events(EventNumber(0), &of_server(&name), 1000).await.unwrap();
            let ours = events.iter().filter(|event| event.operation == Some(server.created_by)).count();
            assert!(ours > 1 && (kind != OperationKind::Create) == (ours < events.len() && !is_going(state)), "{name}");
        }
        for (name, text) in OWN {
            assert_eq!(store.secret(None, name).await.unwrap(), Some(Secret::new(text)));
        }
        store.close().await;
    });
}

fn of_server(name: &str) -> EventFilter {
    EventFilter { server: Some(spec_of(name).name), ..EventFilter::default() }
}

#[test]
fn all_of_it_is_gone_on_with_and_destroyed() {
    each_restored(async |bench| {
        for (name, _, state) in servers() {
            must(bench, &name, &Verb::Resume).await;
            if is_going(state) {
                assert!(!is_recorded(bench, &name).await, "{name} was being destroyed");
                continue;
            }
            must(bench, &name, &verb_of(&name)).await;
            let guest = bench.world().machine(&name).and_then(|machine| machine.guest).expect("it is made");
            assert!(!guest.dpkg_interrupted && guest.config == guest.restarted_with, "{name}: {guest:?}");
            must(bench, &name, &Verb::Destroy).await;
        }
        assert_nothing_left(bench).await;
        let log = bench.world().log();
        let bad: Vec<_> =
            log.iter().filter(|line| line.starts_with("two runs") || line.starts_with("a run met")).collect();
        assert_eq!(bad, [""; 0], "{log:?}");
        let made = log.iter().filter(|line| line.starts_with("made ")).count();
        assert_eq!(made, 0, "all machines that shall be are there already: {log:?}");
    });
}

#[test]
fn all_of_it_is_destroyed() {
    each_restored(async |bench| {
        for (name, ..) in servers() {
            must(bench, &name, &Verb::Destroy).await;
        }
        assert_nothing_left(bench).await;
    });
}

async fn must(bench: &Bench, server: &str, verb: &Verb) {
    if let Err(failure) = bench.run_on(server, verb, None).await.result {
        panic!("{server}: {verb:?}: {failure:?}");
    }
}

async fn is_recorded(bench: &Bench, server: &str) -> bool {
    let store = bench.store().await;
    let server = store.server(&spec_of(server).name).await.unwrap();
    store.close().await;
    server.is_some()
}

/// Of the servers; what the user keeps, and what somebody else made, stays.
async fn assert_nothing_left(bench: &Bench) {
    let world = bench.world();
    for machine in world.machines() {
        assert!(machine.name.starts_with("existing-"), "the machine of {} is left", machine.name);
        assert_eq!(machine.guest.unwrap().authorized_keys, [""; 0], "Ostler's key is left on {}", machine.name);
    }
    assert_eq!((world.names("runs"), world.names("known_hosts")), (vec![], vec![]));
    let store = bench.store().await;
    assert_eq!(store.overview().await.unwrap(), []);
    assert_eq!(store.secret_names().await.unwrap(), OWN.map(|(name, _)| name));
    store.close().await;
}

/// How each fate comes about: what is done without a fault, what is done then, and what goes wrong with it.
fn moments(provider: &str) -> Vec<(&'static str, Option<Verb>, Verb, Option<Fault>)> {
    use OperationKind::Create;
    let step = |step: &str, state, effect| Some(at(&set_step(Create, step, state), Moment::After, effect));
    let (half, middle) = if provider == "existing" { ("access", "trust") } else { ("boot", "cloud-init") };
    let cases = FATES.map(|(fate, ..)| {
        let up = verb_of(&format!("{provider}-{fate}"));
        let engine = |effect| Some(at("engine.run", Moment::Middle, effect));
        match fate {
            "ready" => (fate, None, up, None),
            "half-made" => (fate, None, up, step(half, StepState::Started, Effect::Kill)),
            "unreachable" => (fate, None, up, step(middle, StepState::Started, Effect::Fail)),
            "cut-off" => (fate, None, up, engine(Effect::Kill)),
            "misapplied" => (fate, None, up, engine(Effect::Fail)),
            "going" => (fate, Some(up), Verb::Destroy, step("machine", StepState::Undoing, Effect::Kill)),
            _ => (fate, Some(up), Verb::Destroy, Some(at("provider.remove", Moment::Before, Effect::Fail))),
        }
    });
    cases.into()
}

#[test]
fn write_state() {
    let Ok(release) = std::env::var(WRITE) else { return };
    let mut bench = empty();
    block_on(async {
        let store = bench.store().await;
        for (name, text) in OWN {
            store.put_secret(None, name, &Secret::new(text)).await.unwrap();
        }
        store.close().await;
    });
    for provider in PROVIDERS {
        for (fate, before, verb, fault) in moments(provider) {
            let name = format!("{provider}-{fate}");
            if provider == "existing" {
                bench = found_as(&name, bench);
            }
            if let Some(before) = before {
                block_on(must(&bench, &name, &before));
            }
            match &fault {
                Some(fault) if fault.effect == Effect::Kill => bench.killed_on(&name, &verb, fault),
                _ => assert_eq!(block_on(bench.run_on(&name, &verb, fault.clone())).result.is_err(), fault.is_some()),
            }
        }
    }
    block_on(must(&bench, TEMPLATE, &verb_of(TEMPLATE)));
    bench.world().end_all_runs();
    let here = ostler_process::ProcessId::current().unwrap();
    let (dir, machine) = (bench.path().display().to_string(), ostler_process::machine_id().unwrap());
    let placeholders = [("@DIR@", dir.as_str()), ("another-machine", &machine), ("an-earlier-boot", &here.boot)];
    let state = EarlierState::new(&release, NAME);
    block_on(state.write(&bench.path().join("state"), &placeholders));
    for folder in ["machines", "images", "known_hosts", "runs"] {
        let to = state.path("world").join(folder);
        fs::create_dir_all(&to).unwrap();
        for file in bench.world().names(folder) {
            let text = fs::read_to_string(bench.world().path(&format!("{folder}/{file}"))).unwrap();
            fs::write(to.join(file), hide(text, &placeholders)).unwrap();
        }
    }
    assert!(Path::new(&state.path("state.sql")).exists());
}

/// The kinds of servers that the state has are all that there were in its time.
#[test]
fn each_provider_has_its_servers() {
    for kind in [ProviderKind::Local, ProviderKind::Existing, ProviderKind::Proxmox] {
        assert!(servers().iter().any(|(name, ..)| spec_of(name).provider.kind() == kind), "{kind:?}");
    }
}
