//! What the node refuses, and how it says so.

use super::lab::{Lab, place, said};
use ostler_core::ports::{Lifecycle, Provider};
use ostler_testkit::pve::{Fault, TaskFault};

const CREATE: &str = "POST /nodes/{node}/qemu";

#[tokio::test]
async fn a_vmid_of_the_spec_that_is_taken_is_an_error_and_one_of_ours_is_the_next() {
    let lab = Lab::new().await;
    lab.node.add_vm(100, "somebody's");
    let mut order = lab.order();
    place(&mut order).vmid = Some(100);
    let failure = lab.create(&mut order).await.unwrap_err();
    assert_eq!(said(&failure), "VMID 100 is taken");
    lab.remove(&mut order).await.unwrap();
    assert_eq!(lab.left().0, [100], "somebody's stays");

    // Somebody takes the VMID between the question and the request.
    let lab = Lab::new().await;
    let taken = "unable to create VM 100 - VM 100 already exists on node 'pve1'";
    lab.node.fail(CREATE, Fault::Refuse(500, taken));
    lab.create(&mut lab.order()).await.unwrap();
    assert_eq!(lab.vmids(), [100, 101], "each was kept before it was asked for");
    assert_eq!(lab.left().0, [101]);
}

#[tokio::test]
async fn words_in_the_status_line_and_parameters_at_fault_are_told() {
    let lab = Lab::new().await;
    lab.node.fail(CREATE, Fault::Refuse(500, "unable to create VM 100 - no space left on 'local-lvm'"));
    let failure = lab.create(&mut lab.order()).await.unwrap_err();
    let expected = "`POST /nodes/pve1/qemu` was refused (500): unable to create VM 100 - no space left on 'local-lvm'";
    assert_eq!(said(&failure), expected);
    let mut order = lab.order();
    place(&mut order).tags = vec!["ü".into()];
    let failure = lab.create(&mut order).await.unwrap_err();
    assert!(
        said(&failure).starts_with("`POST /nodes/pve1/qemu` was refused (400): tags: invalid format"),
        "{failure:?}"
    );
    lab.node.revoke("/vms", "VM.Allocate");
    let failure = lab.create(&mut lab.order()).await.unwrap_err();
    assert!(said(&failure).contains("Permission check failed (/vms/100, VM.Allocate)"), "{failure:?}");
}

#[tokio::test]
async fn a_task_that_fails_is_told_with_its_own_words_and_leaves_nothing() {
    let lab = Lab::new().await;
    lab.node.fail_task("qmcreate", TaskFault::Error("unable to create VM 100 - lvcreate error: no space"));
    let mut order = lab.order();
    let failure = lab.create(&mut order).await.unwrap_err();
    assert_eq!(said(&failure), "the task to create VM 100 failed: unable to create VM 100 - lvcreate error: no space");
    lab.remove(&mut order).await.unwrap();
    assert_eq!(lab.left(), (vec![], vec![]));
}

#[tokio::test]
async fn what_only_looks_is_asked_again() {
    let lab = Lab::new().await;
    for fault in [Fault::Refuse(596, "Broken pipe"), Fault::Stall] {
        lab.node.fail("GET /version", fault);
    }
    assert_eq!(lab.findings(&lab.order()).await, [""; 0]);
    for _ in 0..3 {
        lab.node.fail("GET /version", Fault::Refuse(596, "Broken pipe"));
    }
    assert_eq!(lab.refusal(&lab.order()).await, "`GET /version` was refused (596): Broken pipe");
}

#[tokio::test]
async fn the_log_of_a_task_is_told() {
    let lab = Lab::new().await;
    lab.create(&mut lab.order()).await.unwrap();
    let notices = lab.log.notices();
    assert!(notices.iter().any(|line| line.starts_with("pve1: scsi0: successfully created disk")), "{notices:?}");
}

#[tokio::test]
async fn somebody_else_s_vm_of_the_same_number_is_left_alone() {
    let lab = Lab::new().await;
    let mut order = lab.order();
    let machine = lab.create(&mut order).await.unwrap();
    order.found = Some(machine.clone());
    lab.provider.remove(&order).await.unwrap();
    lab.node.add_vm(100, "somebody's");
    lab.node.add_volume("local-lvm:vm-100-disk-0", Some(100));
    assert!(lab.provider.start(&machine, &lab.log).await.is_err());
    lab.provider.remove(&order).await.unwrap();
    assert_eq!(lab.left(), (vec![100], vec!["local-lvm:vm-100-disk-0".to_owned()]));
}

#[tokio::test]
async fn a_vm_that_was_migrated_is_neither_gone_nor_left_behind() {
    let lab = Lab::new().await;
    let mut order = lab.order();
    let machine = lab.create(&mut order).await.unwrap();
    lab.node.migrate(100, "pve2");
    let failure = lab.remove(&mut order).await.unwrap_err();
    assert_eq!(said(&failure), "VM 100 was migrated from pve1 to pve2");
    assert!(
        failure
            .advice(|action| format!("{action:?}"))
            .is_some_and(|hint| hint.contains("`qm migrate 100 pve1` on pve2"))
    );
    assert!(lab.provider.observe(&[&machine]).await.is_err());
    assert_eq!(lab.left().1.len(), 2, "nothing of it was removed");
    lab.node.migrate(100, "pve1");
    lab.remove(&mut order).await.unwrap();
    assert_eq!(lab.left(), (vec![], vec![]));
}
