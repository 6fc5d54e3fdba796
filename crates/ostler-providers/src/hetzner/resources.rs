//! What a server is made with: keys, networks, placement groups and addresses. Each is found by its name or made, and asking
//! twice finds what the first time made.

use super::{
    Machine,
    client::Client,
    error::HetznerError,
    labels,
    wire::{Acted, Resource, Server},
};
use ostler_core::spec::{HetznerAddress, HetznerNetwork, HetznerOptions};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// A volume or a Primary IP that is there already, which says where the server must be.
pub struct Bound {
    /// For people: ``volume `data` ``.
    pub what: String,
    /// Where it is.
    pub location: String,
}

/// Primary IPs of the spec that are there: IPv4 and IPv6.
#[derive(Clone, Copy, Default)]
pub struct Addresses(pub [Option<u64>; 2]);

/// The vendor's key for what Ostler logs in with. It must have one: without any, it makes a password for root.
///
/// A key is unique by its fingerprint. One that somebody else put there serves as well, and stays theirs.
pub async fn login_key(client: &Client, machine: &Machine, public: &str) -> Result<u64, HetznerError> {
    let name = format!("ostler-{}-{}", machine.server, short(machine));
    let labels = labels::of_server(machine, "login");
    let body = json!({ "name": name, "public_key": public, "labels": labels });
    match client.post::<Value>("/ssh_keys", body).await {
        Err(error) if error.code() == "uniqueness_error" => {
            let keys: Vec<Resource> = client.list("/ssh_keys", &[]).await?;
            let same = |key: &&Resource| blob(&key.public_key) == blob(public);
            keys.iter().find(same).map(|key| key.id).ok_or(error)
        }
        made => Ok(made?["ssh_key"]["id"].as_u64().unwrap_or_default()),
    }
}

/// Type and key, without the comment.
fn blob(public: &str) -> Vec<&str> {
    public.split_whitespace().take(2).collect()
}

/// Tells what is made for one machine from what was made for another of the same name.
pub fn short(machine: &Machine) -> String {
    // Ids begin with the time, so their ends differ most.
    let id = machine.operation.to_string();
    id[id.len().saturating_sub(8)..].to_owned()
}

/// Whatever has this name; where there is nothing, `body` is made, under `key` of the answer.
pub async fn ensure<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    key: &str,
    name: &str,
    body: Value,
) -> Result<T, HetznerError> {
    if let Some(found) = client.named(path, name).await? {
        return Ok(found);
    }
    match client.post::<Value>(path, body).await {
        // Somebody was faster, or an earlier answer was lost.
        Err(error) if error.code() == "uniqueness_error" => client.named(path, name).await?.ok_or(error),
        made => {
            let mut made = made?;
            let what = format!("make {name}");
            let acted: Acted = serde_json::from_value(made.clone()).unwrap_or_default();
            client.finish(acted.all(), &what).await?;
            serde_json::from_value(made[key].take())
                .map_err(|source| HetznerError::Garbled { what: format!("POST {path}"), source })
        }
    }
}

/// The placement group of this name.
pub async fn placement(client: &Client, machine: &Machine, name: &str) -> Result<u64, HetznerError> {
    let body = json!({ "name": name, "type": "spread", "labels": labels::shared(machine, "placement") });
    Ok(ensure::<Resource>(client, "/placement_groups", "placement_group", name, body).await?.id)
}

/// The network of this name.
pub async fn network(client: &Client, machine: &Machine, wanted: &HetznerNetwork) -> Result<Resource, HetznerError> {
    let body = json!({ "name": wanted.name, "ip_range": wanted.range, "labels": labels::shared(machine, "network") });
    ensure(client, "/networks", "network", &wanted.name, body).await
}

/// Sees to it that servers of a zone can be in a network.
pub async fn subnet(client: &Client, network: &Resource, zone: &str) -> Result<(), HetznerError> {
    if network.subnets.iter().any(|subnet| subnet.network_zone == zone) {
        return Ok(());
    }
    // Another server's creation may have made one since.
    let path = format!("/networks/{}", network.id);
    #[derive(Deserialize)]
    struct Answer {
        network: Resource,
    }
    let Answer { network: now } = client.get(&path).await?;
    if now.subnets.iter().any(|subnet| subnet.network_zone == zone) {
        return Ok(());
    }
    let what = format!("give the network {} a subnet in {zone}", network.name);
    client.act(&format!("{path}/actions/add_subnet"), json!({ "type": "cloud", "network_zone": zone }), &what).await
}

/// What is there already of the spec's volumes and Primary IPs.
pub async fn bound(client: &Client, options: &HetznerOptions) -> Result<(Vec<Bound>, Addresses), HetznerError> {
    let (mut bound, mut addresses) = (Vec::new(), Addresses::default());
    for name in options.volumes.iter().map(|volume| &volume.name) {
        if let Some(volume) = client.named::<Resource>("/volumes", name).await? {
            bound.push(Bound { what: format!("volume `{name}`"), location: volume.location.name });
        }
    }
    for (index, address) in [&options.ipv4, &options.ipv6].into_iter().enumerate() {
        let HetznerAddress::Kept(name) = address else { continue };
        if let Some(ip) = client.named::<Resource>("/primary_ips", name).await? {
            addresses.0[index] = Some(ip.id);
            bound.push(Bound { what: format!("Primary IP `{name}`"), location: ip.location.name });
        }
    }
    Ok((bound, addresses))
}

/// Gives the server's own addresses the names of the spec, and lets them outlive it.
pub async fn keep_addresses(
    client: &Client,
    machine: &Machine,
    server: &Server,
    options: &HetznerOptions,
) -> Result<(), HetznerError> {
    for (address, ip) in [(&options.ipv4, &server.public_net.ipv4), (&options.ipv6, &server.public_net.ipv6)] {
        let (HetznerAddress::Kept(name), Some(ip)) = (address, ip) else { continue };
        let known: Option<Resource> = client.named("/primary_ips", name).await?;
        if known.is_none() {
            let body = json!({ "name": name, "auto_delete": false, "labels": labels::shared(machine, "address") });
            client.put(&format!("/primary_ips/{}", ip.id), body).await?;
        }
    }
    Ok(())
}
