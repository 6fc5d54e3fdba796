//! Opens SSH again on a server whose tunnel is dead.

use crate::{
    error::{Blame, Failure, Result},
    hint::{Hint, Next},
    ids::{OperationId, ServerName},
    model::TunnelRecord,
    server::destroy,
    spec::ServerSpec,
    tunnel::leave,
    world::{Context, World, tunnel_of},
};

/// Opens the SSH port of `name` through the provider's firewall and by whatever way still leads there, and has logins go by it from now
/// on. Where nothing leads there, the failure says what to type at the console. The caller holds the lease.
pub async fn rescue(world: &World, name: &ServerName) -> Result<()> {
    let record = world.store.server(name).await?.ok_or_else(|| destroy::unknown(name))?;
    let Some(mut tunnel) = tunnel_of(world, record.subject()).await? else {
        return Err(Failure::new(Blame::User, format!("no tunnel leads to {name}: its SSH port was never closed"))
            .with_hint(Hint::from(Next::Resume(name.clone())).with(" looks at what else may be wrong")));
    };
    let ctx = Context::new(world, record.subject(), OperationId::new(), record.desired.clone());
    match leave::rescue(&ctx, &mut tunnel).await? {
        true => Ok(()),
        false => Err(by_hand(&ctx.spec, &tunnel)),
    }
}

/// The chain by which the module `ufw` bars SSH, whatever the rules say.
const BAR_OF_UFW: &str = "ostler-containers-ssh";

fn by_hand(spec: &ServerSpec, tunnel: &TunnelRecord) -> Failure {
    let (name, port) = (&spec.name, tunnel.port);
    let is_on = |module: &str| spec.modules.get(module).is_some_and(Option::is_some);
    let mut lines = vec![format!("at the console of {name}, as root (its provider's website shows the console):")];
    if is_on("ufw") {
        lines.push(format!(
            "  ufw allow {port}/tcp comment ostler; iptables -F {BAR_OF_UFW}; ip6tables -F {BAR_OF_UFW}"
        ));
    } else {
        for tool in ["iptables", "ip6tables"] {
            lines.push(format!("  {tool} -F ostler-ssh; {tool} -I ostler-input -p tcp --dport {port} -j ACCEPT"));
        }
    }
    lines.push("why the tunnel is dead, the same place says: journalctl -n 20 -u ostler-cloudflared".to_owned());
    Failure::new(
        Blame::Target,
        format!("nothing leads to {name}: its tunnel is dead, and its own firewall keeps SSH closed"),
    )
    .with_lines(lines)
    .with_hint(
        Hint::from("type that at the console, then ")
            .with(Next::Rescue(name.clone()))
            .with(" once more: it finds the open port, and logins go by it"),
    )
}
