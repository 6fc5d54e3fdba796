//! What a provider's own firewall lets through: what the server's lets in from outside, for it stands before that and must not be narrower.

use crate::{
    error::Result,
    model::OpenPort,
    spec::{self, CatalogIndex, Proto, Scope, ServerSpec, Source},
    world::Context,
};
use std::{collections::BTreeSet, net::IpAddr};

/// Ports that everybody may reach once the server is what its spec says, in order.
///
/// SSH is among them even where the server's own firewall admits only some: whoever may not come in is refused there, and Ostler itself is
/// nowhere else.
pub fn openings(spec: &ServerSpec, catalog: &CatalogIndex) -> Vec<OpenPort> {
    let mut all: BTreeSet<(u16, bool)> = BTreeSet::new();
    if spec.ssh.enabled {
        all.insert((spec.ssh.port, true));
    }
    match spec::openings(spec, catalog) {
        Some(openings) => {
            for opening in openings.into_iter().filter(|opening| is_outside(opening.from)) {
                let tcp = (opening.proto != Some(Proto::Udp)).then_some(true);
                let udp = (opening.proto != Some(Proto::Tcp)).then_some(false);
                let protos = tcp.into_iter().chain(udp);
                protos.for_each(|tcp| all.extend(opening.ports.clone().map(|port| (port, tcp))));
            }
        }
        None => {
            let public = spec::app_ports(spec, catalog).filter(|port| port.scope == Scope::Public);
            all.extend(public.map(|port| (port.port, port.proto == Proto::Tcp)));
        }
    }
    all.into_iter().map(|(port, tcp)| OpenPort { port, proto: if tcp { Proto::Tcp } else { Proto::Udp } }).collect()
}

/// Whether anybody there comes over the public network. A rule for some of them opens the port to all here; the server's own firewall
/// tells them apart.
fn is_outside(from: Source) -> bool {
    match from {
        Source::Anyone => true,
        Source::Lan => false,
        Source::Network(network) => is_public(network.addr()),
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_private() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_unique_local() && !address.is_unicast_link_local(),
    }
}

/// Whether somebody may get as far as the server itself at this address and TCP port: a provider's firewall does not filter private networks.
pub fn lets_in_tcp(spec: &ServerSpec, catalog: &CatalogIndex, address: IpAddr, port: u16) -> bool {
    let wanted = OpenPort { port, proto: Proto::Tcp };
    !spec.provider.fenced() || !is_public(address) || openings(spec, catalog).contains(&wanted)
}

/// The same with the port that SSH is reached by before Ostler has set it up.
pub fn openings_at_first(spec: &ServerSpec, catalog: &CatalogIndex) -> Vec<OpenPort> {
    with(openings(spec, catalog), 22)
}

/// For a system that is as fresh as the seed made it.
pub(crate) async fn at_first(ctx: &Context<'_>) -> Result<()> {
    admit(ctx, &openings_at_first(&ctx.spec, &ctx.world.catalog)).await
}

/// Before a run: whatever the run changes, the port by which SSH is reached now and the one by which it will be are open.
pub(crate) async fn before_run(ctx: &Context<'_>) -> Result<()> {
    // Where SSH is closed, no login comes by the port; one that opens it again says so itself.
    if !ctx.spec.provider.fenced() || is_closed(ctx).await? {
        return Ok(());
    }
    let mut all = openings(&ctx.spec, &ctx.world.catalog);
    if let Some(now) = ctx.observe().await?.ssh {
        all = with(all, now.port());
    }
    admit(ctx, &all).await
}

/// After a run that was proved: nothing but what the spec says.
pub(crate) async fn after_run(ctx: &Context<'_>) -> Result<()> {
    admit_ssh(ctx, !is_closed(ctx).await?).await
}

/// What the spec says, with SSH or without it.
pub(crate) async fn admit_ssh(ctx: &Context<'_>, ssh: bool) -> Result<()> {
    let mut all = openings(&ctx.spec, &ctx.world.catalog);
    if !ssh {
        all.retain(|opening| *opening != OpenPort { port: ctx.spec.ssh.port, proto: Proto::Tcp });
    }
    admit(ctx, &all).await
}

/// Whether SSH is closed to all but its tunnel.
async fn is_closed(ctx: &Context<'_>) -> Result<bool> {
    Ok(ctx.tunnel().await?.is_some_and(|tunnel| tunnel.ssh_closed))
}

async fn admit(ctx: &Context<'_>, openings: &[OpenPort]) -> Result<()> {
    match ctx.provider().fence() {
        Some(fence) if ctx.spec.provider.fenced() => fence.admit(&ctx.machine().await?, openings).await,
        _ => Ok(()),
    }
}

fn with(mut openings: Vec<OpenPort>, port: u16) -> Vec<OpenPort> {
    let ssh = OpenPort { port, proto: Proto::Tcp };
    if !openings.contains(&ssh) {
        openings.push(ssh);
    }
    openings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{spec::Value, testing::server};
    use serde_json::json;

    #[test]
    fn it_lets_in_what_the_server_itself_lets_in_from_outside() {
        let apps = json!({ "apps": [
            { "name": "nginx", "role": "nginx", "ports": [{ "port": 80, "proto": "tcp", "scope": "public" }] },
            { "name": "db", "role": "db", "ports": [{ "port": 5432, "proto": "tcp", "scope": "lan" }] },
            { "name": "other", "role": "other", "ports": [{ "port": 81, "proto": "tcp", "scope": "public" }] },
        ] });
        let catalog = serde_json::from_value(apps).unwrap();
        let mut spec = server("web");
        spec.ssh.port = 2222;
        spec.apps = vec!["nginx".into(), "db".into()];
        let shown = |openings: Vec<OpenPort>| {
            let word = |it: OpenPort| format!("{}/{}", it.port, if it.proto == Proto::Tcp { "tcp" } else { "udp" });
            openings.into_iter().map(word).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(openings(&spec, &catalog)), "80/tcp 2222/tcp");
        assert_eq!(shown(openings_at_first(&spec, &catalog)), "80/tcp 2222/tcp 22/tcp");
        let rules = ["53", "9000:9001/udp", "5433/tcp from 10.0.0.0/8", "5434/tcp from 192.0.2.7"];
        let rules = Value::List(rules.map(|rule| Value::String(rule.into())).into());
        let settings = [("preset", Value::String("web".into())), ("allow", rules)];
        let settings = settings.map(|(key, value)| (key.to_owned(), value)).into();
        spec.modules = [("ufw".to_owned(), Some(settings))].into();
        let all = "53/udp 53/tcp 80/tcp 443/udp 443/tcp 2222/tcp 5434/tcp 9000/udp 9001/udp";
        assert_eq!(shown(openings(&spec, &catalog)), all);
        let lan = [("preset".to_owned(), Value::String("lan-only".into()))].into();
        spec.modules = [("ufw".to_owned(), Some(lan))].into();
        assert_eq!(shown(openings(&spec, &catalog)), "2222/tcp", "Ostler is never locked out by it");
        spec.ssh.enabled = false;
        assert_eq!(shown(openings(&spec, &catalog)), "");
    }

    #[test]
    fn what_it_stops_is_closed_at_public_addresses() {
        let app =
            json!({ "name": "swarm", "role": "swarm", "ports": [{ "port": 2377, "proto": "tcp", "scope": "lan" }] });
        let catalog = serde_json::from_value(json!({ "apps": [app] })).unwrap();
        let mut spec = server("web");
        spec.apps = vec!["swarm".into()];
        let open = |spec: &ServerSpec| {
            let at = |address: &str| [22, 2377].map(|port| lets_in_tcp(spec, &catalog, address.parse().unwrap(), port));
            ["192.0.2.5", "2001:db8::5", "10.0.0.5", "fd00::5"].map(at)
        };
        assert_eq!(open(&spec), [[true; 2]; 4], "no firewall is in front of it");
        let hetzner = json!({
            "endpoint": { "name": "hc", "url": "https://hc.example.org/v1", "token": { "file": "token" } },
            "types": ["cx23"], "locations": ["fsn1"], "network": null, "volumes": [], "placement": null, "ipv4": "own", "ipv6": "own",
            "backups": false, "protect": false, "firewall": true,
        });
        spec.provider = crate::spec::ProviderOptions::Hetzner(serde_json::from_value(hetzner).unwrap());
        assert_eq!(open(&spec), [[true, false], [true, false], [true; 2], [true; 2]]);
    }
}
