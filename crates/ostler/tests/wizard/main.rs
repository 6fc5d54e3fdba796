//! The wizard, driven by a person's keys in a real terminal: what is seen, and what is written.

mod desk;

use desk::{Desk, start_node, written};
use ostler_testkit::{environment::TestEnvironment, pve::FakeNode};
use std::fs;

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
    desk.sees("? Where shall the server be?", "01-where");
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

    desk.waits_for("? Address:");
    desk.press(&["Down", "Enter"]);
    desk.answer("? Address with its prefix:", "192.168.1.20/24");
    desk.answer("? Gateway:", "10.0.0.1");
    desk.sees("outside of the subnet", "06-network");
    desk.erase();
    desk.answer("? Gateway:", "192.168.1.1");
    desk.answer("? Name server 1", "");
    desk.answer("? Name server 2", "");

    desk.answer("? User:", "");
    desk.waits_for("? Log in with:");
    desk.press(&["Enter"]);
    desk.sees("? Keys that may log in:", "07-ssh");
    desk.press(&["Enter"]);
    desk.answer("? May root log in?", "");
    desk.answer("? Port:", "");

    // None but the firewall, whose settings are changed.
    desk.sees("? What shall Ostler take care of?", "08-modules");
    desk.press(&["Left", "Down", "Down", "Down", "Down", "Space", "Enter"]);
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
    network:
      address: 192.168.1.20/24
      gateway: 192.168.1.1
      dns: [ 192.168.1.1 ]
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
    // (Whether that address is free here is not the test's affair.)
    let fixed = "      address: 192.168.1.20/24\n      gateway: 192.168.1.1\n      dns: [ 192.168.1.1 ]\n";
    environment.write("ostler.yaml", &written(&environment, "ostler.yaml").replace(fixed, "      address: dhcp\n"));
    let mut plan = environment.command(&["plan", "ostler.yaml", "--no-check"]);
    let plan = plan.env("OSTLER_IMAGE_SITE", "http://127.0.0.1:1").output().expect("ostler starts");
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert!(plan.contains("web1  create a machine"), "{plan}");
    assert_eq!(environment.run(&["secret", "list"]).ok().stdout, "pve1\n");
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
    // Lines that fitted would break now: what comes next is drawn for the window as it is.
    desk.waits_for("? What shall");
    desk.resize(60, 20);
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
    desk.waits_for("a number from 1 to 3, please");
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
    desk.says("What shall Ostler take care of?", "0");
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
    desk.says("What shall", "0");
    desk.says("Which apps?", "0");
    desk.says("This is what", "2");
    desk.says("File [", "mine.yaml");
    desk.says("That file is there already.", "1");
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
