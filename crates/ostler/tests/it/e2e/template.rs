//! A template on Proxmox VE, and a server that is cloned from it: nothing of the one is in the other but what both are to have.

use super::{
    proxmox::{ADDRESS, place},
    support::{http_get, on_server, status},
};
use ostler_testkit::{environment::Finished, pve::FakeNode};
use std::fs;

#[test]
#[ignore = "boots real virtual machines; `cargo xtask test` runs it"]
fn a_server_from_a_template() {
    let Some((environment, node)) = place() else { return };
    environment.write("token", &FakeNode::token());
    environment.write("ostler.yaml", &spec(&node));

    eprintln!("* `template build` ends in a template, without a seed, and is done when it is there");
    let build = ["proxmox", "template", "build", "ostler.yaml", "--output", "json"];
    let built = environment.run(&build).ok();
    assert_eq!(built.outcome()["template"], true);
    eprintln!("  {}", seconds(&built));
    let config = node.vms()[&100].clone();
    let template = config["name"].clone();
    assert!(config["template"] == "1" && !config.contains_key("scsi1"), "{config:?}");
    assert_eq!(environment.run(&build).ok().outcome()["template"], true);
    let list = environment.run(&["proxmox", "template", "list", "--output", "json"]).ok().json_lines().remove(0);
    assert_eq!((&list[0]["ready"], &list[0]["apps"][0]), (&true.into(), &"nginx".into()));

    eprintln!("* `up` clones it, and finds little to do");
    let first = environment.run(&["up", "ostler.yaml", "--output", "json"]).ok();
    eprintln!("  {}; changed: {:?}", seconds(&first), first.changes());
    let clones = node.requests_for("POST /nodes/{node}/qemu/{vmid}/clone");
    assert_eq!((clones.len(), first.outcome()["created"].as_bool()), (1, Some(true)));
    let installs = |change: &String| change.contains("Install") || change.contains("Fetch");
    assert!(!first.changes().iter().any(installs), "{:?}", first.changes());
    let page = http_get(&format!("{ADDRESS}:80"));
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<html"), "{page}");
    assert_eq!(status(&environment)["phase"], "ready");

    eprintln!("* it is a server of its own");
    let host_key = |server: &str| {
        let file = environment.state_dir().join("servers").join(server).join("known_hosts");
        let pinned = fs::read_to_string(file).expect("a pinned host key");
        pinned.split_once(' ').expect("a name and its key").1.to_owned()
    };
    assert_ne!(host_key("web1"), host_key(&template));
    assert_eq!(on_server(&environment, "hostname; whoami"), "web1\nops\n");
    assert_eq!(on_server(&environment, "wc -c < /etc/machine-id; sudo journalctl --list-boots -q | wc -l"), "33\n1\n");
    // In brackets, for sudo writes what it is called with into the journal.
    let cards = "ip -o addr | awk '{ print $4 }' | grep -xE 'fe80::20/64|198.18.0.20/24|10.0.2.15/24' | sort";
    // The IPv6 one is of a kind that nothing is sent to without its link, for `plan` looks whether it answers.
    let all = "10.0.2.15/24\n198.18.0.20/24\nfe80::20/64\n";
    assert_eq!(on_server(&environment, cards), all, "a card lacks an address");
    assert_eq!(on_server(&environment, "ip route show default | wc -l"), "1\n", "the second card has a default route");
    let digest = template.trim_start_matches("template-");
    let of_template = format!(
        "sudo grep -rlaE 'ostler[-]template|template[-]{digest}' /etc /home /root /tmp /var/log /var/lib/cloud /var/lib/ostler \
         /var/lib/systemd /var/mail /var/spool || true"
    );
    assert_eq!(on_server(&environment, &of_template), "", "something of the template is left");
    assert_eq!(
        on_server(&environment, "ls /home; sudo ls /etc/sudoers.d | grep -v README"),
        "ops\n90-cloud-init-users\nzz-ostler-ops\n"
    );
    assert_eq!(environment.run(&["up", "ostler.yaml", "--output", "json"]).ok().changes(), Vec::<String>::new());

    eprintln!("* `destroy` removes both");
    environment.run(&["destroy", "web1", &template, "--yes"]).ok();
    assert_eq!(node.vms().len(), 0);
    assert!(node.volumes().iter().all(|volume| volume.contains(":import/")), "{:?}", node.volumes());
}

/// How long the whole took, and each of its operations.
fn seconds(finished: &Finished) -> String {
    let each = |line: &serde_json::Value| {
        Some(line["seconds"].as_f64().filter(|_| line["event"] == "operation_ended")?.round())
    };
    let each: Vec<f64> = finished.json_lines().iter().filter_map(each).collect();
    format!("{} s; operations: {each:?}", finished.outcome()["seconds"])
}

/// One server on the node.
fn spec(node: &FakeNode) -> String {
    let (url, fingerprint) = (node.url(), node.fingerprint());
    format!(
        r#"providers:
  home: {{ kind: proxmox, url: "{url}", token: {{ file: token }}, fingerprint: "{fingerprint}" }}
servers:
  web1:
    provider: home
    size: {{ cpus: 1, memory: 1GiB, disk: 5GiB }}
    network: [ {{ address6: "fe80::20/64" }}, {{ vlan: 30 }} ]
    proxmox: {{ node: pve1, tags: [ web ] }}
    user: ops
    authorized_keys: [ id_ed25519.pub ]
    modules: {{ ufw: {{ preset: web }} }}
    apps: [ nginx ]
"#
    )
}
