//! A run: what Ansible is asked for, and what becomes of its reports while it lasts.

use crate::{
    converge::{host_vars, leftovers, peer, volumes},
    error::Result,
    event::{AnsibleReport, EventKind, TaskOutcome},
    ids::RunId,
    model::ServerRecord,
    ports::{ChildRecord, Playbook, Reporter, RunHost, RunObserver, RunRequest, Transport},
    spec::{Strategy, Value},
    world::Context,
};
use async_trait::async_trait;
use std::sync::Mutex;

/// What Ansible is asked for: everything that the spec says, to be done or only looked at.
pub(crate) async fn request(
    ctx: &Context<'_>,
    record: &ServerRecord,
    transport: Transport,
    check: bool,
) -> Result<RunRequest> {
    let mut host = host(ctx, record, transport).await?;
    if !check {
        let answers = peer::ask(ctx).await?;
        host.vars.extend(answers.plain);
        host.secret_vars.extend(answers.secret);
    }
    Ok(RunRequest {
        playbook: Playbook::Site,
        run: RunId::new(),
        hosts: vec![host],
        strategy: strategy(ctx),
        catalog: ctx.world.catalog_tree.clone(),
        check,
    })
}

/// The server as Ansible is told of it.
pub(crate) async fn host(ctx: &Context<'_>, record: &ServerRecord, transport: Transport) -> Result<RunHost> {
    let mut vars = host_vars::plain(&ctx.world.modules, &ctx.world.catalog, &ctx.spec, record);
    let seconds = ctx.world.wait.lock_limit().as_secs();
    vars.insert("ostler_lock_timeout".into(), Value::Int(seconds.try_into().unwrap_or(i64::MAX)));
    vars.insert("ostler_mark".into(), Value::String(leftovers::mark(ctx)));
    if let Some(mounts) = volumes::mounts(ctx).await? {
        vars.insert("ostler_volumes".into(), host_vars::plain_data(&mounts));
    }
    let mut secret_vars = host_vars::secret(ctx.world, &ctx.spec).await?;
    if let Some(tunnel) = ctx.tunnel().await? {
        if tunnel.ssh_closed {
            vars.insert("ostler_ssh_open".into(), Value::Bool(false));
        }
        let wanted = tunnel.made.token.filter(|_| ctx.spec.tunnel.is_some());
        secret_vars.extend(wanted.map(|token| ("ostler_tunnel_token".to_owned(), token)));
    }
    Ok(RunHost {
        name: ctx.server().clone(),
        transport,
        vars,
        secrets: host_vars::secret_params(ctx.world, &ctx.spec).await?,
        secret_vars,
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
        let child = ChildRecord { subject: self.ctx.subject, run: self.run, pid, start_ticks, boot };
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
