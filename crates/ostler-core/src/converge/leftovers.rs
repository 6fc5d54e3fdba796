//! What a run that did not end well left behind, here and on the server, is ended and repaired before the next one starts:
//! there are never two Ansibles on one server, and no run meets a half-configured package.

use crate::{
    converge::{
        cause::{self, Cause},
        diagnosis::is_lost,
        promises,
    },
    error::{Blame, Failure, Result},
    event::{AnsibleReport, Level},
    ports::{RunSummary, Session},
    reach::{RUN_AS_ROOT, wait, waiting},
    world::Context,
};

const REPAIR: &str = include_str!("scripts/repair.sh");

/// What the processes of our runs on this server carry. Other states of Ostler, and other servers that are the same machine in the end,
/// have their own.
pub(crate) fn mark(ctx: &Context<'_>) -> String {
    format!("ostler-{}-{}", ctx.world.owner, ctx.server())
}

/// Clears what is left of interrupted runs, if the server's record says that there may be something.
pub(crate) async fn clear(ctx: &Context<'_>) -> Result<()> {
    end_runs(ctx).await?;
    if !ctx.record().await?.unclean {
        return Ok(());
    }
    promises::doubt(ctx).await?;
    let session = wait::for_login(ctx).await?;
    let repaired = repair(ctx, session.as_ref(), RUN_AS_ROOT, "").await;
    session.close().await;
    repaired
}

/// The same on the server, by a session that `as_root` makes root, which may read `first` before it comes to its script.
pub(crate) async fn repair(ctx: &Context<'_>, session: &dyn Session, as_root: &str, first: &str) -> Result<()> {
    let seconds = ctx.world.wait.lock_limit().as_secs();
    let script = format!("{first}set -- {seconds} {}\n{REPAIR}", mark(ctx));
    let output = waiting::told(ctx, session, session.run(as_root, script.as_bytes())).await?;
    for line in output.stdout.lines() {
        warn(ctx, format!("on the server: {line}")).await;
    }
    if output.status != 0 {
        let full = match Cause::of(&output.stderr) {
            Some(Cause::NoSpace) => cause::full_disks(session).await,
            _ => Vec::new(),
        };
        let message = format!("{} could not be cleaned up after an interrupted run", ctx.server());
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
pub(crate) async fn end_runs(ctx: &Context<'_>) -> Result<()> {
    let store = &ctx.world.store;
    for child in store.children(ctx.subject).await? {
        let ended = ctx.world.engine.end_leftovers(&child).await?;
        if ended > 0 {
            warn(ctx, format!("ended {ended} processes of an interrupted Ansible run (process {})", child.pid)).await;
        }
        store.remove_child(&child).await?;
    }
    Ok(())
}

/// Whether a run that is over was seen to end, or never began; else something of it may live on the server. What is on record of its
/// process here goes, unless the engine failed and may not have ended it.
pub(crate) async fn run_ended(
    ctx: &Context<'_>,
    result: &Result<RunSummary>,
    reports: &[AnsibleReport],
) -> Result<bool> {
    let Ok(summary) = result else {
        return Ok(ctx.world.store.children(ctx.subject).await?.is_empty());
    };
    forget_children(ctx).await?;
    // The counts come last of all: whoever is killed, or breaks off, does not tell them.
    Ok(summary.hosts.contains_key(ctx.server().as_str()) && !reports.iter().any(is_lost))
}

/// A run came to its end: none of its processes is there any more.
pub(crate) async fn forget_children(ctx: &Context<'_>) -> Result<()> {
    for child in ctx.world.store.children(ctx.subject).await? {
        ctx.world.store.remove_child(&child).await?;
    }
    Ok(())
}

async fn warn(ctx: &Context<'_>, message: String) {
    ctx.notice(Level::Warning, message).await;
}
