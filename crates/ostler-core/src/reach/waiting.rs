//! Says for whom a server waits while nothing else is heard of it: another package manager may be at work for minutes.

use crate::{event::Level, ports::Session, world::Context};
use std::{convert::Infallible, time::Duration};

/// Says what a task or script waits for, if one does: its process, and the words.
pub(crate) const WAITING: &str =
    "read -r pid words 2>/dev/null </run/ostler-waiting && [ -d \"/proc/$pid\" ] && echo \"$words\"";
/// How often to look. Most waits are shorter than the first look.
const LOOK: Duration = Duration::from_secs(8);

/// Does `work`, and tells what the server waits for meanwhile.
pub(crate) async fn told<T>(ctx: &Context<'_>, session: &dyn Session, work: impl Future<Output = T>) -> T {
    tokio::select! {
        result = work => result,
        never = tell(ctx, session) => match never {},
    }
}

async fn tell(ctx: &Context<'_>, session: &dyn Session) -> Infallible {
    let mut told = String::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let Ok(output) = session.run(WAITING, b"").await else { continue };
        say(ctx, output.stdout.trim(), &mut told).await;
    }
}

/// Tells it, unless that was `told` before.
pub(crate) async fn say(ctx: &Context<'_>, waits_for: &str, told: &mut String) {
    if !waits_for.is_empty() && waits_for != told {
        let message = format!("waiting for another package manager: {waits_for}");
        ctx.notice(Level::Info, message).await;
    }
    waits_for.clone_into(told);
}
