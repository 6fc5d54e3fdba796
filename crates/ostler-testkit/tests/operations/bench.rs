//! A world and a state in a temporary directory, and processes that work on them.

use crate::cases::block_on;
use futures::future::join_all;
use ostler_core::{
    Result,
    event::EventKind,
    ids::{EventNumber, OperationId, ServerName, SiteName, StateId, SubjectId},
    model::{OperationRecord, OperationState, Seed, StepRecord, StepState},
    operation::{EventLog, Interrupt, LEASE_TTL, Leaser},
    ports::{EventFilter, LeaseOwner, Liveness, Provider, Store},
    secret::Secret,
    server::{
        destroy,
        drift::{self, Check},
        rebuild, rescue, template,
        up::{self, OnFailure},
    },
    site,
    spec::*,
    subject::{Subject, SubjectKind},
    world::{Providers, WaitOptions, World},
};
use ostler_process::{ProcessId, machine_id};
use ostler_store::SeaStore;
use ostler_testkit::world::{
    Adopter, FakeWorld, Fault, Faults, FaultyStore, Guest, Machine, Maker, Member, WorldDir, cluster_app,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::{
    collections::HashMap,
    fs,
    ops::RangeInclusive,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

/// What a process of Ostler is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Verb {
    Up(Box<ServerSpec>),
    /// The same with `--on-failure destroy`.
    UpOrNothing(Box<ServerSpec>),
    /// Makes several at once, or brings them to their specs.
    Together(Vec<ServerSpec>),
    Resume,
    Destroy,
    /// Makes it anew in its place.
    Rebuild,
    /// Opens its SSH port again.
    Rescue,
    /// Makes a template of it.
    Template(Box<ServerSpec>),
    /// Looks at what `Up` would change.
    Plan(Box<ServerSpec>),
    /// Brings a site to its spec.
    Deploy(Box<SiteSpec>),
    /// Goes back to this release of the site `shop`.
    RollBack(u32),
    /// Takes the site `shop` away.
    RemoveSite,
}

/// What became of it.
pub struct Ran {
    pub result: Result<()>,
    /// What a look found.
    pub check: Option<Check>,
    /// Calls of ports that it made.
    pub calls: Vec<String>,
    /// Whether the fault happened.
    pub struck: bool,
}

/// Password of the account that a server had before Ostler.
const PASSWORD: &str = "correct horse";

/// A bench with a server that is there already, and what takes it over.
pub fn found() -> (Bench, Verb) {
    (found_on(empty()), taking_over())
}

/// Takes it over.
pub fn taking_over() -> Verb {
    let existing = ExistingOptions {
        address: "web.example.org".into(),
        port: 22,
        user: "root".into(),
        password: Some(SecretRef::File("password".into())),
        key: None,
        host_key: Some("SHA256:ssh-ed25519 AAAAfound".into()),
    };
    let spec = ServerSpec { provider: ProviderOptions::Existing(existing), ..web() };
    Verb::Up(Box::new(spec))
}

/// The bench with a server that is there already.
pub fn found_on(bench: Bench) -> Bench {
    found_as("web", bench)
}

/// The same by another name.
pub fn found_as(name: &str, bench: Bench) -> Bench {
    let guest = Guest {
        host_key: "ssh-ed25519 AAAAfound".into(),
        found: Some(("root".into(), PASSWORD.into())),
        ..Guest::default()
    };
    bench.world().put_machine(&Machine {
        name: name.into(),
        operation: OperationId::new(),
        owner: StateId::new(),
        size: web().size,
        local: LocalOptions::default(),
        complete: true,
        on: true,
        seed: None,
        template: false,
        fence: None,
        balanced: false,
        guest: Some(guest),
    });
    bench
}

/// The newest operation on a server of this name, also where it is destroyed.
pub async fn latest(store: &dyn Store, name: &ServerName) -> Option<OperationRecord> {
    store.latest_operation_called(SubjectKind::Server, name.as_str()).await.unwrap()
}

/// What an operation is about that works on no real server.
pub fn about() -> (Subject, &'static str) {
    (Subject::server(SubjectId::new()), "web")
}

/// The site that every test works on.
pub fn shop() -> SiteName {
    SiteName::parse("shop").unwrap()
}

/// A server that every test works on.
pub fn web() -> ServerSpec {
    spec("web")
}

pub fn spec(name: &str) -> ServerSpec {
    ServerSpec {
        name: ServerName::parse(name).unwrap(),
        provider: ProviderOptions::Local(LocalOptions::default()),
        image: ImageRef::Named("debian-13".into()),
        size: Size { cpus: 1, memory: 1 << 30, disk: 8 << 30 },
        networks: vec![Network::default()],
        user: "admin".into(),
        password: None,
        authorized_keys: Vec::new(),
        ssh: SshPolicy::default(),
        modules: [("ufw".to_owned(), Some(Settings::new()))].into(),
        catalog: None,
        apps: Vec::new(),
        app_params: Default::default(),
        tunnel: None,
        ansible: AnsibleOptions::default(),
        exclusive_keys: false,
        template: None,
    }
}

/// The same with a tunnel in place of its open port.
pub fn with_tunnel(spec: ServerSpec) -> ServerSpec {
    let via = TunnelEndpoint {
        name: "edge".into(),
        account: "0".repeat(32),
        token: SecretRef::File("token".into()),
        url: "https://api.example.org".into(),
    };
    let tunnel = TunnelOptions { via, hostname: "ssh-web.example.com".into(), close_ssh: true };
    ServerSpec { tunnel: Some(tunnel), ..spec }
}

/// The same on a Proxmox VE node.
pub fn on_proxmox() -> ServerSpec {
    let proxmox = ProxmoxOptions {
        endpoint: ProxmoxEndpoint {
            name: "pve".into(),
            url: "https://pve.example.org:8006".into(),
            token: SecretRef::File("token".into()),
            trust: ProxmoxTrust::Fingerprint("00".repeat(32)),
        },
        node: "pve1".into(),
        vmid: None,
        storage: "local-lvm".into(),
        images: "local".into(),
        bridge: "vmbr0".into(),
        vlan: None,
        tags: Vec::new(),
    };
    ServerSpec { provider: ProviderOptions::Proxmox(proxmox), ..web() }
}

/// The same at Hetzner Cloud, with a firewall of the vendor in front of it.
pub fn fenced(spec: ServerSpec) -> ServerSpec {
    let options = json!({
        "endpoint": { "name": "hc", "url": "https://hc.example.org/v1", "token": { "file": "token" } },
        "types": ["cx23"], "locations": ["fsn1"], "network": null, "volumes": [], "placement": null, "ipv4": "own", "ipv6": "own",
        "backups": false, "protect": false, "firewall": true,
    });
    ServerSpec { provider: ProviderOptions::Hetzner(serde_json::from_value(options).unwrap()), ..spec }
}

/// The same behind a load balancer of the vendor.
pub fn balanced(spec: ServerSpec) -> ServerSpec {
    let health = json!({ "port": 443, "http": null, "interval": 15, "timeout": 10, "retries": 3 });
    let service = json!({ "http": false, "listen": 443, "to": 443, "proxy_protocol": false, "health": health });
    let balancer =
        json!({ "name": "front", "balancer_type": "lb11", "location": "fsn1", "network": null, "services": [service] });
    let mut spec = fenced(spec);
    if let ProviderOptions::Hetzner(options) = &mut spec.provider {
        options.load_balancer = Some(serde_json::from_value(balancer).unwrap());
    }
    spec
}

/// Makes the server, or brings it to its spec.
pub fn up() -> Verb {
    Verb::Up(Box::new(web()))
}

/// A bench whose state is opened, and empty.
pub fn empty() -> Bench {
    block_on(empty_bench())
}

pub async fn empty_bench() -> Bench {
    let bench = Bench::new();
    bench.store().await.close().await;
    bench
}

/// A bench whose server is made.
pub fn finished() -> Bench {
    let bench = Bench::new();
    block_on(bench.must(&up()));
    bench
}

/// A bench with servers that are members of one cluster, each with whether it is a manager. The first one began it.
pub fn clustered(servers: &[(&str, bool)]) -> Bench {
    let bench = Bench::new();
    block_on(async {
        for (name, _) in servers {
            let up = Verb::Up(Box::new(member(name, servers[0].0)));
            bench.run_on(name, &up, None).await.result.unwrap();
        }
    });
    bench.world().put_cluster(servers);
    bench
}

/// A server that joins another one's cluster, or begins it.
pub fn member(name: &str, root: &str) -> ServerSpec {
    let params: Settings = [("join".to_owned(), Value::String(root.to_owned()))].into();
    let app_params = if name == root { Default::default() } else { [("cluster".to_owned(), params)].into() };
    ServerSpec { apps: vec!["cluster".into()], app_params, ..spec(name) }
}

/// The same server with another module.
pub fn with_module(mut spec: ServerSpec, module: &str) -> ServerSpec {
    spec.modules.insert(module.into(), Some(Settings::new()));
    spec
}

/// The same server with more memory.
pub fn with_memory(mut spec: ServerSpec, gib: u64) -> ServerSpec {
    spec.size.memory = gib << 30;
    spec
}

/// A world and a state. Dropping it leaves no file and no process.
pub struct Bench(tempfile::TempDir);

impl Bench {
    /// With nothing in it.
    pub fn new() -> Self {
        // A kill takes nothing from the page cache, so a disk that really syncs would only slow down.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self(dir.unwrap())
    }

    /// The same once more, as it is now.
    pub fn copy(&self) -> Self {
        let copy = Self::new();
        copy_dir(self.0.path(), copy.0.path());
        copy
    }

    /// The machines of another bench come to be in this one's world too.
    pub fn adopt_machines_of(&self, other: &Bench) {
        copy_dir(&other.world().path("machines"), &self.world().path("machines"));
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn world(&self) -> WorldDir {
        WorldDir::new(&self.0.path().join("world"))
    }

    pub async fn store(&self) -> SeaStore {
        SeaStore::open_sqlite(&self.0.path().join("state")).await.unwrap()
    }

    /// Does it in this process, by a fresh store and fresh ports.
    pub async fn run(&self, verb: &Verb, fault: Option<Fault>) -> Ran {
        self.run_on("web", verb, fault).await
    }

    pub async fn run_on(&self, server: &str, verb: &Verb, fault: Option<Fault>) -> Ran {
        // Tests do it many times in one function, whose frame would hold it as often.
        Box::pin(perform(self.0.path(), server, verb, fault)).await
    }

    /// Does it, and nothing may go wrong.
    pub async fn must(&self, verb: &Verb) {
        if let Err(failure) = self.run(verb, None).await.result {
            panic!("{verb:?}: {failure:?}");
        }
    }

    /// Starts a process that does it.
    pub fn spawn(&self, verb: &Verb, fault: &Fault) -> Child {
        self.spawn_on("web", verb, fault)
    }

    pub fn spawn_on(&self, server: &str, verb: &Verb, fault: &Fault) -> Child {
        let task = serde_json::to_string(&(self.0.path(), server, verb, fault)).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "bench::child", "--nocapture", "--test-threads=1"]).env(TASK, task);
        command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
    }

    /// Does it in a process of its own, which the fault kills.
    pub fn killed(&self, verb: &Verb, fault: &Fault) {
        self.killed_on("web", verb, fault);
    }

    pub fn killed_on(&self, server: &str, verb: &Verb, fault: &Fault) {
        let output = self.spawn_on(server, verb, fault).wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.signal(), Some(9), "{fault} did not happen: {said}");
    }

    /// World and state, less what differs from one good run to the next: ids, keys, times.
    pub async fn snapshot(&self) -> String {
        let store = self.store().await;
        let mut servers = Vec::new();
        for seen in store.overview().await.unwrap() {
            let server = store.server(&seen.name).await.unwrap().expect("it is in the list");
            let machine = self.world().machine(server.name.as_str());
            let creation = store.operation(server.created_by).await.unwrap().expect("its creation is in the journal");
            let latest = store.latest_operation(server.subject()).await.unwrap().unwrap();
            let guest = machine.clone().and_then(|machine| machine.guest).unwrap_or_default();
            let owner = Some(server.subject());
            let client_key = store.secret(owner, "client-key").await.unwrap();
            servers.push(json!({
                "recorded machine": server.machine, "desired": server.desired, "phase": server.phase,
                "login user": server.login_user, "pending": server.pending_handlers, "unclean": server.unclean,
                "made by its creation": machine.as_ref().map(|m| m.operation) == Some(server.created_by),
                "creation": (creation.state, in_short(&creation.steps)),
                "latest": (latest.kind, latest.state, in_short(&latest.steps)),
                "pinned": server.host_keys == [guest.host_key.clone()],
                "gets in": server.client_key.as_ref().is_some_and(|key| guest.authorized_keys.contains(key)),
                "client key": client_key.is_some(),
                "tunnel": tunnel_in_short(store.secret(owner, "tunnel").await.unwrap()),
                "bootstrap key": store.secret(owner, "bootstrap-host-key").await.unwrap().is_some(),
                "children": store.children(server.subject()).await.unwrap().len(),
                "lease": store.lease(server.subject()).await.unwrap().map(|lease| lease.owner.doing),
            }));
        }
        store.close().await;
        let machines: Vec<Json> = self.world().machines().into_iter().map(machine_in_short).collect();
        let mut known_hosts = self.world().names("known_hosts");
        known_hosts.sort();
        let cluster: Vec<(String, bool)> = self.world().cluster().into_iter().map(in_cluster).collect();
        let all = json!({ "servers": servers, "cluster": cluster, "machines": machines, "runs": self.world().names("runs"), "known_hosts": known_hosts });
        serde_json::to_string_pretty(&all).unwrap()
    }

    /// Nothing is left of the server.
    pub async fn assert_nothing_left(&self) {
        let world = self.world();
        assert_eq!(world.machines(), [], "a machine is left");
        assert!(world.names("runs").is_empty(), "a run is left");
        assert!(world.names("known_hosts").is_empty(), "known_hosts is left");
        assert!(world.names("tunnels").is_empty(), "a tunnel is left");
        let (store, name) = (self.store().await, web().name);
        assert!(store.overview().await.unwrap().is_empty(), "the server's record is left");
        assert_eq!(store.subject(SubjectKind::Server, name.as_str()).await.unwrap(), None, "its name is left");
        if let Some(latest) = latest(&store, &name).await {
            let subject = latest.subject;
            assert!(store.children(subject).await.unwrap().is_empty(), "a child is left");
            assert_eq!(store.lease(subject).await.unwrap(), None, "the lease is left");
            for secret in ["client-key", "bootstrap-host-key"] {
                assert_eq!(store.secret(Some(subject), secret).await.unwrap(), None, "secret {secret} is left");
            }
            assert_ne!(latest.state, OperationState::Running, "an operation looks at work");
        }
        store.close().await;
    }

    /// Whether the state knows the server.
    pub async fn is_recorded(&self) -> bool {
        let store = self.store().await;
        let servers = store.overview().await.unwrap();
        store.close().await;
        !servers.is_empty()
    }

    /// What must never happen did not.
    pub fn assert_log(&self, machines_made: RangeInclusive<usize>) {
        let log = self.world().log();
        let made = log.iter().filter(|line| *line == "made web").count();
        assert!(machines_made.contains(&made), "{made} machines were made: {log:?}");
        let bad = ["two runs", "a run met", "a majority was lost", "traffic met"];
        let bad = log.iter().find(|line| bad.iter().any(|bad| line.starts_with(bad)));
        assert_eq!(bad, None, "{log:?}");
    }

    /// Each beginning of an operation has an end.
    pub async fn assert_events_end(&self) {
        let store = self.store().await;
        let events = store.events(EventNumber(0), &EventFilter::default(), u32::MAX).await.unwrap();
        store.close().await;
        let mut open: HashMap<Option<Subject>, i32> = HashMap::new();
        for event in events {
            let open = open.entry(event.subject).or_default();
            match event.kind {
                EventKind::OperationStarted { .. } | EventKind::UnwindStarted { .. } => *open += 1,
                EventKind::OperationEnded { .. } => *open -= 1,
                _ => {}
            }
            assert!((0..=1).contains(open), "an operation begins or ends twice");
        }
        assert!(open.values().all(|open| *open == 0), "an operation has no end: {open:?}");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.world().end_all_runs();
    }
}

const TASK: &str = "OSTLER_TEST_OPERATION_TASK";

/// What a process of its own does.
#[tokio::test]
async fn child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let (dir, server, verb, fault): (PathBuf, String, Verb, Fault) = serde_json::from_str(&task).unwrap();
    let ran = Box::pin(perform(&dir, &server, &verb, Some(fault))).await;
    println!("{:?}", ran.result);
}

/// The world of a bench, with a store and ports of its own, as a process has them.
pub struct Process {
    pub world: World,
    pub store: Arc<FaultyStore<SeaStore>>,
    faults: Arc<Faults>,
}

pub async fn process(dir: &Path, owner: LeaseOwner, fault: Option<Fault>) -> Process {
    let (ctrl_c, interrupt) = Interrupt::new();
    let faults = Arc::new(Faults::new(fault, ctrl_c));
    let store = SeaStore::open_sqlite(&dir.join("state")).await.unwrap();
    let store = Arc::new(FaultyStore { store, faults: faults.clone() });
    let fake = Arc::new(FakeWorld { dir: WorldDir::new(&dir.join("world")), faults: faults.clone() });
    let leaser = Arc::new(Leaser { store: store.clone(), owner, ttl: LEASE_TTL, liveness: Arc::new(liveness) });
    let makes = || -> Box<dyn Provider> { Box::new(Maker((*fake).clone())) };
    let adopts: Box<dyn Provider> = Box::new(Adopter((*fake).clone()));
    let world = World {
        store: store.clone(),
        log: Arc::new(EventLog::new(store.clone())),
        leaser,
        providers: Arc::new(Providers::from([
            (ProviderKind::Local, makes()),
            (ProviderKind::Existing, adopts),
            (ProviderKind::Proxmox, makes()),
            (ProviderKind::Hetzner, makes()),
        ])),
        tunnels: fake.clone(),
        dns: fake.clone(),
        runtime: fake.clone(),
        acme: fake.clone(),
        remote: fake.clone(),
        engine: fake.clone(),
        outside_secret: Arc::new(|_| Ok(Secret::new(PASSWORD))),
        roles: "of this test",
        modules: Arc::new([]),
        tunnel_promises: Arc::new([]),
        catalog: Arc::new(CatalogIndex { apps: vec![cluster_app()] }),
        catalog_tree: None,
        ask: fake,
        user_agent: None,
        accept_new_host_keys: false,
        spec_file: Some("ostler.yaml".to_owned()),
        interrupt,
        wait: WaitOptions {
            timeout: Duration::from_secs(5),
            interval: Duration::from_millis(20),
            exact: true,
            rollback_after: Duration::from_secs(10),
            window: Duration::from_millis(20),
        },
        owner: store.state_id().await.unwrap(),
    };
    Process { world, store, faults }
}

async fn perform(dir: &Path, server: &str, verb: &Verb, fault: Option<Fault>) -> Ran {
    let Process { world, store, faults } = process(dir, this_owner(verb), fault).await;
    let leaser = world.leaser.clone();
    let name = ServerName::parse(server).unwrap();
    let mut check = None;
    // On the heap: a test's thread has 2 MiB of stack, and the future of all verbs is large.
    let work = Box::pin(async {
        match verb {
            Verb::Up(spec) => up::up(&world, spec, OnFailure::Keep).await.map(drop),
            Verb::UpOrNothing(spec) => up::up(&world, spec, OnFailure::Destroy).await.map(drop),
            Verb::Together(specs) => {
                let works = specs.iter().map(|spec| leaser.hold(&spec.name, up::up(&world, spec, OnFailure::Keep)));
                join_all(works).await.into_iter().collect::<Result<Vec<_>>>().map(drop)
            }
            Verb::Template(spec) => template::build(&world, spec).await.map(drop),
            Verb::Resume => up::resume(&world, &name).await.map(drop),
            Verb::Destroy => destroy::destroy(&world, &name).await,
            Verb::Rebuild => rebuild::rebuild(&world, &name).await.map(drop),
            Verb::Rescue => rescue::rescue(&world, &name).await,
            Verb::Deploy(spec) => site::deploy::deploy(&world, spec).await.map(drop),
            Verb::RollBack(number) => site::deploy::roll_back(&world, &shop(), Some(*number)).await.map(drop),
            Verb::RemoveSite => match site::deploy::remove(&world, &shop()).await {
                // The one before it came to its end.
                Err(failure) if failure.message == site::unknown(&shop()).message => Ok(()),
                result => result,
            },
            Verb::Plan(spec) => {
                check = Some(drift::check(&world, spec, &up::plan_for(&world, spec).await?, &|_| ()).await);
                Ok(())
            }
        }
    });
    let result = match verb {
        Verb::Deploy(_) | Verb::RollBack(_) | Verb::RemoveSite => {
            leaser.hold_named(SubjectKind::Site, shop().as_str(), work).await
        }
        _ => leaser.hold(&name, work).await,
    };
    drop(world);
    store.store.clone().close().await;
    Ran { result, check, calls: faults.calls(), struck: faults.struck() }
}

pub fn this_owner(verb: &Verb) -> LeaseOwner {
    let ProcessId { pid, start_ticks, boot } = ProcessId::current().unwrap();
    let doing = match verb {
        Verb::Up(_) | Verb::UpOrNothing(_) | Verb::Together(_) => "up",
        Verb::Resume => "resume",
        Verb::Destroy => "destroy",
        Verb::Rebuild => "rebuild",
        Verb::Rescue => "rescue",
        Verb::Template(_) => "template",
        Verb::Plan(_) => "plan",
        Verb::Deploy(_) => "site deploy",
        Verb::RollBack(_) => "site rollback",
        Verb::RemoveSite => "site remove",
    };
    LeaseOwner { host: "here".into(), machine: machine_id().unwrap(), boot, pid, start_ticks, doing: doing.into() }
}

pub fn liveness(owner: &LeaseOwner) -> Liveness {
    let process = ProcessId { pid: owner.pid, start_ticks: owner.start_ticks, boot: owner.boot.clone() };
    if process.is_alive() { Liveness::Alive } else { Liveness::Dead }
}

/// Without its secrets.
fn tunnel_in_short(record: Option<Secret>) -> Json {
    let Some(record) = record else { return Json::Null };
    let record: Json = serde_json::from_str(record.expose()).unwrap();
    let made: Vec<&String> =
        record["made"].as_object().unwrap().iter().filter(|(_, made)| !made.is_null()).map(|(name, _)| name).collect();
    json!([record["options"]["hostname"], made, record["through"], record["ssh_closed"], record["proved"]])
}

/// Without what they found out, which may differ; and without the step that an operation has no more once an earlier one has done it.
fn in_short(steps: &[StepRecord]) -> Vec<(&str, StepState)> {
    let lasting = steps.iter().filter(|step| step.name != "leave-tunnel");
    lasting.map(|step| (step.name.as_str(), step.state)).collect()
}

fn machine_in_short(machine: Machine) -> Json {
    let mut guest = machine.guest.unwrap_or_default();
    // Keys and the state's id are among the configuration.
    for config in [&mut guest.config, &mut guest.restarted_with] {
        for name in ["ostler_authorized_keys", "ostler_host_keys", "ostler_mark"] {
            config.as_object_mut().map(|config| config.remove(name));
        }
    }
    json!({
        "name": machine.name, "size": machine.size, "complete": machine.complete, "on": machine.on,
        "seed": machine.seed.is_some_and(|seed| seed != Seed::empty()), "next host key": guest.next_host_key,
        "fence": machine.fence, "balanced": machine.balanced, "connector": guest.connector, "config": guest.config, "restarted with": guest.restarted_with, "dpkg": guest.dpkg_interrupted,
    })
}

/// Whether each is a manager; one that has left and is not forgotten is not like one that is a member.
fn in_cluster(Member { server, manager, drained, left }: Member) -> (String, bool) {
    let state = if drained || left { " which goes" } else { "" };
    (format!("{server}{state}"), manager)
}

pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(std::result::Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
