//! Whether the target user who gets in may do everything.

use crate::{
    converge::cause::Cause,
    error::{Blame, Failure, Result},
    ports::Session,
    world::Context,
};

/// Proves that the target user, who has just got in, may do everything.
pub(crate) async fn prove(ctx: &Context<'_>, session: Box<dyn Session>) -> Result<Box<dyn Session>> {
    let output = session.run("id -un && sudo -n true", b"").await?;
    // Start-up files of the account may say something before. A command that is forced answers in place of ours.
    let answers = output.stdout.trim().lines().next_back() == Some(ctx.spec.user.as_str());
    if output.status == 0 && answers {
        return Ok(session);
    }
    session.close().await;
    // A shell that lets nobody work says so on its standard output.
    let words = [&output.stderr, &output.stdout].map(|words| words.trim()).into_iter().find(|words| !words.is_empty());
    let failure = Failure::new(Blame::Target, words.unwrap_or("no words")).because_of(format!(
        "{} can log in to {}, but can't run commands as root",
        ctx.spec.user,
        ctx.server()
    ));
    Err(match Cause::of(&output.stderr) {
        Some(cause) => failure.with_hint(cause.hint(ctx.server())),
        None => failure,
    })
}
