//! Replaces the host key that came with the seed by one that only the server knows.
//!
//! In this order, so that no crash and no reboot in between leaves a server whose key is not pinned: the new key is made
//! beside the old one; both are pinned; it is moved into place; a new connection shows it; the old pin is dropped.

use crate::{
    error::{Blame, Failure, Result},
    ports::Session,
    reach::{RUN_AS_ROOT, wait},
    world::Context,
};

const PREPARE: &str = include_str!("scripts/host_key_prepare.sh");
const ACTIVATE: &str = include_str!("scripts/host_key_activate.sh");

/// Replaces the key, or completes a replacement that was interrupted.
pub(crate) async fn replace(ctx: &Context<'_>) -> Result<()> {
    let pinned = ctx.record().await?.host_keys;
    if let [_] = pinned.as_slice() {
        let session = wait::for_login(ctx).await?;
        let line = run(session.as_ref(), PREPARE, ctx).await?;
        session.close().await;
        let new = public_key(&line).ok_or_else(|| {
            Failure::new(Blame::Target, format!("{} made an invalid host key: `{}`", ctx.server(), line.trim()))
        })?;
        ctx.update(|record| record.host_keys = vec![pinned[0].clone(), new]).await?;
    }
    let session = wait::for_login(ctx).await?;
    run(session.as_ref(), ACTIVATE, ctx).await?;
    session.close().await;
    // From here only the new key is accepted, and the proof is a new connection.
    let both = ctx.record().await?.host_keys;
    let new = both.last().cloned().into_iter().collect();
    ctx.update(|record| record.host_keys = new).await?;
    wait::for_login(ctx).await?.close().await;
    Ok(())
}

async fn run(session: &dyn Session, script: &str, ctx: &Context<'_>) -> Result<String> {
    let output = session.run(RUN_AS_ROOT, script.as_bytes()).await?;
    if output.status == 0 {
        return Ok(output.stdout);
    }
    Err(Failure::new(Blame::Target, output.stderr.trim()).because_of(format!(
        "the host key of {} could not be replaced (status {})",
        ctx.server(),
        output.status
    )))
}

/// `ssh-ed25519 AAAA...` without the comment.
fn public_key(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let (kind, key) = (words.next()?, words.next()?);
    (kind == "ssh-ed25519" && key.starts_with("AAAA")).then(|| format!("{kind} {key}"))
}
