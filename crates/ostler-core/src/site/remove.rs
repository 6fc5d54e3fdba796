//! Takes a site away: first its traffic, then what runs, then what is known of it.

use super::{certificates, names, record::SiteRecord, release::SiteContext};
use crate::{
    error::Result,
    event::Level,
    hint::{Hint, Next},
    ids::{ServerName, SiteName},
    model::{OperationKind, OperationState, Phase},
    operation::{self, Driver, Outputs, Step},
    subject::Subject,
    world::World,
};
use serde::{Deserialize, Serialize};

/// The recorded plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Plan {
    site: SiteName,
    server: ServerName,
}

/// The steps, in order.
pub(super) fn steps<'a>() -> Vec<Step<SiteContext<'a>>> {
    vec![
        Step::new("withdraw", Phase::Deploy, withdraw),
        Step::new("stop", Phase::Deploy, stop),
        Step::new("forget", Phase::Deploy, forget),
    ]
}

pub(super) async fn remove(world: &World, subject: Subject, record: &SiteRecord) -> Result<()> {
    let plan = Plan { site: record.name.clone(), server: record.server().clone() };
    let last = world.store.latest_operation(subject).await?;
    let begun = last.filter(|last| last.kind == OperationKind::Remove && last.state != OperationState::Succeeded);
    let mut operation = match begun {
        Some(begun) => begun,
        None => {
            let new = operation::begun((subject, plan.site.as_str()), OperationKind::Remove, &plan, &steps());
            world.store.begin_operation(&new).await?;
            new
        }
    };
    let plan: Plan = operation.read_plan()?;
    let ctx = SiteContext::new(world, subject, operation.id, (&plan.site, &plan.server), None);
    let driver = Driver { store: &*world.store, reporter: &ctx.reporter, interrupt: &world.interrupt };
    let result = driver.forward(&mut operation, &steps(), &ctx).await;
    ctx.close().await;
    result.map(drop).map_err(|failure| {
        failure.or_hint(
            Hint::from("mend the cause, then ").with(Next::RemoveSite(plan.site)).with(" again: it goes on from there"),
        )
    })
}

/// Whether the server is still known; without it nothing of the site is left.
async fn has_server(ctx: &SiteContext<'_>) -> Result<bool> {
    let server = ctx.server();
    let known = ctx.world.store.server(server).await?.is_some();
    if !known {
        ctx.notice(Level::Info, format!("{server} is gone, and with it what ran there")).await;
    }
    Ok(known)
}

async fn withdraw(ctx: &SiteContext<'_>, _: &Outputs) -> Result<()> {
    if !has_server(ctx).await? {
        return Ok(());
    }
    let place = ctx.place().await?;
    for standing in ctx.world.runtime.look(&place, &ctx.site).await? {
        ctx.withdraw(&place, &standing).await?;
    }
    Ok(())
}

async fn stop(ctx: &SiteContext<'_>, _: &Outputs) -> Result<()> {
    if !has_server(ctx).await? {
        return Ok(());
    }
    let place = ctx.place().await?;
    for standing in ctx.world.runtime.look(&place, &ctx.site).await? {
        ctx.world.runtime.remove(&place, &ctx.site, standing.number).await?;
    }
    ctx.world.runtime.keep_secrets(&place, &ctx.site, &[]).await
}

async fn forget(ctx: &SiteContext<'_>, _: &Outputs) -> Result<()> {
    names::forget_all(ctx).await?;
    certificates::forget_all(ctx, has_server(ctx).await?).await?;
    ctx.world.store.remove_document(ctx.subject).await
}
