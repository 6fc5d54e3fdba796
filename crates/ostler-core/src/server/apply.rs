//! Makes a server what its spec says. A reconciler: there is no undo, and running it again is always right.

use crate::{
    converge::{
        access, confirm,
        diagnosis::{self, Diagnosis},
        host_vars, leftovers, pending_sshd, prefetch, promises, run, server_log,
        verify::{self, Logins},
    },
    error::{Blame, Failure, Result},
    event::Level,
    model::{OperationKind, OperationRecord, OperationState, Phase, Power, ServerRecord, TunnelRecord, Verification},
    operation::{self, Outputs, Step},
    ports::Session,
    reach::{fence, wait},
    server::{balancing, create::Keeper},
    spec::{CatalogSource, ServerSpec},
    tunnel::{account, leave, proof},
    world::{Context, World, tunnel_of},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The recorded plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// What the server shall be.
    pub spec: ServerSpec,
    /// Whether its virtual hardware differs from the spec, so that it is shut down, changed and started again.
    pub reshape: bool,
    /// Whether something else of its machine differs, which is changed while it runs.
    #[serde(default)]
    pub adjust: bool,
    /// Whether it has a tunnel that the spec no longer asks for.
    #[serde(default)]
    pub leave_tunnel: bool,
}

impl Plan {
    /// For a server that shall be this.
    pub fn new(spec: ServerSpec, reshape: bool) -> Self {
        Self { spec, reshape, adjust: false, leave_tunnel: false }
    }
}

/// The steps of a server without a tunnel, in order.
pub fn steps<'a>() -> Vec<Step<ApplyContext<'a>>> {
    vec![
        Step::precondition("power", Phase::Connect, power),
        Step::new("ssh", Phase::Connect, await_ssh),
        Step::new("leftovers", Phase::Provision, clear_leftovers),
        Step::new("ansible", Phase::Provision, run_ansible),
        Step::new("prove-access", Phase::Ready, prove_access),
        Step::new("verify", Phase::Ready, verify),
    ]
}

/// The same for a server that gets a tunnel, or has one.
pub fn steps_with_tunnel<'a>() -> Vec<Step<ApplyContext<'a>>> {
    let mut steps = steps();
    steps.insert(3, Step::new("tunnel-account", Phase::Provision, open_tunnel));
    steps.insert(5, Step::new("tunnel-login", Phase::Tunnel, prove_tunnel));
    steps.insert(6, Step::new("close-ssh", Phase::Tunnel, close_ssh));
    steps
}

/// The same for a server whose tunnel the spec no longer asks for.
pub fn steps_leaving_tunnel<'a>() -> Vec<Step<ApplyContext<'a>>> {
    let mut steps = steps();
    steps.insert(4, Step::new("leave-tunnel", Phase::Tunnel, leave_tunnel));
    steps
}

/// Those of a plan.
pub(super) fn steps_for<'a>(plan: &Plan) -> Vec<Step<ApplyContext<'a>>> {
    match (&plan.spec.tunnel, plan.leave_tunnel) {
        (Some(_), _) => steps_with_tunnel(),
        (None, true) => steps_leaving_tunnel(),
        (None, false) => steps(),
    }
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
pub async fn begin(world: &World, plan: &Plan) -> Result<OperationRecord> {
    let name = &plan.spec.name;
    let mut server = world
        .store
        .server(name)
        .await?
        .ok_or_else(|| Failure::new(Blame::Bug, format!("{name} is applied before it is created")))?;
    server.desired = plan.spec.clone();
    world.store.put_server(&server).await?;
    let has_tunnel = tunnel_of(world, server.subject()).await?.is_some();
    let plan = &Plan { leave_tunnel: plan.spec.tunnel.is_none() && has_tunnel, ..plan.clone() };
    let record = operation::begun((server.subject(), name.as_str()), OperationKind::Apply, plan, &steps_for(plan));
    world.store.begin_operation(&record).await?;
    Ok(record)
}

/// Closes what was done to `server` after its creation and whose Ostler ended before it did, so that nothing looks at work.
pub(super) async fn close_interrupted(world: &World, server: &ServerRecord) -> Result<()> {
    let latest = world.store.latest_operation(server.subject()).await?;
    if let Some(latest) = latest.filter(|op| op.kind != OperationKind::Create && op.state == OperationState::Running) {
        let failure = Failure::new(Blame::Interrupted, "the Ostler that ran it ended, and another one took over");
        let seconds = jiff::Timestamp::now().duration_since(latest.started).as_secs_f64();
        let reporter = world.log.scope(Some((server.subject(), &server.name)), Some(latest.id));
        reporter.end(OperationState::Failed, Some(&failure), seconds).await?;
    }
    Ok(())
}

async fn power(ctx: &ApplyContext<'_>, _: &Outputs) -> Result<()> {
    let base = &ctx.base;
    // A server that was adopted is switched on and off by others.
    let Some(lifecycle) = base.provider().origin().lifecycle() else { return Ok(()) };
    let mut machine = base.machine().await?;
    let (size, options) = (base.spec.size, &base.spec.provider);
    let mut reshape = base.provider().reshaping().filter(|_| ctx.plan.reshape);
    if let Some(reshaping) = reshape {
        // Looked at anew: a resumed application must not shut down once more what it has changed already.
        let changes = reshaping.preflight_reshape(&machine, size, options).await?.changes;
        reshape = reshape.filter(|_| !changes.is_empty());
    }
    if let Some(reshaping) = reshape {
        if base.observe().await?.power == Power::On {
            base.notice(Level::Info, "shutting down to change the virtual hardware").await;
        }
        balancing::leave(base).await?;
        lifecycle.stop(&machine, SHUTDOWN_GRACE).await?;
        machine = reshaping.reshape(&machine, size, options).await?;
        base.update(|record| record.machine = Some(machine.clone())).await?;
    }
    if base.observe().await?.power == Power::Off && reshape.is_none() {
        base.notice(Level::Warning, "the machine was off; starting it").await;
    }
    let mut machine = lifecycle.start(&machine, &base.reporter).await?;
    base.update(|record| record.machine = Some(machine.clone())).await?;
    if let Some(reshaping) = base.provider().reshaping().filter(|_| ctx.plan.adjust) {
        machine = reshaping.adjust(&machine, options, &Keeper(base)).await?;
        base.update(|record| record.machine = Some(machine)).await?;
    }
    fence::before_run(base).await
}

async fn await_ssh(ctx: &ApplyContext<'_>, _: &Outputs) -> Result<()> {
    wait::for_address(&ctx.base).await?;
    let session = ctx.take_session().await?;
    ctx.base.leave_session(session);
    Ok(())
}

async fn clear_leftovers(ctx: &ApplyContext<'_>, _: &Outputs) -> Result<()> {
    leftovers::clear(&ctx.base).await
}

/// What the run of Ansible did.
#[derive(Serialize, Deserialize)]
pub(super) struct Converged {
    /// Tasks that changed something.
    pub(super) changed: usize,
}

async fn run_ansible(ctx: &ApplyContext<'_>, _: &Outputs) -> Result<Converged> {
    let stays_closed = ctx.base.spec.tunnel.as_ref().is_some_and(|tunnel| tunnel.close_ssh);
    if let Some(mut tunnel) = ctx.base.tunnel().await?.filter(|tunnel| tunnel.ssh_closed && !stays_closed) {
        tunnel.ssh_closed = false;
        ctx.base.put_tunnel(Some(&tunnel)).await?;
    }
    converge(ctx).await
}

async fn converge(ctx: &ApplyContext<'_>) -> Result<Converged> {
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
    if let Some(CatalogSource { url, commit, .. }) = base.spec.catalog.as_ref().filter(|_| !base.spec.apps.is_empty()) {
        let commit = commit.as_deref().unwrap_or("unknown");
        base.notice(Level::Info, format!("apps come from {url}, commit {commit}")).await;
    }
    let request = run::request(base, &before, session.transport(), false).await?;
    let run = request.run;
    let observer = run::Observer::new(base, run, &before.pending_handlers);
    let packages = host_vars::packages(&base.world.modules, &base.world.catalog, &base.spec);
    let machine = base.machine().await?;
    let next = base.provider().route_ssh(&machine, base.spec.ssh.port).await?;
    base.update(|record| record.machine_next = (next != machine).then_some(next)).await?;
    let armed = confirm::arm(base, session.as_ref()).await?;
    let meanwhile = async { tokio::join!(prefetch::fetch(session.as_ref(), &packages), armed.keep(session.as_ref())) };
    let result = tokio::select! {
        result = base.world.engine.run(request, &observer) => result,
        ((), never) = meanwhile => match never {},
    };
    let pending = observer.pending();
    let heard = observer.heard().max(Some(armed.heard()));
    let reports = observer.into_reports();
    if promises::change_access(&reports) {
        promises::doubt(base).await?;
        if let Some(tunnel) = base.tunnel().await?.filter(|tunnel| tunnel.proved) {
            base.put_tunnel(Some(&TunnelRecord { proved: false, ..tunnel })).await?;
        }
    }
    let lost = reports.iter().any(diagnosis::is_lost);
    let log = if lost { String::new() } else { server_log::script(run, &reports) };
    let good = result.as_ref().is_ok_and(|summary| summary.status == 0);
    let settled = armed.settle(session, good, &log).await;
    let diagnosis = Diagnosis::of(&reports, settled.as_deref().ok(), heard).await;
    let unclean = !leftovers::run_ended(base, &result, &reports).await?;
    base.update(|record| {
        record.pending_handlers = pending;
        record.unclean = unclean;
    })
    .await?;
    let verdict = result.and_then(|summary| diagnosis::judge(base, Phase::Provision, &summary, &reports, &diagnosis));
    match (verdict, settled) {
        (verdict, Ok(session)) => {
            base.leave_session(session);
            verdict?;
        }
        // That it did not come back either is the same trouble; that it has put settings back is another, and worth a word.
        (Err(mut failure), Err(unsettled)) if lost => {
            failure.causes.extend(Some(unsettled.message).filter(|_| unsettled.hints != failure.hints));
            return Err(failure);
        }
        (_, Err(unsettled)) => return Err(unsettled),
    }
    Ok(Converged { changed: reports.iter().filter(|r| diagnosis::is_change(r)).count() })
}

async fn open_tunnel(ctx: &ApplyContext<'_>, _: &Outputs) -> Result<()> {
    account::open(&ctx.base).await
}

/// The tunnel's record, which an earlier step made.
async fn tunnel(ctx: &ApplyContext<'_>) -> Result<TunnelRecord> {
    ctx.base.tunnel().await?.ok_or_else(|| Failure::new(Blame::Bug, "the tunnel has no record"))
}

/// A login through the tunnel, with the pinned host key, while the port is open.
async fn prove_tunnel(ctx: &ApplyContext<'_>, _: &Outputs) -> Result<()> {
    let tunnel = tunnel(ctx).await?;
    // Where logins go through it, this very run has proved it.
    if !tunnel.through {
        proof::login(&ctx.base, &tunnel).await?.close().await;
    }
    ctx.base.update(|record| record.phase = Phase::Tunnel).await?;
    Ok(())
}

/// Closes the port, or, where the spec no longer wants that, has logins go by it again.
async fn close_ssh(ctx: &ApplyContext<'_>, _: &Outputs) -> Result<()> {
    let base = &ctx.base;
    let mut tunnel = tunnel(ctx).await?;
    if !base.spec.tunnel.as_ref().is_some_and(|tunnel| tunnel.close_ssh) {
        if tunnel.through {
            let direct = leave::go_direct(base, &mut tunnel).await?;
            if let Some(old) = base.take_session() {
                old.close().await;
            }
            base.leave_session(direct);
        }
        return Ok(());
    }
    if !(tunnel.through && tunnel.ssh_closed) {
        (tunnel.through, tunnel.ssh_closed, tunnel.proved) = (true, true, false);
        base.put_tunnel(Some(&tunnel)).await?;
        let closed = async {
            // What closes the port must not come by it.
            if let Some(direct) = base.take_session() {
                direct.close().await;
            }
            base.leave_session(wait::for_login(base).await?);
            converge(ctx).await
        };
        if let Err(failure) = closed.await {
            return Err(stays_open(base, tunnel, failure).await);
        }
    }
    if tunnel.proved {
        return Ok(());
    }
    fence::admit_ssh(base, false).await?;
    let session = ctx.take_session().await?;
    let open = proof::answering(base, session.as_ref()).await?;
    base.leave_session(session);
    if let Some(address) = open.first() {
        let message = format!("SSH of {} still answers at {address}, though `close_ssh` is on", base.server());
        return Err(Failure::new(Blame::Target, message).with_hint(
            "a rule of your own lets it in, or another firewall forwards it: take that away, and bring it up again",
        ));
    }
    tunnel.proved = true;
    base.put_tunnel(Some(&tunnel)).await
}

/// What closed the port came to nothing. Where it is open, logins go by it again.
async fn stays_open(ctx: &Context<'_>, mut tunnel: TunnelRecord, failure: Failure) -> Failure {
    if !proof::answers(ctx).await {
        return failure;
    }
    (tunnel.through, tunnel.ssh_closed) = (false, false);
    match ctx.put_tunnel(Some(&tunnel)).await {
        Ok(()) => failure.because_of(format!("SSH of {} stays open", ctx.server())),
        Err(unkept) => unkept,
    }
}

/// The run has opened the port; what goes now is not needed any more.
async fn leave_tunnel(ctx: &ApplyContext<'_>, _: &Outputs) -> Result<()> {
    let base = &ctx.base;
    let Some(mut tunnel) = base.tunnel().await? else { return Ok(()) };
    let direct = leave::go_direct(base, &mut tunnel).await?;
    if let Some(old) = base.take_session() {
        old.close().await;
    }
    let taken = leave::take_down(base, &tunnel, direct.as_ref()).await;
    base.leave_session(direct);
    taken
}

async fn prove_access(ctx: &ApplyContext<'_>, _: &Outputs) -> Result<()> {
    // The connection that has just proved the new settings, or, where this is gone on with, a new one.
    let left = ctx.base.take_session();
    if left.is_none() {
        // The run is another process's, or an earlier version's, which kept no such doubt in the state.
        promises::doubt(&ctx.base).await?;
    }
    let session = match left.filter(|session| session.transport().user == ctx.base.spec.user) {
        // It has just become root to stop the server's clock.
        Some(session) => session,
        None => access::prove(&ctx.base, wait::for_login_as(&ctx.base, &ctx.base.spec.user).await?).await?,
    };
    if let Err(failure) = promises::prove(&ctx.base, session.as_ref()).await {
        session.close().await;
        return Err(failure);
    }
    ctx.base.update(|record| record.login_user = ctx.base.spec.user.clone()).await?;
    ctx.base.leave_session(session);
    fence::after_run(&ctx.base).await?;
    if let Some(reshaping) = ctx.base.provider().reshaping().filter(|_| ctx.plan.adjust) {
        let machine = reshaping.release(&ctx.base.machine().await?, &ctx.base.spec.provider).await?;
        ctx.base.update(|record| record.machine = Some(machine)).await?;
    }
    Ok(())
}

/// Services take a moment after they were started; this long, where the machine is not emulated, a promise may be broken after a run.
const SETTLING: Duration = Duration::from_secs(20);

/// Tries all promises, unless nothing was changed since they were found to be kept.
async fn verify(ctx: &ApplyContext<'_>, outputs: &Outputs) -> Result<()> {
    let base = &ctx.base;
    let known = base.record().await?.verified.filter(|verified| verified.broken().next().is_none());
    let unchanged = outputs.get::<Converged>()?.changed == 0;
    if !(unchanged && known.is_some_and(|verified| verified.of == verify::digest(base))) {
        let session = match base.take_session() {
            Some(session) => session,
            None => wait::for_login_as(base, &base.spec.user).await?,
        };
        let ours = |table: &Verification| table.broken().any(|(promise, _)| !promise.of_others);
        let until = Instant::now() + SETTLING * base.observe().await?.slowness.max(1);
        let verified = loop {
            let verified = verify::verify(base, session.as_ref(), Logins::Proved).await;
            match &verified {
                Ok(table) if ours(table) && Instant::now() < until => sleep(PAUSE).await,
                _ => break verified,
            }
        };
        session.close().await;
        let verified = verified?;
        base.update(|record| record.verified = Some(verified.clone())).await?;
        base.notice(Level::Info, format!("verified: {}", verified.summary())).await;
        for (promise, why) in verified.broken().filter(|(promise, _)| promise.of_others) {
            let message = format!("not so: {} ({why}, and nothing in the spec opens it)", promise.says);
            base.notice(Level::Warning, message).await;
        }
        let ours = verified.broken().filter(|(promise, _)| !promise.of_others);
        if let Some(failure) = verify::failure(base.server(), &verified, ours) {
            return Err(failure.with_hint(base.world.way_on(base.server())));
        }
    } else if let Some(session) = base.take_session() {
        session.close().await;
    }
    base.update(|record| record.phase = Phase::Ready).await?;
    balancing::join(base).await
}

/// Between two tries of promises.
const PAUSE: Duration = Duration::from_secs(1);
