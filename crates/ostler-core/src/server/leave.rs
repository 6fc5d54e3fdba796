//! Takes a server out of the clusters that its apps made or joined, before it is destroyed: what runs on it moves, it is no manager any
//! more, it leaves, and the others forget it. In that order the managers that stay never lose their majority.
//!
//! Whatever would cost them that is refused before anything is touched. A server that can't be reached is taken out by the others; where
//! they can't do that, what stays behind is said, and the server is destroyed all the same.

use crate::{
    converge::{
        members::{Cluster, Manager, clusters, tell},
        peer,
    },
    error::{Blame, Failure, Result},
    event::Level,
    hint::{Hint, Next},
    model::{OperationKind, OperationRecord, OperationState, Phase, ServerRecord},
    operation::{self, Driver, Outputs, Step},
    ports::Session,
    reach::wait,
    server::{
        balancing,
        parting::{self, Parting},
    },
    spec::{AppMeta, Leave, ServerSpec},
    world::{Context, World},
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The recorded plan. It holds the scripts, for whoever goes on with it may have another catalog.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The server.
    pub spec: ServerSpec,
    /// The app by which it is a member, with its scripts.
    pub app: AppMeta,
    /// The member's id.
    pub id: String,
    /// Whether it is a manager.
    pub manager: bool,
    /// Whether another manager could be asked; a worker leaves also where none can.
    pub among_managers: bool,
}

/// The steps, in order.
pub fn steps<'a>() -> Vec<Step<LeaveContext<'a>>> {
    vec![
        Step::new("drain", Phase::Provision, drain),
        Step::new("demote", Phase::Provision, demote),
        Step::new("leave", Phase::Provision, leave_cluster),
        Step::new("forget", Phase::Provision, forget),
    ]
}

/// What the steps work with: the usual, the plan, and a manager that stays.
pub struct LeaveContext<'a> {
    base: Context<'a>,
    plan: Plan,
    manager: tokio::sync::Mutex<Option<Manager>>,
}

/// Takes a server out of everything that it is a member of. What an earlier call began is gone on with.
pub(super) async fn leave(world: &World, record: &ServerRecord) -> Result<()> {
    if record.machine.is_none() || record.phase < Phase::Provision {
        return Ok(());
    }
    if let Some(mut unfinished) = begun(world, record).await?.filter(|it| it.state != OperationState::Succeeded) {
        finish(world, &mut unfinished).await?;
    }
    for cluster in clusters(world, record) {
        let app = &cluster.app.name;
        let parting = parting::look(world, record, cluster).await?;
        parting::judge(record, &parting, None, app)?;
        let ctx = Context::new(world, record.subject(), record.created_by, record.desired.clone());
        match parting {
            Parting::Nothing | Parting::Last { .. } => {}
            Parting::Unknown(why) => ctx.notice(Level::Warning, parting::stays(&record.name, app, &why)).await,
            Parting::Member(member) => {
                if let Some(losses) = member.losses(&record.name, app) {
                    ctx.notice(Level::Warning, losses).await;
                }
                balancing::leave(&ctx).await?;
                let plan = Plan {
                    spec: record.desired.clone(),
                    app: cluster.app.clone(),
                    manager: member.manager,
                    among_managers: member.has_other_manager(),
                    id: member.id,
                };
                let about = (record.subject(), record.name.as_str());
                let mut operation = operation::begun(about, OperationKind::Leave, &plan, &steps());
                world.store.begin_operation(&operation).await?;
                finish(world, &mut operation).await?;
            }
        }
    }
    Ok(())
}

/// The newest operation, where it is one by which the server leaves: whatever else was done to it, it is being destroyed since.
pub(super) async fn begun(world: &World, record: &ServerRecord) -> Result<Option<OperationRecord>> {
    let latest = world.store.latest_operation(record.subject()).await?;
    Ok(latest.filter(|latest| latest.kind == OperationKind::Leave))
}

/// Refuses to do anything else with a server that is being destroyed.
pub(super) async fn refuse_half_done(world: &World, record: &ServerRecord) -> Result<()> {
    if begun(world, record).await?.is_none() {
        return Ok(());
    }
    let name = &record.name;
    Err(Failure::new(Blame::User, format!("{name} is being destroyed, and that has not come to its end"))
        .with_hint(Hint::from(Next::Destroy(name.clone())).with(" goes on with it")))
}

async fn finish(world: &World, operation: &mut OperationRecord) -> Result<()> {
    let plan: Plan = operation.read_plan()?;
    let base = Context::new(world, operation.subject, operation.id, plan.spec.clone());
    let ctx = LeaveContext { base, plan, manager: tokio::sync::Mutex::default() };
    let driver = Driver { store: &*world.store, reporter: &ctx.base.reporter, interrupt: &world.interrupt };
    let result = driver.forward(operation, &steps(), &ctx).await;
    if let Some(manager) = ctx.manager.lock().await.take() {
        manager.session.close().await;
    }
    result.map(drop).map_err(|mut failure| {
        let again = Next::Destroy(ctx.base.server().clone());
        failure.hints.retain(|hint| !hint.advises(|next| matches!(next, Next::Resume(_))));
        failure.with_hint(Hint::from("mend the cause, then ").with(again).with(" again: it goes on from there"))
    })
}

/// How long what runs on a member may take to run elsewhere.
const MOVING: Duration = Duration::from_secs(60);
/// The same for each other step.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// The same where each costs a login.
const LONG_PAUSE: Duration = Duration::from_secs(5);

impl LeaveContext<'_> {
    fn cluster(&self) -> Result<Cluster<'_>> {
        Cluster::of(&self.plan.app)
            .ok_or_else(|| Failure::new(Blame::Bug, format!("nobody leaves {}", self.plan.app.name)))
    }

    fn scripts(&self) -> Result<&Leave> {
        Ok(self.cluster()?.scripts)
    }

    fn limit(&self, limit: Duration) -> Duration {
        let wait = &self.base.world.wait;
        if wait.exact { wait.timeout.min(limit) } else { limit }
    }

    /// Runs a script on a manager that stays until it succeeds; else why it never did.
    async fn on_manager(&self, script: &str, more: &[&str], limit: Duration) -> Result<Result<(), String>> {
        let arguments = [&[self.plan.id.as_str()], more].concat();
        let until = Instant::now() + self.limit(limit);
        let mut told = false;
        loop {
            let mut slot = self.manager.lock().await;
            let (why, pause) = match self.find_manager(&mut slot, Some(&self.plan.id)).await? {
                Ok(manager) => match tell(manager.session.as_ref(), script, &arguments).await {
                    Ok(_) => return Ok(Ok(())),
                    Err(why) => {
                        // It may have ceased to be one.
                        if manager.look(&self.scripts()?.members).await.is_err() {
                            *slot = None;
                        }
                        (why, PAUSE)
                    }
                },
                // Firewalls count connections.
                Err(why) => (why, LONG_PAUSE),
            };
            drop(slot);
            if Instant::now() >= until {
                return Ok(Err(why));
            }
            if !told {
                self.base.notice(Level::Info, format!("waiting: {why}")).await;
                told = true;
            }
            wait::pause(&self.base, pause).await?;
        }
    }

    /// A manager that stays and, with `id`, knows this member; else why there is none.
    async fn find_manager<'s>(
        &self,
        slot: &'s mut Option<Manager>,
        id: Option<&str>,
    ) -> Result<Result<&'s mut Manager, String>> {
        if slot.is_none() {
            let (base, cluster, record) = (&self.base, self.cluster()?, self.base.record().await?);
            let others = cluster.others(base.world, &record).await?;
            match cluster.manager(base.world, base.operation, &others, id).await? {
                Ok(manager) => *slot = Some(manager),
                Err(why) => return Ok(Err(why)),
            }
        }
        Ok(slot.as_mut().ok_or_else(String::new))
    }

    async fn own_session(&self) -> Result<Result<Box<dyn Session>, String>> {
        let record = self.base.record().await?;
        peer::log_in(self.base.world, &record, self.base.operation).await
    }
}

async fn drain(ctx: &LeaveContext<'_>, _: &Outputs) -> Result<()> {
    if !ctx.plan.among_managers {
        return Ok(());
    }
    if let Err(why) = ctx.on_manager(&ctx.scripts()?.drain, &[], MOVING).await? {
        let message = format!("what runs on {} has not all moved elsewhere: {why}", ctx.base.server());
        ctx.base.notice(Level::Warning, message).await;
    }
    Ok(())
}

async fn demote(ctx: &LeaveContext<'_>, _: &Outputs) -> Result<()> {
    let (name, Plan { app, id, manager, .. }) = (ctx.base.server(), &ctx.plan);
    if !manager {
        return Ok(());
    }
    // Time has passed since they were looked at, and others may have gone.
    let mut slot = ctx.manager.lock().await;
    if let Ok(other) = ctx.find_manager(&mut slot, Some(id)).await?
        && let Ok(members) = other.look(&ctx.scripts()?.members).await
    {
        members.without(id).map_err(|why| parting::refused(name, &app.name, &why))?;
    }
    drop(slot);
    let Err(why) = ctx.on_manager(&ctx.scripts()?.demote, &[], LIMIT).await? else { return Ok(()) };
    let what = format!("{name} is still a manager of its {}", app.name);
    match ctx.own_session().await? {
        Ok(session) => {
            session.close().await;
            Err(Failure::new(Blame::Target, why).because_of(what))
        }
        // Silent as it is, it takes no part in what the others decide.
        Err(_) => {
            ctx.base.notice(Level::Warning, format!("{what}, and can't be reached: {why}")).await;
            Ok(())
        }
    }
}

/// Whether the member itself says that it is out.
#[derive(Serialize, Deserialize)]
struct Left {
    left: bool,
}

async fn leave_cluster(ctx: &LeaveContext<'_>, _: &Outputs) -> Result<Left> {
    let session = match ctx.own_session().await? {
        Ok(session) => session,
        Err(why) => {
            ctx.base.notice(Level::Warning, format!("it can't leave by itself: {why}")).await;
            return Ok(Left { left: false });
        }
    };
    let until = Instant::now() + ctx.limit(LIMIT);
    let left = loop {
        match tell(session.as_ref(), &ctx.scripts()?.leave, &[]).await {
            Ok(_) => break true,
            Err(why) if Instant::now() >= until => {
                ctx.base.notice(Level::Warning, format!("it does not leave by itself: {why}")).await;
                break false;
            }
            Err(_) => wait::pause(&ctx.base, PAUSE).await?,
        }
    };
    session.close().await;
    Ok(Left { left })
}

async fn forget(ctx: &LeaveContext<'_>, outputs: &Outputs) -> Result<()> {
    let (script, name, app) = (&ctx.scripts()?.forget, ctx.base.server(), &ctx.plan.app.name);
    // Where this is gone on with, it may be forgotten already.
    let mut slot = ctx.manager.lock().await;
    if let Err(_) = ctx.find_manager(&mut slot, Some(&ctx.plan.id)).await?
        && ctx.find_manager(&mut slot, None).await?.is_ok()
    {
        return Ok(());
    }
    drop(slot);
    let mut said = Err(String::new());
    if outputs.get::<Left>()?.left {
        said = ctx.on_manager(script, &[], LIMIT).await?;
    }
    if said.is_err() {
        said = ctx.on_manager(script, &["force"], PAUSE).await?;
    }
    if let Err(why) = said {
        ctx.base.notice(Level::Warning, parting::stays(name, app, &why)).await;
    }
    Ok(())
}
