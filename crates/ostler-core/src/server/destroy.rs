//! Destroys a server: takes it out of what it is a member of, then undoes its creation, step by step, last first.

use crate::{
    error::{Blame, Failure, Result},
    event::Level,
    hint::{Hint, Next},
    ids::ServerName,
    model::{Marked, OperationState},
    operation::Driver,
    server::{apply, balancing, create, leave},
    subject::Subject,
    tunnel::{self, account},
    world::{Context, World},
};
use std::time::Duration;

/// Undoes everything that was created for `name`. May be repeated after a failure: what is undone stays undone.
///
/// Its volumes stay. The caller holds the lease.
pub async fn destroy(world: &World, name: &ServerName) -> Result<()> {
    undo(world, name, false).await
}

/// The same, and its volumes that Ostler made are removed with all that is on them.
pub async fn destroy_with_volumes(world: &World, name: &ServerName) -> Result<()> {
    undo(world, name, true).await
}

async fn undo(world: &World, name: &ServerName, erase_volumes: bool) -> Result<()> {
    let record = world.store.server(name).await?.ok_or_else(|| unknown(name))?;
    end_children(world, record.subject()).await?;
    apply::close_interrupted(world, &record).await?;
    let mut creation = create::operation_of(world, &record).await?;
    if creation.state == OperationState::Succeeded {
        // Boxed, because its future would be too large within others for a stack in a debug build.
        Box::pin(leave::leave(world, &record)).await?;
    }
    let last = Context::new(world, record.subject(), creation.id, record.desired.clone());
    balancing::leave(&last).await?;
    if last.provider().origin().adopts() {
        // It stays, so SSH is opened before its tunnel goes.
        tunnel::leave::release(&last).await?;
    }
    let mut kept = Vec::new();
    if let (Some(volumes), Some(machine)) = (last.provider().volumes(), &record.machine) {
        if erase_volumes {
            // Where this ends too soon, the machine's record still names them.
            last.lifecycle()?.stop(machine, Duration::ZERO).await?;
            volumes.erase(machine).await?;
        }
        // Only for people: where it can't be said, what follows has its own words.
        kept = volumes.kept(machine).await.unwrap_or_default();
    }
    if creation.state != OperationState::Undone {
        let spec = create::planned_spec(&creation)?;
        let ctx = Context::new(world, creation.subject, creation.id, spec);
        let driver = Driver { store: &*world.store, reporter: &ctx.reporter, interrupt: &world.interrupt };
        driver.unwind(&mut creation, &create::steps_for(ctx.provider()), &ctx).await.map_err(|failure| {
            let mut failure = failure.because_of(format!("{name} is only partly destroyed"));
            let mend = failure.hints.pop().unwrap_or_else(|| "mend the cause".into());
            let again = mend.with(", then ").with(Next::Destroy(name.clone()));
            failure.hints.push(again.with(" again: it goes on with what is left"));
            failure
        })?;
    }
    if let Some(tunnel) = last.tunnel().await? {
        // With the machine the other end of it is gone.
        account::close(&last, &tunnel).await?;
    }
    for Marked { what, price, .. } in kept {
        let price = price.map(|price| format!(", {price}")).unwrap_or_default();
        let message = format!("kept: {what}{price}");
        last.notice(Level::Info, message).await;
    }
    world.store.remove_server(record.subject()).await
}

/// Ends what an interrupted run left on this machine, without a word: it would go on talking to a server that is being removed, or
/// looked at.
pub(super) async fn end_children(world: &World, server: Subject) -> Result<()> {
    for child in world.store.children(server).await? {
        world.engine.end_leftovers(&child).await?;
        world.store.remove_child(&child).await?;
    }
    Ok(())
}

/// There is no such server.
pub fn unknown(name: &ServerName) -> Failure {
    Failure::new(Blame::User, format!("there is no server `{name}`"))
        .with_hint(Hint::from(Next::ListServers).with(" lists them"))
}
