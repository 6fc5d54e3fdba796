//! Proofs from here: a login through the tunnel, and a port that does not answer.

use crate::{
    error::{Blame, Failure, Result},
    hint::{Hint, Next},
    model::TunnelRecord,
    operation::Interrupt,
    ports::{ConnectError, Login, Session, Through},
    world::Context,
};
use futures::future::join_all;
use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// How long a closed port is knocked at.
const KNOCK: Duration = Duration::from_secs(3);
/// How long one login may take, where the machine is not emulated.
const LOGIN: Duration = Duration::from_secs(20);
/// Pause between two tries: the connector may still be on its way, and no firewall counts what does not arrive.
const PAUSE: Duration = Duration::from_secs(1);

/// Logs in through the tunnel, with the pinned host key, as soon as it leads to the server. Changes nothing.
pub(crate) async fn login(ctx: &Context<'_>, tunnel: &TunnelRecord) -> Result<Box<dyn Session>> {
    let attempt = match Attempt::of(ctx, tunnel).await? {
        Ok(attempt) => attempt,
        Err(error) => return Err(failed(ctx, tunnel, &error)),
    };
    let (begun, limit) = (Instant::now(), ctx.world.wait.limit(attempt.slowness));
    loop {
        match attempt.make(ctx).await {
            Ok(session) => return Ok(session),
            Err(ConnectError::NoAnswer(_) | ConnectError::Barred(_)) if begun.elapsed() < limit => {}
            Err(error) => return Err(failed(ctx, tunnel, &error)),
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE.min(ctx.world.wait.interval)) => {}
            () = ctx.world.interrupt.wait() => return Err(Interrupt::failure()),
        }
    }
}

/// The same once.
pub(crate) async fn try_login(
    ctx: &Context<'_>,
    tunnel: &TunnelRecord,
) -> Result<Result<Box<dyn Session>, ConnectError>> {
    Ok(match Attempt::of(ctx, tunnel).await? {
        Ok(attempt) => attempt.make(ctx).await,
        Err(error) => Err(error),
    })
}

/// A login through a tunnel, which may be tried again and again: the provider is asked only once.
struct Attempt {
    login: Login,
    slowness: u32,
}

impl Attempt {
    async fn of(ctx: &Context<'_>, tunnel: &TunnelRecord) -> Result<Result<Self, ConnectError>> {
        // A login without a way through would go by the port, and prove nothing.
        let Some(through) = Through::of(tunnel) else {
            return Ok(Err(ConnectError::Broken("it is not made to its end".to_owned())));
        };
        let observed = ctx.observe().await?;
        let address = observed.ssh.unwrap_or(SocketAddr::from(([0, 0, 0, 0], tunnel.port)));
        let login = Login { through: Some(through), ..ctx.login(address, &ctx.spec.user).await? };
        Ok(Ok(Self { login, slowness: observed.slowness }))
    }

    async fn make(&self, ctx: &Context<'_>) -> Result<Box<dyn Session>, ConnectError> {
        ctx.world.remote.connect(&self.login, LOGIN * self.slowness.max(1)).await
    }
}

/// What a server and ssh said.
pub(crate) fn words(error: &ConnectError) -> String {
    match error {
        ConnectError::HostKey { expected, offered } => {
            let offered = offered.as_deref().unwrap_or("another");
            format!("what answers shows host key {offered}, and {} is pinned", expected.join(" or "))
        }
        _ => error.words().unwrap_or_default().to_owned(),
    }
}

fn failed(ctx: &Context<'_>, tunnel: &TunnelRecord, error: &ConnectError) -> Failure {
    let mut lines: Vec<String> = words(error).lines().map(str::to_owned).collect();
    let last = lines.pop().unwrap_or_default();
    let server = ctx.server();
    let failure = Failure::new(Blame::Target, last)
        .because_of(format!("no login to {server} succeeds through the tunnel of {}", tunnel.options.hostname))
        .with_lines(lines);
    if tunnel.through {
        return failure;
    }
    let look = Next::Run { server: server.clone(), command: "sudo journalctl -n 20 -u ostler-cloudflared".into() };
    failure.because_of(format!("SSH of {server} stays open")).with_hint(
        Hint::from(look)
            .with(" shows what the server's end of the tunnel says; mend the cause, then ")
            .with(Next::Resume(server.clone())),
    )
}

/// Addresses of the server, of both families, at which its SSH port answers from here.
pub(crate) async fn answering(ctx: &Context<'_>, session: &dyn Session) -> Result<Vec<SocketAddr>> {
    let addresses = addresses(ctx, session).await?;
    let knock = async |address| ctx.world.remote.banner(address, KNOCK).await.then_some(address);
    Ok(join_all(addresses.into_iter().map(knock)).await.into_iter().flatten().collect())
}

/// Whether the SSH port answers where the provider says that it is.
pub(crate) async fn answers(ctx: &Context<'_>) -> bool {
    match ctx.observe().await {
        Ok(observed) => match observed.ssh {
            Some(address) => ctx.world.remote.banner(address, KNOCK).await,
            None => false,
        },
        Err(_) => false,
    }
}

const ADDRESSES: &str = include_str!("../reach/scripts/own_addresses.sh");

async fn addresses(ctx: &Context<'_>, session: &dyn Session) -> Result<Vec<SocketAddr>> {
    let shown = ctx.observe().await?.ssh;
    let own = session.run(ADDRESSES, b"").await?.stdout;
    let own = own.lines().filter_map(|line| line.trim().strip_prefix("address ")?.parse::<IpAddr>().ok());
    let other = own.filter(|own| shown.is_none_or(|shown| shown.is_ipv4() != own.is_ipv4()));
    Ok(shown.into_iter().chain(other.map(|own| SocketAddr::new(own, ctx.spec.ssh.port))).collect())
}
