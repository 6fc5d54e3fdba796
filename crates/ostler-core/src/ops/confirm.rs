//! Nobody is locked out: what a run changes of sshd and firewall counts only once a new connection has proved it.
//!
//! Before a run the server saves its settings and starts a clock of its own; while the run goes on, Ostler sets the clock
//! anew; after it, Ostler logs in again under the new rules, and only then stops the clock. Where the clock runs out, or the
//! server is restarted, the server puts the old settings back by itself.

use crate::{
    error::{Blame, Failure, Result},
    event::{EventKind, Level},
    ops::{Context, RUN_AS_ROOT, wait},
    ports::{Output, Reporter, Session},
};
use std::{convert::Infallible, fmt::Write, time::Duration};

const SCRIPT: &str = include_str!("scripts/rollback.sh");
const UNIT: &str = include_str!("scripts/rollback.service");
const CALL: &str = "sh /var/lib/ostler/rollback/rollback";
/// Exit status of the script where nothing is armed.
const NOT_ARMED: i32 = 3;

/// A server whose clock runs.
pub(super) struct Armed<'a> {
    ctx: &'a Context<'a>,
    /// What the clock is set to.
    time: Duration,
}

/// Saves the settings of sshd and firewall, and starts the clock.
pub(super) async fn arm<'a>(ctx: &'a Context<'a>, session: &dyn Session) -> Result<Armed<'a>> {
    let slowness = ctx.observe().await?.slowness;
    let time = ctx.world.wait.rollback_after * slowness.max(1);
    let mut script = String::from("set -eu\ninstall -d -m 0700 /var/lib/ostler /var/lib/ostler/rollback\n");
    let files = [("/var/lib/ostler/rollback/rollback", SCRIPT), ("/etc/systemd/system/ostler-rollback.service", UNIT)];
    for (path, content) in files {
        // `cmp` and `cat` are essential packages'; a file that is the same is not written again.
        let _ = write!(
            script,
            "cat >/var/lib/ostler/rollback/new <<'OSTLER_EOF'\n{content}OSTLER_EOF\n\
             cmp -s /var/lib/ostler/rollback/new {path} || \
             {{ mv /var/lib/ostler/rollback/new {path}; chmod 0644 {path}; changed=yes; }}\n"
        );
    }
    let _ = write!(
        script,
        "rm -f /var/lib/ostler/rollback/new\n\
         if [ -n \"${{changed-}}\" ]; then systemctl daemon-reload; systemctl -q enable ostler-rollback.service; fi\n\
         {CALL} arm {} \"$1\"\nsystemctl start ostler-rollback.service\n\
         cd /var/lib/ostler/rollback && if [ -e rolled-back ]; then cat rolled-back; rm rolled-back; fi\n",
        time.as_secs()
    );
    let output = as_root(session, &script).await?;
    if output.status != 0 {
        return Err(Failure::new(Blame::Target, output.stderr.trim())
            .because_of(format!("{} could not save its settings of SSH and firewall", ctx.server())));
    }
    say_rolled_back(ctx, &output.stdout).await;
    Ok(Armed { ctx, time })
}

/// `script` as root, with the address that we come from as its first parameter.
async fn as_root(session: &dyn Session, script: &str) -> Result<Output> {
    session.run(&format!("{RUN_AS_ROOT} -- \"${{SSH_CONNECTION%% *}}\""), script.as_bytes()).await
}

async fn say_rolled_back(ctx: &Context<'_>, line: &str) {
    if let Some((time, why)) = line.trim().split_once(' ') {
        let message = format!("at {time} the server had put its old settings of SSH and firewall back: {why}");
        ctx.reporter.report(EventKind::Notice { level: Level::Warning, message }).await;
    }
}

impl Armed<'_> {
    /// Sets the clock anew, again and again. A connection that breaks is not this one's to tell.
    pub async fn keep(&self, session: &dyn Session) -> Infallible {
        loop {
            tokio::time::sleep(self.time / 4).await;
            let _ = as_root(session, &format!("{CALL} extend {}", self.time.as_secs())).await;
        }
    }

    /// Proves a new connection, and stops the clock; returns that connection. Where none comes about, sees to it that the old
    /// settings are back.
    ///
    /// `session` is the one from before; `changed_all` says whether the run came to its end, so that all new settings hold.
    pub async fn settle(self, session: Box<dyn Session>, changed_all: bool) -> Result<Box<dyn Session>> {
        let _ = as_root(session.as_ref(), &format!("{CALL} extend {}", self.time.as_secs())).await;
        let user = if changed_all { self.ctx.spec.user.clone() } else { self.ctx.record().await?.login_user };
        let tried = wait::for_new_login(self.ctx, &user, self.time * 3 / 4).await;
        let new = match tried {
            Ok(new) => new,
            Err(failure) => return Err(self.roll_back(session, failure).await),
        };
        session.close().await;
        self.confirm(new.as_ref(), changed_all).await?;
        Ok(new)
    }

    /// The new settings stay.
    async fn confirm(&self, new: &dyn Session, changed_all: bool) -> Result<()> {
        let ctx = self.ctx;
        let moved = wait::came_by_next(ctx, new).await?;
        let output = as_root(new, &format!("{CALL} disarm")).await?;
        match output.status {
            0 => {}
            NOT_ARMED => {
                return Err(self.failure("they were not confirmed in time").with_hint(format!(
                    "`ostler resume {}` applies them again; `--rollback-after SECONDS` gives it more time",
                    ctx.server()
                )));
            }
            _ => {
                return Err(Failure::new(Blame::Target, output.stderr.trim())
                    .because_of(format!("{} could not keep its new settings of SSH and firewall", ctx.server())));
            }
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
                    "sshd of {} does not listen on port {}, but where it did before",
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
        let message = "no new connection comes about: the server puts its old settings of SSH and firewall back".into();
        ctx.reporter.report(EventKind::Notice { level: Level::Warning, message }).await;
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
                let hint = format!("mend the cause, then `ostler resume {}`", ctx.server());
                let mut failure = self.failure("nobody could have logged in any more").with_hint(hint);
                failure.causes.push(cause.to_string());
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
        Failure::new(Blame::Target, why)
            .because_of(format!("{server} has put its old settings of SSH and firewall back"))
    }
}
