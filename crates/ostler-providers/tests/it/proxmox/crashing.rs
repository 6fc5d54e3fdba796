//! Answers that never come, workers that are killed, and Ostlers that are.

use super::lab::{Lab, place, said};
use ostler_testkit::pve::{Fault, TaskFault};
use std::sync::Arc;

const CREATE: &str = "POST /nodes/{node}/qemu";

#[tokio::test]
async fn a_lost_answer_makes_no_twin() {
    let lab = Lab::new().await;
    lab.node.fail(CREATE, Fault::ActAndStall);
    lab.create(&mut lab.order()).await.unwrap();
    assert_eq!((lab.left().0, lab.node.requests_for(CREATE).len()), (vec![100], 1));
}

#[tokio::test]
async fn a_request_that_was_lost_is_made_by_the_next_attempt() {
    let lab = Lab::new().await;
    lab.node.fail(CREATE, Fault::Refuse(596, "Connection timed out"));
    let mut order = lab.order();
    let failure = lab.create(&mut order).await.unwrap_err();
    assert!(said(&failure).contains("596"), "{failure:?}");
    lab.create_again(&mut order).await.unwrap();
    assert_eq!(lab.left().0, [100]);
}

#[tokio::test]
async fn an_ostler_that_was_killed_finds_what_it_made() {
    let lab = Arc::new(Lab::new().await);
    let mut order = lab.order();
    // Killed while the task runs: all that is left is what was kept.
    lab.node.fail_task("qmcreate", TaskFault::Held);
    let (other, mut dying) = (Arc::clone(&lab), order.clone());
    let killed = tokio::spawn(async move { other.create(&mut dying).await });
    while lab.node.requests_for(CREATE).is_empty() {
        tokio::task::yield_now().await;
    }
    killed.abort();
    assert_eq!(lab.left_of(&mut order).await[0], "VM 100 on pve1, being made");
    lab.node.release();
    lab.create_again(&mut order).await.unwrap();
    assert_eq!((lab.left().0, lab.node.requests_for(CREATE).len()), (vec![100], 1));
    // And once more, now that it is made.
    lab.create_again(&mut order).await.unwrap();
    assert_eq!((lab.left().0, lab.node.requests_for(CREATE).len()), (vec![100], 1));
    lab.remove(&mut order).await.unwrap();
    assert_eq!(lab.left(), (vec![], vec![]));
}

#[tokio::test]
async fn a_killed_worker_leaves_a_lock_that_only_the_host_can_take_off() {
    let lab = Lab::new().await;
    lab.node.fail_task("qmcreate", TaskFault::Killed);
    let mut order = lab.order();
    let failure = lab.create(&mut order).await.unwrap_err();
    assert_eq!(said(&failure), "the task to create VM 100 failed: unexpected status");
    let seed = format!("local:iso/ostler-{}.iso", order.operation);
    let left = lab.left_of(&mut order).await;
    assert_eq!(left, ["VM 100 on pve1, half made", "local-lvm:vm-100-disk-0", &seed]);
    for failure in [lab.create_again(&mut order).await.unwrap_err(), lab.remove(&mut order).await.unwrap_err()] {
        let words = "VM 100 on pve1 is half made and locked (`lock: create`): its worker was killed on the node";
        assert_eq!(said(&failure), words);
        let hint = failure.advice(|action| format!("{action:?}")).unwrap();
        assert!(hint.contains("`qm unlock 100 && qm destroy 100 && pvesm free local-lvm:vm-100-disk-0`"), "{hint}");
    }

    let lab = Lab::on_the_host().await;
    lab.node.add_volume("local-lvm:vm-200-disk-0", Some(200));
    lab.node.fail_task("qmcreate", TaskFault::Killed);
    let mut order = lab.order();
    lab.create(&mut order).await.unwrap_err();
    assert_eq!(lab.left().1.len(), 3, "half a disk, the seed, and somebody's");
    lab.remove(&mut order).await.unwrap();
    assert_eq!(lab.left(), (vec![], vec!["local-lvm:vm-200-disk-0".to_owned()]));
    lab.node.fail_task("qmcreate", TaskFault::Killed);
    let mut order = lab.order();
    lab.create(&mut order).await.unwrap_err();
    lab.create_again(&mut order).await.unwrap();
    assert_eq!(lab.left().0, [100]);
}

#[tokio::test]
async fn a_locked_vm_of_somebody_else_is_none_of_ours() {
    let lab = Lab::new().await;
    // Somebody with the same token made one before, and it broke.
    lab.node.fail_task("qmcreate", TaskFault::Killed);
    let mut other = lab.order();
    place(&mut other).vmid = Some(100);
    lab.create(&mut other).await.unwrap_err();
    let mut order = lab.order();
    place(&mut order).vmid = Some(100);
    let failure = lab.create(&mut order).await.unwrap_err();
    assert_eq!(said(&failure), "VMID 100 is taken");
    let seed = format!("local:iso/ostler-{}.iso", order.operation);
    assert_eq!(lab.left_of(&mut order).await, [seed]);
    lab.remove(&mut order).await.unwrap();
    assert_eq!(lab.left().0, [100], "the other's stays for the other to remove");
}

#[tokio::test]
async fn two_at_once_get_a_vmid_each() {
    let lab = Lab::new().await;
    let (mut one, mut other) = (lab.order(), lab.order());
    let (first, second) = tokio::join!(lab.create(&mut one), lab.create(&mut other));
    let vmid = |record: ostler_core::model::MachineRecord| {
        serde_json::from_str::<serde_json::Value>(&record.0).unwrap()["vmid"].as_u64().unwrap()
    };
    let mut vmids = [vmid(first.unwrap()), vmid(second.unwrap())];
    vmids.sort_unstable();
    assert_eq!(vmids, [100, 101]);
    for (vmid, config) in lab.node.vms() {
        let owner = if config["description"].contains(&one.operation.to_string()) { &one } else { &other };
        assert!(config["scsi1"].contains(&owner.operation.to_string()), "VM {vmid} has its own seed");
    }
}
