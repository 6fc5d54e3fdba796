//! Tries at any time what the spec on record promises of a server. Only what came of it is recorded; nothing is changed.

use crate::{
    converge::verify::{self, Logins},
    error::{Blame, Failure, Result},
    hint::{Hint, Next},
    ids::ServerName,
    model::{Power, Verification},
    reach::wait,
    server::{destroy, up},
    world::{Context, World},
};

/// Tries the promises of a server that was applied. The caller holds the lease.
pub async fn verify(world: &World, name: &ServerName) -> Result<Verification> {
    let record = world.store.server(name).await?.ok_or_else(|| destroy::unknown(name))?;
    if up::look_at_machine(world, &record).await?.is_none_or(|seen| seen.power != Power::On) {
        return Err(Failure::new(
            Blame::Target,
            format!("the machine of {name} is off, so it keeps none of its promises"),
        )
        .with_hint(Hint::from(Next::Resume(name.clone())).with(" starts it")));
    }
    let ctx = Context::new(world, record.subject(), record.created_by, record.desired.clone());
    let session = wait::for_login_as(&ctx, &record.desired.user).await?;
    let verified = verify::verify(&ctx, session.as_ref(), Logins::ToTry).await;
    session.close().await;
    let verified = verified?;
    ctx.update(|record| record.verified = Some(verified.clone())).await?;
    Ok(verified)
}

/// The failure that a verification with broken promises is; `None` where all that could be tried are kept.
pub fn failure(name: &ServerName, verified: &Verification) -> Option<Failure> {
    let hint = Hint::from(Next::UpAgain).with(" brings it back to its spec");
    verify::failure(name, verified, verified.broken()).map(|failure| failure.with_hint(hint))
}
