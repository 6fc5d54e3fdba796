//! Nobody is locked out: what a run changes of sshd and firewall counts only once a new connection has proved it.
//!
//! Before a run the server saves its settings and starts a clock of its own; while the run goes on, Ostler sets the clock
//! anew; after it, Ostler logs in again under the new rules, and only then stops the clock. Where the clock runs out, or the
//! server is restarted, the server puts the old settings back by itself.

use crate::{
    converge::{
        cause::{self, Cause},
        guard, server_log,
    },
    error::{Blame, Failure, Result},
    event::Level,
    hint::{Hint, Next},
    model::Power,
    ports::{Output, SSH_FAILED, Session},
    reach::{
        RUN_AS_ROOT, wait,
        waiting::{self, WAITING},
    },
    world::Context,
};
use std::{
    convert::Infallible,
    sync::Mutex,
    time::{Duration, Instant},
};

const CALL: &str = "sh /var/lib/ostler/rollback/rollback";
/// Exit status of the script where nothing is armed.
const NOT_ARMED: i32 = 3;
/// How long a server takes to put its old settings back once its clock has run out.
const RESTORING: Duration = Duration::from_secs(20);

/// A server whose clock runs.
pub(crate) struct Armed<'a> {
    ctx: &'a Context<'a>,
    /// What the clock is set to.
    time: Duration,
    /// Multiplies what the server's own work may take.
    slowness: u32,
    /// When the server last said that its clock is set.
    heard: Mutex<(Instant, jiff::Timestamp)>,
}

/// Saves the settings of sshd and firewall, and starts the clock.
pub(crate) async fn arm<'a>(ctx: &'a Context<'a>, session: &dyn Session) -> Result<Armed<'a>> {
    let slowness = ctx.observe().await?.slowness;
    let time = ctx.world.wait.rollback_after * slowness.max(1);
    let script = format!(
        "set -eu\n{}{CALL} arm {} $1 $2\nsystemctl start ostler-rollback.service\n\
         if [ -e rolled-back ]; then head -n 1 rolled-back; rm rolled-back; fi\n",
        guard::install(),
        time.as_secs()
    );
    let output = as_root(session, &script).await?;
    if output.status != 0 {
        return Err(refused(ctx, session, &output, "could not save its SSH and firewall settings").await);
    }
    say_rolled_back(ctx, &output.stdout).await;
    Ok(Armed { ctx, time, slowness: slowness.max(1), heard: Mutex::new(now()) })
}

fn now() -> (Instant, jiff::Timestamp) {
    (Instant::now(), jiff::Timestamp::now())
}

/// A script of ours failed on the server: its words, or what lies behind them.
async fn refused(ctx: &Context<'_>, session: &dyn Session, output: &Output, what: &str) -> Failure {
    let server = ctx.server();
    let message = format!("{server} {what}");
    if output.status == SSH_FAILED {
        return wait::silent(server, jiff::Timestamp::now()).because_of(message);
    }
    let Some(cause) = Cause::of(&output.stderr) else {
        return Failure::new(Blame::Target, output.stderr.trim()).because_of(message);
    };
    let full = if cause == Cause::NoSpace { cause::full_disks(session).await } else { Vec::new() };
    Failure::new(Blame::Target, cause.words(&full)).because_of(message).with_hint(cause.hint(server))
}

/// `script` as root. Its first parameter says where we come from and arrive, as `CLIENT ADDRESS PORT`; its second one the account.
async fn as_root(session: &dyn Session, script: &str) -> Result<Output> {
    // ssh(1), SSH_CONNECTION: the client's port is of no use.
    let call = format!("set -- $SSH_CONNECTION; {RUN_AS_ROOT} -- \"$1 $3 $4\" \"$(id -un)\"");
    session.run(&call, script.as_bytes()).await
}

/// A script that waits until something listens on sshd's port, for sshd may have been restarted a moment ago: finding that out by
/// connections would count with those who limit them.
fn until_listening(port: u16, slowness: u32) -> String {
    let tenths = 30 * slowness;
    // proc_net(5): a local address ends with the port in hexadecimal, and 0A is LISTEN.
    format!(
        "for i in $(seq {tenths}); do grep -qsE ':{port:04X} 0+:0000 0A ' /proc/net/tcp /proc/net/tcp6 && break; sleep 0.1; done\n"
    )
}

async fn say_rolled_back(ctx: &Context<'_>, line: &str) {
    if let Some((time, why)) = line.trim().split_once(' ') {
        let message = format!("at {time} the server restored its old SSH and firewall settings: {why}");
        ctx.notice(Level::Warning, message).await;
    }
}

impl Armed<'_> {
    /// Sets the clock anew, again and again, and tells what the server waits for. A connection that breaks is not this one's to
    /// tell.
    pub async fn keep(&self, session: &dyn Session) -> Infallible {
        let mut told = String::new();
        loop {
            tokio::time::sleep(self.time / 4).await;
            let Some(waits_for) = self.extend(session, "").await else { continue };
            waiting::say(self.ctx, &waits_for, &mut told).await;
        }
    }

    /// Runs `first`, and sets the clock anew. What the server waits for, after what `first` had to say; `None` if it could not be told.
    async fn extend(&self, session: &dyn Session, first: &str) -> Option<String> {
        let seconds = self.time.as_secs();
        let script = format!("{first}{CALL} extend {seconds}\nstatus=$?\n{WAITING}\nexit $status\n");
        let output = as_root(session, &script).await.ok().filter(|output| output.status != SSH_FAILED)?;
        *self.heard.lock().expect("no panic while held") = now();
        Some(output.stdout.trim().to_owned())
    }

    /// When the server last gave a sign of life by its clock.
    pub fn heard(&self) -> jiff::Timestamp {
        self.heard.lock().expect("no panic while held").1
    }

    /// Proves a new connection, and stops the clock; returns that connection. Where none comes about, sees to it that the old
    /// settings are back.
    ///
    /// `session` is the one from before; `changed_all` says whether the run came to its end, so that all new settings hold. `log`
    /// is the script by which the server keeps what was said of the run.
    pub async fn settle(&self, session: Box<dyn Session>, changed_all: bool, log: &str) -> Result<Box<dyn Session>> {
        let first = format!("{log}{}", until_listening(self.ctx.spec.ssh.port, self.slowness));
        let said = self.extend(session.as_ref(), &first).await;
        if let Some(why) = said.as_deref().and_then(server_log::not_written) {
            let message = format!("/var/log/ansible.log was not written: {why}");
            self.ctx.notice(Level::Warning, message).await;
        }
        let alive = said.is_some();
        let user = if changed_all { self.ctx.spec.user.clone() } else { self.ctx.record().await?.login_user };
        // Where it hears nobody, nothing can be asked of the server: it puts the old settings back when its clock runs out, and
        // where it does not answer then, its settings are not the cause.
        let limit = if alive { self.time * 3 / 4 } else { self.until_restored() };
        let login = async {
            match alive {
                // A server that counts connections is not one that keeps us out: meanwhile its clock is set anew.
                true => tokio::select! {
                    login = wait::for_proof(self.ctx, session.as_ref(), &user, limit) => login,
                    never = self.keep(session.as_ref()) => match never {},
                },
                false => wait::for_new_login(self.ctx, &user, limit).await,
            }
        };
        let new = match login.await {
            Ok(new) => new,
            Err(failure) if alive => return Err(self.roll_back(session, failure).await),
            Err(failure) => {
                session.close().await;
                // Another host key, or a machine that is off, says more than silence.
                let is_on = self.ctx.observe().await.is_ok_and(|observed| observed.power == Power::On);
                if !failure.hints.is_empty() || !is_on {
                    return Err(failure);
                }
                let failure = wait::silent(self.ctx.server(), self.heard()).because_of(format!(
                    "the new settings of SSH and firewall of {} are not proved",
                    self.ctx.server()
                ));
                return Err(failure);
            }
        };
        session.close().await;
        self.confirm(new.as_ref(), changed_all).await?;
        Ok(new)
    }

    /// From now until the old settings hold again on a server that hears of nobody; at least a moment for one more try.
    fn until_restored(&self) -> Duration {
        let set = self.heard.lock().expect("no panic while held").0;
        (self.time + RESTORING * self.slowness).saturating_sub(set.elapsed()).max(RESTORING / 4)
    }

    /// The new settings stay.
    async fn confirm(&self, new: &dyn Session, changed_all: bool) -> Result<()> {
        let ctx = self.ctx;
        let moved = wait::came_by_next(ctx, new).await?;
        let output = as_root(new, &format!("{CALL} disarm")).await?;
        match output.status {
            0 => {}
            NOT_ARMED => {
                return Err(self.failure("they were not confirmed in time").with_hint(
                    Hint::from(Next::Resume(ctx.server().clone()))
                        .with(" applies them again; ")
                        .with(Next::RollBackLater)
                        .with(" gives it more time"),
                ));
            }
            _ => return Err(refused(ctx, new, &output, "could not keep its new SSH and firewall settings").await),
        }
        let port_missed = ctx.record().await?.machine_next.is_some() && !moved;
        ctx.update(|record| {
            if let (Some(next), true) = (record.machine_next.take(), moved) {
                record.machine = Some(next);
            }
        })
        .await?;
        if changed_all && port_missed {
            return Err(Failure::new(
                Blame::Target,
                format!(
                    "sshd of {} does not listen on port {}, but still where it did before",
                    ctx.server(),
                    ctx.spec.ssh.port
                ),
            ));
        }
        Ok(())
    }

    /// The old settings are put back: at once where the old session still lives, else when the clock runs out.
    async fn roll_back(&self, session: Box<dyn Session>, cause: Failure) -> Failure {
        let ctx = self.ctx;
        let message = "no new connection succeeds: the server restores its old SSH and firewall settings";
        ctx.notice(Level::Warning, message).await;
        let script = format!("{CALL} now");
        let at_once = as_root(session.as_ref(), &script);
        let _ = tokio::time::timeout(Duration::from_secs(20), at_once).await;
        session.close().await;
        let user = match ctx.record().await {
            Ok(record) => record.login_user,
            Err(failure) => return failure,
        };
        match wait::for_new_login(ctx, &user, self.time * 2).await {
            Ok(back) => {
                back.close().await;
                let hint = ctx.world.way_on(ctx.server());
                let mut failure = self.failure("nobody could have logged in after the change").with_hint(hint);
                failure.causes.push(cause.to_string());
                failure.causes.extend(cause.causes);
                failure.lines = cause.lines;
                failure
            }
            Err(failure) => failure.because_of(format!(
                "{} does not answer since its settings of SSH and firewall were changed; it puts the old ones back by itself, \
                 after {} s or at a restart",
                ctx.server(),
                self.time.as_secs()
            )),
        }
    }

    fn failure(&self, why: &str) -> Failure {
        let server = self.ctx.server();
        Failure::new(Blame::Target, why).because_of(format!("{server} has restored its old SSH and firewall settings"))
    }
}
