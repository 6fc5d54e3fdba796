//! Who sends traffic to a server: only load balancers of its provider, and only while it is what its spec says.
//!
//! Both are called from deep within other work, so their futures are boxed: a debug build would need too large a stack.

use crate::{error::Result, server::create::Keeper, world::Context};
use futures::future::{BoxFuture, FutureExt};

/// For a server that is proved to be what its spec says.
pub(super) fn join<'a>(ctx: &'a Context<'_>) -> BoxFuture<'a, Result<()>> {
    async move {
        let Some(balancing) = ctx.provider().balancing() else { return Ok(()) };
        let machine = ctx.machine().await?;
        let joined = balancing.join(&machine, &ctx.spec.provider, &Keeper(ctx), &ctx.reporter).await?;
        if joined != machine {
            ctx.update(|record| record.machine = Some(joined)).await?;
        }
        Ok(())
    }
    .boxed()
}

/// For one that is about to be shut down, made anew or taken apart.
pub(super) fn leave<'a>(ctx: &'a Context<'_>) -> BoxFuture<'a, Result<()>> {
    async move {
        match (ctx.provider().balancing(), ctx.record().await?.machine) {
            (Some(balancing), Some(machine)) => balancing.leave(&machine).await,
            _ => Ok(()),
        }
    }
    .boxed()
}
