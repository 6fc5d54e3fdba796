//! A server on Proxmox VE: the API is a fake that is held to PVE's schema, the VM is real.

use crate::support::{UP, destroy_and_check, environment, http_get, kill_at_each_step, on_server, status};
use ostler_core::spec::ProviderKind;
use ostler_testkit::pve::FakeNode;
use std::net::Ipv4Addr;

/// Where the VM is; TEST-NET-2 of RFC 5737, so that nobody else is.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);

#[test]
#[ignore = "boots a real virtual machine; `cargo xtask test` runs it"]
fn a_life_on_proxmox() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give this machine the server's address");
        return;
    }
    let environment = environment();
    let node = FakeNode::on_a_thread(Some(ADDRESS)).expect("a node");
    node.without_virtualisation();
    environment.write("token", &FakeNode::token());
    environment.write("ostler.yaml", &spec(&node));
    let up = ["up", "ostler.yaml", "--output", "json"];

    eprintln!("* `plan` finds nothing in the way, and touches nothing");
    let plan = environment.run(&["plan", "ostler.yaml"]).ok().stdout;
    assert!(plan.contains("create a machine"), "{plan}");
    assert_eq!(node.vms().len() + node.volumes().len(), 0);

    eprintln!("* killed as soon as each step begins, going on with `up` and `resume` in turn: one VM, and no orphan");
    kill_at_each_step(&environment, ProviderKind::Proxmox);
    let volumes = node.volumes().into_iter().filter(|volume| !volume.contains(":import/")).count();
    assert_eq!((node.vms().into_keys().collect::<Vec<_>>(), volumes), (vec![100], 2));

    eprintln!("* `up` ends in a server that serves, over the pinned host key from the first packet");
    environment.run(UP).ok();
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
    environment.write("ostler.yaml", &spec(&node).replace("disk: 5GiB", "disk: 6GiB"));
    assert_eq!(environment.run(&up).ok().changes(), Vec::<String>::new());
    let root = on_server(&environment, "df --output=size -B1M / | tail -n 1");
    assert!(root.trim().parse::<u32>().expect("a size") > 5400, "/ has {root} MiB");
    assert_eq!(on_server(&environment, "cat /etc/machine-id"), id);

    eprintln!("* `destroy` leaves nothing but the image");
    destroy_and_check(&environment);
    assert_eq!(node.vms().len(), 0);
    assert!(node.volumes().iter().all(|volume| volume.contains(":import/")), "{:?}", node.volumes());
}

/// One server on the node.
pub fn spec(node: &FakeNode) -> String {
    let (url, fingerprint) = (node.url(), node.fingerprint());
    format!(
        r#"providers:
  home: {{ kind: proxmox, url: "{url}", token: {{ file: token }}, fingerprint: "{fingerprint}" }}
servers:
  web1:
    provider: home
    size: {{ cpus: 2, memory: 1GiB, disk: 5GiB }}
    proxmox: {{ node: pve1, tags: [ web ] }}
    user: ops
    authorized_keys: [ id_ed25519.pub ]
    modules: {{ ufw: {{ preset: web }} }}
    apps: [ nginx ]
"#
    )
}
