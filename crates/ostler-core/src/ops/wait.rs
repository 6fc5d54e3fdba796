//! Waits until a server lets us in: address, then SSH with the pinned key, then the login.
//!
//! A TCP connection proves nothing (user networking accepts it before the guest listens), so SSH counts as answering only
//! when its banner is read. A refused login is asked again with growing pauses: sshd's own penalties (OpenSSH 9.8 and
//! later) and fail2ban would ban a client that hammers.

use crate::{
    error::{Blame, Failure, Result},
    ids::ServerName,
    model::{Phase, Power},
    operation::Interrupt,
    ops::Context,
    ports::{ConnectError, Credential, Session},
};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// How long, and how often, to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitOptions {
    /// Longest wait for each of SSH and cloud-init. Multiplied by the provider's slowness unless `exact`. An `exact` one also
    /// bounds the wait for other package managers.
    pub timeout: Duration,
    /// Longest pause between two tries.
    pub interval: Duration,
    /// The user said how long: no stretching.
    pub exact: bool,
    /// How long a server waits for new settings of SSH and firewall to be confirmed before it puts the old ones back.
    /// Multiplied by the provider's slowness.
    pub rollback_after: Duration,
}

impl Default for WaitOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(120),
            interval: Duration::from_secs(3),
            exact: false,
            rollback_after: Duration::from_secs(60),
        }
    }
}

impl WaitOptions {
    /// The limit for a machine of this slowness.
    pub fn limit(&self, slowness: u32) -> Duration {
        if self.exact { self.timeout } else { self.timeout * slowness.max(1) }
    }

    /// The limit for another package manager that is at work on the server, such as unattended-upgrades.
    pub fn lock_limit(&self) -> Duration {
        if self.exact { self.timeout } else { LOCKED }
    }
}

/// What unattended-upgrades usually needs. While a server waits for it, it says so.
const LOCKED: Duration = Duration::from_secs(300);

/// First pause after a refused login, and the longest one. sshd's default penalty for a failed login is 5 s.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a banner is waited for before the machine itself is looked at again.
const LOOK: Duration = Duration::from_secs(6);
/// Pause after a connection that led nowhere; keeps "ready" within half a second of the truth.
const PAUSE: Duration = Duration::from_millis(250);

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
pub(crate) async fn for_login(ctx: &Context<'_>) -> Result<Box<dyn Session>> {
    let user = ctx.record().await?.login_user;
    for_login_as(ctx, &user).await
}

/// Logs in as soon as the server lets us.
pub(crate) async fn for_login_as(ctx: &Context<'_>, user: &str) -> Result<Box<dyn Session>> {
    let look_first = ctx.record().await?.phase <= Phase::Connect;
    for_login_with(ctx, Attempts { user, credential: None, limit: None, look_first, interruptible: true }).await
}

/// Logs in by a connection of which nothing is taken for granted, within `limit`.
pub(crate) async fn for_new_login(ctx: &Context<'_>, user: &str, limit: Duration) -> Result<Box<dyn Session>> {
    for_login_with(ctx, Attempts { user, credential: None, limit: Some(limit), look_first: true, interruptible: false })
        .await
}

/// Logs in as the account that an existing server was given with. What is refused once is refused: a password would not get
/// better by being tried again, and fail2ban counts.
pub(crate) async fn for_first_login(ctx: &Context<'_>, user: &str, credential: Credential) -> Result<Box<dyn Session>> {
    let credential = Some(credential);
    for_login_with(ctx, Attempts { user, credential, limit: None, look_first: true, interruptible: true }).await
}

/// Whether a session came about where sshd is to listen from now on, and not where it did before.
pub(crate) async fn came_by_next(ctx: &Context<'_>, session: &dyn Session) -> Result<bool> {
    let Some(next) = ctx.record().await?.machine_next else { return Ok(false) };
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
    /// A server that was logged in to before most likely answers at once; a look at its banner first would cost a
    /// connection, and sshd penalises connections that come to nothing.
    look_first: bool,
    /// Whether Ctrl-C ends it. What has begun to change who gets in is seen to its end.
    interruptible: bool,
}

async fn for_login_with(ctx: &Context<'_>, attempts: Attempts<'_>) -> Result<Box<dyn Session>> {
    let Attempts { user, credential, limit, mut look_first, interruptible } = attempts;
    let interrupted = async || match interruptible {
        true => ctx.world.interrupt.wait().await,
        false => std::future::pending().await,
    };
    let begun = Instant::now();
    let interval = ctx.world.wait.interval;
    let mut missing = "SSH";
    let mut last_word: Option<String> = None;
    let mut refused_pause = REFUSED_PAUSE;
    loop {
        let observed = ctx.observe().await?;
        if observed.power != Power::On {
            return Err(machine_stopped(ctx).await);
        }
        let next = next_address(ctx).await?;
        let limit = limit.unwrap_or_else(|| ctx.world.wait.limit(observed.slowness));
        let left = limit.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(timed_out(ctx, missing, begun, last_word).await);
        }
        let Some(mut address) = observed.ssh else {
            missing = "an address";
            last_word = Some(observed.detail);
            pause(ctx, interval).await?;
            continue;
        };
        if look_first || next.is_some() {
            let answered = tokio::select! {
                answered = first_to_answer(ctx, address, next, LOOK.max(interval).min(left)) => answered,
                () = interrupted() => return Err(Interrupt::failure()),
            };
            let Some(answered) = answered else { continue };
            address = answered;
        }
        look_first = true;
        // Under emulation the key exchange alone takes seconds.
        let patience = Duration::from_secs(20 * u64::from(observed.slowness)).min(left.max(interval));
        let mut login = ctx.login(address, user).await?;
        if let Some(credential) = &credential {
            login.credential = credential.clone();
        }
        let connected = tokio::select! {
            connected = ctx.world.remote.connect(&login, patience) => connected,
            () = interrupted() => return Err(Interrupt::failure()),
        };
        match connected {
            Ok(session) => return Ok(session),
            Err(ConnectError::NoAnswer(words)) => {
                missing = "SSH that stays (it answered and dropped the connection)";
                last_word = Some(words);
                tokio::time::sleep(PAUSE).await;
            }
            Err(ConnectError::Refused(words)) if credential.is_some() => return Err(refused(ctx, user, words)),
            Err(ConnectError::Refused(words) | ConnectError::Barred(words)) => {
                missing = "the login (SSH answers with the pinned host key)";
                last_word = Some(words);
                tokio::select! {
                    () = tokio::time::sleep(refused_pause) => {}
                    () = interrupted() => return Err(Interrupt::failure()),
                }
                refused_pause = (refused_pause * 2).min(REFUSED_PAUSE_MAX);
            }
            Err(ConnectError::HostKey { expected, offered }) => return Err(wrong_host_key(ctx, &expected, offered)),
            Err(ConnectError::Broken(words)) => {
                return Err(Failure::new(Blame::Provider, words)
                    .because_of("ssh can't be run on this machine")
                    .with_hint("`ostler doctor` says what is missing"));
            }
        }
    }
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

fn refused(ctx: &Context<'_>, user: &str, words: String) -> Failure {
    let mut failure = Failure::new(Blame::Configuration, format!("{} does not let {user} in", ctx.server()))
        .with_hint("look at `user`, `password` and `key` under `existing` in the spec");
    failure.causes.extend(Some(words.trim().to_owned()).filter(|words| !words.is_empty()));
    failure
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
            return super::create::show_cloud_init(ctx, &output).await;
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

async fn pause(ctx: &Context<'_>, length: Duration) -> Result<()> {
    tokio::select! {
        () = tokio::time::sleep(length) => Ok(()),
        () = ctx.world.interrupt.wait() => Err(Interrupt::failure()),
    }
}

/// What to type next depends on the command that waits, so this failure and the next leave the hint to it.
async fn machine_stopped(ctx: &Context<'_>) -> Failure {
    Failure::new(Blame::Target, format!("the machine of {} stopped while it was waited for", ctx.server()))
        .with_lines(console(ctx).await)
}

async fn timed_out(ctx: &Context<'_>, missing: &str, begun: Instant, last_word: Option<String>) -> Failure {
    let seconds = begun.elapsed().as_secs();
    let mut failure = Failure::new(
        Blame::Target,
        format!(
            "{} did not come up within {seconds} s (`--timeout` sets how long): {missing} is missing",
            ctx.server()
        ),
    )
    .with_lines(console(ctx).await);
    failure.causes.extend(last_word.map(|w| w.trim().to_owned()).filter(|w| !w.is_empty()));
    failure
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
pub(crate) fn silent_hint(server: &ServerName) -> String {
    format!(
        "see that {server} runs and that the network leads there, then `ostler resume {server}`; what was changed of SSH and \
         firewall and is not proved, it puts back by itself"
    )
}

fn wrong_host_key(ctx: &Context<'_>, expected: &[String], offered: Option<String>) -> Failure {
    let offered = offered.as_deref().unwrap_or("unknown");
    Failure::new(
        Blame::Target,
        format!("{} shows host key {offered}, but {} is pinned", ctx.server(), expected.join(" or ")),
    )
    .with_hint("either something stands between you and the server, or its key was replaced: look at its console first")
}

async fn console(ctx: &Context<'_>) -> Vec<String> {
    const LINES: usize = 12;
    match ctx.machine().await {
        Ok(machine) => ctx.provider().console_tail(&machine, LINES).await.unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}
