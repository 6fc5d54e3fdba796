//! Addresses of servers with DHCP whose guest agent says nothing.

use super::lab::Lab;
use ostler_core::{
    model::{Power, mac_address},
    ports::{Consoles, Lifecycle},
};
use std::time::Duration;
use tokio::{io::AsyncWriteExt, net::UnixListener, time::timeout};

/// What a Debian 13 says on its serial console while it boots for the first time, from cloud-init's local stage on.
const CONSOLE: &str = include_str!("console-debian-13.txt");

#[tokio::test]
async fn on_the_node_the_serial_console_tells_it_and_is_kept() {
    let lab = Lab::on_the_host().await;
    let mut order = lab.order();
    let machine = lab.create(&mut order).await.unwrap();
    let console = UnixListener::bind(lab.node.sockets().join("100.serial0")).unwrap();
    lab.provider.start(&machine, &lab.log).await.unwrap();
    let (mut guest, _) = timeout(Duration::from_secs(30), console.accept()).await.unwrap().unwrap();
    let seen = lab.observe(&machine).await;
    assert_eq!((seen.power, seen.ssh), (Power::On, None));
    let words = "from its guest agent, the node's neighbours or its console";
    assert!(seen.detail.contains(words), "{}", seen.detail);

    let mac = mac_address(order.owner, "web1", 0);
    // Of a guest with two cards, and an IPv6 address on the first one.
    let said = CONSOLE.replace("52:54:00:6b:f2:bd", &mac);
    guest.write_all(said.as_bytes()).await.unwrap();
    let heard = async {
        while lab.observe(&machine).await.ssh.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), heard).await.expect("the console is listened to");
    assert_eq!(lab.observe(&machine).await.ssh, Some("203.0.113.20:22".parse().unwrap()));
    let tail = lab.provider.console_tail(&machine, 1).await.unwrap();
    assert_eq!(tail, ["[  OK  ] Reached target sysinit.target - System Initialization."]);

    // Its agent knows better, once it runs.
    lab.node.agent_says(&mac, "192.168.7.22");
    assert_eq!(lab.observe(&machine).await.ssh, Some("192.168.7.22:22".parse().unwrap()));
    // And who wants to look at the console by `qm terminal` can.
    lab.provider.scrub_seed(&machine).await.unwrap();
    let left = async { while guest.write_all(b"x").await.is_ok() {} };
    timeout(Duration::from_secs(30), left).await.expect("Ostler listens no more");
    assert_eq!(lab.provider.console_tail(&machine, 1).await.unwrap().len(), 1, "what was heard is still known");
}

#[tokio::test]
async fn from_elsewhere_only_the_agent_knows_and_it_is_told_what_helps() {
    let lab = Lab::new().await;
    let mut order = lab.order();
    let machine = lab.create(&mut order).await.unwrap();
    lab.provider.start(&machine, &lab.log).await.unwrap();
    let detail = lab.observe(&machine).await.detail;
    assert!(detail.contains("run Ostler on pve1, or give it a fixed one under `network`"), "{detail}");
}
