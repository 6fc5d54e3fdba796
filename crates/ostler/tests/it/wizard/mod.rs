//! The wizard, driven by a person's keys in a real terminal: what is seen, and what is written.

mod desk;

use desk::{Desk, start_node, written};
use ostler_testkit::{
    environment::{TestEnvironment, marked_processes},
    git_site::GitRepository,
    pve::{FakeNode, TOKEN_VALUE},
};
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    process::Command,
    thread,
    time::{Duration, Instant},
};

fn environment() -> TestEnvironment {
    let environment = TestEnvironment::new(env!("CARGO_BIN_EXE_ostler"));
    environment.make_key();
    fs::create_dir(environment.path().join("home/.ssh")).expect("a folder");
    let key = fs::read_to_string(environment.path().join("id_ed25519.pub")).expect("a key");
    let key = key.split(' ').take(2).collect::<Vec<_>>().join(" ");
    fs::write(environment.path().join("home/.ssh/id_ed25519.pub"), format!("{key} ann@desk\n"))
        .expect("a written file");
    environment
}

#[test]
fn a_server_on_a_node_elsewhere_from_the_first_question_to_up() {
    let environment = environment();
    let node = start_node();
    // No arguments: the wizard begins by itself.
    let Some(desk) = Desk::sit_down(&environment, 80, 24, &[], &[]) else { return };
    desk.sees("? Where should the server be?", "01-where");
    desk.press(&["Enter"]);

    desk.answer("? URL of the node:", "pve1.lan");
    desk.waits_for("is not the URL of a Proxmox VE node");
    desk.erase();
    desk.answer("? URL of the node:", &node.url());
    desk.sees("? Is it the same?", "02-certificate");
    desk.press(&["Enter"]);
    desk.answer("? API token:", "ostler@pve!ostler=00000000-dead-beef-0000-000000000000");
    desk.sees("does not accept the token", "03-wrong-token");
    desk.answer("? API token:", &FakeNode::token());

    desk.answer("? Name:", "Web_1");
    desk.waits_for("not a server name");
    desk.erase();
    desk.answer("? Name:", "web1");
    desk.answer("? Image:", "");
    desk.answer("? CPUs:", "");
    desk.answer("? Memory:", "2GB");
    desk.sees("did you mean `2GiB`?", "04-server");
    desk.erase();
    desk.answer("? Memory:", "2GiB");
    desk.answer("? Disk:", "20GiB");
    desk.answer("? VMID", "");
    desk.sees("? Storage of its disk:", "05-storage");
    desk.press(&["Enter"]);
    desk.answer("? VLAN:", "");
    desk.answer("? Tag 1", "web");
    desk.answer("? Tag 2", "");

    desk.waits_for("? Address:");
    desk.press(&["Down", "Enter"]);
    desk.answer("? Address with its prefix:", "192.168.1.20/24");
    desk.answer("? Gateway:", "10.0.0.1");
    desk.sees("outside of the subnet", "06-network");
    // DHCP, then: what was to be fixed is forgotten.
    desk.press(&["Escape"]);
    desk.waits_for("? Address with its prefix: (192.168.1.20/24)");
    desk.press(&["Escape"]);
    desk.choose_at("? Address:", "DHCP");
    desk.answer("? IPv6 address", "");
    desk.choose_at("? Network card 2:", "yes");
    desk.answer("? Network card 2 bridge:", "");
    desk.answer("? Network card 2 vlan:", "30");
    desk.answer("? Network card 2 address:", "");
    desk.answer("? Network card 2 address6:", "");
    desk.sees("? Network card 3:", "06-second-card");
    desk.press(&["Enter"]);

    desk.answer("? User:", "");
    desk.waits_for("? Log in with:");
    desk.press(&["Enter"]);
    desk.sees("? Keys that may log in:", "07-ssh");
    desk.press(&["Enter"]);
    desk.answer("? May root log in?", "");
    desk.answer("? Port:", "");

    // None but the firewall, whose settings are changed.
    desk.sees("? What should Ostler take care of?", "08-modules");
    desk.press(&["Left", "Down", "Down", "Down", "Down", "Down", "Space", "Enter"]);
    desk.waits_for("? Whose settings");
    desk.press(&["Space", "Enter"]);
    desk.answer("? ufw allow 1", "");
    desk.answer("? ufw auto_allow_app_ports", "");
    desk.sees("? ufw preset", "09-settings");
    desk.press(&["Down", "Enter"]);

    desk.sees("? Which apps?", "10-apps");
    desk.press(&["Down", "Down", "Space", "Enter"]);
    desk.waits_for("? Whose parameters");
    desk.press(&["Enter"]);
    desk.sees("? This is what you asked for:", "11-summary");
    desk.choose("read on");
    desk.sees("page 3 of 3", "12-summary-continued");
    desk.choose("go");
    // What was free when it was chosen is not any more.
    node.storage("local-lvm", |storage| storage.avail = 1 << 20);
    desk.answer("? File:", "");
    // The same as `ostler up ostler.yaml` says.
    let said = desk.waits_for("[exit code");
    assert!(said.contains("storage `local-lvm` has 1 MiB free"), "{said}");
    assert_eq!(desk.ended(), (4, true));

    let spec = written(&environment, "ostler.yaml").replace(&node.url(), "URL");
    let expected = "\
servers:
  web1:
    provider: pve1
    image: debian-13
    size: { cpus: 2, memory: 2GiB, disk: 20GiB }
    proxmox:
      node: pve1
      vmid: auto
      storage: local-lvm
      images: local
      bridge: vmbr0
      tags: [ web ]
    network: [ { address: dhcp }, { bridge: vmbr0, vlan: 30 } ]
    user: ops
    ssh: { auth: key-only, root_login: no, port: 22 }
    authorized_keys: [ ~/.ssh/id_ed25519.pub ]
    modules:
      ufw: { preset: web }
    apps: [ nginx ]
";
    let head = format!(
        "providers:\n  pve1:\n    kind: proxmox\n    url: \"URL\"\n    token: {{ secret: pve1 }}\n    fingerprint: \"{}\"\n",
        node.fingerprint()
    );
    assert_eq!(spec, head + expected);
    // The file serves everywhere, and the token is kept.
    node.storage("local-lvm", |storage| storage.avail = 200 << 30);
    let mut plan = environment.command(&["plan", "ostler.yaml", "--no-check"]);
    let plan = plan.env("OSTLER_IMAGE_SITE", "http://127.0.0.1:1").output().expect("ostler starts");
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert!(plan.contains("web1  create a machine"), "{plan}");
    assert_eq!(environment.run(&["secret", "list"]).ok().stdout, "pve1\n");
}

#[test]
fn who_has_no_key_gets_one_at_the_end() {
    let environment = TestEnvironment::new(env!("CARGO_BIN_EXE_ostler"));
    let Some(desk) = Desk::sit_down(&environment, 100, 24, &["wizard"], &[]) else { return };
    desk.choose_at("? Where", "this computer");
    for question in
        ["? Name:", "? Image:", "? CPUs:", "? Memory:", "? Disk:", "? Port here 1", "? User:", "? Log in with:"]
    {
        desk.answer(question, "");
    }
    desk.sees("? Keys that may log in:", "13-no-key");
    desk.press(&["Enter"]);
    desk.answer("? May root", "");
    desk.answer("? Port:", "");
    desk.waits_for("? What should");
    desk.press(&["Left", "Enter"]);
    desk.waits_for("? Which apps?");
    desk.press(&["Left", "Enter"]);
    desk.choose_at("? This is what", "save");
    desk.left_nothing();
    desk.answer("? File:", "");
    // ssh-keygen's own questions.
    desk.answer("Enter passphrase", "correct horse");
    desk.answer("Enter same passphrase again:", "correct horse");
    desk.waits_for("wrote ostler.yaml");
    assert_eq!(desk.ended(), (0, true));
    assert!(!desk.history().contains("correct horse"));

    let folder = environment.path().join("home/.ssh");
    assert_eq!(fs::metadata(&folder).expect("a folder").permissions().mode() & 0o777, 0o700);
    let opened = |passphrase| {
        let key = folder.join("id_ed25519");
        Command::new("ssh-keygen").args(["-y", "-P", passphrase, "-f"]).arg(key).output().expect("ssh-keygen")
    };
    let public = fs::read_to_string(folder.join("id_ed25519.pub")).expect("a public key");
    let made = String::from_utf8(opened("correct horse").stdout).expect("a text");
    assert_eq!(made.split(' ').nth(1), public.split(' ').nth(1));
    assert!(!opened("").status.success(), "it has no passphrase");
    assert!(written(&environment, "ostler.yaml").contains("authorized_keys: [ ~/.ssh/id_ed25519.pub ]"));
}

#[test]
fn esc_goes_back_the_window_changes_its_size_and_ctrl_c_leaves_nothing() {
    let environment = environment();
    let Some(desk) = Desk::sit_down(&environment, 80, 24, &["wizard"], &[]) else { return };
    desk.choose_at("? Where", "this computer");
    desk.answer("? Name:", "db1");
    desk.answer("? Image:", "");
    desk.answer("? CPUs:", "8");
    desk.waits_for("? Memory:");
    desk.press(&["Escape"]);
    desk.sees("? CPUs: (8)", "20-back");
    desk.press(&["Escape"]);
    desk.waits_for("? Image:");

    // Smaller, with a list under way.
    desk.resize(60, 15);
    desk.press(&["Down"]);
    desk.waits_for("> a file");
    desk.press(&["Up"]);
    desk.sees("> debian-13", "21-small");
    desk.press(&["Enter"]);
    desk.waits_for("? CPUs: (8)");
    desk.resize(100, 30);
    desk.answer("? CPUs: (8)", "");
    desk.answer("? Memory:", "");
    desk.answer("? Disk:", "");
    desk.answer("? Port here 1", "");
    desk.answer("? User:", "");
    desk.sees("? Log in with:", "22-large");
    desk.press(&["Enter"]);
    desk.answer("? Keys", "");
    desk.answer("? May root", "");
    desk.answer("? Port:", "");
    // Rows that fitted would break now: with the next key they fit again, and what comes next is drawn for the window as it is.
    desk.waits_for("? What should");
    desk.resize(60, 24);
    desk.press(&["Down"]);
    desk.sees("> [x] time_sync", "24-narrowed-list");
    desk.press(&["Enter"]);
    desk.sees("? Whose settings", "23-narrow");
    desk.press(&["C-c"]);
    assert_eq!(desk.ended(), (130, true));
    desk.left_nothing();

    // Esc at the first question leaves, if one means it.
    let Some(desk) = Desk::sit_down(&environment, 80, 24, &["wizard"], &[]) else { return };
    desk.waits_for("? Where");
    desk.press(&["Escape"]);
    desk.waits_for("? Leave?");
    desk.press(&["Down", "Enter"]);
    desk.waits_for("nothing was written");
    assert_eq!(desk.ended(), (0, true));
    desk.left_nothing();
}

/// A catalog that nobody has seen.
const SHOP: &str = r#"{"apps": [{
  "name": "shop", "role": "shop", "description": "Sells tea", "ports": [{"port": 8443, "proto": "tcp", "scope": "lan"}],
  "params": {"type": "object", "additionalProperties": false, "required": ["domain", "key"], "properties": {
    "domain": {"type": "string", "pattern": "^[a-z.]+$", "description": "Where it is found, such as example.org"},
    "key": {"type": "string", "writeOnly": true, "description": "Of the bank"},
    "open": {"type": "boolean", "default": true, "description": "Whether it sells"}
  }}
}]}"#;

#[test]
fn apps_of_another_catalog_have_their_dialog_and_their_secrets_are_kept() {
    const SECRET: &str = "correct-horse-battery-staple";
    let environment = environment();
    let catalog = GitRepository::new();
    catalog.write("index.json", SHOP);
    catalog.write("roles/apps/shop/tasks/main.yml", "- name: Sell\n  ansible.builtin.debug:\n    msg: tea\n");
    catalog.publish();
    let url = catalog.file_url();
    // The folder is as good as its URL.
    let folder = url.strip_prefix("file://").expect("a folder here");
    let Some(desk) = Desk::sit_down(&environment, 80, 24, &["wizard", "--catalog", folder], &[]) else { return };
    desk.choose_at("? Where", "this computer");
    for question in ["Name", "Image", "CPUs", "Memory", "Disk", "Port here 1", "User", "Log in", "Keys", "May", "Port:"]
    {
        desk.answer(&format!("? {question}"), "");
    }
    desk.waits_for("? What should");
    desk.press(&["Left", "Enter"]);
    desk.sees("? Which apps?", "40-catalog");
    desk.press(&["Space", "Enter"]);
    desk.answer("? shop domain:", "EXAMPLE");
    desk.waits_for("# ");
    desk.erase();
    desk.answer("? shop domain:", "example.org");
    desk.answer("? shop key:", SECRET);
    desk.answer("? Once more:", SECRET);
    desk.sees("? shop open:", "41-parameters");
    desk.choose("no");
    let screen = desk.waits_for("? This is what you asked for:");
    assert!(!screen.contains(SECRET), "{screen}");
    assert_eq!(marked_processes(&[SECRET.to_owned()]), [], "a secret stands in somebody's arguments");
    desk.choose("save");
    desk.answer("? File:", "");
    assert_eq!(desk.ended(), (0, true));

    let history = desk.history();
    assert!(!history.contains(SECRET) && history.contains("kept the secret `web1-shop-key`"), "{history}");
    let spec = written(&environment, "ostler.yaml");
    assert!(spec.starts_with(&format!("catalog:\n  url: \"{url}\"\n")), "{spec}");
    let end = "    apps: [ shop ]\n    app_params:\n      \
               shop: { domain: example.org, key: { secret: web1-shop-key }, open: false }\n";
    assert!(spec.ends_with(end), "{spec}");
    assert_eq!(environment.run(&["secret", "list"]).ok().stdout, "web1-shop-key\n");
    let kept = fs::read(environment.state_dir().join("state.db")).expect("a state");
    assert!(!kept.windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes()), "it is kept in clear");
}

#[test]
fn on_the_node_itself_a_token_is_made_at_the_end_and_the_server_with_it() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can let this machine look like a node");
        return;
    }
    let environment = environment();
    let (folder, path) = (environment.path(), environment.path().display());
    // A loopback address that nobody else has: pve1 is its name, and 8006 its port, as on every node.
    let [a, b] = u16::try_from(std::process::id() % 65536).expect("16 bits").to_be_bytes();
    let address = SocketAddr::from(([127, 86, a, b.clamp(1, 254)], 8006));
    let node = FakeNode::on_a_thread_at(address, None).expect("a node");
    let programs = folder.join("programs");
    fs::create_dir(&programs).expect("a folder");
    let pve = node.be_the_host(&programs).expect("a host");
    fs::File::create(folder.join("disk.raw")).and_then(|disk| disk.set_len(4 << 20)).expect("a disk");
    // The cluster's files and the name are seen by the wizard alone.
    let copy = |from: &str, to: &str| {
        let copied = Command::new("cp").args(["-a", from, to]).current_dir(folder).status();
        assert!(copied.is_ok_and(|status| status.success()), "{from} is copied");
    };
    copy("/etc", "etc");
    copy(&pve.display().to_string(), "etc/pve");
    let hosts = fs::read_to_string(folder.join("etc/hosts")).unwrap_or_default();
    fs::write(folder.join("etc/hosts"), format!("{} pve1\n{hosts}", address.ip())).expect("a written file");
    let etc = folder.join("etc").display().to_string();
    let script = r#"mount --bind "$0" /etc && exec "$@""#;
    let within = ["unshare", "--mount", "sh", "-c", script, &etc];
    let search_path = format!("{path}/programs:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let Some(desk) = Desk::sit_down_in(&within, &environment, (80, 24), &["wizard"], &[("PATH", &search_path)]) else {
        return;
    };
    desk.choose_at("? Where", "this Proxmox VE host");
    desk.sees("? Ostler's token on this host:", "50-host");
    desk.choose("make one");
    desk.answer("? Name:", "");
    desk.choose_at("? Image:", "a file");
    desk.answer("? Path of the image:", "disk.raw");
    for question in [
        "CPUs:",
        "Memory:",
        "Disk:",
        "VMID",
        "Storage",
        "VLAN:",
        "Tag 1",
        "Address:",
        "IPv6",
        "Network card 2",
        "User:",
        "Log in",
        "Keys",
    ] {
        desk.answer(&format!("? {question}"), "");
    }
    desk.answer("? May root log in?", "");
    desk.answer("? Port:", "");
    desk.waits_for("? What should");
    desk.press(&["Left", "Enter"]);
    desk.answer("? Which apps?", "");
    desk.choose_at("? This is what you asked for:", "go");
    assert_eq!(node.requests(), [], "until now nothing was asked with a token");
    desk.answer("? File:", "");
    desk.waits_for("made a token, and kept it as the secret `pve1`");
    // `up` goes on with it, as far as a node can whose VMs are records only.
    let begun = Instant::now();
    while !node.runs(100) {
        assert!(begun.elapsed() < Duration::from_secs(60), "no VM comes to be:\n{}", desk.history());
        thread::sleep(Duration::from_millis(50));
    }
    desk.press(&["C-c"]);
    assert_eq!(desk.ended(), (130, true));
    let (history, spec) = (desk.history(), written(&environment, "ostler.yaml"));
    assert!(!history.contains(TOKEN_VALUE) && !spec.contains(TOKEN_VALUE), "{history}\n{spec}");
    let head = format!(
        "providers:\n  pve1:\n    kind: proxmox\n    url: \"https://pve1:8006\"\n    token: {{ secret: pve1 }}\n    \
         fingerprint: \"{}\"\n",
        node.fingerprint()
    );
    assert!(spec.starts_with(&head), "{spec}");
    assert_eq!(environment.run(&["secret", "list"]).ok().stdout, "pve1\n");
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let environment = environment();
    let Some(desk) = Desk::sit_down(&environment, 80, 24, &["wizard"], &[]) else { return };
    desk.waits_for("? Where");
    desk.terminate();
    assert_eq!(desk.ended(), (130, true));
    desk.left_nothing();
}

#[test]
fn plain_questions_for_who_can_not_see_a_list_move() {
    let environment = environment();
    let Some(desk) = Desk::sit_down(&environment, 80, 24, &["wizard"], &[("ACCESSIBLE", "1")]) else { return };
    desk.sees("Number [1]:", "30-plain");
    desk.line("9");
    desk.waits_for("a number from 1 to 4, please");
    desk.line("2");
    desk.says("Name [web1]:", "back");
    desk.says("Number [2]:", "");
    desk.says("Name [web1]:", "plain1");
    desk.says("Image:", "");
    desk.says("CPUs [2]:", "0");
    desk.waits_for("0 is out of range: 1 to 256");
    desk.line("1");
    desk.says("Memory [2GiB]:", "");
    desk.says("Disk [10GiB]:", "");
    desk.says("Port here 1", "");
    desk.says("User [ops]:", "");
    desk.says("Log in with:", "2");
    desk.says("Password (it is not shown)", "hunter2hunter2");
    desk.says("Once more", "hunter2hunter2");
    desk.says("Keys that may log in:", "");
    desk.says("May root log in?", "");
    desk.says("Port [22]:", "");
    desk.says("What should Ostler take care of?", "0");
    desk.says("Which apps?", "0");
    desk.says("This is what you asked for:", "2");
    desk.says("File [ostler.yaml]:", "mine.yaml");
    assert_eq!(desk.ended(), (0, true));
    let history = desk.history();
    assert!(!history.contains("hunter2") && !history.contains('\u{1b}'), "{history}");
    let spec = written(&environment, "mine.yaml");
    assert!(spec.contains("  plain1:\n") && spec.contains("password: { secret: plain1-ops }"), "{spec}");
    assert_eq!(environment.run(&["secret", "list"]).ok().stdout, "plain1-ops\n");

    // What is there is not replaced unasked.
    let Some(desk) = Desk::sit_down(&environment, 80, 24, &["wizard"], &[("TERM", "dumb")]) else { return };
    desk.says("Number [1]:", "2");
    for question in
        ["Name", "Image", "CPUs", "Memory", "Disk", "Port here", "User", "Log in", "Keys", "May root", "Port [22]"]
    {
        desk.says(question, "");
    }
    desk.says("What should", "0");
    desk.says("Which apps?", "0");
    desk.says("This is what", "2");
    desk.says("File [", "mine.yaml");
    desk.says("That file exists already.", "1");
    desk.says("File [", "other.yaml");
    assert_eq!(desk.ended(), (0, true));
    assert_eq!(written(&environment, "mine.yaml"), spec);
    assert!(written(&environment, "other.yaml").contains("web1"));
}

#[test]
fn colours_are_for_who_wants_them() {
    let environment = environment();
    for (variables, coloured) in [(&[][..], true), (&[("NO_COLOR", "1")], false)] {
        let Some(desk) = Desk::sit_down(&environment, 80, 24, &["wizard"], variables) else { return };
        desk.waits_for("? Where");
        assert_eq!(desk.coloured_screen().contains("\u{1b}[3"), coloured, "{variables:?}");
    }
}
