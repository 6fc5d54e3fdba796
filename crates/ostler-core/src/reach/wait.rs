//! Waits until a server lets us in: address, then SSH with the pinned key, then the login.
//!
//! A TCP connection proves nothing (user networking accepts it before the guest listens), so SSH counts as answering only
//! when its banner is read. While a new machine boots, a refused login is asked again with growing pauses; anywhere else it is
//! the server's last word. sshd's own penalties (OpenSSH 9.8 and later), firewalls and fail2ban ban a client that hammers, so a
//! server that has answered before is connected to seldom ([`Wait`]).

use crate::{
    error::{Blame, Failure, Result},
    event::Level,
    hint::{Hint, Next},
    ids::ServerName,
    model::Power,
    operation::Interrupt,
    ports::{ConnectError, Credential, HostKey, Session},
    reach::{
        cloud_init,
        patience::{Awaited, Missed, Wait, awaited},
        refusal,
    },
    world::Context,
};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// How long a banner is waited for before the machine itself is looked at again.
const LOOK: Duration = Duration::from_secs(6);
/// The same for a server that runs, and that may have moved to another port. Multiplied by the provider's slowness.
const SHORT_LOOK: Duration = Duration::from_secs(2);
/// How long a key exchange may take.
const HOST_KEYS: Duration = Duration::from_secs(20);
/// Pause after a connection that led nowhere; keeps "ready" within half a second of the truth.
pub(crate) const PAUSE: Duration = Duration::from_millis(250);

/// Waits until the server has an address.
pub(crate) async fn for_address(ctx: &Context<'_>) -> Result<()> {
    let begun = Instant::now();
    loop {
        let observed = ctx.observe().await?;
        if observed.power != Power::On {
            return Err(machine_stopped(ctx).await);
        }
        if observed.ssh.is_some() {
            return Ok(());
        }
        if begun.elapsed() > ctx.world.wait.limit(observed.slowness) {
            return Err(timed_out(ctx, "an address", begun, Some(observed.detail)).await);
        }
        pause(ctx, PAUSE).await?;
    }
}

/// Logs in as soon as the server lets us, as the user whose access was last proved.
pub async fn for_login(ctx: &Context<'_>) -> Result<Box<dyn Session>> {
    let user = ctx.record().await?.login_user;
    for_login_as(ctx, &user).await
}

/// Logs in as soon as the server lets us.
pub(crate) async fn for_login_as(ctx: &Context<'_>, user: &str) -> Result<Box<dyn Session>> {
    let awaited = awaited(ctx).await?;
    Ok(for_login_with(ctx, Attempts { user, credential: None, limit: None, awaited, interruptible: true }).await?)
}

/// Logs in by a connection of which nothing is taken for granted, within `limit`.
pub(crate) async fn for_new_login(ctx: &Context<'_>, user: &str, limit: Duration) -> Result<Box<dyn Session>> {
    Ok(new_login(ctx, user, limit).await?)
}

async fn new_login(ctx: &Context<'_>, user: &str, limit: Duration) -> Result<Box<dyn Session>, Missed> {
    let (limit, awaited) = (Some(limit), Awaited::Answer);
    for_login_with(ctx, Attempts { user, credential: None, limit, awaited, interruptible: false }).await
}

/// The same to prove new settings, while `old`, a session from before, still lives. Where something on the server counts or bans
/// connections, that is waited out, for it is no proof against the settings; where the login is refused, the server is asked why.
pub(crate) async fn for_proof(
    ctx: &Context<'_>,
    old: &dyn Session,
    user: &str,
    limit: Duration,
) -> Result<Box<dyn Session>> {
    let failure = match new_login(ctx, user, limit).await {
        Ok(session) => return Ok(session),
        Err(Missed { failure, is_silence: false }) => {
            return Err(refusal::explained(ctx, old, None, user, failure).await);
        }
        Err(Missed { failure, is_silence: true }) => failure,
    };
    let Some(counted) = refusal::limit(old).await else { return Err(failure) };
    let message = format!(
        "{} accepts no new connections from here for a while ({}): its new settings stay, and are proved once that is over",
        ctx.server(),
        counted.words
    );
    ctx.notice(Level::Warning, message).await;
    tokio::time::sleep(ctx.world.wait.window).await;
    for_new_login(ctx, user, counted.lasts).await.map_err(|mut failure| {
        failure.causes.push(counted.words);
        failure
    })
}

/// Logs in as the account that an existing server was given with. What is refused once is refused: a password would not get
/// better by being tried again, and fail2ban counts.
pub(crate) async fn for_first_login(
    ctx: &Context<'_>,
    user: &str,
    credential: Credential,
    limit: Option<Duration>,
) -> Result<Box<dyn Session>> {
    let (credential, awaited) = (Some(credential), Awaited::Answer);
    Ok(for_login_with(ctx, Attempts { user, credential, limit, awaited, interruptible: true }).await?)
}

/// The host keys that an existing server shows, best first; see [`Remote::host_keys`](crate::ports::Remote::host_keys).
pub(crate) async fn for_host_keys(
    ctx: &Context<'_>,
    address: SocketAddr,
    wanted: Option<&str>,
) -> Result<Vec<HostKey>> {
    let mut wait = Wait::new(ctx, None, Awaited::Answer, true);
    loop {
        match ctx.world.remote.host_keys(address, wanted, HOST_KEYS).await {
            Ok(keys) => return Ok(keys),
            Err(ConnectError::Barred(words)) => wait.barred(words).await?,
            Err(ConnectError::Broken(words)) => return Err(broken(words)),
            Err(ConnectError::NoAnswer(words) | ConnectError::Refused(words)) => wait.no_answer("SSH", words).await?,
            Err(ConnectError::HostKey { .. } | ConnectError::TooManyKeys { .. }) => {
                return Err(Failure::new(Blame::Bug, "a key exchange ended like a login"));
            }
        }
    }
}

/// Whether a session came about where sshd is to listen from now on, and not where it did before.
pub(crate) async fn came_by_next(ctx: &Context<'_>, session: &dyn Session) -> Result<bool> {
    let Some(next) = ctx.record().await?.machine_next else { return Ok(false) };
    if ctx.tunnel().await?.is_some_and(|tunnel| tunnel.through) {
        // The tunnel leads to the port of the spec.
        return Ok(true);
    }
    let observed = ctx.provider().observe(&[&next]).await?.pop();
    Ok(observed.and_then(|observed| observed.ssh) == Some(session.transport().address))
}

/// How a login is tried.
struct Attempts<'a> {
    user: &'a str,
    /// `None`: Ostler's own key.
    credential: Option<Credential>,
    /// `None`: as long as `WaitOptions` say.
    limit: Option<Duration>,
    awaited: Awaited,
    /// Whether Ctrl-C ends it. What has begun to change who gets in is seen to its end.
    interruptible: bool,
}

async fn for_login_with(ctx: &Context<'_>, attempts: Attempts<'_>) -> Result<Box<dyn Session>, Missed> {
    let Attempts { user, credential, limit, awaited, interruptible } = attempts;
    let interval = ctx.world.wait.interval;
    let mut wait = Wait::new(ctx, limit, awaited, interruptible);
    let mut missing = "SSH";
    let mut look = awaited == Awaited::FirstBoot;
    loop {
        let observed = ctx.observe().await?;
        if observed.power != Power::On {
            return Err(machine_stopped(ctx).await.into());
        }
        let tunnelled = credential.is_none() && ctx.tunnel().await?.is_some_and(|tunnel| tunnel.through);
        // What leads through a tunnel leads to no address.
        let next = if tunnelled { None } else { next_address(ctx).await? };
        // There is always a last try when the time is over.
        let left = wait.left(observed.slowness).max(interval);
        let Some(mut address) = observed.ssh else {
            missing = "an address";
            if wait.left(observed.slowness).is_zero() {
                return Err(wait.timed_out(missing, observed.detail).await);
            }
            wait.pause(interval).await?;
            continue;
        };
        if (look && !tunnelled) || next.is_some() {
            let patience = match awaited {
                Awaited::FirstBoot | Awaited::Boot => LOOK.max(interval),
                Awaited::Answer => SHORT_LOOK * observed.slowness,
            };
            let answered = tokio::select! {
                answered = first_to_answer(ctx, address, next, patience.min(left)) => answered,
                () = wait.interrupted() => return Err(Interrupt::failure().into()),
            };
            let Some(answered) = answered else {
                wait.no_answer(missing, "no SSH banner".to_owned()).await?;
                continue;
            };
            address = answered;
        }
        look = awaited != Awaited::Answer;
        // Under emulation the key exchange alone takes seconds.
        let patience = Duration::from_secs(20 * u64::from(observed.slowness)).min(left);
        let mut login = ctx.login(address, user).await?;
        if let Some(credential) = &credential {
            login.credential = credential.clone();
        }
        let connected = tokio::select! {
            connected = ctx.world.remote.connect(&login, patience) => connected,
            () = wait.interrupted() => return Err(Interrupt::failure().into()),
        };
        match connected {
            Ok(session) => return Ok(session),
            Err(ConnectError::NoAnswer(words)) => {
                missing = match tunnelled {
                    true => "an answer through its tunnel",
                    false => "a lasting SSH connection (it answered and hung up)",
                };
                wait.no_answer(missing, words).await?;
            }
            Err(ConnectError::Refused(words)) if is_booting(&words) => {
                missing = "the end of its boot";
                wait.no_answer(missing, words).await?;
            }
            Err(ConnectError::Barred(words)) => wait.barred(words).await?,
            Err(ConnectError::Refused(words)) if awaited == Awaited::FirstBoot => {
                missing = "the login (SSH answers with the pinned host key)";
                wait.refused(missing, words).await?;
            }
            // A key that was refused stays refused, and each try counts for sshd and fail2ban.
            Err(ConnectError::Refused(words)) => return Err(refused(ctx, user, credential.as_ref(), &words).into()),
            Err(ConnectError::TooManyKeys { words, held, tried }) => {
                return Err(too_many_keys(ctx, user, &words, held, tried).into());
            }
            Err(ConnectError::HostKey { expected, offered }) => {
                return Err(wrong_host_key(ctx, &expected, offered).into());
            }
            Err(ConnectError::Broken(words)) => return Err(broken(words).into()),
        }
    }
}

/// pam_nologin(8) says so while a server boots.
fn is_booting(words: &str) -> bool {
    ["System is booting up", "System is going down"].iter().any(|phrase| words.contains(phrase))
}

fn broken(words: String) -> Failure {
    with_words(Failure::new(Blame::Provider, "ssh can't be run on this machine"), &words)
        .with_hint(Hint::from(Next::CheckMachine).with(" says what is missing"))
}

/// The failure with what ssh and the server said: the last line is the cause, the others show more.
fn with_words(mut failure: Failure, words: &str) -> Failure {
    let mut lines: Vec<String> =
        words.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    failure.causes.extend(lines.pop());
    failure.lines.splice(0..0, lines);
    failure
}

pub(crate) fn last_line(words: &str) -> &str {
    words.trim().lines().next_back().unwrap_or_default()
}

/// Where sshd is to listen from now on, as long as that is not proved.
async fn next_address(ctx: &Context<'_>) -> Result<Option<SocketAddr>> {
    match ctx.record().await?.machine_next {
        Some(next) => Ok(ctx.provider().observe(&[&next]).await?.pop().and_then(|observed| observed.ssh)),
        None => Ok(None),
    }
}

/// The one of two addresses that is the first to show an SSH banner; `None` after `patience`.
async fn first_to_answer(
    ctx: &Context<'_>,
    address: SocketAddr,
    next: Option<SocketAddr>,
    patience: Duration,
) -> Option<SocketAddr> {
    let look = async |address| ctx.world.remote.banner(address, patience).await.then_some(address);
    let look_next = async {
        match next {
            Some(next) => look(next).await,
            None => None,
        }
    };
    tokio::select! {
        Some(answered) = look(address) => Some(answered),
        Some(answered) = look_next => Some(answered),
        else => None,
    }
}

fn refused(ctx: &Context<'_>, user: &str, credential: Option<&Credential>, words: &str) -> Failure {
    let server = ctx.server();
    let message = format!("{server} refuses the login of {user}");
    match credential {
        Some(Credential::Agent { .. }) => with_words(Failure::new(Blame::Configuration, message), words).with_hint(
            "the server accepts no key of your ssh-agent: check `user`, and name `password` or `key` under `existing` in the spec",
        ),
        Some(_) => with_words(Failure::new(Blame::Configuration, message), words)
            .with_hint("check `user`, `password` and `key` under `existing` in the spec"),
        None => with_words(Failure::new(Blame::Target, message), words).with_hint(
            Hint::from("the end of `journalctl -u ssh` on the server says why; mend that, then ")
                .with(Next::Resume(server.clone())),
        ),
    }
}

fn too_many_keys(ctx: &Context<'_>, user: &str, words: &str, held: usize, tried: usize) -> Failure {
    let message = format!("{} refuses the login of {user}", ctx.server());
    let mut failure = with_words(Failure::new(Blame::Configuration, message), words);
    failure.causes.push(format!("your ssh-agent offers {held} keys, and the server accepts no more than {tried}"));
    failure.with_hint(
        "name the right one: `key` under `existing` in the spec takes its public half, such as `~/.ssh/id_ed25519.pub`",
    )
}

/// Waits until cloud-init is done; its errors are shown, and are fatal only if a later step proves them so.
pub(crate) async fn for_cloud_init(ctx: &Context<'_>) -> Result<()> {
    let begun = Instant::now();
    loop {
        let session = for_login(ctx).await?;
        let limit = ctx.world.wait.limit(ctx.observe().await?.slowness);
        let left = limit.saturating_sub(begun.elapsed());
        let output = tokio::select! {
            output = session.run(CLOUD_INIT_WAIT, b"") => output?,
            () = tokio::time::sleep(left) => return Err(timed_out(ctx, "the end of cloud-init", begun, None).await),
            () = ctx.world.interrupt.wait() => return Err(Interrupt::failure()),
        };
        session.close().await;
        // 255: the connection broke, as it does when sshd is restarted; anything else is cloud-init's own word.
        if output.status != 255 {
            return cloud_init::show(ctx, &output).await;
        }
        if begun.elapsed() > limit {
            return Err(timed_out(ctx, "the end of cloud-init", begun, Some(output.stderr)).await);
        }
        pause(ctx, PAUSE).await?;
    }
}

/// Exit status 0: done; 1: error; 2: done with recoverable errors. 127 is ours: there is no cloud-init.
const CLOUD_INIT_WAIT: &str = "command -v cloud-init >/dev/null || exit 127\n\
    cloud-init status --wait --format json 2>/dev/null";

pub(crate) async fn pause(ctx: &Context<'_>, length: Duration) -> Result<()> {
    tokio::select! {
        () = tokio::time::sleep(length) => Ok(()),
        () = ctx.world.interrupt.wait() => Err(Interrupt::failure()),
    }
}

/// How to go on depends on the command that waits, which adds that to this failure and the next.
async fn machine_stopped(ctx: &Context<'_>) -> Failure {
    Failure::new(Blame::Target, format!("the machine of {} stopped while Ostler waited for it", ctx.server()))
        .with_lines(console(ctx).await)
}

pub(crate) async fn timed_out(ctx: &Context<'_>, missing: &str, begun: Instant, last_word: Option<String>) -> Failure {
    let seconds = begun.elapsed().as_secs();
    let mut failure = Failure::new(
        Blame::Target,
        format!("{} did not come up within {seconds} s: still waiting for {missing}", ctx.server()),
    );
    if ctx.tunnel().await.is_ok_and(|tunnel| tunnel.is_some_and(|tunnel| tunnel.through)) {
        failure = failure.with_hint(
            Hint::from("where the tunnel is dead, ")
                .with(Next::Rescue(ctx.server().clone()))
                .with(" opens the SSH port again"),
        );
    }
    let failure = failure.with_hint(Hint::from(Next::WaitLonger).with(" waits longer")).with_lines(console(ctx).await);
    with_words(failure, last_word.as_deref().unwrap_or_default())
}

/// A server that answered before has fallen silent. `since`: its last sign of life.
pub(crate) fn silent(server: &ServerName, since: jiff::Timestamp) -> Failure {
    Failure::new(Blame::Target, silence(since)).with_hint(silent_hint(server))
}

/// The same in words.
pub(crate) fn silence(since: jiff::Timestamp) -> String {
    format!("the connection broke: no sign of life since {}", since.strftime("%H:%M:%S UTC"))
}

/// What to do about it.
pub(crate) fn silent_hint(server: &ServerName) -> Hint {
    Hint::from(format!("check that {server} runs and can be reached, then "))
        .with(Next::Resume(server.clone()))
        .with("; it restores SSH and firewall settings that are not proved by itself")
}

fn wrong_host_key(ctx: &Context<'_>, expected: &[String], offered: Option<String>) -> Failure {
    let offered = offered.as_deref().unwrap_or("unknown");
    Failure::new(
        Blame::Target,
        format!("{} shows host key {offered}, but {} is pinned", ctx.server(), expected.join(" or ")),
    )
    .with_hint("either something stands between you and the server, or its key was replaced: check its console first")
}

async fn console(ctx: &Context<'_>) -> Vec<String> {
    const LINES: usize = 12;
    match (ctx.provider().consoles(), ctx.machine().await) {
        (Some(consoles), Ok(machine)) => consoles.console_tail(&machine, LINES).await.unwrap_or_default(),
        _ => Vec::new(),
    }
}
