//! Makes a server what its spec says. A reconciler: there is no undo, and running it again is always right.

use crate::{
    converge::{
        access,
        cause::{self, Cause},
        confirm, host_vars, leftovers, pending_sshd, prefetch, promises, server_log,
    },
    error::{Blame, Failure, Result},
    event::{AnsibleReport, EventKind, Level, TaskOutcome, TaskResult},
    ids::{RunId, ServerName},
    model::{OperationKind, OperationRecord, OperationState, Phase, Power, ServerRecord},
    operation::{self, Step, StepFuture},
    ports::{ChildRecord, Playbook, Reporter, RunHost, RunObserver, RunRequest, RunSummary, Session, Transport},
    reach::wait,
    spec::{CatalogSource, ServerSpec, Strategy, Value},
    world::{Context, World},
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{sync::Mutex, time::Duration};

/// The recorded plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// What the server shall be.
    pub spec: ServerSpec,
    /// Whether its virtual hardware differs from the spec, so that it is shut down, changed and started again.
    pub reshape: bool,
}

/// What the steps find out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outputs {
    /// Tasks that changed something.
    pub changed: usize,
    /// Who gets in may be others than before.
    #[serde(default)]
    pub access_in_doubt: bool,
}

/// The steps, in order.
pub fn steps<'a>() -> Vec<Step<ApplyContext<'a>, Outputs>> {
    vec![
        Step::precondition("power", Phase::Connect, power),
        Step::new("ssh", Phase::Connect, await_ssh),
        Step::new("leftovers", Phase::Provision, clear_leftovers),
        Step::new("ansible", Phase::Provision, run_ansible),
        Step::new("prove-access", Phase::Ready, prove_access),
    ]
}

/// What the steps work with: the usual, and the plan.
pub struct ApplyContext<'a> {
    /// The usual.
    pub base: Context<'a>,
    /// The recorded plan.
    pub plan: Plan,
}

impl<'a> ApplyContext<'a> {
    /// For one operation.
    pub fn new(base: Context<'a>, plan: Plan) -> Self {
        Self { base, plan }
    }

    /// The login that an earlier step left, or a new one.
    async fn take_session(&self) -> Result<Box<dyn Session>> {
        match self.base.take_session() {
            Some(session) => Ok(session),
            None => wait::for_login(&self.base).await,
        }
    }
}

/// Time that a guest gets to shut down before its power is taken away.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(90);

/// Journals a new application of `plan`. The server's record says from now on what it shall be.
pub async fn begin(world: &World<'_>, plan: &Plan) -> Result<OperationRecord> {
    let name = &plan.spec.name;
    let mut server = world
        .store
        .server(name)
        .await?
        .ok_or_else(|| Failure::new(Blame::Bug, format!("{name} is applied before it is created")))?;
    server.desired = plan.spec.clone();
    world.store.put_server(&server).await?;
    let record = operation::begun(name, OperationKind::Apply, plan, &steps());
    world.store.begin_operation(&record).await?;
    Ok(record)
}

/// Closes what was done to `name` after its creation and whose Ostler ended before it did, so that nothing looks at work.
pub(crate) async fn close_interrupted(world: &World<'_>, name: &ServerName) -> Result<()> {
    let latest = world.store.latest_operation(name).await?;
    if let Some(latest) = latest.filter(|op| op.kind != OperationKind::Create && op.state == OperationState::Running) {
        let failure = Failure::new(Blame::Interrupted, "its Ostler ended before it did, and another one took over");
        let seconds = jiff::Timestamp::now().duration_since(latest.started).as_secs_f64();
        world.log.scope(Some(name), Some(latest.id)).end(OperationState::Failed, Some(&failure), seconds).await?;
    }
    Ok(())
}

fn power<'a>(ctx: &'a ApplyContext<'_>, _: &'a mut Outputs) -> StepFuture<'a> {
    Box::pin(async move {
        let (provider, base) = (ctx.base.provider(), &ctx.base);
        let mut machine = base.machine().await?;
        // Looked at anew: a resumed application must not shut down once more what it has changed already.
        let reshape = ctx.plan.reshape
            && !provider.preflight_reshape(&machine, base.spec.size, &base.spec.local).await?.changes.is_empty();
        if reshape {
            if base.observe().await?.power == Power::On {
                notice(base, Level::Info, "shutting down to change the virtual hardware").await;
            }
            provider.stop(&machine, SHUTDOWN_GRACE).await?;
            machine = provider.reshape(&machine, base.spec.size, &base.spec.local).await?;
            base.update(|record| record.machine = Some(machine.clone())).await?;
        }
        if base.observe().await?.power == Power::Off && !reshape {
            notice(base, Level::Warning, "the machine was off; starting it").await;
        }
        let machine = provider.start(&machine, &base.reporter).await?;
        base.update(|record| record.machine = Some(machine)).await?;
        Ok(())
    })
}

fn await_ssh<'a>(ctx: &'a ApplyContext<'_>, _: &'a mut Outputs) -> StepFuture<'a> {
    Box::pin(async move {
        wait::for_address(&ctx.base).await?;
        let session = ctx.take_session().await?;
        ctx.base.leave_session(session);
        Ok(())
    })
}

fn clear_leftovers<'a>(ctx: &'a ApplyContext<'_>, _: &'a mut Outputs) -> StepFuture<'a> {
    Box::pin(leftovers::clear(&ctx.base))
}

fn run_ansible<'a>(ctx: &'a ApplyContext<'_>, outputs: &'a mut Outputs) -> StepFuture<'a> {
    Box::pin(async move {
        let base = &ctx.base;
        // A killed step is run again, and what its last run left must be gone first.
        leftovers::clear(base).await?;
        let session = ctx.take_session().await?;
        pending_sshd::refuse(base, session.as_ref()).await?;
        let before = base
            .update(|record| {
                record.unclean = true;
                record.phase = Phase::Provision;
            })
            .await?;
        if let Some(CatalogSource { url, commit, .. }) =
            base.spec.catalog.as_ref().filter(|_| !base.spec.apps.is_empty())
        {
            let commit = commit.as_deref().unwrap_or("unknown");
            notice(base, Level::Info, &format!("apps come from {url}, commit {commit}")).await;
        }
        let request = request(base, &before, session.transport(), false).await?;
        let run = request.run;
        let observer = Observer::new(base, run, &before.pending_handlers);
        let packages = host_vars::packages(base.world.modules, base.world.catalog, &base.spec);
        let machine = base.machine().await?;
        let next = base.provider().route_ssh(&machine, base.spec.ssh.port).await?;
        base.update(|record| record.machine_next = (next != machine).then_some(next)).await?;
        let armed = confirm::arm(base, session.as_ref()).await?;
        let meanwhile =
            async { tokio::join!(prefetch::fetch(session.as_ref(), &packages), armed.keep(session.as_ref())) };
        let result = tokio::select! {
            result = base.world.engine.run(request, &observer) => result,
            ((), never) = meanwhile => match never {},
        };
        let pending = observer.pending();
        let heard = observer.heard().max(Some(armed.heard()));
        let reports = observer.into_reports();
        let lost = reports.iter().any(is_lost);
        let log = if lost { String::new() } else { server_log::script(run, &reports) };
        outputs.access_in_doubt |= promises::in_doubt(&reports);
        let good = result.as_ref().is_ok_and(|summary| summary.status == 0);
        let settled = armed.settle(session, good, &log).await;
        let around = Around::of(&reports, settled.as_deref().ok(), heard).await;
        let unclean = !leftovers::run_ended(base, &result, &reports).await?;
        base.update(|record| {
            record.pending_handlers = pending;
            record.unclean = unclean;
        })
        .await?;
        let verdict = result.and_then(|summary| judge(base, Phase::Provision, &summary, &reports, &around));
        match (verdict, settled) {
            (verdict, Ok(session)) => {
                base.leave_session(session);
                verdict?;
            }
            // That it did not come back either is the same trouble; that it has put settings back is another, and worth a word.
            (Err(mut failure), Err(unsettled)) if lost => {
                failure.causes.extend(Some(unsettled.message).filter(|_| unsettled.hint != failure.hint));
                return Err(failure);
            }
            (_, Err(unsettled)) => return Err(unsettled),
        }
        outputs.changed = reports.iter().filter(|r| is_change(r)).count();
        Ok(())
    })
}

fn prove_access<'a>(ctx: &'a ApplyContext<'_>, outputs: &'a mut Outputs) -> StepFuture<'a> {
    Box::pin(async move {
        // The connection that has just proved the new settings, or, where this is gone on with, a new one.
        let left = ctx.base.take_session();
        let session = match left.filter(|session| session.transport().user == ctx.base.spec.user) {
            // It has just become root to stop the server's clock.
            Some(session) => session,
            None => access::prove(&ctx.base, wait::for_login_as(&ctx.base, &ctx.base.spec.user).await?).await?,
        };
        let proved = promises::prove(&ctx.base, session.as_ref(), outputs.access_in_doubt).await;
        session.close().await;
        proved?;
        ctx.base
            .update(|record| {
                record.login_user = ctx.base.spec.user.clone();
                record.phase = Phase::Ready;
            })
            .await?;
        Ok(())
    })
}

/// What Ansible is asked for: everything that the spec says, to be done or only looked at.
pub(crate) async fn request(
    ctx: &Context<'_>,
    record: &ServerRecord,
    transport: Transport,
    check: bool,
) -> Result<RunRequest> {
    Ok(RunRequest {
        playbook: Playbook::Site,
        run: RunId::new(),
        hosts: vec![host(ctx, record, transport).await?],
        strategy: strategy(ctx),
        catalog: ctx.world.catalog_tree.clone(),
        check,
    })
}

/// The server as Ansible is told of it.
pub(crate) async fn host(ctx: &Context<'_>, record: &ServerRecord, transport: Transport) -> Result<RunHost> {
    let mut vars = host_vars::plain(ctx.world.modules, ctx.world.catalog, &ctx.spec, record);
    let seconds = ctx.world.wait.lock_limit().as_secs();
    vars.insert("ostler_lock_timeout".into(), Value::Int(seconds.try_into().unwrap_or(i64::MAX)));
    vars.insert("ostler_mark".into(), Value::String(leftovers::mark(ctx)));
    Ok(RunHost {
        name: ctx.server().clone(),
        transport,
        vars,
        secrets: host_vars::secret_params(ctx.world, &ctx.spec).await?,
        secret_vars: host_vars::secret(ctx.world, &ctx.spec).await?,
    })
}

/// Mitogen, unless the user or one of the chosen roles wants Ansible's own.
fn strategy(ctx: &Context<'_>) -> Strategy {
    let chosen = |name: &str| ctx.spec.modules.get(name).is_some_and(Option::is_some);
    let linear_module = ctx.world.modules.iter().any(|m| m.strategy == Strategy::Linear && chosen(&m.name));
    let linear_app =
        ctx.world.catalog.apps.iter().any(|app| app.strategy == Strategy::Linear && ctx.spec.apps.contains(&app.name));
    if linear_module || linear_app { Strategy::Linear } else { ctx.spec.ansible.strategy }
}

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
pub(crate) struct Around {
    /// Its file systems that are full, if a task failed for want of space.
    full: Vec<String>,
    /// Its last sign of life, if it was lost.
    heard: Option<jiff::Timestamp>,
}

impl Around {
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
    around: &Around,
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
                "phase {}: Ansible was killed on this machine (signal {signal}) before it was done with {server}",
                phase.as_str()
            );
            let mut failure = Failure::new(Blame::User, message)
                .with_hint(format!("`ostler resume {server}` clears up after it and tries again"));
            failure.causes.extend((signal == 9).then(|| "most likely this machine is out of memory".to_owned()));
            return Err(failure);
        }
        let message = format!(
            "phase {}: Ansible ended with status {} on {server}, and no task failed: it did not come that far",
            phase.as_str(),
            summary.status
        );
        return Err(Failure::new(Blame::Bug, message)
            .with_lines(summary.stderr_tail.clone())
            .with_hint(format!("`ostler logs {server}` has all that it said; `ostler resume {server}` tries again")));
    };
    let lost = task.result == TaskOutcome::Unreachable;
    let word = if lost { "was lost at" } else { "failed at" };
    let mut failure = Failure::new(
        Blame::Target,
        format!("phase {}: {server} {word} `{}` ({})", phase.as_str(), task.place(), task.module),
    );
    if let Some(since) = around.heard.filter(|_| lost) {
        failure.causes.push(wait::silence(since));
        return Err(failure.with_hint(wait::silent_hint(server)));
    }
    let own_words = task.msg.as_deref().map(str::trim).filter(|words| !words.is_empty());
    if let Some(cause) = cause_of(task) {
        failure.causes.push(cause.words(&around.full));
        failure.causes.extend(own_words.and_then(|words| words.lines().next()).map(shortened));
        return Err(failure.with_hint(cause.hint(server)));
    }
    failure.causes.extend(own_words.map(str::to_owned));
    let output = task.stderr.as_deref().filter(|s| !s.trim().is_empty()).or(task.stdout.as_deref()).unwrap_or_default();
    failure.lines = output.trim().lines().rev().take(12).map(str::to_owned).collect();
    failure.lines.reverse();
    Err(failure.with_hint(format!("{}; `ostler logs {server}` has the whole run", ctx.world.way_on(server))))
}

/// A line that people are to read beside others; the log has it whole.
fn shortened(line: &str) -> String {
    const MOST: usize = 240;
    if line.chars().count() <= MOST { line.to_owned() } else { line.chars().take(MOST).chain("...".chars()).collect() }
}

async fn notice(ctx: &Context<'_>, level: Level, message: &str) {
    ctx.reporter.report(EventKind::Notice { level, message: message.to_owned() }).await;
}

/// Puts the run's reports into the log, and its process into the journal.
pub(crate) struct Observer<'a> {
    ctx: &'a Context<'a>,
    run: RunId,
    /// Handlers that earlier runs left.
    before: &'a [(String, String)],
    reports: Mutex<Vec<AnsibleReport>>,
    /// When the server last finished a task.
    heard: Mutex<Option<jiff::Timestamp>>,
}

impl<'a> Observer<'a> {
    /// For one run; `before`: handlers that earlier runs left.
    pub fn new(ctx: &'a Context<'a>, run: RunId, before: &'a [(String, String)]) -> Self {
        Self { ctx, run, before, reports: Mutex::default(), heard: Mutex::default() }
    }

    /// When the server last finished a task.
    pub fn heard(&self) -> Option<jiff::Timestamp> {
        *self.heard.lock().expect("no panic while held")
    }

    /// What was reported.
    pub fn into_reports(self) -> Vec<AnsibleReport> {
        self.reports.into_inner().expect("no panic while held")
    }

    /// Handlers that are still to run.
    pub fn pending(&self) -> Vec<(String, String)> {
        let reports = self.reports.lock().expect("no panic while held");
        self.ctx.world.engine.pending_handlers(self.before, &reports)
    }
}

#[async_trait]
impl RunObserver for Observer<'_> {
    async fn child_started(&self, pid: u32, start_ticks: u64, boot: String) -> Result<()> {
        let child = ChildRecord { server: self.ctx.server().clone(), run: self.run, pid, start_ticks, boot };
        self.ctx.world.store.put_child(&child).await
    }

    async fn report(&self, report: AnsibleReport) {
        let notice = matches!(&report, AnsibleReport::TaskResult(t) if t.handler || !t.notify.is_empty());
        if matches!(&report, AnsibleReport::TaskResult(t) if t.result != TaskOutcome::Unreachable) {
            *self.heard.lock().expect("no panic while held") = Some(jiff::Timestamp::now());
        }
        self.reports.lock().expect("no panic while held").push(report.clone());
        if notice {
            // At once: if Ostler is killed, the next run still knows which services to restart. Where it can't be
            // recorded now, it is again at the end of the run, and fails there.
            let pending = self.pending();
            let _ = self.ctx.update(|record| record.pending_handlers = pending).await;
        }
        self.ctx.reporter.report(EventKind::Ansible { run: self.run, report }).await;
    }
}
