//! Makes a server anew in its place: the same machine with the same address, and nothing on its disk but a fresh system.
//!
//! Its pinned host key stands until the provider has begun, so a rebuild that is refused locks nobody out. From then on only the key that the
//! new seed carried is accepted, which never was in a seed before: whoever can read old user-data knows none that counts. Where SSH came through
//! a tunnel only, the provider's firewall opens its port before anything is lost: the new system has no end of the tunnel, and no other way in.

use crate::{
    converge::promises,
    error::{Blame, Failure, Result},
    hint::{Hint, Next},
    ids::ServerName,
    model::{OperationKind, OperationRecord, OperationState, Phase, Seed, ServerRecord, StepState},
    operation::{self, Driver, Outputs, Step},
    plan,
    ports::Rebuilding,
    reach::fence,
    server::{
        apply, balancing, create, destroy, leave,
        up::{self, Outcome},
    },
    spec::ServerSpec,
    world::{Context, World, secret_name},
};
use serde::{Deserialize, Serialize};

/// The recorded plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// What the server shall be.
    pub spec: ServerSpec,
}

/// The steps, in order.
pub fn steps<'a>() -> Vec<Step<Context<'a>>> {
    vec![
        Step::new("key", Phase::Create, make_key),
        Step::new(REBUILD, Phase::Create, rebuild_machine),
        Step::precondition("boot", Phase::Create, create::boot),
        Step::new("address", Phase::Connect, create::await_address),
        Step::new("ssh", Phase::Connect, create::await_ssh),
        Step::new("cloud-init", Phase::Connect, create::await_cloud_init),
        Step::new("host-key", Phase::Access, create::replace_host_key),
        Step::new("scrub-seed", Phase::Access, create::scrub_seed),
        Step::new("prove-access", Phase::Access, create::prove_access),
    ]
}

/// The step that takes what was on the disk.
const REBUILD: &str = "rebuild";

/// Rebuilds a server and brings it to the spec on record, or goes on with a rebuild that did not come to its end. The caller holds the lease.
pub async fn rebuild(world: &World, name: &ServerName) -> Result<Outcome> {
    let record = world.store.server(name).await?.ok_or_else(|| destroy::unknown(name))?;
    let rebuilding = part(world, &record)?;
    leave::refuse_half_done(world, &record).await?;
    if create::operation_of(world, &record).await?.state != OperationState::Succeeded {
        return Err(Failure::new(
            Blame::User,
            format!("{name} is not made to its end, so there is nothing to rebuild"),
        )
        .with_hint(Hint::from(Next::Resume(name.clone())).with(" goes on with its creation")));
    }
    let mut operation = match unfinished(world, &record).await? {
        Some(operation) => operation,
        None => {
            refuse_member(world, &record).await?;
            // From its journaled beginning on, nothing else is done with the server.
            let (made_by, found) = (record.created_by, record.machine.clone());
            let order = create::order(world, &record.desired, made_by, Seed::empty(), found);
            plan::refuse(format!("{name} can't be rebuilt"), &rebuilding.preflight_rebuild(&order).await?)?;
            begin(world, &record).await?
        }
    };
    finish(world, &mut operation).await
}

/// The newest operation, where it is a rebuild that did not come to its end.
pub(super) async fn unfinished(world: &World, record: &ServerRecord) -> Result<Option<OperationRecord>> {
    let latest = world.store.latest_operation(record.subject()).await?;
    Ok(latest.filter(|it| it.kind == OperationKind::Rebuild && it.state != OperationState::Succeeded))
}

/// Refuses to do anything else with a server that may be half rebuilt.
pub(super) async fn refuse_half_done(world: &World, record: &ServerRecord) -> Result<()> {
    let begun = |operation: &OperationRecord| {
        operation.steps.iter().any(|step| step.name == REBUILD && step.state != StepState::Pending)
    };
    if !unfinished(world, record).await?.as_ref().is_some_and(begun) {
        return Ok(());
    }
    let name = &record.name;
    Err(Failure::new(Blame::User, format!("{name} is being rebuilt, and that has not come to its end"))
        .with_hint(Hint::from(Next::Resume(name.clone())).with(" goes on with it")))
}

/// Goes on to the end, and applies the spec.
pub(super) async fn finish(world: &World, operation: &mut OperationRecord) -> Result<Outcome> {
    let Plan { spec } = operation.read_plan()?;
    let ctx = Context::new(world, operation.subject, operation.id, spec.clone());
    let driver = Driver { store: &*world.store, reporter: &ctx.reporter, interrupt: &world.interrupt };
    driver.forward(operation, &steps(), &ctx).await?;
    let session = ctx.take_session();
    let mut operation = apply::begin(world, &apply::Plan::new(spec, false)).await?;
    // Boxed, because the futures of both together are too large for a stack in a debug build.
    let changed = Box::pin(up::run_apply(world, &mut operation, session)).await?;
    Ok(Outcome { created: false, changed })
}

async fn begin(world: &World, record: &ServerRecord) -> Result<OperationRecord> {
    apply::close_interrupted(world, record).await?;
    let plan = Plan { spec: record.desired.clone() };
    let about = (record.subject(), record.name.as_str());
    let operation = operation::begun(about, OperationKind::Rebuild, &plan, &steps());
    world.store.begin_operation(&operation).await?;
    Ok(operation)
}

/// Refuses where other servers count on what is on the disk: a member of a cluster is known there by an identity that goes with it. Who joined
/// whom is what the specs on record say.
async fn refuse_member(world: &World, record: &ServerRecord) -> Result<()> {
    let name = &record.name;
    for app in world.catalog.apps.iter().filter(|app| record.desired.apps.contains(&app.name)) {
        if let Some(other) = record.desired.joins(app) {
            let message =
                format!("{name} has joined the {} of {other}, and would be a stranger to it afterwards", app.name);
            return Err(Failure::new(Blame::User, message)
                .because_of(format!("{name} can't be rebuilt while it is a member"))
                .with_hint(
                    Hint::from(Next::Destroy(name.clone()))
                        .with(", then ")
                        .with(Next::UpAgain)
                        .with(" makes a new one, which joins"),
                ));
        }
        let servers = world.servers().await?;
        let members = servers.iter().filter(|other| other.desired.joins(app) == Some(name.as_str()));
        let members: Vec<&str> = members.map(|other| other.name.as_str()).collect();
        if !members.is_empty() {
            let members = members.join(", ");
            let message =
                format!("{members} joined the {} of {name}, which would begin another one afterwards", app.name);
            return Err(Failure::new(Blame::User, message)
                .because_of(format!("{name} can't be rebuilt while it has members"))
                .with_hint("destroy the members first"));
        }
    }
    Ok(())
}

fn part<'a>(world: &'a World, record: &ServerRecord) -> Result<&'a dyn Rebuilding> {
    let name = &record.name;
    world.provider(record.provider).rebuilding().ok_or_else(|| {
        Failure::new(Blame::User, format!("the provider of {name} can't rebuild a server in its place")).with_hint(
            Hint::from(Next::Destroy(name.clone())).with(", then ").with(Next::UpAgain).with(" makes a new one"),
        )
    })
}

/// Public half of the host key that the new seed carries.
#[derive(Serialize, Deserialize)]
struct SeedKey {
    host_key: String,
}

async fn make_key(ctx: &Context<'_>, _: &Outputs) -> Result<SeedKey> {
    let key = ctx.world.remote.generate_key()?;
    ctx.world.store.put_secret(Some(ctx.subject), secret_name::BOOTSTRAP_HOST_KEY, &key.private).await?;
    Ok(SeedKey { host_key: key.public })
}

async fn rebuild_machine(ctx: &Context<'_>, outputs: &Outputs) -> Result<()> {
    let SeedKey { host_key } = outputs.get()?;
    let record = ctx.record().await?;
    let rebuilding = part(ctx.world, &record)?;
    // What an interrupted run left here would talk to the new system.
    destroy::end_children(ctx.world, ctx.subject).await?;
    let lifecycle = ctx.lifecycle()?;
    let seed = create::seed(ctx, host_key, lifecycle.needs_guest_agent()).await?;
    let mut order = create::order(ctx.world, &ctx.spec, record.created_by, seed, record.machine);
    order.login_key = record.client_key;
    balancing::leave(ctx).await?;
    fence::at_first(ctx).await?;
    let machine = rebuilding.rebuild(&order, &ctx.reporter).await?;
    promises::doubt(ctx).await?;
    ctx.world.remote.forget(ctx.server()).await?;
    ctx.update(|record| {
        record.machine = Some(machine);
        record.machine_next = None;
        record.host_keys = vec![host_key.clone()];
        record.login_user = ctx.spec.user.clone();
        record.pending_handlers = Vec::new();
        record.unclean = false;
        record.verified = None;
    })
    .await?;
    if let Some(mut tunnel) = ctx.tunnel().await? {
        // The new system has no end of it yet, and its port is open.
        (tunnel.through, tunnel.ssh_closed, tunnel.proved) = (false, false, false);
        ctx.put_tunnel(Some(&tunnel)).await?;
    }
    Ok(())
}
