//! A server on Proxmox VE: the API is a fake that is held to PVE's schema, the VM is real.

use super::support::{destroy_and_check, environment, http_get, kill_at_each_step, on_server, status};
use ostler_testkit::{environment::TestEnvironment, pve::FakeNode, tmux::Terminal};
use std::{fs, net::Ipv4Addr, time::Duration};

/// Where the VM is: in the range for benchmarks of RFC 2544, where nobody else is. (The targets have TEST-NET-2.)
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 20);

/// Somebody's folder, and a node whose guests are emulated; `None` where this machine can't have their address.
pub fn place() -> Option<(TestEnvironment, FakeNode)> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give this machine the server's address");
        return None;
    }
    let node = FakeNode::on_a_thread(Some(ADDRESS)).expect("a node");
    node.without_virtualisation();
    Some((environment(), node))
}

#[test]
#[ignore = "boots a real virtual machine; `cargo xtask test` runs it"]
fn a_life_on_proxmox() {
    let Some((environment, node)) = place() else { return };
    let up = ["up", "ostler.yaml", "--output", "json"];
    let images = |node: &FakeNode| node.volumes().into_iter().all(|volume| volume.contains(":import/"));

    eprintln!("* `go` in the wizard makes a VM, to be seen live; Ctrl-C, and `destroy` removes what was made");
    let Some(terminal) = wizard(&environment, &node, false) else { return };
    terminal.wait_for("web1  connect");
    assert!(node.runs(100));
    terminal.press(&["C-c"]);
    assert_eq!(terminal.ended(), (130, true));
    let history = terminal.history();
    for words in ["wrote ostler.yaml", "kept the secret `pve1`", "web1  creating", "web1  create     "] {
        assert!(history.contains(words), "nothing says `{words}`: {history}");
    }
    drop(terminal);
    let spec = fs::read_to_string(environment.path().join("ostler.yaml")).expect("a written file");
    destroy_and_check(&environment);
    assert_eq!((node.vms().len(), images(&node)), (0, true), "{:?}", node.volumes());

    eprintln!("* `plan` of what it wrote finds nothing in the way, and touches nothing");
    let before = node.volumes();
    let plan = environment.run(&["plan", "ostler.yaml"]).ok().stdout;
    assert!(plan.contains("create a machine"), "{plan}");
    assert_eq!((node.vms().len(), node.volumes()), (0, before));

    eprintln!("* killed as soon as each step begins, going on with `up` and `resume` in turn: one VM, and no orphan");
    kill_at_each_step(&environment);
    let volumes = node.volumes().into_iter().filter(|volume| !volume.contains(":import/")).count();
    assert_eq!((node.vms().into_keys().collect::<Vec<_>>(), volumes), (vec![100], 2));

    eprintln!(
        "* `go` once more, with the same answers, ends in a server that serves, over the pinned host key from the first packet"
    );
    let Some(terminal) = wizard(&environment, &node, true) else { return };
    terminal.wait_for("web1  provision");
    assert_eq!(terminal.ended(), (0, true));
    assert!(terminal.history().contains("log in with `ostler ssh web1`"), "{}", terminal.history());
    drop(terminal);
    assert_eq!(fs::read_to_string(environment.path().join("ostler.yaml")).expect("a written file"), spec);
    let page = http_get(&format!("{ADDRESS}:80"));
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<html"), "{page}");
    let row = status(&environment);
    assert_eq!((&row["phase"], &row["power"]), (&"ready".into(), &"on".into()));
    let vms = node.vms();
    let seed = vms[&100]["scsi1"].split(',').next().expect("a volume").to_owned();
    let leaked = node.content(&seed).windows(7).any(|bytes| bytes == b"PRIVATE");
    assert!(!leaked, "the seed still holds the bootstrap host key");

    eprintln!("* it grows, is the same server after the boot, and nothing else changes");
    let id = on_server(&environment, "cat /etc/machine-id");
    environment.write("ostler.yaml", &spec.replace("disk: 5GiB", "disk: 6GiB"));
    assert_eq!(environment.run(&up).ok().changes(), Vec::<String>::new());
    let root = on_server(&environment, "df --output=size -B1M / | tail -n 1");
    assert!(root.trim().parse::<u32>().expect("a size") > 5400, "/ has {root} MiB");
    assert_eq!(on_server(&environment, "cat /etc/machine-id"), id);

    eprintln!("* `destroy` leaves nothing but the image");
    destroy_and_check(&environment);
    assert_eq!(node.vms().len(), 0);
    assert!(images(&node), "{:?}", node.volumes());
}

/// Answers the wizard's questions as a person does, up to the last one; `again`: token and file are there already.
fn wizard(environment: &TestEnvironment, node: &FakeNode, again: bool) -> Option<Terminal> {
    let terminal = Terminal::start(80, 24, &environment.by_hand::<&str>(&[]))?.with_patience(PATIENCE);
    let answer = |question: &str, text: &str, keys: &[&str]| {
        terminal.wait_for(&format!("? {question}"));
        if !text.is_empty() {
            terminal.type_text(text);
        }
        terminal.press(keys);
    };
    let enter: &[&str] = &["Enter"];
    answer("Where should the server be?", "", enter);
    answer("URL of the node:", &node.url(), enter);
    let shown = terminal.wait_for("? Is it the same?");
    let fingerprint = node.fingerprint();
    let halves = fingerprint.split_at(48);
    assert!(shown.contains(halves.0) && shown.contains(halves.1), "{shown}");
    terminal.press(enter);
    match again {
        false => answer("API token:", &FakeNode::token(), enter),
        true => answer("API token:", "", &["Down", "Enter"]),
    }
    for (question, text) in [
        ("Name:", ""),
        ("Image:", ""),
        ("CPUs:", ""),
        ("Memory:", "1GiB"),
        ("Disk:", "5GiB"),
        ("VMID", ""),
        ("Storage of its disk:", ""),
        ("VLAN:", ""),
        ("Tag 1", "web"),
        ("Tag 2", ""),
        ("Address:", ""),
        ("IPv6 address", ""),
        ("Network card 2", ""),
        ("User:", ""),
        ("Log in with:", ""),
    ] {
        answer(question, text, enter);
    }
    // There is none in ~/.ssh, so one is offered to be made.
    answer("Keys that may log in:", "", &["Down", "Enter"]);
    answer("Public key:", "id_ed25519.pub", enter);
    terminal.wait_for("> Public key: id_ed25519.pub");
    for question in ["Public key:", "May root log in?", "Port:"] {
        answer(question, "", enter);
    }
    answer("What should Ostler take care of?", "", &["Left", "Down", "Down", "Down", "Down", "Down", "Space", "Enter"]);
    answer("Whose settings", "", &["Space", "Enter"]);
    answer("ufw allow 1", "", enter);
    answer("ufw auto_allow_app_ports", "", enter);
    answer("ufw preset", "", &["Down", "Enter"]);
    answer("Which apps?", "", &["Down", "Down", "Space", "Enter"]);
    answer("Whose parameters", "", enter);
    answer("This is what you asked for:", "", enter);
    answer("File:", "", enter);
    if again {
        answer("That file exists already.", "", &["Down", "Enter"]);
    }
    Some(terminal)
}

/// Longest that anything takes under emulation.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
