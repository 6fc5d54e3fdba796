//! Removes what was made for a server, and nothing else. Volumes and Primary IPs that have a name in the spec stay.

use super::{
    Machine, balancers,
    client::Client,
    create::protect,
    error::HetznerError,
    labels,
    wire::{Resource, Server},
};
use ostler_core::spec::HetznerOptions;
use tokio::time::Instant;

/// All of it. What does not exist is removed already.
pub async fn all(client: &Client, machine: &Machine, options: Option<&HetznerOptions>) -> Result<(), HetznerError> {
    let selector = labels::made_by(machine.operation, machine.owner);
    let ours = [("label_selector", selector.as_str())];
    for server in client.list::<Server>("/servers", &ours).await? {
        self::server(client, &server).await?;
    }
    for firewall in client.list::<Resource>("/firewalls", &ours).await? {
        until_free(client, &format!("/firewalls/{}", firewall.id), "remove the firewall").await?;
    }
    for key in client.list::<Resource>("/ssh_keys", &ours).await? {
        client.delete(&format!("/ssh_keys/{}", key.id), "remove the SSH key").await?;
    }
    // What servers share goes with the last of them, if Ostler made it.
    balancers::remove_last(client, machine).await?;
    let Some(options) = options else { return Ok(()) };
    if let Some(network) = &options.network {
        shared(client, machine, "/networks", &network.name).await?;
    }
    if let Some(group) = &options.placement {
        shared(client, machine, "/placement_groups", group).await?;
    }
    Ok(())
}

/// One server, whatever it does.
pub async fn server(client: &Client, server: &Server) -> Result<(), HetznerError> {
    if server.protection.delete {
        protect(client, server.id, false).await?;
    }
    client.delete(&format!("/servers/{}", server.id), &format!("remove the server {}", server.name)).await
}

async fn shared(client: &Client, machine: &Machine, path: &str, name: &str) -> Result<(), HetznerError> {
    let Some(found) = client.named::<Resource>(path, name).await? else { return Ok(()) };
    if labels::are_ours(machine, &found.labels) && found.servers.is_empty() && found.load_balancers.is_empty() {
        client.delete(&format!("{path}/{}", found.id), &format!("remove {name}")).await?;
    }
    Ok(())
}

/// The server's end may not have reached what stood in front of it.
pub async fn until_free(client: &Client, path: &str, what: &str) -> Result<(), HetznerError> {
    let begun = Instant::now();
    loop {
        match client.delete(path, what).await {
            Err(error) if error.code() == "resource_in_use" && begun.elapsed() < client.patience.action => {
                tokio::time::sleep(client.patience.poll).await;
            }
            removed => return removed,
        }
    }
}

/// What [`all`] would remove, for people. What the vendor does not say now is told as what there may be.
pub async fn left(client: &Client, machine: &Machine) -> Vec<String> {
    let seen = async {
        let selector = labels::made_by(machine.operation, machine.owner);
        let ours = [("label_selector", selector.as_str())];
        let servers: Vec<Server> = client.list("/servers", &ours).await?;
        let servers = servers.iter().map(describe).collect::<Vec<_>>();
        let mut all = servers;
        for (path, what) in [("/firewalls", "firewall"), ("/ssh_keys", "SSH key")] {
            let found: Vec<Resource> = client.list(path, &ours).await?;
            all.extend(found.iter().map(|resource| format!("{what} {} at Hetzner", resource.name)));
        }
        Ok::<_, HetznerError>(all)
    };
    let unknown = || vec![format!("server {} at Hetzner, if it was made: the API does not say", machine.server)];
    seen.await.unwrap_or_else(|_| unknown())
}

/// `server 4711 web1 at Hetzner (cx23 in fsn1)`
pub fn describe(server: &Server) -> String {
    let Server { id, name, server_type, location, .. } = server;
    format!("server {id} {name} at Hetzner ({} in {})", server_type.name, location.name)
}
