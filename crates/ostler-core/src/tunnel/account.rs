//! What is made in the account, and its record.

use crate::{
    error::{Blame, Failure, Result},
    event::Level,
    ids::ServerName,
    model::{ServerRecord, TunnelChange, TunnelLedger, TunnelPlan, TunnelRecord},
    ports::{KeepTunnel, TunnelOrder},
    spec::{ServerSpec, TunnelOptions},
    world::{Context, World, tunnel_of},
};
use async_trait::async_trait;

/// What would change by [`open`] and what follows it, or by taking the tunnel away; `None`: nothing. `has`: the server's record.
pub(crate) async fn look(world: &World, spec: &ServerSpec, has: Option<&ServerRecord>) -> Result<Option<TunnelPlan>> {
    let has = match has {
        Some(record) => tunnel_of(world, record.subject()).await?,
        None => None,
    };
    let is_closed = has.as_ref().is_some_and(|tunnel| tunnel.through && tunnel.ssh_closed);
    let (hostname, mut changes) = match (&spec.tunnel, &has) {
        (None, None) => return Ok(None),
        (None, Some(tunnel)) => (tunnel.options.hostname.clone(), Vec::new()),
        (Some(options), _) => {
            let tunnel = wanted(spec, options, has.clone())?;
            world.remote.tunnel_client().await?;
            let order = order(world, &spec.name, &tunnel);
            (options.hostname.clone(), world.tunnels.look(&order, &tunnel.made).await?)
        }
    };
    match (spec.tunnel.as_ref().is_some_and(|options| options.close_ssh), is_closed) {
        (true, false) => changes.push(TunnelChange::CloseSsh),
        (false, true) => changes.push(TunnelChange::OpenSsh),
        _ => {}
    }
    changes.extend(spec.tunnel.is_none().then_some(TunnelChange::TakeDown));
    Ok((!changes.is_empty()).then_some(TunnelPlan { hostname, changes }))
}

/// Makes what is missing of the tunnel that the spec asks for.
pub(crate) async fn open(ctx: &Context<'_>) -> Result<()> {
    let Some(options) = &ctx.spec.tunnel else { return Ok(()) };
    let mut tunnel = wanted(&ctx.spec, options, ctx.tunnel().await?)?;
    ctx.put_tunnel(Some(&tunnel)).await?;
    let keep = Keeping { ctx, tunnel: tunnel.clone() };
    let order = order(ctx.world, ctx.server(), &tunnel);
    tunnel.made = ctx.world.tunnels.open(&order, tunnel.made.clone(), &keep).await?;
    ctx.put_tunnel(Some(&tunnel)).await
}

/// What there shall be in the place of what there `is`. Fails where the one can't become the other.
fn wanted(spec: &ServerSpec, options: &TunnelOptions, is: Option<TunnelRecord>) -> Result<TunnelRecord> {
    let (name, port) = (&spec.name, spec.ssh.port);
    let Some(tunnel) = is else { return Ok(TunnelRecord::new(options.clone(), port)) };
    let elsewhere =
        (&tunnel.options.hostname, &tunnel.options.via.account) != (&options.hostname, &options.via.account);
    if elsewhere && tunnel.made != TunnelLedger::default() {
        let old = &tunnel.options.hostname;
        return Err(Failure::new(Blame::Configuration, format!("{name} has a tunnel by the name {old} already"))
            .with_hint(
                "take `tunnel` out of the spec and apply that, which opens SSH and removes it; then write the new one",
            ));
    }
    if tunnel.through && tunnel.port != port {
        let message = format!("the tunnel to {name} leads to port {}, which the only way in depends on", tunnel.port);
        return Err(Failure::new(Blame::Configuration, message)
            .because_of(format!("`ssh.port` can't become {port} while SSH is closed"))
            .with_hint("apply `close_ssh: false` first; then change the port; then close it again"));
    }
    Ok(TunnelRecord { options: options.clone(), port, ..tunnel })
}

/// Takes away what was made, which leads nowhere any more.
pub(crate) async fn close(ctx: &Context<'_>, tunnel: &TunnelRecord) -> Result<()> {
    let keep = Keeping { ctx, tunnel: tunnel.clone() };
    let stays = ctx.world.tunnels.close(&order(ctx.world, ctx.server(), tunnel), tunnel.made.clone(), &keep).await?;
    for message in stays {
        ctx.notice(Level::Warning, message).await;
    }
    ctx.put_tunnel(None).await
}

fn order(world: &World, server: &ServerName, tunnel: &TunnelRecord) -> TunnelOrder {
    TunnelOrder { server: server.clone(), owner: world.owner, options: tunnel.options.clone(), port: tunnel.port }
}

struct Keeping<'a> {
    ctx: &'a Context<'a>,
    tunnel: TunnelRecord,
}

#[async_trait]
impl KeepTunnel for Keeping<'_> {
    async fn keep(&self, made: &TunnelLedger) -> Result<()> {
        self.ctx.put_tunnel(Some(&TunnelRecord { made: made.clone(), ..self.tunnel.clone() })).await
    }
}
