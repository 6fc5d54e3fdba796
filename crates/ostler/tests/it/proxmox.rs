//! What a user sees of Proxmox VE where things go wrong: the node is a fake that is held to PVE's schema, its VMs are records only.
//! So `up` gets as far as waiting for SSH, which is the sign that the machine is made; `e2e/proxmox.rs` goes on from there.

use ostler_testkit::{
    environment::{Finished, TestEnvironment},
    pve::{FakeNode, Fault, TaskFault},
};
use std::{
    fs::File,
    thread,
    time::{Duration, Instant},
};

const UP: &[&str] = &["up", "ostler.yaml", "--timeout", "1"];
const RESUME: &[&str] = &["resume", "web1", "--timeout", "1"];
const UPLOAD: &str = "POST /nodes/{node}/storage/{storage}/upload";
const CREATE: &str = "POST /nodes/{node}/qemu";
const CLONE: &str = "POST /nodes/{node}/qemu/{vmid}/clone";

/// An address that nothing can be sent to, for it does not say on which link: no test talks to somebody's network.
const NOWHERE: &str = "fe80::7/64";

/// A user of a node.
struct User {
    environment: TestEnvironment,
}

impl User {
    fn of(node: &FakeNode) -> Self {
        let environment = TestEnvironment::new(env!("CARGO_BIN_EXE_ostler"));
        environment.make_key();
        environment.write("token", &FakeNode::token());
        let disk = File::create(environment.path().join("disk.raw")).expect("a file");
        disk.set_len(4 << 20).expect("a file of this length");
        let user = Self { environment };
        user.writes(&node.url(), &node.fingerprint(), "auto");
        user
    }

    fn writes(&self, url: &str, fingerprint: &str, vmid: &str) {
        self.environment.write(
            "ostler.yaml",
            &format!(
                r#"providers:
  home: {{ kind: proxmox, url: "{url}", token: {{ file: token }}, fingerprint: "{fingerprint}" }}
servers:
  web1:
    provider: home
    image: disk.raw
    size: {{ cpus: 1, memory: 512MiB, disk: 4GiB }}
    network: {{ address: "{NOWHERE}", dns: [ "fe80::1" ] }}
    proxmox: {{ node: pve1, vmid: {vmid} }}
    authorized_keys: [ id_ed25519.pub ]
"#
            ),
        );
    }

    fn runs(&self, arguments: &[&str]) -> Finished {
        self.environment.run(arguments)
    }

    /// The machine is made and started, and only SSH is missing.
    #[track_caller]
    fn gets_to_ssh(&self, arguments: &[&str]) -> Finished {
        let finished = self.runs(arguments);
        assert_eq!(finished.code, 5, "{}", finished.stderr);
        assert!(finished.stderr.contains("waiting for SSH"), "{}", finished.stderr);
        finished
    }

    #[track_caller]
    fn destroys(&self) {
        self.runs(&["destroy", "web1", "--yes"]).ok();
        assert_eq!(self.servers(), 0);
    }

    /// Lets the template of the spec be made as far as that goes without a guest, and finished by hand; returns its name.
    #[track_caller]
    fn has_a_template_on(&self, node: &FakeNode) -> String {
        self.gets_to_ssh(&["proxmox", "template", "build", "ostler.yaml", "--timeout", "1"]);
        let name = node.vms()[&100]["name"].clone();
        let digest = name.strip_prefix("template-").expect("a template's name").to_owned();
        node.becomes_template(100, &format!("ostler-{digest}"));
        name
    }

    fn servers(&self) -> usize {
        let list = self.runs(&["status", "--output", "json"]).ok().json_lines().remove(0);
        list.as_array().expect("a list").len()
    }
}

fn node() -> FakeNode {
    FakeNode::on_a_thread(None).expect("a node")
}

/// VMIDs, and volumes but for images, which stay for the next server.
fn left_on(node: &FakeNode) -> (Vec<u32>, Vec<String>) {
    let volumes = node.volumes().into_iter().filter(|volume| !volume.contains(":import/")).collect();
    (node.vms().into_keys().collect(), volumes)
}

fn nothing() -> (Vec<u32>, Vec<String>) {
    (Vec::new(), Vec::new())
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}: not within 60 s");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Every request that changes something, by its endpoint and how many of the same go before it.
const CHANGES: [(&str, usize); 6] = [
    (UPLOAD, 0),
    (UPLOAD, 1),
    (CREATE, 0),
    ("PUT /nodes/{node}/qemu/{vmid}/resize", 0),
    (UPLOAD, 2),
    ("POST /nodes/{node}/qemu/{vmid}/status/start", 0),
];

/// `kill -9` while a request is under way, whether it is carried out or not; then goes on.
fn killed_at((endpoint, before): (&str, usize), fault: Fault, then: &[&str]) {
    let node = node();
    let user = User::of(&node);
    (0..before).for_each(|_| node.fail(endpoint, Fault::Nothing));
    node.fail(endpoint, fault.clone());
    let running = user.environment.start(UP);
    wait_until(endpoint, || node.requests_for(endpoint).len() > before);
    running.kill();
    let case = format!("killed at {endpoint} {before} ({fault:?}), then {then:?}");
    let finished = user.runs(then);
    assert!(finished.code == 5 && finished.stderr.contains("waiting for SSH"), "{case}: {}", finished.stderr);
    let (vms, volumes) = left_on(&node);
    assert_eq!((vms.as_slice(), volumes.len()), (&[100][..], 2), "{case}: {volumes:?}");
    assert!(node.runs(100), "{case}");
    assert!(node.vms()[&100]["scsi0"].ends_with("size=4G"), "{case}: {:?}", node.vms());
    user.destroys();
    assert_eq!(left_on(&node), nothing(), "{case}");
}

#[test]
fn killed_while_any_request_is_under_way_it_goes_on_and_leaves_no_orphan() {
    thread::scope(|scope| {
        for (number, change) in CHANGES.into_iter().enumerate() {
            let [once, again] = if number % 2 == 0 { [UP, RESUME] } else { [RESUME, UP] };
            // Most of the time is spent waiting.
            scope.spawn(move || killed_at(change, Fault::Stall, once));
            scope.spawn(move || killed_at(change, Fault::ActAndStall, again));
        }
    });
}

#[test]
fn a_template_is_cloned_by_itself_and_destroyed_as_any_server() {
    let node = node();
    let user = User::of(&node);
    let template = user.has_a_template_on(&node);
    let list = user.runs(&["proxmox", "template", "list", "--output", "json"]).ok().json_lines().remove(0);
    assert_eq!((&list[0]["name"], &list[0]["node"]), (&template.as_str().into(), &"pve1".into()));
    let plan = user.runs(&["plan", "ostler.yaml"]).ok().stdout;
    assert!(plan.contains(&format!("web1  create a machine, cloned from {template} (VM 100)\n")), "{plan}");
    user.gets_to_ssh(UP);
    assert_eq!((node.requests_for(CLONE).len(), node.requests_for(CREATE).len()), (1, 1));
    assert_eq!((node.vms()[&101]["name"].as_str(), node.runs(101)), ("web1", true));
    user.runs(&["destroy", "web1", &template, "--yes"]).ok();
    assert_eq!((left_on(&node), user.servers()), (nothing(), 0));
    assert!(user.runs(&["plan", "ostler.yaml"]).ok().stdout.contains("web1  create a machine\n"));
}

#[test]
fn killed_while_it_is_cloned_it_goes_on_and_leaves_no_orphan() {
    let case = |endpoint: &str, fault: Fault, then: &[&str]| {
        let node = node();
        let user = User::of(&node);
        let template = user.has_a_template_on(&node);
        node.fail(endpoint, fault.clone());
        let before = node.requests_for(endpoint).len();
        let running = user.environment.start(UP);
        wait_until(endpoint, || node.requests_for(endpoint).len() > before);
        running.kill();
        user.gets_to_ssh(then);
        let case = format!("killed at {endpoint} ({fault:?}), then {then:?}");
        assert_eq!((left_on(&node).0, node.runs(101)), (vec![100, 101], true), "{case}");
        let config = &node.vms()[&101];
        assert!(config["name"] == "web1" && config["scsi0"].ends_with("size=4G"), "{case}: {config:?}");
        user.runs(&["destroy", "web1", &template, "--yes"]).ok();
        assert_eq!(left_on(&node), nothing(), "{case}");
    };
    thread::scope(|scope| {
        for endpoint in [CLONE, "PUT /nodes/{node}/qemu/{vmid}/config"] {
            scope.spawn(move || case(endpoint, Fault::Stall, RESUME));
            scope.spawn(move || case(endpoint, Fault::ActAndStall, UP));
        }
    });
}

/// Two Ostlers with states of their own that know nothing of each other; both have looked before either asks for its VM.
fn race(node: &FakeNode, vmid: &str) -> [(User, Finished); 2] {
    (0..2).for_each(|_| node.fail_task("imgcopy", TaskFault::Held));
    let users = [(); 2].map(|()| User::of(node));
    for user in &users {
        user.writes(&node.url(), &node.fingerprint(), vmid);
    }
    let running = users.each_ref().map(|user| user.environment.start(UP));
    wait_until("both upload their image", || node.requests_for(UPLOAD).len() == 2);
    node.release();
    let [one, other] = running.map(|running| running.finish());
    let [first, second] = users;
    [(first, one), (second, other)]
}

#[test]
fn two_ostlers_at_once_get_a_vmid_each() {
    let node = node();
    let racers = race(&node, "auto");
    for (_, finished) in &racers {
        assert_eq!(finished.code, 5, "{}", finished.stdout);
    }
    let (vms, volumes) = left_on(&node);
    assert_eq!((vms.as_slice(), volumes.len()), (&[100, 101][..], 4), "{volumes:?}");
    racers[0].0.destroys();
    let (vms, volumes) = left_on(&node);
    assert_eq!((vms.len(), volumes.len()), (1, 2), "{volumes:?}");
    assert!(node.runs(vms[0]), "the other's is untouched");
    racers[1].0.destroys();
    assert_eq!(left_on(&node), nothing());
}

#[test]
fn of_two_ostlers_that_want_one_vmid_one_gets_it_and_the_other_is_told() {
    let node = node();
    let mut racers = race(&node, "100");
    racers.sort_by_key(|(_, finished)| finished.code);
    let [(loser, told), (winner, made)] = racers;
    assert_eq!((told.code, made.code), (3, 5), "{}", told.stdout);
    let failure = &told.outcome()["failure"];
    assert_eq!(failure["message"], "VMID 100 is taken");
    let left = failure["left"].as_array().expect("what is left");
    assert!(left.len() == 1 && left[0].as_str().is_some_and(|left| left.contains(":iso/")), "{left:?}");
    loser.destroys();
    let (vms, volumes) = left_on(&node);
    assert_eq!((vms.as_slice(), volumes.len()), (&[100][..], 2), "{volumes:?}");
    winner.destroys();
    assert_eq!(left_on(&node), nothing());
}

#[test]
fn a_node_without_space_is_found_out_before_anything_is_made() {
    let node = node();
    let user = User::of(&node);
    node.storage("local-lvm", |storage| storage.avail = 1 << 30);
    let refused = user.runs(UP);
    assert_eq!(refused.code, 4);
    let words = "error: web1 can't be created as specified\n  \
                 cause: storage `local-lvm` has 1024 MiB free, and 4096 MiB are needed\n\nhint: make room there";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
    assert_eq!((node.volumes(), node.vms().len(), user.servers()), (Vec::new(), 0, 0));
}

#[test]
fn space_that_runs_out_in_between_is_told_with_what_is_left() {
    const FULL: &str = "unable to create VM 100 - lvcreate 'pve/vm-100-disk-0' error: no space";
    let node = node();
    let user = User::of(&node);
    node.fail_task("qmcreate", TaskFault::Error(FULL));
    let failed = user.runs(UP);
    assert_eq!(failed.code, 4, "{}", failed.stderr);
    assert!(failed.stderr.contains(&format!("error: the task to create VM 100 failed: {FULL}\n")), "{}", failed.stderr);
    let (vms, volumes) = left_on(&node);
    assert_eq!((vms.len(), volumes.len()), (0, 1));
    assert!(failed.stderr.contains(&format!("  left: {}\n", volumes[0])), "{}", failed.stderr);
    assert!(failed.stderr.contains("hint: `ostler resume web1` goes on from here"), "{}", failed.stderr);
    user.gets_to_ssh(RESUME);
    user.destroys();
    assert_eq!(left_on(&node), nothing());
}

#[test]
fn what_can_not_be_finished_is_destroyed_where_that_is_asked_for() {
    let node = node();
    let user = User::of(&node);
    let failed = user.gets_to_ssh(&[UP, &["--on-failure", "destroy"]].concat());
    assert!(failed.stderr.contains("What was made of web1 has been destroyed"), "{}", failed.stderr);
    assert_eq!((left_on(&node), user.servers()), (nothing(), 0));

    // One that an earlier run began stays, and is listed.
    let failed = user.gets_to_ssh(UP);
    assert!(failed.stderr.contains("  left: VM 100 on pve1\n"), "{}", failed.stderr);
    user.gets_to_ssh(&[UP, &["--on-failure", "destroy"]].concat());
    assert_eq!(left_on(&node).0, [100]);
    user.destroys();

    // What only root on the node can remove is told twice: as a cause, and with the command.
    node.fail_task("qmcreate", TaskFault::Killed);
    let failed = user.runs(&[UP, &["--on-failure", "destroy"]].concat());
    assert_eq!(failed.code, 4, "{}", failed.stderr);
    for words in [
        "error: the task to create VM 100 failed: unexpected status\n",
        "  cause: web1 is only partly destroyed\n",
        "  left: VM 100 on pve1, half made\n  left: local-lvm:vm-100-disk-0\n",
        "`qm unlock 100 && qm destroy 100 && pvesm free local-lvm:vm-100-disk-0`",
    ] {
        assert!(failed.stderr.contains(words), "nothing says `{words}`: {}", failed.stderr);
    }
}

#[test]
fn a_wrong_token_a_wrong_certificate_and_no_route_are_one_message_each() {
    let node = node();
    let user = User::of(&node);
    let refused = |code: i32, message: &str, hint: &str| {
        for arguments in [UP, &["plan", "ostler.yaml"]] {
            let finished = user.runs(arguments);
            assert_eq!(finished.code, code, "{}", finished.stderr);
            let said = if arguments == UP { &finished.stderr } else { &finished.stdout };
            assert!(said.contains(message) && said.contains(hint), "{arguments:?} does not say `{message}`: {said}");
            assert_eq!(said.matches("error: ").count(), usize::from(arguments == UP), "{said}");
            assert!(!said.contains("2b7c9f3e"), "a secret is shown: {said}");
        }
        assert_eq!((node.volumes(), node.vms().len(), user.servers()), (Vec::new(), 0, 0));
    };
    user.environment.write("token", &FakeNode::token().replace("2b7c9f3e", "00000000"));
    refused(3, "`home` does not accept the token: invalid token value!", "`ostler proxmox setup` on the node");
    user.environment.write("token", "secret");
    refused(3, "the token of `home` does not have the form `USER@REALM!TOKENID=UUID`", "`ostler secret set NAME`");
    user.environment.write("token", &FakeNode::token());

    let asked = node.requests().len();
    user.writes(&node.url(), &["AB"; 32].join(":"), "auto");
    let words = format!("{} shows the certificate {}, but AB:AB:", node.url(), node.fingerprint());
    refused(3, &words, "compare with `pvenode cert info` on the node");
    assert_eq!(node.requests().len(), asked, "a stranger never learns the token");

    user.writes("https://127.0.0.1:9", &node.fingerprint(), "auto");
    refused(4, "https://127.0.0.1:9 can't be reached", "check `url` in the spec");
}

#[test]
fn a_node_that_went_away_hides_no_other_server() {
    let node = node();
    let user = User::of(&node);
    user.gets_to_ssh(UP);
    let (url, left) = (node.url(), left_on(&node));
    for _ in 0..8 {
        node.fail("GET /nodes/{node}/qemu/{vmid}/config", Fault::Refuse(595, "No route to host"));
    }
    let list = user.runs(&["status", "--output", "json"]).ok();
    let row = &list.json_lines()[0][0];
    assert!(row["power"].is_null() && row["detail"].as_str().is_some_and(|detail| detail.contains("595")), "{row}");
    let row = &user.runs(&["status", "--output", "json"]).ok().json_lines()[0][0];
    assert_eq!(row["power"], "on", "{url} is back: {row}");
    assert_eq!(left_on(&node), left);
    user.destroys();
}

#[test]
fn what_no_record_knows_is_found_on_a_node_and_one_out_of_reach_hides_no_other() {
    let node = node();
    let user = User::of(&node);
    node.add_vm(900, "Somebody's own.");
    node.add_volume("local:iso/debian.iso", None);
    user.gets_to_ssh(UP);
    let (_, volumes) = left_on(&node);
    let seed = volumes.iter().find(|volume| volume.contains(":iso/ostler-")).expect("a seed").clone();
    let rows = |finished: &Finished| -> Vec<String> {
        let rows = finished.stdout.lines().skip(1);
        rows.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let all = "no orphans: this machine, home (node pve1)\n";
    assert_eq!(user.runs(&["orphans"]).ok().stdout, all, "the record says where to look");

    // Another state sees them as another's.
    let other = User::of(&node);
    assert_eq!(other.runs(&["orphans"]).ok().stdout, "no orphans: this machine\n");
    let theirs = [
        "VM 100 web1 on pve1 of home - another state".to_owned(),
        format!("seed {seed} on pve1 of home - another state"),
    ];
    assert_eq!(rows(&other.runs(&["orphans", "ostler.yaml"]).ok()), theirs);

    // A node that went away is told of, and hides nothing.
    other.writes("https://127.0.0.1:9", &node.fingerprint(), "auto");
    let away = other.runs(&["orphans", "ostler.yaml"]);
    assert_eq!((away.code, away.stdout.as_str()), (4, "no orphans: this machine\n"), "{}", away.stderr);
    let words = "error: home (node pve1) can't be searched\n  cause: https://127.0.0.1:9 can't be reached\n";
    assert!(away.stderr.contains(words), "{}", away.stderr);

    // What is left after the last server; the journal knows whose a seed was.
    user.destroys();
    node.add_volume(&seed, None);
    let image = node.volumes().into_iter().find(|volume| volume.contains(":import/")).expect("an image");
    let left =
        [format!("seed {seed} on pve1 of home - this state"), format!("image {image} on pve1 of home - unknown")];
    assert_eq!(rows(&user.runs(&["orphans", "ostler.yaml"]).ok()), left);
    user.writes("https://127.0.0.1:9", &node.fingerprint(), "auto");
    let machines = user.environment.state_dir().join("machines/.gone-web9");
    std::fs::create_dir_all(&machines).expect("a folder");
    let away = user.runs(&["orphans", "ostler.yaml"]);
    let remains = format!("machine folder {}, half made or half removed - unknown", machines.display());
    assert_eq!((away.code, rows(&away)), (4, vec![remains]), "{}", away.stderr);
}
