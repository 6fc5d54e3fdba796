//! Everything that stands in the way is found before anything is touched.

use super::lab::{Lab, place};
use ostler_core::spec::{Address, ImageRef};

#[tokio::test]
async fn all_findings_at_once() {
    let lab = Lab::new().await;
    lab.node.add_vm(105, "somebody's");
    lab.node.storage("local-lvm", |storage| (storage.avail, storage.content) = (1 << 20, "rootdir".into()));
    lab.node.storage("local", |storage| storage.content = "iso,backup".into());
    lab.node.without_virtualisation();
    lab.node.revoke("/nodes/pve1", "Sys.AccessNetwork");
    lab.node.revoke("/vms", "VM.Config.CPU");
    let mut order = lab.order();
    (order.size.cpus, order.size.memory) = (99, 1 << 40);
    order.image_ref = ImageRef::Path(lab.dir.path().join("none.qcow2"));
    order.networks[0].address = Address::Static("127.0.0.1/8".parse().unwrap());
    let options = place(&mut order);
    (options.vmid, options.bridge) = (Some(105), "vmbr7".into());
    let none = lab.dir.path().join("none.qcow2");
    assert_eq!(
        lab.findings(&order).await,
        [
            "the token lacks VM.Config.CPU on /vms/105".to_owned(),
            "the token lacks Sys.AccessNetwork on /nodes/pve1".into(),
            "the token lacks SDN.Use on /sdn/zones/localnetwork/vmbr7".into(),
            "warning: the server wants 99 processors, and pve1 has 8".into(),
            "warning: the server wants 1048576 MiB of memory, and pve1 has 32768 MiB".into(),
            "warning: pve1 has no hardware virtualisation: the server is emulated, and slow".into(),
            "storage `local-lvm` does not take the content type images".into(),
            "storage `local-lvm` has 1 MiB free, and 16 MiB are needed".into(),
            "storage `local` does not take the content type import".into(),
            "pve1 has no bridge `vmbr7`".into(),
            "VMID 105 is taken".into(),
            "127.0.0.1 answers already: another machine has it".into(),
            "warning: no card has DHCP or a name server: the server won't resolve names".into(),
            format!("image `{}` does not exist", none.display()),
        ]
    );
    let changes = lab.node.requests().into_iter().filter(|request| !request.endpoint.starts_with("GET ")).count();
    assert_eq!(changes, 0, "nothing was touched");
}

#[tokio::test]
async fn a_server_with_dhcp_needs_its_agent_to_be_asked() {
    let lab = Lab::new().await;
    lab.node.version("8.4.1");
    let mut order = lab.order();
    assert_eq!(lab.findings(&order).await, ["the token lacks VM.Monitor on /vms"]);
    lab.node.version("9.0.3");
    assert_eq!(lab.findings(&order).await, [""; 0]);
    lab.node.revoke("/vms", "VM.GuestAgent.Audit");
    assert_eq!(lab.findings(&order).await, ["the token lacks VM.GuestAgent.Audit on /vms"]);
    // Nothing can be sent there, for it does not say on which link.
    order.networks[0].address = Address::Static("fe80::7/64".parse().unwrap());
    order.networks[0].dns = vec!["fe80::1".parse().unwrap()];
    assert_eq!(lab.findings(&order).await, [""; 0]);
}

#[tokio::test]
async fn volumes_of_a_vm_that_is_gone_are_nobodys_to_take() {
    let lab = Lab::new().await;
    lab.node.add_volume("local-lvm:vm-100-disk-0", Some(100));
    let mut order = lab.order();
    place(&mut order).vmid = Some(100);
    let findings = lab.findings(&order).await;
    assert_eq!(findings, ["no VM has VMID 100, yet there are volumes of it: local-lvm:vm-100-disk-0"]);
    let mut order = lab.order();
    lab.create(&mut order).await.unwrap();
    assert_eq!(lab.node.vms().into_keys().collect::<Vec<_>>(), [101], "a VMID of our choice has none");
}

#[tokio::test]
async fn a_node_or_storage_that_is_not_there() {
    let lab = Lab::new().await;
    let mut order = lab.order();
    let options = place(&mut order);
    (options.storage, options.images) = ("tank".into(), "nfs".into());
    let findings = lab.findings(&order).await;
    let missing = |name| format!("pve1 has no storage `{name}`, or the token can't see it");
    assert!(findings.contains(&missing("tank")) && findings.contains(&missing("nfs")), "{findings:?}");
    place(&mut order).node = "pve9".into();
    assert_eq!(lab.findings(&order).await, ["there is no node `pve9`"]);
    lab.node.version("8.2.4");
    assert_eq!(lab.findings(&order).await, ["Proxmox VE 8.2.4 is too old: 8.4 or later is needed"]);
}
