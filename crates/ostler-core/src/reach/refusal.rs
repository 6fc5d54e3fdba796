//! Why a server refuses a login: asked on the server itself, over a session of somebody whom it lets in. sshd tells a client nothing
//! but `Permission denied`, and knows more.

use crate::{
    error::{Blame, Failure},
    hint::{Hint, Next},
    ids::ServerName,
    ports::Session,
    reach::RUN_AS_ROOT,
    secret::Secret,
    text,
    world::Context,
};
use serde::Deserialize;
use std::time::Duration;

const REFUSAL: &str = include_str!("scripts/refusal.py");
const LIMITS: &str = include_str!("scripts/limits.sh");

/// Root by whatever way there is, with SSH_CONNECTION as parameters: by itself, by sudo without a password, or with the one on the
/// first line of the input.
const BECOME_ROOT: &str = "IFS= read -r password\n\
    [ \"$(id -u)\" = 0 ] && exec sh -s -- $SSH_CONNECTION\n\
    sudo -n true 2>/dev/null && exec sudo -n sh -s -- $SSH_CONNECTION\n\
    { printf '%s\\n' \"$password\"; exec cat; } | sudo -S -p '' sh -s -- $SSH_CONNECTION";

/// The most causes, lines and characters that are passed on: what a server says is only as good as the server.
const MOST: usize = 4;
const LONGEST: usize = 400;
/// How long the server may take to say.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Answer {
    /// Causes in words, each with what to do on the server; `None`: Ostler mends it.
    causes: Vec<(String, Option<String>)>,
    log: Vec<String>,
}

/// The failure of a login as `user` with what `session` says of it; as it is where that says nothing. `password` is for sudo.
pub(crate) async fn explained(
    ctx: &Context<'_>,
    session: &dyn Session,
    password: Option<&Secret>,
    user: &str,
    failure: Failure,
) -> Failure {
    if failure.blame != Blame::Target {
        return failure;
    }
    match tokio::time::timeout(PATIENCE, ask(ctx, session, password, user)).await {
        Ok(Some(answer)) => told(answer, ctx.server(), failure),
        _ => failure,
    }
}

async fn ask(ctx: &Context<'_>, session: &dyn Session, password: Option<&Secret>, user: &str) -> Option<Answer> {
    let key = ctx.record().await.ok()?.client_key?;
    let key = key.split(' ').nth(1)?;
    let password = password.map_or("", |password| password.expose());
    // SSH_CONNECTION: from where, port, to where, port. Names of accounts have no character that a shell minds.
    let script = format!(
        "{password}\nexec python3 -I - '{user}' '{key}' \"$1\" \"$3\" \"$4\" <<'OSTLER_EOF'\n{REFUSAL}OSTLER_EOF\n"
    );
    let output = session.run(BECOME_ROOT, script.as_bytes()).await.ok()?;
    serde_json::from_str(output.stdout.trim()).ok()
}

fn told(answer: Answer, server: &ServerName, mut failure: Failure) -> Failure {
    let shown = |said: &str| -> String { text::plain(said).replace('\n', " ").chars().take(LONGEST).collect() };
    if answer.causes.is_empty() {
        failure.lines.extend(answer.log.iter().take(MOST).map(|line| shown(line)));
        return failure;
    }
    let (by_hand, by_us): (Vec<_>, Vec<_>) =
        answer.causes.iter().take(MOST).map(|(_, hint)| hint.as_deref()).partition(Option::is_some);
    let by_hand: Vec<String> = by_hand.into_iter().flatten().map(shown).collect();
    let causes = answer.causes.iter().take(MOST).map(|(words, _)| shown(words));
    failure.causes = causes.chain(failure.causes).collect();
    failure.hints.clear();
    if !by_us.is_empty() {
        failure.hints.push(Hint::from(Next::UpAgain).with(" with the spec file mends that"));
    }
    if !by_hand.is_empty() {
        let hint = Hint::from(format!("on the server: {}; then ", by_hand.join("; ")));
        failure.hints.push(hint.with(Next::Resume(server.clone())));
    }
    failure
}

/// What makes a server take no new connection from here for a while, and how long that may last.
pub(crate) struct Limit {
    /// In a sentence, without a full stop.
    pub words: String,
    /// From now on.
    pub lasts: Duration,
}

/// Asks over a session from before why there is no new connection; `None`: nothing counts or bans connections of ours.
pub(crate) async fn limit(session: &dyn Session) -> Option<Limit> {
    let command = format!("{RUN_AS_ROOT} -- \"${{SSH_CONNECTION%% *}}\"");
    let output = tokio::time::timeout(PATIENCE, session.run(&command, LIMITS.as_bytes())).await.ok()?.ok()?;
    let said = text::plain(&output.stdout);
    let (seconds, words) = said.lines().next()?.split_once(' ')?;
    let lasts = Duration::from_secs(seconds.parse().ok()?);
    Some(Limit { words: words.chars().take(LONGEST).collect(), lasts })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(causes: &[(&str, Option<&str>)], log: &[&str]) -> Failure {
        let causes = causes.iter().map(|(words, hint)| (words.to_string(), hint.map(str::to_owned))).collect();
        let answer = Answer { causes, log: log.iter().map(|line| line.to_string()).collect() };
        let mut failure = Failure::new(Blame::Target, "web refuses the login of ops").with_hint("look");
        failure.causes.push("Permission denied (publickey)".into());
        told(answer, &ServerName::parse("web").unwrap(), failure)
    }

    #[test]
    fn the_servers_reason_comes_before_the_words_of_ssh() {
        let failure = refused(&[("AllowUsers does not name ops", Some("add ops to that line"))], &["a line"]);
        assert_eq!(failure.causes, ["AllowUsers does not name ops", "Permission denied (publickey)"]);
        let web = ServerName::parse("web").unwrap();
        let hint = Hint::from("on the server: add ops to that line; then ").with(Next::Resume(web));
        assert_eq!(failure.hints, [hint]);
        assert!(failure.lines.is_empty());
    }

    #[test]
    fn what_a_run_mends_is_advised_as_a_run() {
        let failure = refused(&[("there is no user ops", None)], &[]);
        assert_eq!(failure.hints, [Hint::from(Next::UpAgain).with(" with the spec file mends that")]);
    }

    #[test]
    fn where_no_reason_is_found_sshd_has_its_say_and_can_not_steer_the_terminal() {
        let failure = refused(&[], &["User ops\u{1b}[2J from 10.0.0.2 not allowed"]);
        assert_eq!(failure.causes, ["Permission denied (publickey)"]);
        assert_eq!(failure.hints, [Hint::from("look")]);
        assert!(failure.lines[0].starts_with("User ops") && !failure.lines[0].contains('\u{1b}'), "{failure:?}");
    }
}
