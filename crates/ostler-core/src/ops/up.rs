//! `up` and `resume`: what brings a server to its spec, from wherever it stands.

use crate::{
    error::Result,
    ids::{OperationId, ServerName},
    model::{Observed, Power, Seed, ServerRecord},
    operation::{Driver, OperationKind, OperationRecord, OperationState},
    ops::{Context, World, adopt, apply, create, destroy},
    plan::{Action, Known, ServerPlan, plan},
    spec::{ProviderKind, ServerSpec},
};
use std::path::PathBuf;

/// How a server came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// A machine was made.
    pub created: bool,
    /// Tasks of Ansible that changed something.
    pub changed: usize,
}

/// Looks at everything that bears on the plan for `spec`. Touches nothing.
pub async fn look(world: &World<'_>, spec: &ServerSpec) -> Result<Known> {
    let provider = world.provider(spec.provider);
    let mut known = Known::default();
    if let Some(record) = world.store.server(&spec.name).await? {
        let record = reached_by(world, spec, record)?;
        known.observed = look_at_machine(world, &record).await?;
        if let Some(machine) = &record.machine {
            // There is nothing to reshape where the machine is gone; the plan has its own words for that.
            if known.observed.as_ref().is_some_and(|observed| observed.power != Power::Absent) {
                known.reshape = provider.preflight_reshape(machine, spec.size, &spec.local).await?;
            }
        }
        let creation = create::operation_of(world, &record).await?;
        known.recorded = Some((record, creation));
    }
    let made_by = match &known.recorded {
        None => OperationId::new(),
        Some((record, _)) if record.machine.is_none() => record.created_by,
        Some(_) => return Ok(known),
    };
    let image = match spec.provider {
        ProviderKind::Local => world.images.cached(&spec.image).await?.unwrap_or_default(),
        ProviderKind::Existing | ProviderKind::Proxmox => PathBuf::new(),
    };
    let order = create::order(world, spec, made_by, image, Seed::empty(), None);
    known.preflight = provider.preflight(&order).await?;
    Ok(known)
}

/// The record with the way to its provider as the spec says it now.
fn reached_by(world: &World<'_>, spec: &ServerSpec, mut record: ServerRecord) -> Result<ServerRecord> {
    if record.provider == spec.provider {
        for machine in [&mut record.machine, &mut record.machine_next].into_iter().flatten() {
            *machine = world.provider(spec.provider).reached_by(machine, spec)?;
        }
    }
    Ok(record)
}

/// What the machine of a record does; `None` if it has none.
pub async fn look_at_machine(world: &World<'_>, record: &ServerRecord) -> Result<Option<Observed>> {
    match &record.machine {
        Some(machine) => Ok(world.provider(record.provider).observe(&[machine]).await?.pop()),
        None => Ok(None),
    }
}

/// What `up` would do to `spec`'s server. Touches nothing.
pub async fn plan_for(world: &World<'_>, spec: &ServerSpec) -> Result<ServerPlan> {
    Ok(plan(spec, &look(world, spec).await?))
}

/// Creates or converges one server. The caller holds the lease.
pub async fn up(world: &World<'_>, spec: &ServerSpec) -> Result<Outcome> {
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
    let mut reshape = false;
    for action in plan.actions {
        match action {
            Action::Create | Action::Adopt => {
                let mut operation = create::begin(world, spec).await?;
                run_create(world, &mut operation).await?;
                created = true;
            }
            Action::ResumeCreate { .. } => {
                let mut record = recorded(world, &spec.name).await?;
                record.desired = spec.clone();
                world.store.put_server(&record).await?;
                run_create(world, &mut create::operation_of(world, &record).await?).await?;
                created = true;
            }
            Action::Undo => destroy::destroy(world, &spec.name).await?,
            Action::Reshape { .. } => reshape = true,
            Action::Start => {}
            Action::Converge { .. } => {
                // This plans anew.
                apply::close_interrupted(world, &spec.name).await?;
                let plan = apply::Plan { spec: spec.clone(), reshape };
                let mut operation = apply::begin(world, &plan).await?;
                let outputs = run_apply(world, &mut operation).await?;
                return Ok(Outcome { created, changed: outputs.changed });
            }
        }
    }
    Ok(Outcome { created, changed: 0 })
}

/// Goes on with what was recorded for `name`: its creation, its undoing, or its application. The caller holds the lease.
pub async fn resume(world: &World<'_>, name: &ServerName) -> Result<Resumed> {
    let record = recorded(world, name).await?;
    let mut creation = create::operation_of(world, &record).await?;
    match creation.state {
        OperationState::Unwinding | OperationState::Stuck | OperationState::Undone => {
            destroy::destroy(world, name).await?;
            return Ok(Resumed::Destroyed);
        }
        OperationState::Running | OperationState::Failed => {
            adopt::ask(world, &create::planned_spec(&creation)?).await?;
            run_create(world, &mut creation).await?;
            let plan = apply::Plan { spec: record.desired, reshape: false };
            let outputs = run_apply(world, &mut apply::begin(world, &plan).await?).await?;
            return Ok(Resumed::Up(Outcome { created: true, changed: outputs.changed }));
        }
        OperationState::Succeeded => {}
    }
    let mut operation = match latest_apply(world, name).await? {
        Some(latest) if latest.state == OperationState::Succeeded => {
            if look_at_machine(world, &record).await?.is_some_and(|seen| seen.power == Power::On) {
                return Ok(Resumed::NothingToDo);
            }
            // A power cut: it is started, and brought to its spec.
            apply::begin(world, &apply::Plan { spec: record.desired, reshape: false }).await?
        }
        Some(latest) => latest,
        // Killed between creation and application.
        None => apply::begin(world, &apply::Plan { spec: record.desired, reshape: false }).await?,
    };
    let outputs = run_apply(world, &mut operation).await?;
    Ok(Resumed::Up(Outcome { created: false, changed: outputs.changed }))
}

/// What `resume` came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// The server is what its recorded spec says.
    Up(Outcome),
    /// The server is gone.
    Destroyed,
    /// Its last operation had succeeded.
    NothingToDo,
}

async fn run_create(world: &World<'_>, operation: &mut OperationRecord) -> Result<()> {
    let ctx = Context::new(world, operation.id, create::planned_spec(operation)?);
    let driver = Driver { store: world.store, reporter: &ctx.reporter, interrupt: world.interrupt };
    driver.forward(operation, &create::steps(ctx.spec.provider), &ctx).await?;
    Ok(())
}

async fn run_apply(world: &World<'_>, operation: &mut OperationRecord) -> Result<apply::Outputs> {
    let plan: apply::Plan = operation.read_plan()?;
    let base = Context::new(world, operation.id, plan.spec.clone());
    let ctx = apply::ApplyContext::new(base, plan);
    let driver = Driver { store: world.store, reporter: &ctx.base.reporter, interrupt: world.interrupt };
    driver.forward(operation, &apply::steps(), &ctx).await
}

async fn recorded(world: &World<'_>, name: &ServerName) -> Result<ServerRecord> {
    world.store.server(name).await?.ok_or_else(|| destroy::unknown(name))
}

async fn latest_apply(world: &World<'_>, name: &ServerName) -> Result<Option<OperationRecord>> {
    Ok(world.store.latest_operation(name).await?.filter(|op| op.kind == OperationKind::Apply))
}
