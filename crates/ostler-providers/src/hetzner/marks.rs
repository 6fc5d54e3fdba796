//! What in a project bears Ostler's labels, with what it costs.

use super::{
    balancers,
    client::Client,
    error::HetznerError,
    labels,
    offers::Catalog,
    remove::describe,
    wire::{Balancer, Labels, Resource, Server},
};
use ostler_core::{model::Marked, model::Price};

/// Families of resources beside servers, and what one is called.
const FAMILIES: [(&str, &str); 6] = [
    ("/volumes", "volume"),
    ("/primary_ips", "Primary IP"),
    ("/networks", "network"),
    ("/firewalls", "firewall"),
    ("/placement_groups", "placement group"),
    ("/ssh_keys", "SSH key"),
];

/// All of it, whichever Ostler made it.
pub async fn all(client: &Client) -> Result<Vec<Marked>, HetznerError> {
    let catalog = Catalog::read(client).await?;
    let selector = labels::anything();
    let ours = [("label_selector", selector.as_str())];
    let mut all = Vec::new();
    for server in client.list::<Server>("/servers", &ours).await? {
        let price = catalog.server_type(&server.server_type.name).and_then(|server_type| {
            let mut prices = server_type.prices.iter();
            prices.find(|price| price.location == server.location.name).map(|price| price.price_monthly.numbers())
        });
        all.push(marked(describe(&server), &server.labels, price.map(|price| catalog.sum([price], String::new()))));
    }
    for (path, what) in FAMILIES {
        for resource in client.list::<Resource>(path, &ours).await? {
            let price = match path {
                "/volumes" => Some(catalog.sum([catalog.volume(resource.size)], String::new())),
                "/primary_ips" => {
                    Some(catalog.sum([catalog.address(&resource.kind, &resource.location.name)], String::new()))
                }
                _ => None,
            };
            let shown = if resource.ip.is_empty() { &resource.name } else { &resource.ip };
            let what = format!("{what} {} {shown} at Hetzner", resource.id);
            let mut marked = marked(what, &resource.labels, price);
            marked.in_use = resource.server.or(resource.assignee_id).is_some() || !resource.servers.is_empty();
            all.push(marked);
        }
    }
    for balancer in client.list::<Balancer>(balancers::PATH, &ours).await? {
        let (name, place) = (&balancer.load_balancer_type.name, &balancer.location.name);
        let price = catalog.sum([catalog.load_balancer(name, place)], String::new());
        let what = format!("load balancer {} {} at Hetzner ({name} in {place})", balancer.id, balancer.name);
        let mut marked = marked(what, &balancer.labels, Some(price));
        marked.in_use = !balancer.targets.is_empty();
        all.push(marked);
    }
    Ok(all)
}

fn marked(what: String, found: &Labels, price: Option<Price>) -> Marked {
    Marked {
        what,
        owner: found.get(labels::STATE).and_then(|state| state.parse().ok()),
        operation: found.get(labels::OPERATION).and_then(|operation| operation.parse().ok()),
        in_use: false,
        price,
    }
}
