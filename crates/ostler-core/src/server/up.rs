//! `up` and `resume`: what brings a server to its spec, from wherever it stands.

use crate::{
    error::{Blame, Failure, Result},
    hint::{Hint, Next},
    ids::{OperationId, ServerName},
    model::{Observed, OperationKind, OperationRecord, OperationState, Power, Seed, ServerRecord, TunnelPlan},
    operation::Driver,
    plan::{Action, Known, ServerPlan, plan},
    ports::Session,
    server::{adopt, apply, create, destroy, leave, rebuild, template},
    spec::ServerSpec,
    subject::Subject,
    tunnel::account,
    world::{Context, World},
};

/// How a server came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// A machine was made.
    pub created: bool,
    /// Tasks of Ansible that changed something.
    pub changed: usize,
}

/// What becomes of a server that the very `up` that began to make it can't finish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It stays, to be gone on with.
    #[default]
    Keep,
    /// It is destroyed, as [`destroy::destroy`] does it.
    Destroy,
}

/// Looks at everything that bears on the plan for `spec`. Touches nothing.
pub async fn look(world: &World, spec: &ServerSpec) -> Result<Known> {
    let provider = world.provider(spec.provider.kind());
    let mut known = Known { adopts: provider.origin().adopts(), ..Known::default() };
    if let Some(record) = world.store.server(&spec.name).await? {
        let record = reached_by(world, spec, record)?;
        rebuild::refuse_half_done(world, &record).await?;
        leave::refuse_half_done(world, &record).await?;
        known.observed = look_at_machine(world, &record).await?;
        if let (Some(machine), Some(reshaping)) = (&record.machine, provider.reshaping()) {
            // There is nothing to reshape where the machine is gone; the plan has its own words for that.
            if known.observed.as_ref().is_some_and(|observed| observed.power != Power::Absent) {
                known.reshape = reshaping.preflight_reshape(machine, spec.size, &spec.provider).await?;
            }
        }
        let creation = create::operation_of(world, &record).await?;
        known.recorded = Some((record, creation));
    }
    // Before anything is made that it would be for.
    known.tunnel = account::look(world, spec, known.recorded.as_ref().map(|(record, _)| record)).await?;
    let made_by = match &known.recorded {
        None => OperationId::new(),
        Some((record, _)) if record.machine.is_none() => record.created_by,
        Some(_) => return Ok(known),
    };
    let order = create::order(world, spec, made_by, Seed::empty(), None);
    known.preflight = provider.preflight(&order).await?;
    if let Some(templates) = provider.templates()
        && !known.preflight.iter().any(|finding| finding.fatal)
    {
        known.template = templates.template(&order).await?;
    }
    if let Some(pricing) = provider.pricing()
        && !known.preflight.iter().any(|finding| finding.fatal)
    {
        known.price = pricing.price(&order).await?;
    }
    Ok(known)
}

/// What bringing a server to the tunnel that its spec asks for, or to none, would change; `None`: nothing. Touches nothing, and fails where
/// the tunnel can't be had.
pub async fn look_at_tunnel(world: &World, spec: &ServerSpec) -> Result<Option<TunnelPlan>> {
    account::look(world, spec, world.store.server(&spec.name).await?.as_ref()).await
}

/// The record with the way to its provider as the spec says it now.
fn reached_by(world: &World, spec: &ServerSpec, mut record: ServerRecord) -> Result<ServerRecord> {
    if record.provider == spec.provider.kind() {
        for machine in [&mut record.machine, &mut record.machine_next].into_iter().flatten() {
            *machine = world.provider(spec.provider.kind()).reached_by(machine, spec)?;
        }
    }
    Ok(record)
}

/// What the machine of a record does; `None` if it has none.
pub async fn look_at_machine(world: &World, record: &ServerRecord) -> Result<Option<Observed>> {
    match &record.machine {
        Some(machine) => Ok(world.provider(record.provider).observe(&[machine]).await?.pop()),
        None => Ok(None),
    }
}

/// What `up` would do to `spec`'s server. Touches nothing. A server that can't be looked at is refused, and keeps nobody from
/// planning the others.
pub async fn plan_for(world: &World, spec: &ServerSpec) -> Result<ServerPlan> {
    match look(world, spec).await {
        Ok(known) => Ok(plan(spec, &known)),
        Err(failure) if failure.blame == Blame::Bug => Err(failure),
        Err(failure) => Ok(ServerPlan {
            server: spec.name.clone(),
            actions: Vec::new(),
            warnings: Vec::new(),
            refused: Some(failure),
        }),
    }
}

/// Creates or converges one server. The caller holds the lease.
///
/// Whatever `on_failure` says, a server that was there before is never destroyed, nor one whose making was stopped on request.
pub async fn up(world: &World, spec: &ServerSpec, on_failure: OnFailure) -> Result<Outcome> {
    let mut begun = false;
    match bring_up(world, spec, &mut begun).await {
        Err(failure) if begun && on_failure == OnFailure::Destroy && failure.blame != Blame::Interrupted => {
            Err(give_up(world, &spec.name, failure).await)
        }
        Err(failure) if begun => Err(with_left(world, &spec.name, failure).await),
        result => result,
    }
}

/// Destroys what could not be finished; returns the failure with what became of that.
async fn give_up(world: &World, name: &ServerName, failure: Failure) -> Failure {
    match destroy::destroy(world, name).await {
        Ok(()) => {
            // Nothing can be resumed or looked at any more; what mends the cause is still to be done.
            let is_void = |action: &Next| matches!(action, Next::Resume(_) | Next::ShowLog(_) | Next::FollowLog(_));
            let mut hints = failure.hints;
            hints.retain(|hint| !hint.advises(is_void));
            hints.push(
                Hint::from(format!("What was made of {name} has been destroyed; "))
                    .with(Next::UpAgain)
                    .with(" creates it from scratch"),
            );
            Failure { hints, left: Box::default(), ..failure }
        }
        Err(stuck) => {
            let mut failure = failure;
            failure.causes.push(stuck.message);
            failure.causes.extend(stuck.causes);
            with_left(world, name, Failure { hints: stuck.hints, ..failure }).await
        }
    }
}

/// The failure with what is left of the server, which it may say already.
async fn with_left(world: &World, name: &ServerName, failure: Failure) -> Failure {
    if failure.left.is_empty() {
        return Failure { left: create::left(world, name).await.into(), ..failure };
    }
    failure
}

/// `begun` becomes true where this very call begins to make the server.
async fn bring_up(world: &World, spec: &ServerSpec, begun: &mut bool) -> Result<Outcome> {
    // A secret that can't be had is found before anything is touched.
    for reference in spec.secrets() {
        world.resolve(reference).await?;
    }
    if let Some(record) = world.store.server(&spec.name).await? {
        let now = reached_by(world, spec, record.clone())?;
        if now != record {
            world.store.put_server(&now).await?;
        }
    }
    let plan = plan_for(world, spec).await?;
    if let Some(refusal) = plan.refused {
        return Err(refusal);
    }
    if plan.actions.iter().any(|action| matches!(action, Action::Adopt | Action::ResumeCreate { .. })) {
        adopt::ask(world, spec).await?;
    }
    let mut created = false;
    let (mut reshape, mut adjust) = (false, false);
    // The login that making it leaves.
    let mut session = None;
    for action in plan.actions {
        match action {
            Action::Create { .. } | Action::Adopt => {
                let mut operation = create::begin(world, spec).await?;
                *begun = true;
                session = run_create(world, &mut operation).await?;
                created = true;
            }
            Action::ResumeCreate { .. } => {
                let mut record = recorded(world, &spec.name).await?;
                record.desired = spec.clone();
                world.store.put_server(&record).await?;
                session = run_create(world, &mut create::operation_of(world, &record).await?).await?;
                created = true;
            }
            Action::Undo => destroy::destroy(world, &spec.name).await?,
            Action::Reshape { .. } => reshape = true,
            Action::Adjust { .. } => adjust = true,
            // The steps of the application see to it.
            Action::Start | Action::Tunnel(_) => {}
            Action::Converge { .. } => {
                // This plans anew.
                apply::close_interrupted(world, &recorded(world, &spec.name).await?).await?;
                let plan = apply::Plan { adjust, ..apply::Plan::new(spec.clone(), reshape) };
                let mut operation = apply::begin(world, &plan).await?;
                let changed = run_apply(world, &mut operation, session).await?;
                return Ok(Outcome { created, changed });
            }
        }
    }
    Ok(Outcome { created, changed: 0 })
}

/// Goes on with what was recorded for `name`: its creation, its undoing, or its application. The caller holds the lease.
pub async fn resume(world: &World, name: &ServerName) -> Result<Resumed> {
    let record = recorded(world, name).await?;
    let mut creation = create::operation_of(world, &record).await?;
    match creation.state {
        OperationState::Unwinding | OperationState::Stuck | OperationState::Undone => {
            destroy::destroy(world, name).await?;
            return Ok(Resumed::Destroyed);
        }
        // All that it is made of is in the spec on record.
        _ if record.desired.template.is_some() => return template::build(world, &record.desired).await,
        OperationState::Running | OperationState::Failed => {
            adopt::ask(world, &create::planned_spec(&creation)?).await?;
            let session = run_create(world, &mut creation).await?;
            let plan = apply::Plan::new(record.desired, false);
            let changed = run_apply(world, &mut apply::begin(world, &plan).await?, session).await?;
            return Ok(Resumed::Up(Outcome { created: true, changed }));
        }
        OperationState::Succeeded => {}
    }
    if leave::begun(world, &record).await?.is_some() {
        destroy::destroy(world, name).await?;
        return Ok(Resumed::Destroyed);
    }
    if let Some(mut operation) = rebuild::unfinished(world, &record).await? {
        return Ok(Resumed::Up(Box::pin(rebuild::finish(world, &mut operation)).await?));
    }
    let mut operation = match latest_apply(world, record.subject()).await? {
        Some(latest) if latest.state == OperationState::Succeeded => {
            if look_at_machine(world, &record).await?.is_some_and(|seen| seen.power == Power::On) {
                return Ok(Resumed::NothingToDo);
            }
            // A power cut: it is started, and brought to its spec.
            apply::begin(world, &apply::Plan::new(record.desired, false)).await?
        }
        Some(latest) => latest,
        // Killed between creation and application.
        None => apply::begin(world, &apply::Plan::new(record.desired, false)).await?,
    };
    let changed = run_apply(world, &mut operation, None).await?;
    Ok(Resumed::Up(Outcome { created: false, changed }))
}

/// What `resume` came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// The server is what its recorded spec says.
    Up(Outcome),
    /// The server is a template now.
    Template,
    /// The server is gone.
    Destroyed,
    /// Its last operation had succeeded.
    NothingToDo,
}

/// Returns the login that it leaves, if it leaves one.
async fn run_create(world: &World, operation: &mut OperationRecord) -> Result<Option<Box<dyn Session>>> {
    let ctx = Context::new(world, operation.subject, operation.id, create::planned_spec(operation)?);
    let driver = Driver { store: &*world.store, reporter: &ctx.reporter, interrupt: &world.interrupt };
    match driver.forward(operation, &create::steps_for(ctx.provider()), &ctx).await {
        Ok(_) => Ok(ctx.take_session()),
        Err(failure) => Err(with_left(world, &ctx.spec.name, failure).await),
    }
}

/// Returns how many tasks changed something. `session` is a login that there is already.
pub(super) async fn run_apply(
    world: &World,
    operation: &mut OperationRecord,
    session: Option<Box<dyn Session>>,
) -> Result<usize> {
    let plan: apply::Plan = operation.read_plan()?;
    let base = Context::new(world, operation.subject, operation.id, plan.spec.clone());
    if let Some(session) = session {
        base.leave_session(session);
    }
    let steps = apply::steps_for(&plan);
    let ctx = apply::ApplyContext::new(base, plan);
    let driver = Driver { store: &*world.store, reporter: &ctx.base.reporter, interrupt: &world.interrupt };
    let outputs = driver.forward(operation, &steps, &ctx).await?;
    Ok(outputs.get::<apply::Converged>()?.changed)
}

async fn recorded(world: &World, name: &ServerName) -> Result<ServerRecord> {
    world.store.server(name).await?.ok_or_else(|| destroy::unknown(name))
}

async fn latest_apply(world: &World, server: Subject) -> Result<Option<OperationRecord>> {
    Ok(world.store.latest_operation(server).await?.filter(|op| op.kind == OperationKind::Apply))
}
