//! The vendor's firewall in front of a server: one for each, given when the server is made, and never by a label that others could have.

use super::{
    Machine,
    client::Client,
    error::HetznerError,
    labels, resources,
    wire::{Acted, Resource, Rule},
};
use ostler_core::{ports::OpenPort, spec::Proto};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Everybody.
const ANYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// The firewall of a machine that is to be made, with these openings.
pub async fn ensure(client: &Client, machine: &Machine, openings: &[OpenPort]) -> Result<u64, HetznerError> {
    if let Some(known) = find(client, machine).await? {
        set(client, &known, openings).await?;
        return Ok(known.id);
    }
    let name = format!("ostler-{}-{}", machine.server, resources::short(machine));
    let body = json!({ "name": name, "rules": shown(openings), "labels": labels::of_server(machine, "firewall") });
    match client.post::<Value>("/firewalls", body).await {
        // An answer was lost.
        Err(error) if error.code() == "uniqueness_error" => Ok(find(client, machine).await?.ok_or(error)?.id),
        made => {
            let mut made = made?;
            let id = made["firewall"]["id"].as_u64().unwrap_or_default();
            let acted: Acted = serde_json::from_value(made.take()).unwrap_or_default();
            client.finish(acted.all(), "make the firewall").await?;
            Ok(id)
        }
    }
}

/// Lets in exactly these to a machine that is there. One that has no firewall of ours gets one.
pub async fn admit(client: &Client, machine: &Machine, server: u64, openings: &[OpenPort]) -> Result<(), HetznerError> {
    let id = ensure(client, machine, openings).await?;
    let Some(firewall) = find(client, machine).await? else { return Ok(()) };
    let applied = firewall.applied_to.iter().filter_map(|to| to.server.as_ref());
    if applied.into_iter().any(|one| one.id == server) {
        return Ok(());
    }
    let path = format!("/firewalls/{id}/actions/apply_to_resources");
    let body = json!({ "apply_to": [{ "type": "server", "server": { "id": server } }] });
    match client.act(&path, body, "put the firewall in front of the server").await {
        Err(error) if error.code() == "firewall_already_applied" => Ok(()),
        applied => applied,
    }
}

/// That of a machine which has none in front of it, to be filled by [`admit`]. One that is there stays as it is.
pub async fn empty(client: &Client, machine: &Machine) -> Result<u64, HetznerError> {
    match find(client, machine).await? {
        Some(there) => Ok(there.id),
        None => ensure(client, machine, &[]).await,
    }
}

/// Takes it away from the machine, and removes it.
pub async fn remove(client: &Client, machine: &Machine, server: u64) -> Result<(), HetznerError> {
    let Some(firewall) = find(client, machine).await? else { return Ok(()) };
    let path = format!("/firewalls/{}", firewall.id);
    let body = json!({ "remove_from": [{ "type": "server", "server": { "id": server } }] });
    let what = "take the firewall away from the server";
    match client.act(&format!("{path}/actions/remove_from_resources"), body, what).await {
        Err(error) if error.code() == "firewall_already_removed" => {}
        removed => removed?,
    }
    super::remove::until_free(client, &path, "remove the firewall").await
}

async fn find(client: &Client, machine: &Machine) -> Result<Option<Resource>, HetznerError> {
    let selector = labels::made_by(machine.operation, machine.owner);
    Ok(client.list("/firewalls", &[("label_selector", &selector)]).await?.into_iter().next())
}

async fn set(client: &Client, firewall: &Resource, openings: &[OpenPort]) -> Result<(), HetznerError> {
    let (mut has, mut wanted) = (firewall.rules.clone(), rules(openings));
    has.iter_mut().for_each(|rule| rule.source_ips.sort());
    has.sort();
    wanted.sort();
    if has == wanted {
        return Ok(());
    }
    let path = format!("/firewalls/{}/actions/set_rules", firewall.id);
    client.act(&path, json!({ "rules": shown(openings) }), "change the firewall").await
}

/// One rule for each port, or for ports in a row: the vendor takes 50 at most. ICMP has no ports: IPv6 does not work without it, and what it
/// tells is no secret.
fn rules(openings: &[OpenPort]) -> Vec<Rule> {
    let rule = |protocol: &str, port: Option<String>| Rule {
        direction: "in".to_owned(),
        protocol: protocol.to_owned(),
        port,
        source_ips: ANYWHERE.map(str::to_owned).into(),
    };
    let mut rules = vec![rule("icmp", None)];
    for (proto, word) in [(Proto::Tcp, "tcp"), (Proto::Udp, "udp")] {
        let ports: BTreeSet<u16> = openings.iter().filter(|it| it.proto == proto).map(|it| it.port).collect();
        let mut rows: Vec<(u16, u16)> = Vec::new();
        for port in ports {
            match rows.last_mut() {
                Some((_, last)) if u32::from(*last) + 1 == u32::from(port) => *last = port,
                _ => rows.push((port, port)),
            }
        }
        rules.extend(rows.into_iter().map(|(first, last)| {
            let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
            rule(word, Some(ports))
        }));
    }
    rules
}

fn shown(openings: &[OpenPort]) -> Value {
    let shown = |rule: Rule| {
        let mut shown =
            json!({ "direction": rule.direction, "protocol": rule.protocol, "source_ips": rule.source_ips });
        if let Some(port) = rule.port {
            shown["port"] = json!(port);
        }
        shown
    };
    rules(openings).into_iter().map(shown).collect()
}
