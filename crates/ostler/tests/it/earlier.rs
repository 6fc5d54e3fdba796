//! A state directory that the binary of an earlier release left works with this one: it is shown, gone on with and destroyed, and the
//! secrets in it are found.
//!
//! Nothing that the servers were is there any more but a fake Proxmox VE node, so this is about what stands in the state directory; what
//! happens to servers is tested in `ostler-testkit/tests/operations/earlier_states.rs`. `OSTLER_WRITE_STATES=RELEASE cargo test -p ostler
//! earlier::write_state` writes the state of today, once for each release that changes it.

use ostler_testkit::{
    earlier::{EarlierState, WRITE, hide},
    environment::{TestEnvironment, marked_processes},
    pve::{FakeNode, Fault},
};
use serde_json::Value as Json;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    net::TcpListener,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

/// Its folder among the states of a release.
const NAME: &str = "command-line";
const CREATE: &str = "POST /nodes/{node}/qemu";
/// The user's own secrets.
const OWN: [&str; 2] = ["pve-token", "spare"];
/// Name, kind of the last operation, where it stands, and whether its Ostler is dead.
const SERVERS: [(&str, &str, &str, bool); 4] = [
    ("box", "create", "failed", false),
    ("cut-off", "create", "running", true),
    ("here", "create", "failed", false),
    ("there", "create", "failed", false),
];

const SPEC: &str = r#"providers:
  home: { kind: proxmox, url: "@URL@", token: { secret: pve-token }, fingerprint: "@FINGERPRINT@" }
servers:
  there:
    provider: home
    image: disk.raw
    size: { cpus: 1, memory: 512MiB, disk: 4GiB }
    network: { address: "fe80::7/64", dns: [ "fe80::1" ] }
    proxmox: { node: pve1, vmid: auto }
    authorized_keys: [ id_ed25519.pub ]
  cut-off:
    provider: home
    image: disk.raw
    size: { cpus: 1, memory: 512MiB, disk: 4GiB }
    network: { address: "fe80::8/64", dns: [ "fe80::1" ] }
    proxmox: { node: pve1, vmid: auto }
    authorized_keys: [ id_ed25519.pub ]
  box:
    provider: existing
    existing: { address: 127.0.0.1, port: @PORT@, key: id_ed25519, host_key: "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" }
    authorized_keys: [ id_ed25519.pub ]
  here:
    provider: local
    image: disk.raw
    size: { cpus: 1, memory: 256MiB, disk: 4GiB }
    authorized_keys: [ id_ed25519.pub ]
"#;

/// What the node holds of the servers: VMIDs with their configurations, and volumes.
type OnNode = (BTreeMap<u32, BTreeMap<String, String>>, Vec<String>);

/// A user with an earlier state, and the node that it is about.
fn restored(state: &EarlierState) -> (TestEnvironment, FakeNode) {
    let environment = TestEnvironment::new(env!("CARGO_BIN_EXE_ostler"));
    let node = FakeNode::on_a_thread(None).expect("a node");
    let (dir, url, fingerprint) = (environment.path().display().to_string(), node.url(), node.fingerprint());
    let hex = fingerprint.replace(':', "").to_lowercase();
    let placeholders = [("@DIR@", dir.as_str()), ("@URL@", &url), ("@FINGERPRINT@", &fingerprint), ("@HEX@", &hex)];
    block_on(state.restore(&environment.state_dir(), &placeholders));
    let (vms, volumes): OnNode = serde_json::from_str(&state.read("node.json", &[])).expect("JSON");
    let (disks, seeds): (Vec<String>, Vec<String>) = volumes.into_iter().partition(|volume| volume.contains(":vm-"));
    for (vmid, config) in vms {
        let own: Vec<String> = disks.iter().filter(|disk| disk.contains(&format!("-{vmid}-"))).cloned().collect();
        node.restore_vm(vmid, config, &own);
    }
    seeds.iter().for_each(|seed| node.add_volume(seed, None));
    let machine = environment.state_dir().join("machines/here");
    fs::create_dir_all(&machine).expect("a folder");
    let text = state.read("machines/here/machine.json", &placeholders);
    fs::write(machine.join("machine.json"), text).expect("a written file");
    (environment, node)
}

fn each_restored(check: impl Fn(&TestEnvironment, &FakeNode)) {
    for state in EarlierState::all(NAME) {
        let (environment, node) = restored(&state);
        check(&environment, &node);
    }
}

fn servers(environment: &TestEnvironment) -> Vec<Json> {
    let list = environment.run(&["status", "--output", "json"]).ok().json_lines().remove(0);
    list.as_array().expect("a list").clone()
}

#[test]
fn it_is_shown() {
    each_restored(|environment, _| {
        let shown = servers(environment);
        let last = |row: &Json| {
            let operation = &row["operation"];
            let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
            let interrupted = operation["interrupted"] == true;
            (text(&row["name"]), text(&operation["kind"]), text(&operation["state"]), interrupted)
        };
        let expected =
            SERVERS.map(|(name, kind, state, interrupted)| (name.into(), kind.into(), state.into(), interrupted));
        assert_eq!(shown.iter().map(last).collect::<Vec<_>>(), expected);
        assert_eq!(environment.run(&["secret", "list"]).ok().stdout.lines().collect::<Vec<_>>(), OWN);
        for (name, ..) in SERVERS {
            let one = environment.run(&["status", name]).ok().stdout;
            assert!(one.starts_with(&format!("server     {name}\n")), "{one}");
            let history = environment.run(&["logs", name, "--all", "--output", "json"]).ok().json_lines();
            assert!(history.len() > 2 && history.iter().all(|event| event["server"] == name), "{history:?}");
        }
    });
}

#[test]
fn it_is_gone_on_with_and_destroyed() {
    each_restored(|environment, node| {
        // The VM is there: it is found by what was written onto it, and only SSH is missing.
        let before = node.vms().len();
        let resumed = environment.run(&["resume", "cut-off", "--timeout", "1"]);
        assert!(resumed.code == 5 && resumed.stderr.contains("waiting for SSH"), "{}", resumed.stderr);
        assert_eq!((node.vms().len(), node.requests_for(CREATE).len()), (before, 0), "a second VM was made");
        destroys(environment, node);
    });
}

#[test]
fn it_is_destroyed() {
    each_restored(destroys);
}

fn destroys(environment: &TestEnvironment, node: &FakeNode) {
    let names = SERVERS.map(|(name, ..)| name);
    environment.run(&[&["destroy", "--yes"][..], &names].concat()).ok();
    assert_eq!((servers(environment), node.vms().len(), ours(node)), (vec![], 0, vec![]));
    let left: Vec<_> = fs::read_dir(environment.state_dir().join("machines")).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(environment.run(&["secret", "list"]).ok().stdout.lines().collect::<Vec<_>>(), OWN);
}

/// Volumes on the node but for images, which stay for the next server.
fn ours(node: &FakeNode) -> Vec<String> {
    node.volumes().into_iter().filter(|volume| !volume.contains(":import/")).collect()
}

#[test]
fn write_state() {
    let Ok(release) = std::env::var(WRITE) else { return };
    let environment = TestEnvironment::new(env!("CARGO_BIN_EXE_ostler"));
    let node = FakeNode::on_a_thread(None).expect("a node");
    let (dir, url, fingerprint) = (environment.path().display().to_string(), node.url(), node.fingerprint());
    environment.make_key();
    let port = port_with_a_banner().to_string();
    let spec = SPEC.replace("@URL@", &url).replace("@FINGERPRINT@", &fingerprint).replace("@PORT@", &port);
    environment.write("ostler.yaml", &spec);
    let disk = File::create(environment.path().join("disk.raw")).expect("a file");
    disk.set_len(4 << 20).expect("a file of this length");
    for (name, text) in OWN.into_iter().zip([FakeNode::token(), "battery staple".to_owned()]) {
        secret_set(&environment, name, &text);
    }
    for name in ["box", "here", "there"] {
        let failed = environment.run(&["up", "ostler.yaml", name, "--timeout", "1"]);
        assert_ne!(failed.code, 0, "{}", failed.stderr);
        eprintln!("{}", failed.stderr);
    }
    let before = node.requests_for(CREATE).len();
    node.fail(CREATE, Fault::ActAndStall);
    let running = environment.start(&["up", "ostler.yaml", "cut-off", "--timeout", "1"]);
    let begun = Instant::now();
    while node.requests_for(CREATE).len() == before {
        assert!(begun.elapsed() < Duration::from_secs(60), "it asks for no VM");
        thread::sleep(Duration::from_millis(10));
    }
    running.kill();
    // The node goes on with it.
    while node.vms().values().filter(|config| config.contains_key("description")).count() < 2 {
        thread::sleep(Duration::from_millis(10));
    }
    for (pid, _) in marked_processes(&environment.markers()) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("a signal");
        }
    }
    let hex = fingerprint.replace(':', "").to_lowercase();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("an id");
    let machine = fs::read_to_string("/etc/machine-id").expect("an id");
    let host = format!("'{}'", rustix::system::uname().nodename().to_string_lossy());
    let placeholders = [
        ("@DIR@", dir.as_str()),
        ("@URL@", &url),
        ("@FINGERPRINT@", &fingerprint),
        ("@HEX@", &hex),
        ("another-machine", machine.trim()),
        ("00000000-0000-4000-8000-000000000000", boot.trim()),
        ("'workstation'", &host),
    ];
    let state = EarlierState::new(&release, NAME);
    block_on(state.write(&environment.state_dir(), &placeholders));
    let on_node: OnNode = (node.vms(), ours(&node));
    fs::write(state.path("node.json"), serde_json::to_string_pretty(&on_node).expect("plain data") + "\n")
        .expect("written");
    let text = fs::read_to_string(environment.state_dir().join("machines/here/machine.json")).expect("a machine");
    fs::create_dir_all(state.path("machines/here")).expect("a folder");
    fs::write(state.path("machines/here/machine.json"), hide(text, &placeholders)).expect("written");
}

/// Where something says that it is an SSH server, and no more.
fn port_with_a_banner() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let _ = connection.and_then(|mut connection| connection.write_all(b"SSH-2.0-none\r\n"));
        }
    });
    port
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

fn secret_set(environment: &TestEnvironment, name: &str, text: &str) {
    let mut child = environment.command(&["secret", "set", name]).stdin(Stdio::piped()).spawn().expect("ostler starts");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    assert!(child.wait().expect("an end").success());
}
