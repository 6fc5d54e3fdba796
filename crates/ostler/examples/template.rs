//! The first boot of a server on Proxmox VE, from its image and from a template: how long `ostler up` takes from nothing to done. The API
//! is a fake, the machines are real. `cargo xtask bench` runs it; it needs root.
//!
//! `template OSTLER IMAGES` prints one line of JSON with the seconds; `IMAGES` is a state directory's folder of images.

use ostler_testkit::{environment::TestEnvironment, pve::FakeNode};
use serde_json::json;
use std::{fs, net::Ipv4Addr, time::Instant};

/// In the range for benchmarks of RFC 2544.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 21);

fn main() {
    let paths: Vec<_> = std::env::args_os().skip(1).map(|path| fs::canonicalize(path).expect("a path")).collect();
    let [ostler, images] = paths.as_slice() else { panic!("usage: template OSTLER IMAGES") };
    let environment = TestEnvironment::with_images(ostler, images);
    environment.make_key();
    let node = FakeNode::on_a_thread(Some(ADDRESS)).expect("a node");
    // Its guests are emulated everywhere.
    node.without_virtualisation();
    environment.write("token", &FakeNode::token());
    let (url, fingerprint) = (node.url(), node.fingerprint());
    environment.write(
        "ostler.yaml",
        &format!(
            "providers:\n  home: {{ kind: proxmox, url: \"{url}\", token: {{ file: token }}, fingerprint: \"{fingerprint}\" }}\n\
             servers:\n  web1:\n    provider: home\n    size: {{ cpus: 2, memory: 1GiB, disk: 10GiB }}\n    \
             proxmox: {{ node: pve1 }}\n    user: ops\n    authorized_keys: [ id_ed25519.pub ]\n{}",
            include_str!("../../../xtask/src/bench/full.yaml")
        ),
    );
    let seconds = |arguments: &[&str]| {
        let begun = Instant::now();
        environment.run(arguments).ok();
        begun.elapsed().as_secs_f64()
    };
    let up = ["up", "ostler.yaml", "--output", "quiet"];
    let image = seconds(&up);
    seconds(&["destroy", "web1", "--yes"]);
    let build = seconds(&["proxmox", "template", "build", "ostler.yaml", "--output", "quiet"]);
    let template = seconds(&up);
    println!("{}", json!({ "image": image, "build": build, "template": template }));
}
