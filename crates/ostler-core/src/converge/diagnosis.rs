//! Why a run failed: the task, and what lies behind it.

use crate::{
    converge::cause::{self, Cause},
    error::{Blame, Failure, Result},
    event::{AnsibleReport, TaskOutcome, TaskResult},
    hint::{Hint, Next},
    model::Phase,
    ports::{RunSummary, Session},
    reach::wait,
    world::Context,
};

/// Whether a report is of a task (or loop item) that changed something.
pub fn is_change(report: &AnsibleReport) -> bool {
    matches!(report, AnsibleReport::TaskResult(t) if t.result == TaskOutcome::Changed && !t.aggregate)
}

/// Whether the server could not be reached any more.
pub(crate) fn is_lost(report: &AnsibleReport) -> bool {
    matches!(report, AnsibleReport::TaskResult(t) if t.result == TaskOutcome::Unreachable)
}

/// The task that a run failed at.
fn failed_task(reports: &[AnsibleReport]) -> Option<&TaskResult> {
    reports.iter().rev().find_map(|report| match report {
        AnsibleReport::TaskResult(t)
            if !t.ignored && !t.aggregate && matches!(t.result, TaskOutcome::Failed | TaskOutcome::Unreachable) =>
        {
            Some(&**t)
        }
        _ => None,
    })
}

/// The cause of a failed task, where it is one of those that lie around the server.
fn cause_of(task: &TaskResult) -> Option<Cause> {
    [&task.msg, &task.stderr, &task.stdout].into_iter().flatten().find_map(|text| Cause::of(text))
}

/// What is known of a server besides what Ansible says of it.
#[derive(Debug, Default)]
pub(crate) struct Diagnosis {
    /// Its file systems that are full, if a task failed for want of space.
    full: Vec<String>,
    /// Its last sign of life, if it was lost.
    heard: Option<jiff::Timestamp>,
}

impl Diagnosis {
    /// Asks the server what the reports leave open.
    pub async fn of(reports: &[AnsibleReport], session: Option<&dyn Session>, heard: Option<jiff::Timestamp>) -> Self {
        let is_about_space = failed_task(reports).and_then(cause_of) == Some(Cause::NoSpace);
        let full = match session.filter(|_| is_about_space) {
            Some(session) => cause::full_disks(session).await,
            None => Vec::new(),
        };
        Self { full, heard }
    }
}

/// Names the failed task and its cause, or says why there was none.
pub(crate) fn judge(
    ctx: &Context<'_>,
    phase: Phase,
    summary: &RunSummary,
    reports: &[AnsibleReport],
    diagnosis: &Diagnosis,
) -> Result<()> {
    let server = ctx.server();
    // A failed task that a block rescued is no failure of the run.
    if summary.status == 0 && summary.hosts.contains_key(server.as_str()) {
        return Ok(());
    }
    let Some(task) = failed_task(reports) else {
        // A shell's way to say it, which the engine keeps to.
        if let Some(signal) = summary.status.checked_sub(128).filter(|signal| (1..65).contains(signal)) {
            let message = format!(
                "phase {}: Ansible was killed on this machine (signal {signal}) before it finished {server}",
                phase.as_str()
            );
            let mut failure = Failure::new(Blame::User, message)
                .with_hint(Hint::from(Next::Resume(server.clone())).with(" clears up after it and tries again"));
            failure.causes.extend((signal == 9).then(|| "most likely this machine is out of memory".to_owned()));
            return Err(failure);
        }
        let message = format!(
            "phase {}: Ansible ended with status {} on {server}, and no task failed: it did not get that far",
            phase.as_str(),
            summary.status
        );
        return Err(Failure::new(Blame::Bug, message).with_lines(summary.stderr_tail.clone()).with_hint(
            Hint::from(Next::ShowLog(server.clone()))
                .with(" has its whole output; ")
                .with(Next::Resume(server.clone()))
                .with(" tries again"),
        ));
    };
    let lost = task.result == TaskOutcome::Unreachable;
    let word = if lost { "was lost at" } else { "failed at" };
    let mut failure = Failure::new(
        Blame::Target,
        format!("phase {}: {server} {word} `{}` ({})", phase.as_str(), task.place(), task.module),
    );
    if let Some(since) = diagnosis.heard.filter(|_| lost) {
        failure.causes.push(wait::silence(since));
        return Err(failure.with_hint(wait::silent_hint(server)));
    }
    let own_words = task.msg.as_deref().map(str::trim).filter(|words| !words.is_empty());
    if let Some(cause) = cause_of(task) {
        failure.causes.push(cause.words(&diagnosis.full));
        failure.causes.extend(own_words.and_then(|words| words.lines().next()).map(shortened));
        return Err(failure.with_hint(cause.hint(server)));
    }
    failure.causes.extend(own_words.map(str::to_owned));
    let output = task.stderr.as_deref().filter(|s| !s.trim().is_empty()).or(task.stdout.as_deref()).unwrap_or_default();
    failure.lines = output.trim().lines().rev().take(12).map(str::to_owned).collect();
    failure.lines.reverse();
    Err(failure
        .with_hint(ctx.world.way_on(server).with("; ").with(Next::ShowLog(server.clone())).with(" has the whole run")))
}

/// A line that people are to read beside others; the log has it whole.
fn shortened(line: &str) -> String {
    const MOST: usize = 240;
    if line.chars().count() <= MOST { line.to_owned() } else { line.chars().take(MOST).chain("...".chars()).collect() }
}
