//! What a run of Ansible would change on a server, without changing it: check mode.
//!
//! Neither the journal nor the event log nor the server's record hears of it. Only the run's process is on record while it lives, as
//! of every run: if this Ostler is killed, the next one ends it before it starts another.

use crate::{
    converge::{
        diagnosis::{self, Diagnosis},
        leftovers, pending_sshd, run,
    },
    error::{Blame, Failure, Result},
    event::{AnsibleReport, Diff, TaskOutcome, TaskResult},
    hint::{Hint, Next},
    ids::RunId,
    model::{Phase, Power},
    operation::Interrupt,
    plan::{Action, ServerPlan},
    ports::{ChildRecord, RunObserver, RunSummary},
    reach::wait,
    server::{destroy, up},
    spec::ServerSpec,
    subject::Subject,
    world::{Context, World},
};
use async_trait::async_trait;
use serde::Serialize;
use std::sync::Mutex;

/// What came of the wish to know what a run would change.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Check {
    /// There is no server yet to be looked at: everything will be made.
    FromScratch {
        /// Modules that are switched on.
        modules: usize,
        /// Apps.
        apps: usize,
    },
    /// The machine is off, and is not started for this.
    Off,
    /// The check came to its end.
    Done(Findings),
    /// It could not be made, or did not come to its end.
    Failed {
        /// Why.
        failure: Failure,
        /// What was found until then.
        #[serde(flatten)]
        until_then: Findings,
    },
}

/// What a run would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Findings {
    /// Tasks that were looked at and apply to the server; an item of a loop counts as one.
    pub tasks: usize,
    /// What would change, in the order of the run.
    pub changes: Vec<Change>,
    /// Tasks whose module can't say beforehand what it would do.
    pub unpredicted: Vec<Unpredicted>,
    /// What Ansible warned of.
    pub warnings: Vec<String>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The role that the task stands in.
    pub role: Option<String>,
    /// Its name.
    pub task: String,
    /// Label of the loop's item.
    pub item: Option<String>,
    /// Its module, such as `ansible.builtin.template`.
    pub module: String,
    /// What differs, secrets masked.
    pub diff: Vec<Diff>,
    /// Handlers that would run because of it.
    pub handlers: Vec<String>,
}

/// A task about which check mode can't say anything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unpredicted {
    /// The role that the task stands in.
    pub role: Option<String>,
    /// Its name.
    pub task: String,
    /// Label of the loop's item.
    pub item: Option<String>,
    /// Its module.
    pub module: String,
    /// The module's own words.
    pub reason: Option<String>,
}

/// Who hears the reports of a look while it lasts.
pub type OnReport<'a> = &'a (dyn Fn(&AnsibleReport) + Sync);

/// Looks at what `up` would let Ansible change, if the plan, which nothing refuses, leaves anything to look at. The caller holds the
/// lease. `on_report` hears each report of Ansible as it comes.
pub async fn check(world: &World, spec: &ServerSpec, plan: &ServerPlan, on_report: OnReport<'_>) -> Check {
    if let Some(answer) = without_looking(spec, plan) {
        return answer;
    }
    let findings = Mutex::default();
    let result = look(world, spec, &findings, on_report).await;
    let until_then = findings.into_inner().expect("no panic while held");
    match result {
        Ok(true) => Check::Done(until_then),
        Ok(false) => Check::Off,
        Err(failure) => Check::Failed { failure, until_then },
    }
}

/// What is known without a look at the server; `None` if a look is needed, and only then a lease.
pub fn without_looking(spec: &ServerSpec, plan: &ServerPlan) -> Option<Check> {
    let made = |action: &Action| matches!(action, Action::Create { .. } | Action::Adopt | Action::ResumeCreate { .. });
    if plan.actions.iter().any(made) {
        let modules = spec.modules.values().flatten().count();
        return Some(Check::FromScratch { modules, apps: spec.apps.len() });
    }
    plan.actions.contains(&Action::Start).then_some(Check::Off)
}

/// `false` if the machine is off.
async fn look(world: &World, spec: &ServerSpec, findings: &Mutex<Findings>, on_report: OnReport<'_>) -> Result<bool> {
    let name = &spec.name;
    let record = world.store.server(name).await?.ok_or_else(|| destroy::unknown(name))?;
    if up::look_at_machine(world, &record).await?.is_none_or(|seen| seen.power != Power::On) {
        return Ok(false);
    }
    if record.unclean {
        return Err(Failure::new(
            Blame::Target,
            format!("the last run on {name} was interrupted, and its leftovers are still there"),
        )
        .with_hint(
            Hint::from(Next::Resume(name.clone()))
                .with(" or ")
                .with(Next::UpAgain)
                .with(" cleans up and goes on; then check again"),
        ));
    }
    // Of a check whose Ostler was killed: the holder of the lease knows that nobody waits for it.
    destroy::end_children(world, record.subject()).await?;
    let ctx = Context::new(world, record.subject(), record.created_by, spec.clone());
    let session = wait::for_login(&ctx)
        .await
        .map_err(|failure| failure.or_hint(Hint::from(Next::PlanWithoutLook).with(" skips the servers")))?;
    pending_sshd::refuse(&ctx, session.as_ref()).await?;
    let request = run::request(&ctx, &record, session.transport(), true).await?;
    let observer =
        Observer { world, server: record.subject(), run: request.run, findings, on_report, reports: Mutex::default() };
    // Nothing is half done when a look is given up, so it need not come to its end first.
    let result = tokio::select! {
        biased;
        () = world.interrupt.wait() => Err(Interrupt::failure()),
        result = world.engine.run(request, &observer) => result,
    };
    session.close().await;
    let summary = match result {
        Ok(summary) => summary,
        Err(failure) => {
            // The run's processes end with it. This takes them off the record.
            destroy::end_children(world, record.subject()).await?;
            return Err(failure);
        }
    };
    leftovers::forget_children(&ctx).await?;
    judge(&ctx, &summary, &observer.reports.into_inner().expect("no panic while held"))?;
    Ok(true)
}

/// A task that fails in check mode ends the look at its server.
fn judge(ctx: &Context<'_>, summary: &RunSummary, reports: &[AnsibleReport]) -> Result<()> {
    diagnosis::judge(ctx, Phase::Provision, summary, reports, &Diagnosis::default()).map_err(|failure| {
        let server = ctx.server();
        let changes = reports.iter().any(diagnosis::is_change);
        let hint = if changes {
            Hint::from("it may fail only because a check does not make the changes of earlier tasks; ")
                .with(Next::UpAgain)
                .with(" does it")
        } else {
            Hint::from(Next::UpAgain).with(" would most likely fail there too: mend the cause first")
        };
        failure.because_of(format!("the check of {server} ended early; the rest is not known")).with_hint(hint)
    })
}

/// Sums up the reports. None of them reaches the event log.
struct Observer<'a> {
    world: &'a World,
    server: Subject,
    run: RunId,
    findings: &'a Mutex<Findings>,
    on_report: OnReport<'a>,
    reports: Mutex<Vec<AnsibleReport>>,
}

#[async_trait]
impl RunObserver for Observer<'_> {
    async fn child_started(&self, pid: u32, start_ticks: u64, boot: String) -> Result<()> {
        let child = ChildRecord { subject: self.server, run: self.run, pid, start_ticks, boot };
        self.world.store.put_child(&child).await
    }

    async fn report(&self, report: AnsibleReport) {
        (self.on_report)(&report);
        self.findings.lock().expect("no panic while held").add(&report);
        self.reports.lock().expect("no panic while held").push(report);
    }
}

impl Findings {
    fn add(&mut self, report: &AnsibleReport) {
        match report {
            // A handler is named by the change that notifies it.
            AnsibleReport::TaskResult(task) if !task.aggregate && !task.handler => self.add_task(task),
            // Many a task repeats one.
            AnsibleReport::Warning { message, .. } if !self.warnings.iter().any(|known| known == message.trim()) => {
                self.warnings.push(message.trim().to_owned());
            }
            _ => {}
        }
    }

    fn add_task(&mut self, task: &TaskResult) {
        let (role, name) = (task.role.clone(), task.task.clone());
        let (item, module) = (task.item.clone(), task.module.clone());
        if task.unpredicted {
            self.unpredicted.push(Unpredicted { role, task: name, item, module, reason: task.msg.clone() });
        } else if task.result == TaskOutcome::Skipped {
            return;
        } else if task.result == TaskOutcome::Changed {
            let (diff, handlers) = (task.diff.clone(), task.notify.clone());
            self.changes.push(Change { role, task: name, item, module, diff, handlers });
        }
        self.tasks += 1;
    }
}
