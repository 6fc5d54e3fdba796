//! What a person is offered, over the API and on the host.

use super::lab::Lab;
use ostler_core::secret::Secret;
use ostler_providers::proxmox::{Host, Inventory, Offers, host_fingerprint, shown_fingerprint};
use ostler_testkit::pve::FakeNode;
use std::{fs, os::unix::fs::PermissionsExt};

async fn offers(lab: &Lab, token: &str) -> Result<Inventory, String> {
    let offers = Offers::of(&lab.options().endpoint, &Secret::new(token)).unwrap();
    offers.inventory().await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_node_s_own_storages_and_bridges_are_offered() {
    let lab = Lab::new().await;
    lab.node.add_vm(100, "somebody's");
    lab.node.storage("local-lvm", |storage| storage.avail = 7 << 30);
    let inventory = offers(&lab, &FakeNode::token()).await.unwrap();
    assert_eq!(inventory.next_vmid, 101);
    let [node] = inventory.nodes.as_slice() else { panic!("{inventory:?}") };
    assert_eq!(node.name, "pve1");
    let storages = node.storages.iter().map(|it| (it.name.as_str(), it.disks, it.images)).collect::<Vec<_>>();
    assert_eq!(storages, [("local", false, true), ("local-lvm", true, false)]);
    assert_eq!(node.storages[1].free, 7 << 30);
    assert_eq!((node.bridges[0].name.as_str(), node.bridges[0].cidr.as_deref()), ("vmbr0", Some("192.168.1.2/24")));
    let offers = Offers::of(&lab.options().endpoint, &Secret::new(FakeNode::token())).unwrap();
    assert!(!offers.is_free(100).await.unwrap());
    assert!(offers.is_free(101).await.unwrap());
}

#[tokio::test]
async fn what_is_not_at_hand_is_not_offered() {
    let lab = Lab::new().await;
    lab.node.storage("local-lvm", |storage| storage.active = false);
    let inventory = offers(&lab, &FakeNode::token()).await.unwrap();
    assert_eq!(inventory.nodes[0].storages.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["local"]);
}

#[tokio::test]
async fn a_wrong_token_is_told_at_once() {
    let lab = Lab::new().await;
    let said = offers(&lab, "ostler@pve!ostler=00000000-dead-beef-0000-000000000000").await.unwrap_err();
    assert_eq!(said, "`pve1` does not accept the token: invalid token value!");
}

#[tokio::test]
async fn a_certificate_is_shown_before_anything_is_said_there() {
    let lab = Lab::new().await;
    assert_eq!(shown_fingerprint(&lab.node.url()).await.unwrap(), lab.node.fingerprint());
    assert_eq!(lab.node.requests(), []);
    let gone = shown_fingerprint("https://127.0.0.1:1").await.unwrap_err().to_string();
    assert_eq!(gone, "https://127.0.0.1:1 can't be reached");
}

#[tokio::test]
async fn the_host_itself_is_asked_by_its_own_program() {
    let dir = tempfile::tempdir().unwrap();
    let node = FakeNode::start().await.unwrap();
    let program = dir.path().join("pvesh");
    let script = r#"#!/bin/sh
case "$*" in
  'get /nodes --output-format json') echo '[{"node":"pve1","status":"online"}]' ;;
  'get /nodes/pve1/storage --output-format json') echo '[{"storage":"tank","content":"images,iso,import","active":1,"avail":"1073741824"}]' ;;
  'get /nodes/pve1/network --type any_bridge --output-format json') echo '[{"iface":"vmbr7","gateway":"10.0.0.1"}]' ;;
  'get /cluster/nextid --output-format json') echo '"104"' ;;
  'get /cluster/nextid --vmid 103 --output-format json') echo 'vmid: VM 103 already exists' >&2; exit 255 ;;
  *) echo "unexpected: $*" >&2; exit 2 ;;
esac
"#;
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(dir.path().join("pve/nodes/pve1")).unwrap();
    fs::write(dir.path().join("pve/nodes/pve1/pve-ssl.pem"), node.authority()).unwrap();
    std::os::unix::fs::symlink("nodes/pve1", dir.path().join("pve/local")).unwrap();
    let host = Host::with_cluster_files(dir.path().join("pve"), format!("{}:/usr/bin:/bin", dir.path().display()));
    let offers = Offers::of_host(&host);
    let inventory = offers.inventory().await.unwrap();
    let tank = &inventory.nodes[0].storages[0];
    assert_eq!((inventory.next_vmid, tank.free, tank.disks && tank.images), (104, 1 << 30, true));
    assert_eq!(inventory.nodes[0].bridges[0].gateway.as_deref(), Some("10.0.0.1"));
    assert!(!offers.is_free(103).await.unwrap());
    assert_eq!(host_fingerprint(&host).unwrap().len(), 95);
}
