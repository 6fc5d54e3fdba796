//! What a run that did not end well left behind, here and on the server, is ended and repaired before the next one starts:
//! there are never two Ansibles on one server, and no run meets a half-configured package.

use crate::{
    error::{Blame, Failure, Result},
    event::{EventKind, Level},
    ops::{
        Context, RUN_AS_ROOT,
        cause::{self, Cause},
        wait,
    },
    ports::Reporter,
};

const REPAIR: &str = include_str!("scripts/repair.sh");

/// Clears what is left of interrupted runs, if the server's record says that there may be something.
pub(super) async fn clear(ctx: &Context<'_>) -> Result<()> {
    end_runs(ctx).await?;
    if !ctx.record().await?.unclean {
        return Ok(());
    }
    let session = wait::for_login(ctx).await?;
    let seconds = ctx.world.wait.lock_limit().as_secs();
    let output = session.run(&format!("{RUN_AS_ROOT} -- {seconds}"), REPAIR.as_bytes()).await?;
    let full = match Cause::of(&output.stderr) {
        Some(Cause::NoSpace) => cause::full_disks(session.as_ref()).await,
        _ => Vec::new(),
    };
    session.close().await;
    for line in output.stdout.lines() {
        warn(ctx, format!("on the server: {line}")).await;
    }
    if output.status != 0 {
        let message = format!("{} could not be brought in order after an interrupted run", ctx.server());
        return Err(match Cause::of(&output.stderr) {
            Some(cause) => {
                Failure::new(Blame::Target, cause.words(&full)).because_of(message).with_hint(cause.hint(ctx.server()))
            }
            None => Failure::new(Blame::Target, output.stderr.trim()).because_of(message),
        });
    }
    ctx.update(|record| record.unclean = false).await?;
    Ok(())
}

/// Ends what an interrupted run left on this machine.
pub(super) async fn end_runs(ctx: &Context<'_>) -> Result<()> {
    let store = ctx.world.store;
    for child in store.children(ctx.server()).await? {
        let ended = ctx.world.engine.end_leftovers(&child).await?;
        if ended > 0 {
            warn(ctx, format!("ended {ended} processes of an interrupted Ansible run (process {})", child.pid)).await;
        }
        store.remove_child(&child).await?;
    }
    Ok(())
}

/// A run came to its end: none of its processes is there any more.
pub(super) async fn forget_children(ctx: &Context<'_>) -> Result<()> {
    for child in ctx.world.store.children(ctx.server()).await? {
        ctx.world.store.remove_child(&child).await?;
    }
    Ok(())
}

async fn warn(ctx: &Context<'_>, message: String) {
    ctx.reporter.report(EventKind::Notice { level: Level::Warning, message }).await;
}
