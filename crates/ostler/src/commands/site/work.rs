//! Work on one site: under its lease, with its events shown while it goes on.

use crate::{
    cli::Output,
    commands::follow,
    output::{self, hints},
    wiring::Session,
};
use ostler_core::{
    Result,
    ids::SiteName,
    ports::{EventFilter, Look},
    site::{self, deploy::Deployed},
    subject::SubjectKind,
    world::World,
};
use serde_json::json;
use std::{os::unix::process::ExitStatusExt, process::ExitCode, time::Instant};

/// Does `work`, shows how it came out, and returns the exit code. A failure is shown, too, so that other sites can follow.
pub async fn work_on(
    session: &Session,
    output: Output,
    site: &SiteName,
    work: impl AsyncFnOnce(&World) -> Result<Option<Deployed>>,
) -> u8 {
    let begun = Instant::now();
    let mut frontend = output::frontend(output, 1, &session.stage);
    let result = session
        .with_world(async |world| {
            let after = world.store.last_event().await?;
            let subject = Some(world.store.claim_name(SubjectKind::Site, site.as_str()).await?);
            let events = world.log.follow(after, EventFilter { subject, ..EventFilter::default() });
            let held = world.leaser.hold_named(SubjectKind::Site, site.as_str(), work(world));
            follow::while_working(events, frontend.as_mut(), session.log_file(), held).await
        })
        .await;
    frontend.finish();
    let seconds = begun.elapsed().as_secs_f64();
    match output {
        Output::Json => {
            let mut line = match &result {
                Ok(Some(deployed)) => {
                    let mut line = json!(deployed);
                    line["ok"] = json!(true);
                    line
                }
                Ok(None) => json!({ "ok": true, "removed": true }),
                Err(failure) => json!({ "ok": false, "failure": failure.clone().in_words(hints::command) }),
            };
            line["event"] = json!("outcome");
            line["site"] = json!(site);
            line["seconds"] = json!((seconds * 1000.0).round() / 1000.0);
            session.stage.print(&format!("{line}\n"));
        }
        Output::Human if result.is_ok() => session.stage.print(&sentence(site, result.as_ref().ok(), seconds)),
        Output::Human | Output::Quiet => {
            result.as_ref().err().into_iter().for_each(|failure| output::print_failure(output, failure));
        }
    }
    result.err().map_or(0, |failure| failure.blame.exit_code())
}

fn sentence(site: &SiteName, came_to: Option<&Option<Deployed>>, seconds: f64) -> String {
    match came_to {
        Some(Some(Deployed { release, url, changed: false, .. })) => {
            format!("{site}  nothing changed: release {release} serves {url}\n")
        }
        Some(Some(Deployed { release, url, back_to, .. })) => {
            let back = back_to.map(|number| format!(", which is release {number} again")).unwrap_or_default();
            format!("{site}  release {release} serves {url}{back} ({seconds:.1} s)\n")
        }
        _ => format!("{site}  removed ({seconds:.1} s)\n"),
    }
}

/// Runs something by hand at the release that has the traffic; its exit status becomes ours.
pub async fn look_at(session: &Session, site: &SiteName, look: &Look<'_>, tty: bool) -> Result<ExitCode> {
    let status = session
        .with_world(async |world| {
            site::list::run(world, site, look, async |transport, command| {
                let command: Vec<String> = command.iter().map(|word| quoted(word)).collect();
                let argv = ostler_remote::interactive_argv(&transport, tty, &command);
                tokio::process::Command::new(&argv[0]).args(&argv[1..]).status().await
            })
            .await
        })
        .await?;
    let status = status.map_err(|error| {
        ostler_core::Failure::new(ostler_core::Blame::Provider, error.to_string())
            .because_of("ssh can't be run on this machine")
            .with_hint("`ostler doctor` says what is missing")
    })?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// A word as the server's shell takes it: ssh joins words by spaces.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
