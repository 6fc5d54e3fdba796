//! What is made in the account, and its record.

use crate::{
    error::{Blame, Failure, Result},
    event::{EventKind, Level},
    model::{TunnelLedger, TunnelRecord},
    ports::{KeepTunnel, Reporter, TunnelOrder},
    world::Context,
};
use async_trait::async_trait;

/// Makes what is missing of the tunnel that the spec asks for.
pub(crate) async fn open(ctx: &Context<'_>) -> Result<()> {
    let Some(options) = &ctx.spec.tunnel else { return Ok(()) };
    let mut tunnel = match ctx.tunnel().await? {
        Some(tunnel) => tunnel,
        None => TunnelRecord::new(options.clone(), ctx.spec.ssh.port),
    };
    let elsewhere =
        (&tunnel.options.hostname, &tunnel.options.via.account) != (&options.hostname, &options.via.account);
    let made = tunnel.made != TunnelLedger::default();
    if elsewhere && made {
        let old = &tunnel.options.hostname;
        return Err(Failure::new(
            Blame::Configuration,
            format!("{} has a tunnel by the name {old} already", ctx.server()),
        )
        .with_hint(
            "take `tunnel` out of the spec and apply that, which opens SSH and removes it; then write the new one",
        ));
    }
    if tunnel.through && tunnel.port != ctx.spec.ssh.port {
        let message =
            format!("the tunnel to {} leads to port {}, which the only way in depends on", ctx.server(), tunnel.port);
        return Err(Failure::new(Blame::Configuration, message)
            .because_of(format!("`ssh.port` can't become {} while SSH is closed", ctx.spec.ssh.port))
            .with_hint("apply `close_ssh: false` first; then change the port; then close it again"));
    }
    (tunnel.options, tunnel.port) = (options.clone(), ctx.spec.ssh.port);
    ctx.put_tunnel(Some(&tunnel)).await?;
    let keep = Keeping { ctx, tunnel: tunnel.clone() };
    tunnel.made = ctx.world.tunnels.open(&order(ctx, &tunnel), tunnel.made.clone(), &keep).await?;
    ctx.put_tunnel(Some(&tunnel)).await
}

/// Takes away what was made, which leads nowhere any more.
pub(crate) async fn close(ctx: &Context<'_>, tunnel: &TunnelRecord) -> Result<()> {
    let keep = Keeping { ctx, tunnel: tunnel.clone() };
    let stays = ctx.world.tunnels.close(&order(ctx, tunnel), tunnel.made.clone(), &keep).await?;
    for message in stays {
        ctx.reporter.report(EventKind::Notice { level: Level::Warning, message }).await;
    }
    ctx.put_tunnel(None).await
}

fn order(ctx: &Context<'_>, tunnel: &TunnelRecord) -> TunnelOrder {
    let (server, owner) = (ctx.server().clone(), ctx.world.owner);
    TunnelOrder { server, owner, options: tunnel.options.clone(), port: tunnel.port }
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
