//! Machines that become templates, and what is cloned from them.

use super::lab::{Lab, MIB, place, said};
use ostler_core::{
    ids::ServerName,
    model::{ImageHandle, MachineOrder, Power, mac_address},
    ports::{Lifecycle, Templates},
    spec::TemplateDigest,
};
use ostler_testkit::pve::{Fault, TaskFault};
use std::sync::Arc;

const CLONE: &str = "POST /nodes/{node}/qemu/{vmid}/clone";
const NAME: &str = "template-0123456789ab (VM 100)";

fn digest() -> TemplateDigest {
    serde_json::from_value("0123456789ab".into()).unwrap()
}

/// A lab whose VM 100 is a template, and the order that it was made by.
async fn lab_with_template() -> (Lab, MachineOrder) {
    let lab = Lab::new().await;
    let order = template_on(&lab).await;
    (lab, order)
}

async fn template_on(lab: &Lab) -> MachineOrder {
    let mut order = lab.order();
    order.server = ServerName::parse("template-0123456789ab").unwrap();
    let machine = lab.create(&mut order).await.unwrap();
    lab.provider.make_template(&machine, &digest()).await.unwrap();
    order.found = Some(machine);
    order
}

/// An order of the same state that a template may serve.
fn order_like(lab: &Lab, template: &MachineOrder) -> MachineOrder {
    let mut order = lab.order();
    (order.owner, order.template, order.size.disk) = (template.owner, Some(digest()), 32 * MIB);
    order
}

#[tokio::test]
async fn a_machine_becomes_a_template_and_others_are_cloned_from_it() {
    let (lab, mut template) = lab_with_template().await;
    let machine = template.found.clone().unwrap();
    lab.provider.make_template(&machine, &digest()).await.unwrap();
    let config = &lab.node.vms()[&100];
    assert_eq!((config["template"].as_str(), config["tags"].as_str()), ("1", "ostler-0123456789ab"));
    assert!(!config.contains_key("scsi1") && !config.contains_key("onboot"), "{config:?}");
    assert_eq!(lab.left().1, ["local-lvm:base-100-disk-0"], "its seed is gone");
    let seen = lab.observe(&machine).await;
    assert_eq!((seen.power, seen.detail.as_str()), (Power::Off, "VM 100 on pve1, a template"));

    let mut order = order_like(&lab, &template);
    place(&mut order).tags.clear();
    assert_eq!(lab.findings(&order).await, [""; 0]);
    assert_eq!(lab.provider.template(&order).await.unwrap().as_deref(), Some(NAME));
    let before = lab.node.requests_for("POST /nodes/{node}/qemu").len();
    let clone = lab.create(&mut order).await.unwrap();
    assert_eq!(lab.node.requests_for("POST /nodes/{node}/qemu").len(), before, "no disk is imported");
    assert!(lab.log.notices().contains(&format!("it is cloned from {NAME}")), "{:?}", lab.log.notices());
    assert_eq!(lab.node.requests_for(CLONE)[0].parameters["full"], "0");
    let config = &lab.node.vms()[&101];
    let description = &config["description"];
    assert!(description.contains(&order.operation.to_string()), "{description}");
    assert!(!description.contains(&template.operation.to_string()), "{description}");
    let mac = mac_address(order.owner, "web1", 0).to_uppercase();
    assert_eq!((config["name"].as_str(), config["net0"].as_str()), ("web1", &*format!("virtio={mac},bridge=vmbr0")));
    assert!(config["scsi0"].ends_with("size=32M"), "{config:?}");
    assert!(config["scsi1"].contains(&order.operation.to_string()), "its own seed: {config:?}");
    assert!(!config.contains_key("tags") && !config.contains_key("template"), "{config:?}");
    lab.provider.start(&clone, &lab.log).await.unwrap();

    // The blocks of a thin volume belong to all who have them.
    lab.provider.remove(&template).await.unwrap();
    assert_eq!(lab.left().0, [101]);
    lab.provider.remove(&template).await.unwrap();
    template.found = Some(clone);
    lab.provider.remove(&template).await.unwrap();
    assert_eq!(lab.left(), (vec![], vec![]));
}

#[tokio::test]
async fn a_template_stays_as_long_as_clones_hang_on_it() {
    let lab = Lab::new().await;
    lab.node.storage("local-lvm", |storage| storage.kind = "zfspool");
    let template = template_on(&lab).await;
    let mut order = order_like(&lab, &template);
    lab.create(&mut order).await.unwrap();
    assert!(lab.left().1.contains(&"local-lvm:base-100-disk-0/vm-101-disk-0".to_owned()), "{:?}", lab.left());
    let failure = lab.provider.remove(&template).await.unwrap_err();
    assert_eq!(said(&failure), "template VM 100 on pve1 has clones that share its disk");
    assert!(failure.advice(|action| format!("{action:?}")).is_some_and(|hint| hint.contains("destroy the servers")));
    lab.remove(&mut order).await.unwrap();
    lab.provider.remove(&template).await.unwrap();
    assert_eq!(lab.left(), (vec![], vec![]));
}

#[tokio::test]
async fn where_disks_can_not_be_shared_they_are_copied() {
    let lab = Lab::new().await;
    lab.node.storage("local-lvm", |storage| storage.kind = "lvm");
    let template = template_on(&lab).await;
    let mut order = order_like(&lab, &template);
    lab.create(&mut order).await.unwrap();
    let seen = lab.node.requests_for(CLONE).remove(0).parameters;
    assert_eq!((seen["full"].as_str(), seen["storage"].as_str()), ("1", "local-lvm"));
    lab.provider.remove(&template).await.unwrap();
    assert_eq!(lab.left().0, [101]);
}

#[tokio::test]
async fn only_a_template_that_fits_is_used() {
    let (lab, template) = lab_with_template().await;
    let mut small = order_like(&lab, &template);
    small.size.disk = 8 * MIB;
    let words = format!("warning: {NAME} is not used: its disk has 16 MiB, and `web1` wants 8 MiB");
    assert_eq!(lab.findings(&small).await, [words]);
    assert_eq!(lab.provider.template(&small).await.unwrap(), None);
    lab.create(&mut small).await.unwrap();

    let mut of_another_state = lab.order();
    of_another_state.template = Some(digest());
    assert_eq!(lab.provider.template(&of_another_state).await.unwrap(), None, "whoever else made it");
    let mut other = order_like(&lab, &template);
    other.template = Some(serde_json::from_value("ffffffffffff".into()).unwrap());
    assert_eq!(lab.provider.template(&other).await.unwrap(), None);
    assert_eq!(lab.node.requests_for(CLONE).len(), 0);
}

#[tokio::test]
async fn who_clones_needs_the_privilege_for_it() {
    let (lab, template) = lab_with_template().await;
    lab.node.revoke("/vms", "VM.Clone");
    let mut order = order_like(&lab, &template);
    assert_eq!(lab.findings(&order).await, ["the token lacks VM.Clone on /vms/100"]);
    order.template = None;
    assert_eq!(lab.findings(&order).await, [""; 0]);
}

#[tokio::test]
async fn a_template_that_has_gone_meanwhile_is_told() {
    let (lab, template) = lab_with_template().await;
    let mut order = order_like(&lab, &template);
    lab.gets(&order, &ImageHandle("qemu/100".into()));
    lab.provider.remove(&template).await.unwrap();
    let failure = lab.create(&mut order).await.unwrap_err();
    assert_eq!(said(&failure), "template VM 100 is no longer on pve1");
    lab.remove(&mut order).await.unwrap();
    assert_eq!(lab.left(), (vec![], vec![]));
}

#[tokio::test]
async fn a_lost_answer_makes_no_second_clone() {
    let (lab, template) = lab_with_template().await;
    lab.node.fail(CLONE, Fault::ActAndStall);
    lab.create(&mut order_like(&lab, &template)).await.unwrap();
    assert_eq!((lab.left().0, lab.node.requests_for(CLONE).len()), (vec![100, 101], 1));
}

#[tokio::test]
async fn an_ostler_that_was_killed_finds_its_clone() {
    let (lab, template) = lab_with_template().await;
    let lab = Arc::new(lab);
    let mut order = order_like(&lab, &template);
    lab.node.fail_task("qmclone", TaskFault::Held);
    let (other, mut dying) = (Arc::clone(&lab), order.clone());
    let killed = tokio::spawn(async move { other.create(&mut dying).await });
    while lab.node.requests_for(CLONE).is_empty() {
        tokio::task::yield_now().await;
    }
    killed.abort();
    assert_eq!(lab.left_of(&mut order).await[0], "VM 101 on pve1, being made");
    lab.node.release();
    lab.create_again(&mut order).await.unwrap();
    assert_eq!((lab.left().0, lab.node.requests_for(CLONE).len()), (vec![100, 101], 1));
    assert!(lab.node.vms()[&101]["scsi0"].ends_with("size=32M"), "what comes after the cloning is done, too");
    lab.remove(&mut order).await.unwrap();
    assert_eq!(lab.left(), (vec![100], vec!["local-lvm:base-100-disk-0".to_owned()]));
}

#[tokio::test]
async fn a_worker_that_was_killed_leaves_a_lock_that_only_the_host_can_take_off() {
    let (lab, template) = lab_with_template().await;
    lab.node.fail_task("qmclone", TaskFault::Killed);
    let mut order = order_like(&lab, &template);
    lab.create(&mut order).await.unwrap_err();
    let failure = lab.create_again(&mut order).await.unwrap_err();
    let words = "VM 101 on pve1 is half made and locked (`lock: clone`): its worker was killed on the node";
    assert_eq!(said(&failure), words);
    let hint = failure.advice(|action| format!("{action:?}")).unwrap();
    assert!(hint.contains("`qm unlock 101 && qm destroy 101 && pvesm free local-lvm:vm-101-disk-0`"), "{hint}");

    let lab = Lab::on_the_host().await;
    let template = template_on(&lab).await;
    lab.node.fail_task("qmclone", TaskFault::Killed);
    let mut order = order_like(&lab, &template);
    lab.create(&mut order).await.unwrap_err();
    lab.create_again(&mut order).await.unwrap();
    assert_eq!(lab.left().0, [100, 101]);
    lab.remove(&mut order).await.unwrap();
    assert_eq!(lab.left(), (vec![100], vec!["local-lvm:base-100-disk-0".to_owned()]));
}

#[tokio::test]
async fn several_are_cloned_at_once() {
    let (lab, template) = lab_with_template().await;
    let mut orders = [order_like(&lab, &template), order_like(&lab, &template)];
    let [one, other] = &mut orders;
    tokio::try_join!(lab.create(one), lab.create(other)).unwrap();
    assert_eq!(lab.left().0, [100, 101, 102]);
    for (vmid, config) in lab.node.vms().into_iter().filter(|(vmid, _)| *vmid != 100) {
        let owner = orders.iter().find(|order| config["description"].contains(&order.operation.to_string())).unwrap();
        assert!(config["scsi1"].contains(&owner.operation.to_string()), "VM {vmid} has its own seed");
    }
}
