//! The vendor's firewall in front of a server.

use super::lab::{Lab, tcp};
use ostler_core::{
    model::OpenPort,
    ports::{Fence, Lifecycle},
    spec::Proto,
};

/// What it lets in: `tcp 22`.
fn rules(lab: &Lab) -> Vec<String> {
    let firewalls = lab.cloud.resources("firewalls");
    assert_eq!(firewalls.len(), 1);
    let rules = firewalls.into_values().next().unwrap()["rules"].clone();
    let mut rules: Vec<String> = rules
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| {
            assert_eq!(
                (&rule["direction"], &rule["source_ips"]),
                (&"in".into(), &["0.0.0.0/0", "::/0"].as_slice().into())
            );
            format!("{} {}", rule["protocol"].as_str().unwrap(), rule["port"].as_str().unwrap_or("-"))
        })
        .collect();
    rules.sort();
    rules
}

#[tokio::test]
async fn it_lets_in_exactly_what_it_is_told() {
    let lab = Lab::new().await;
    let mut order = lab.order();
    let machine = lab.create(&mut order).await.unwrap();
    assert_eq!(rules(&lab), ["icmp -", "tcp 22", "tcp 80"]);
    assert_eq!(lab.server()["public_net"]["firewalls"].as_array().unwrap().len(), 1, "from its first packet on");
    let openings = [tcp(2222), OpenPort { port: 53, proto: Proto::Udp }];
    lab.provider.admit(&machine, &openings).await.unwrap();
    assert_eq!(rules(&lab), ["icmp -", "tcp 2222", "udp 53"]);
    let before = lab.cloud.requests_for("POST /firewalls/{id}/actions/set_rules").len();
    lab.provider.admit(&machine, &openings).await.unwrap();
    assert_eq!(lab.cloud.requests_for("POST /firewalls/{id}/actions/set_rules").len(), before, "nothing to change");
    let row: Vec<OpenPort> = (8000..=8100).chain([9000]).map(tcp).collect();
    lab.provider.admit(&machine, &row).await.unwrap();
    assert_eq!(rules(&lab), ["icmp -", "tcp 8000-8100", "tcp 9000"], "the vendor takes 50 rules at most");
    lab.provider.admit(&machine, &[]).await.unwrap();
    assert_eq!(rules(&lab), ["icmp -"]);
}

#[tokio::test]
async fn a_server_without_one_gets_it_when_something_is_to_be_closed() {
    let lab = Lab::new().await;
    let mut order = lab.order_with(|options| options.firewall = false);
    let machine = lab.create(&mut order).await.unwrap();
    assert!(lab.cloud.resources("firewalls").is_empty());
    lab.provider.admit(&machine, &[tcp(443)]).await.unwrap();
    lab.provider.admit(&machine, &[tcp(443)]).await.unwrap();
    assert_eq!(rules(&lab), ["icmp -", "tcp 443"]);
    assert_eq!(lab.server()["public_net"]["firewalls"].as_array().unwrap().len(), 1);
    lab.provider.remove(&order).await.unwrap();
    assert_eq!(lab.left(), [].into());
}
