//! How long to wait for a server, and how long to be silent between two connections to it.
//!
//! Firewalls count new connections (`ufw limit`: six within 30 s), also those that they reject; sshd penalises connections that
//! come to nothing (PerSourcePenalties in sshd_config(5)). A client that keeps trying is never let in. So every pause after a
//! connection that was refused is longer than such windows; an sshd that took the connection and closed it, because it is busy, is
//! tried a little earlier. Only a machine that boots is looked for often. That a run restarts sshd is no reason to try: the
//! server itself waits until something listens again (`converge/confirm.rs`).

use crate::{
    error::{Failure, Result},
    event::Level,
    hint::{Hint, Next},
    model::Phase,
    operation::Interrupt,
    reach::wait,
    world::Context,
};
use std::time::{Duration, Instant};

/// First pause after a refused login, and the longest one. sshd's default penalty for a failed login is 5 s.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(10);
/// After that sshd let nobody from here try: the unfinished login of somebody else may be the reason.
const BARRED: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(15)];
/// Pauses do not grow beyond so many windows.
const MOST_WINDOWS: u32 = 4;
/// sshd's longest penalty, and fail2ban's default ban, are 10 min.
const LONGEST_BAN: Duration = Duration::from_secs(660);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The first boot of a machine that was just made: nobody ever logged in, sshd comes and goes, and the account is made
    /// meanwhile. It is looked for often, by its banner.
    FirstBoot,
    /// The boot of a machine that may just have been started.
    Boot,
    /// A server that runs. It most likely answers at once, and a look at its banner first would cost a connection.
    Answer,
}

/// What stands before the next login.
pub(crate) async fn awaited(ctx: &Context<'_>) -> Result<Awaited> {
    if ctx.provider().origin().adopts() {
        return Ok(Awaited::Answer);
    }
    let first = ctx.record().await?.phase <= Phase::Connect;
    Ok(if first { Awaited::FirstBoot } else { Awaited::Boot })
}

/// Why there is no login.
pub(crate) struct Missed {
    pub failure: Failure,
    /// The time ran out, and the server has not said no.
    pub is_silence: bool,
}

impl From<Failure> for Missed {
    fn from(failure: Failure) -> Self {
        Self { failure, is_silence: false }
    }
}

impl From<Missed> for Failure {
    fn from(missed: Missed) -> Self {
        missed.failure
    }
}

/// A wait under way: what was heard last, and the pauses.
pub(crate) struct Wait<'a, 'w> {
    ctx: &'a Context<'w>,
    begun: Instant,
    limit: Option<Duration>,
    awaited: Awaited,
    interruptible: bool,
    pace: Pace,
    refused_pause: Duration,
    told: bool,
}

impl<'a, 'w> Wait<'a, 'w> {
    pub fn new(ctx: &'a Context<'w>, limit: Option<Duration>, awaited: Awaited, interruptible: bool) -> Self {
        let (begun, refused_pause, pace) = (Instant::now(), REFUSED_PAUSE, Pace::new(ctx.world.wait.window));
        Self { ctx, begun, limit, awaited, interruptible, pace, refused_pause, told: false }
    }

    pub async fn interrupted(&self) {
        match self.interruptible {
            true => self.ctx.world.interrupt.wait().await,
            false => std::future::pending().await,
        }
    }

    /// What is left of the time.
    pub fn left(&self, slowness: u32) -> Duration {
        let limit = self.limit.unwrap_or_else(|| self.ctx.world.wait.limit(slowness));
        limit.saturating_sub(self.begun.elapsed())
    }

    /// Nothing answered: a pause, or the end.
    pub async fn no_answer(&mut self, missing: &str, words: String) -> Result<(), Missed> {
        let slowness = self.ctx.observe().await?.slowness;
        let left = self.left(slowness);
        if left.is_zero() {
            return Err(self.timed_out(missing, words).await);
        }
        let looks_often = match self.awaited {
            Awaited::FirstBoot => true,
            // By then it has booted, or never will; what is left is a firewall that counts.
            Awaited::Boot => self.begun.elapsed() < self.ctx.world.wait.limit(slowness) / 2,
            Awaited::Answer => false,
        };
        let length = match looks_often {
            true => wait::PAUSE,
            false if is_dropped(&words) => self.pace.after_barred(),
            false => self.pace.after_no_answer(),
        };
        if !looks_often {
            let answers = if self.answered_before().await { "no longer answers" } else { "does not answer" };
            self.tell(&format!("{} {answers} ({})", self.ctx.server(), wait::last_line(&words)), length).await;
        }
        self.pause(length.min(left)).await
    }

    /// sshd lets nobody from here try.
    pub async fn barred(&mut self, words: String) -> Result<(), Missed> {
        let slowness = self.ctx.observe().await?.slowness;
        let mut left = self.left(slowness);
        if self.limit.is_none() && !self.ctx.world.wait.exact && self.awaited != Awaited::FirstBoot {
            left = left.max(LONGEST_BAN.saturating_sub(self.begun.elapsed()));
        }
        if left.is_zero() {
            return Err(self.timed_out("the login (sshd accepts no attempts from here for a while)", words).await);
        }
        let length = match self.awaited {
            Awaited::FirstBoot => self.next_refused_pause(),
            Awaited::Boot | Awaited::Answer => self.pace.after_barred(),
        };
        self.tell(&format!("{} accepts no new connections from here for a while: {words}", self.ctx.server()), length)
            .await;
        self.pause(length.min(left)).await
    }

    /// The account is not there yet.
    pub async fn refused(&mut self, missing: &str, words: String) -> Result<(), Missed> {
        let slowness = self.ctx.observe().await?.slowness;
        let left = self.left(slowness);
        if left.is_zero() {
            return Err(self.timed_out(missing, words).await);
        }
        let length = self.next_refused_pause();
        self.pause(length.min(left)).await
    }

    fn next_refused_pause(&mut self) -> Duration {
        let pause = self.refused_pause;
        self.refused_pause = (pause * 2).min(REFUSED_PAUSE_MAX);
        pause
    }

    /// Whether a connection ever led to the server.
    async fn answered_before(&self) -> bool {
        self.ctx.record().await.is_ok_and(|record| record.phase > Phase::Connect)
    }

    /// Says once why there are long pauses.
    async fn tell(&mut self, why: &str, length: Duration) {
        if !std::mem::replace(&mut self.told, true) {
            let seconds = length.as_secs().max(1);
            let message = format!("{why}; trying again in {seconds} s, because limits count each attempt");
            self.ctx.notice(Level::Warning, message).await;
        }
    }

    pub async fn pause(&self, length: Duration) -> Result<(), Missed> {
        tokio::select! {
            () = tokio::time::sleep(length) => Ok(()),
            () = self.interrupted() => Err(Interrupt::failure().into()),
        }
    }

    pub async fn timed_out(&self, missing: &str, words: String) -> Missed {
        let mut failure = wait::timed_out(self.ctx, missing, self.begun, Some(words)).await;
        if self.limit.is_some() {
            // The user's timeout is not the one that ended this.
            failure.hints.clear();
        }
        let is_silence = true;
        if self.awaited != Awaited::Answer {
            return Missed { failure, is_silence };
        }
        let first = match self.answered_before().await {
            true => "it answered before: check that it runs",
            false => "check its address and port, and that it runs",
        };
        let failure = failure.with_hint(
            Hint::from(format!(
                "{first}, and whether something limits or bans connections from here (`ufw limit`, \
                 sshd's PerSourcePenalties and MaxStartups, fail2ban); wait until that is over, then "
            ))
            .with(Next::Resume(self.ctx.server().clone())),
        );
        Missed { failure, is_silence }
    }
}

/// How a series of connections went.
#[derive(Debug)]
struct Pace {
    window: Duration,
    silent: usize,
    barred: usize,
}

impl Pace {
    fn new(window: Duration) -> Self {
        Self { window, silent: 0, barred: 0 }
    }

    /// The pause after a connection that led nowhere.
    fn after_no_answer(&mut self) -> Duration {
        self.silent += 1;
        nth(&[], self.silent, self.window)
    }

    /// The pause after sshd said that it lets nobody from here try.
    fn after_barred(&mut self) -> Duration {
        self.barred += 1;
        nth(&BARRED, self.barred, self.window)
    }
}

/// Whether something took the connection and closed it, as an sshd does that has too many unfinished logins (MaxStartups).
fn is_dropped(words: &str) -> bool {
    ["Connection closed by ", "Connection reset by "].iter().any(|phrase| words.contains(phrase))
}

/// The pause after try `count`, from 1: the short ones first, then windows, each twice as long as the last but one.
fn nth(short: &[Duration], count: usize, window: Duration) -> Duration {
    match short.get(count - 1) {
        Some(pause) => *pause,
        None => window * (1 << ((count - 1 - short.len()) / 2).min(4)).min(MOST_WINDOWS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::WaitOptions;

    fn seconds(mut pause: impl FnMut() -> Duration) -> Vec<f64> {
        (0..9).map(|_| pause().as_secs_f64()).collect()
    }

    #[test]
    fn windows_are_waited_out() {
        let mut pace = Pace::new(WaitOptions::default().window);
        assert_eq!(seconds(|| pace.after_no_answer()), [31.0, 31.0, 62.0, 62.0, 124.0, 124.0, 124.0, 124.0, 124.0]);
        let mut pace = Pace::new(WaitOptions::default().window);
        assert_eq!(seconds(|| pace.after_barred()), [5.0, 15.0, 31.0, 31.0, 62.0, 62.0, 124.0, 124.0, 124.0]);
    }

    #[test]
    fn three_connections_at_most_fall_into_one_window() {
        for after in [Pace::after_no_answer, Pace::after_barred] {
            let (mut pace, mut now, mut times) = (Pace::new(WaitOptions::default().window), 0.0, vec![0.0]);
            for _ in 0..12 {
                now += after(&mut pace).as_secs_f64();
                times.push(now);
            }
            let most =
                times.iter().map(|begin| times.iter().filter(|t| (0.0..30.0).contains(&(*t - begin))).count()).max();
            assert!(most.unwrap() <= 3, "{times:?}");
        }
    }
}
