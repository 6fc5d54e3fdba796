//! A machine's life when nothing goes wrong.

use super::lab::{Lab, MIB, place, said};
use ostler_core::{
    model::{Marked, Power, mac_address},
    ports::{Lifecycle, Provider, Reshaping},
    spec::{Address, ImageRef, Network, Size},
};
use ostler_testkit::{
    image_site::ImageSite,
    pve::{Fault, TaskFault},
};
use std::time::Duration;

const CREATE: &str = "POST /nodes/{node}/qemu";

#[tokio::test]
async fn a_life() {
    let lab = Lab::new().await;
    let mut order = lab.order();
    assert_eq!(lab.findings(&order).await, [""; 0]);
    let machine = lab.create(&mut order).await.unwrap();
    let vms = lab.node.vms();
    let config = &vms[&100];
    assert!(config["description"].contains(&order.operation.to_string()), "{config:?}");
    assert!(
        config["scsi0"].starts_with("local-lvm:vm-100-disk-0,") && config["scsi0"].ends_with("size=16M"),
        "{config:?}"
    );
    assert_eq!((config["cores"].as_str(), config["memory"].as_str()), ("2", "1024"));
    assert_eq!(lab.observe(&machine).await.power, Power::Off);

    let machine = lab.provider.start(&machine, &lab.log).await.unwrap();
    lab.provider.start(&machine, &lab.log).await.unwrap();
    let seen = lab.observe(&machine).await;
    assert_eq!((seen.power, seen.ssh), (Power::On, None), "nobody knows its address yet");
    lab.node.agent_says(&mac_address(order.owner, "web1", 0), "192.168.1.77");
    let machine = lab.provider.route_ssh(&machine, 2222).await.unwrap();
    assert_eq!(lab.observe(&machine).await.ssh, Some("192.168.1.77:2222".parse().unwrap()));

    let seed = format!("local:iso/ostler-{}.iso", order.operation);
    let has_secret = |node: &ostler_testkit::pve::FakeNode| {
        let medium = node.content(&seed);
        (medium.windows(10).any(|bytes| bytes == b"SECRET-KEY"), medium.len())
    };
    let (before, length) = has_secret(&lab.node);
    assert!(before);
    lab.provider.scrub_seed(&machine).await.unwrap();
    assert_eq!(has_secret(&lab.node), (false, length), "a drive that has it open sees all of it");

    let bigger = Size { cpus: 4, memory: 2048 * MIB, disk: 32 * MIB };
    let options = order.options.clone();
    let reshape = lab.provider.preflight_reshape(&machine, bigger, &options).await.unwrap();
    assert_eq!(reshape.changes, ["cpus 2 -> 4", "memory 1024 MiB -> 2048 MiB", "disk 16 MiB -> 32 MiB"]);
    let failure = lab.provider.reshape(&machine, bigger, &options).await.unwrap_err();
    assert_eq!(said(&failure), "machine `web1` is running");
    lab.provider.stop(&machine, Duration::from_secs(5)).await.unwrap();
    lab.provider.reshape(&machine, bigger, &options).await.unwrap();
    assert_eq!(lab.provider.preflight_reshape(&machine, bigger, &options).await.unwrap().changes, [""; 0]);
    let smaller = Size { disk: 16 * MIB, ..bigger };
    let refused = lab.provider.preflight_reshape(&machine, smaller, &options).await.unwrap().findings;
    assert_eq!(refused[0].message, "the disk of `web1` has 32 MiB and can't shrink to 16 MiB");
    assert!(lab.provider.reshape(&machine, smaller, &options).await.is_err());

    lab.provider.start(&machine, &lab.log).await.unwrap();
    order.found = Some(machine.clone());
    lab.provider.remove(&order).await.unwrap();
    assert_eq!(lab.left(), (vec![], vec![]));
    lab.provider.remove(&order).await.unwrap();
    assert_eq!(lab.observe(&machine).await.power, Power::Absent);
}

#[tokio::test]
async fn the_request_says_everything_at_once() {
    let lab = Lab::new().await;
    let mut order = lab.order();
    order.networks[0].address = Address::Static("192.168.1.20/24".parse().unwrap());
    order.networks[0].dns = vec!["192.168.1.1".parse().unwrap()];
    let options = place(&mut order);
    (options.vmid, options.vlan) = (Some(777), Some(12));
    let machine = lab.create(&mut order).await.unwrap();
    let seen = lab.node.requests_for(CREATE).remove(0);
    let mac = mac_address(order.owner, "web1", 0).to_uppercase();
    assert_eq!(seen.parameters["net0"], format!("virtio={mac},bridge=vmbr0,tag=12"));
    assert_eq!(seen.parameters["tags"], "web;a-b");
    assert_eq!(seen.parameters["boot"], "order=scsi0");
    assert!(seen.body.contains("boot=order%3Dscsi0") && seen.body.contains("tags=web%3Ba-b"), "{}", seen.body);
    assert!(!seen.body.contains('+') && !seen.body.contains(';'), "{}", seen.body);
    for key in ["sshkeys", "cipassword", "ciuser", "start"] {
        assert!(!seen.parameters.contains_key(key), "{key} would be kept in clear, or change the instance");
    }
    assert_eq!(lab.node.requests_for(CREATE).len(), 1);
    lab.provider.start(&machine, &lab.log).await.unwrap();
    assert_eq!(lab.observe(&machine).await.ssh, Some("192.168.1.20:22".parse().unwrap()));
}

#[tokio::test]
async fn each_card_has_its_bridge_and_vlan() {
    let lab = Lab::new().await;
    let mut order = lab.order();
    let card = |bridge: Option<&str>, vlan| Network { bridge: bridge.map(str::to_owned), vlan, ..Network::default() };
    order.networks.extend([card(Some("vmbr1"), None), card(None, Some(30))]);
    place(&mut order).vlan = Some(12);
    let lacking = "the token lacks SDN.Use on /sdn/zones/localnetwork/vmbr1";
    assert_eq!(lab.findings(&order).await, [lacking, "pve1 has no bridge `vmbr1`"]);
    lab.node.grant("/sdn/zones/localnetwork/vmbr1", "SDN.Use");
    assert_eq!(lab.findings(&order).await, [""; 0]);
    lab.create(&mut order).await.unwrap();
    let config = &lab.node.vms()[&100];
    let plugs = ["net0", "net1", "net2"].map(|key| config[key].split_once(',').unwrap().1.to_owned());
    assert_eq!(plugs, ["bridge=vmbr0,tag=12", "bridge=vmbr1", "bridge=vmbr0,tag=30"]);
}

#[tokio::test]
async fn an_emulating_node_is_used_as_one() {
    let lab = Lab::new().await;
    lab.node.without_virtualisation();
    let mut order = lab.order();
    let machine = lab.create(&mut order).await.unwrap();
    let config = &lab.node.vms()[&100];
    assert_eq!((config["kvm"].as_str(), config["cpu"].as_str()), ("0", "max"));
    assert_eq!(lab.observe(&machine).await.slowness, 5);
}

#[tokio::test]
async fn an_image_is_fetched_by_the_node_and_used_again() {
    let lab = Lab::new().await;
    let site = ImageSite::start().await.unwrap();
    let image = std::fs::read(lab.image_file()).unwrap();
    site.publish("disk.raw", image.clone());
    let sum: String = <sha2::Sha256 as sha2::Digest>::digest(&image).iter().map(|byte| format!("{byte:02x}")).collect();
    let with_sum =
        |sum: &str| ImageRef::Url { url: format!("{}/disk.raw", site.url()), checksum: format!("sha256:{sum}") };
    let mut order = lab.order();
    order.image_ref = with_sum(&sum);
    lab.create(&mut order).await.unwrap();
    assert_eq!(site.requests().len(), 1, "the node alone fetched it");
    let mut second = lab.order();
    second.image_ref = with_sum(&sum);
    lab.create(&mut second).await.unwrap();
    assert_eq!(site.requests().len(), 1);
    assert_eq!(lab.node.vms().len(), 2);

    let before = lab.node.volumes();
    let mut wrong = lab.order();
    wrong.image_ref = with_sum(&"0".repeat(64));
    let failure = lab.create(&mut wrong).await.unwrap_err();
    assert!(said(&failure).contains("checksum mismatch"), "{failure:?}");
    assert_eq!(lab.node.volumes(), before, "no file is left");
}

#[tokio::test]
async fn an_image_is_uploaded_where_the_node_can_not_fetch_it() {
    let lab = Lab::new().await;
    let mut order = lab.order();
    lab.create(&mut order).await.unwrap();
    let volume = lab.image_of(&order).unwrap().0;
    assert!(volume.starts_with("local:import/ostler-disk-") && volume.ends_with(".raw"), "{volume}");
    let image = std::fs::read(lab.image_file()).unwrap();
    assert_eq!(lab.node.content(&volume), image);
    let uploads = || lab.node.requests_for("POST /nodes/{node}/storage/{storage}/upload").len();
    let before = uploads();
    lab.create(&mut lab.order()).await.unwrap();
    assert_eq!(uploads(), before + 2, "only the seed, twice");

    // Somebody pulled the plug of the node while the first came in.
    lab.node.add_volume(&volume, None);
    let mut third = lab.order();
    lab.create(&mut third).await.unwrap();
    let whole = lab.image_of(&third).unwrap().0;
    assert_ne!(whole, volume);
    assert_eq!(lab.node.content(&whole), image);
    assert_eq!(lab.node.requests_for("POST /nodes/{node}/storage/{storage}/download-url").len(), 0);
}

#[tokio::test]
async fn two_that_upload_one_image_keep_out_of_each_other_s_way() {
    let lab = Lab::new().await;
    let other = lab.another_provider();
    (0..2).for_each(|_| lab.node.fail_task("imgcopy", TaskFault::Held));
    let uploads = || lab.node.requests_for("POST /nodes/{node}/storage/{storage}/upload").len();
    let both_are_there = async {
        while uploads() < 2 {
            tokio::task::yield_now().await;
        }
        lab.node.release();
    };
    let (one, two) = (lab.order(), lab.order());
    let (first, second, ()) =
        tokio::join!(lab.provider.image(&one, &lab.log), other.image(&two, &lab.log), both_are_there);
    let volumes = [first, second].map(|volume| volume.unwrap().0);
    assert_ne!(volumes[0], volumes[1], "neither was written over while the other's VM imports it");
    let image = std::fs::read(lab.image_file()).unwrap();
    for volume in &volumes {
        assert_eq!(lab.node.content(volume), image);
    }
    // Whoever comes later takes one of them.
    let third = lab.provider.image(&lab.order(), &lab.log).await.unwrap().0;
    assert!(volumes.contains(&third), "{third}");
    assert_eq!(uploads(), 2);
}

#[tokio::test]
async fn what_the_node_can_not_fetch_is_fetched_here_and_uploaded() {
    let lab = Lab::new().await;
    let site = ImageSite::start().await.unwrap();
    let image = std::fs::read(lab.image_file()).unwrap();
    site.publish("disk.raw", image.clone());
    let sum: String = <sha2::Sha256 as sha2::Digest>::digest(&image).iter().map(|byte| format!("{byte:02x}")).collect();
    let url = format!("{}/disk.raw", site.url());
    let mut order = lab.order();
    order.image_ref = ImageRef::Url { url: url.clone(), checksum: format!("sha256:{sum}") };
    let words = "invalid server response: '500 Can't connect'";
    lab.node.fail("GET /nodes/{node}/query-url-metadata", Fault::Refuse(500, words));
    assert_eq!(lab.findings(&order).await, [format!("warning: pve1 can't reach {url}: {words}")]);
    lab.node.fail_task("download", TaskFault::Error("download failed: 500 Can't connect"));
    lab.create(&mut order).await.unwrap();
    assert_eq!(lab.node.content(&lab.image_of(&order).unwrap().0), image);
    let notices = lab.log.notices();
    assert!(notices.iter().any(|line| line.ends_with("uploading it from here")), "{notices:?}");
}

#[tokio::test]
async fn what_bears_the_mark_is_found_wherever_it_is_in_the_cluster() {
    let lab = Lab::new().await;
    lab.node.add_vm(900, "Operation of somebody made it for state secrets.");
    let mut order = lab.order();
    let marked = async || lab.provider.marked(&order.options).await.unwrap();
    assert_eq!(marked().await, []);
    let half = format!("local:import/ostler-debian-13-0123abcd-4711-{}.qcow2", order.operation);
    for volume in ["local:import/ostler-debian-13-0123abcd.qcow2", &half, "local:import/debian.qcow2"] {
        lab.node.add_volume(volume, None);
    }
    let shown = |marked: Vec<Marked>| -> Vec<(String, bool, bool, bool)> {
        let short = |it: Marked| (it.what, it.owner.is_some(), it.operation.is_some(), it.in_use);
        marked.into_iter().map(short).collect()
    };
    let images = |used| {
        let whole = "image local:import/ostler-debian-13-0123abcd.qcow2 on pve1 of pve1";
        [
            (format!("image {half}, not whole, on pve1 of pve1"), used, true, used),
            (whole.to_owned(), false, false, used),
        ]
    };
    let mut found = shown(marked().await);
    found.sort();
    assert_eq!(found, images(false), "nobody needs them");

    lab.create(&mut order).await.unwrap();
    lab.node.migrate(100, "pve2");
    let found = shown(lab.provider.marked(&order.options).await.unwrap());
    assert_eq!(found[0], ("VM 100 web1 on pve2 of pve1".to_owned(), true, true, false));
    let seed = format!("seed local:iso/ostler-{}.iso on pve1 of pve1", order.operation);
    assert_eq!(found[1], (seed, true, true, false), "the VM says whose it is");
    assert!(found[2..].iter().all(|(.., used)| *used), "{found:?}");
    // Another node of the cluster that is away hides nothing of this one.
    lab.node.migrate(900, "pve2");
    for _ in 0..8 {
        lab.node.fail("GET /nodes/{node}/qemu/{vmid}/config", Fault::Refuse(595, "No route to host"));
    }
    let found = shown(lab.provider.marked(&order.options).await.unwrap());
    assert!(found[0].0.starts_with("seed "), "{found:?}");
    assert!(found[1..].iter().all(|(.., used)| *used), "it may need them: {found:?}");
}
