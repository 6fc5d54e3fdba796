//! Whatever happens while a server is made: one comes of it, and nothing is left behind.

use super::lab::{Lab, said};
use ostler_core::ports::{Lifecycle, Provider};
use ostler_testkit::hcloud::{ActionFault, Fault};
use std::sync::Arc;

const CREATE: &str = "POST /servers";

#[tokio::test]
async fn what_is_out_of_stock_gives_way_to_the_next_choice() {
    let lab = Lab::new().await;
    lab.cloud.sell_out("cx23", "fsn1");
    lab.cloud.fail(CREATE, Fault::Nothing);
    lab.cloud.fail(CREATE, Fault::Error("placement_error", "error during placement"));
    let mut order = lab.order_with(|options| {
        options.types = vec!["cx23".into(), "cax11".into()];
        options.locations = vec!["fsn1".into(), "nbg1".into()];
    });
    lab.create(&mut order).await.unwrap();
    let server = lab.server();
    assert_eq!((&server["server_type"]["name"], &server["location"]["name"]), (&"cax11".into(), &"fsn1".into()));
    assert_eq!(server["image"]["architecture"], "arm");
    assert_eq!(
        lab.log.notices(),
        ["cx23 in fsn1 can't be had now (resource_unavailable)", "cx23 in nbg1 can't be had now (placement_error)"]
    );

    // Stock may also end in the middle of it.
    let lab = Lab::new().await;
    lab.cloud.fail_action("create_server", ActionFault::Error("resource_unavailable", "error during placement"));
    let mut order = lab.order_with(|options| options.locations.push("hel1".into()));
    lab.create(&mut order).await.unwrap();
    assert_eq!(lab.server()["location"]["name"], "hel1");

    let lab = Lab::new().await;
    lab.cloud.fail_times(CREATE, 2, Fault::Error("resource_unavailable", "error during placement"));
    let mut order = lab.order_with(|options| options.locations.push("hel1".into()));
    let failure = lab.create(&mut order).await.unwrap_err();
    assert_eq!(said(&failure), "none of these can be had at Hetzner now: cx23 in fsn1, cx23 in hel1");
    lab.provider.remove(&order).await.unwrap();
    assert_eq!(lab.left(), [].into());
}

#[tokio::test]
async fn a_lost_answer_makes_no_twin() {
    for endpoint in [CREATE, "POST /firewalls", "POST /ssh_keys"] {
        for fault in [Fault::ActAndDrop, Fault::ActAndStall, Fault::Drop, Fault::Stall] {
            let lab = Lab::new().await;
            lab.cloud.fail(endpoint, fault.clone());
            let mut order = lab.order();
            lab.create(&mut order).await.unwrap_or_else(|failure| panic!("{endpoint} {fault:?}: {failure:?}"));
            let (left, server) = (lab.left(), lab.server());
            assert_eq!((left["servers"], left["firewalls"], left["ssh_keys"]), (1, 1, 1), "{endpoint} {fault:?}");
            assert_eq!(server["public_net"]["firewalls"].as_array().unwrap().len(), 1, "{endpoint} {fault:?}");
            lab.provider.remove(&order).await.unwrap();
            assert_eq!(lab.left(), [].into(), "{endpoint} {fault:?}");
        }
    }
}

#[tokio::test]
async fn an_ostler_that_was_killed_finds_what_it_made() {
    let lab = Arc::new(Lab::new().await);
    let mut order = lab.order();
    lab.cloud.fail_action("create_server", ActionFault::Held);
    let (other, mut dying) = (Arc::clone(&lab), order.clone());
    let killed = tokio::spawn(async move { other.create(&mut dying).await });
    while lab.cloud.requests_for(CREATE).is_empty() {
        tokio::task::yield_now().await;
    }
    killed.abort();
    order.found = lab.log.kept();
    lab.cloud.release();
    let machine = lab.create(&mut order).await.unwrap();
    assert_eq!(lab.cloud.requests_for(CREATE).len(), 1);
    assert_eq!(lab.create(&mut order).await.unwrap(), machine);
    lab.provider.remove(&order).await.unwrap();
    assert_eq!(lab.left(), [].into());
}

#[tokio::test]
async fn a_server_whose_making_failed_at_the_vendor_is_made_anew() {
    let lab = Lab::new().await;
    lab.cloud.fail_action("create_server", ActionFault::Error("action_failed", "it broke"));
    let mut order = lab.order();
    let failure = lab.create(&mut order).await.unwrap_err();
    assert_eq!(said(&failure), "to make the server web1 failed at Hetzner (action_failed): it broke");
    lab.create(&mut order).await.unwrap();
    lab.server();
    lab.provider.remove(&order).await.unwrap();
    assert_eq!(lab.left(), [].into());
}

#[tokio::test]
async fn a_name_that_somebody_has_is_refused_and_theirs_is_untouched() {
    let lab = Lab::new().await;
    let mut theirs = lab.order();
    lab.create(&mut theirs).await.unwrap();
    let words = "the project has a server `web1` already, which Ostler did not make for this state";
    let mut order = lab.order();
    assert_eq!(lab.findings(&order).await, [words]);
    assert_eq!(lab.findings(&theirs).await, [""; 0]);
    let failure = lab.create(&mut order).await.unwrap_err();
    assert_eq!(said(&failure), words);
    lab.provider.remove(&order).await.unwrap();
    assert_eq!(lab.left()["servers"], 1);
    assert_eq!(lab.server()["labels"]["ostler/operation"], theirs.operation.to_string());
    assert_eq!(lab.left()["firewalls"], 1);
}

#[tokio::test]
async fn too_much_user_data_is_refused_before_anything_is_made() {
    let lab = Lab::new().await;
    let mut order = lab.order();
    order.seed.user_data = "x".repeat((32 << 10) + 1);
    let failure = lab.create(&mut order).await.unwrap_err();
    assert_eq!(said(&failure), "the user-data of `web1` has 32769 bytes, and Hetzner takes 32768");
    assert!(lab.cloud.requests().is_empty());
    order.found = None;
    lab.provider.remove(&order).await.unwrap();
    assert!(lab.provider.origin().lifecycle().is_some() && lab.cloud.requests().is_empty(), "nothing was begun");
}
