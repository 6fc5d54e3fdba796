//! Makes a server that can be logged in to: keys, image, machine, first boot, trust, access.

use crate::{
    converge::access,
    error::{Blame, Failure, Result},
    event::Level,
    ids::{OperationId, ServerName},
    model::{
        ImageHandle, KeyPair, MachineOrder, MachineRecord, OperationKind, OperationRecord, OperationState, Phase, Seed,
        ServerRecord,
    },
    operation::{self, Outputs, Step},
    ports::{Keep, Origin, Provider},
    reach::{cloud_init, fence, host_key, wait},
    server::{adopt, template},
    spec::ServerSpec,
    subject::SubjectKind,
    world::{Context, World, secret_name},
};
use serde::{Deserialize, Serialize};

/// The recorded plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// What is to be made.
    pub spec: ServerSpec,
}

/// The steps by which servers of a provider come under management.
pub fn steps_for<'a>(provider: &dyn Provider) -> Vec<Step<Context<'a>>> {
    match provider.origin() {
        Origin::Makes(_) => steps(),
        Origin::Adopts(_) => adopt::steps(),
    }
}

/// The steps that make a server, in order.
pub fn steps<'a>() -> Vec<Step<Context<'a>>> {
    vec![
        Step::new("keys", Phase::Create, make_keys).undone_by(forget_keys),
        Step::new("image", Phase::Create, get_image),
        Step::new("machine", Phase::Create, create_machine).undone_by(remove_machine),
        Step::precondition("boot", Phase::Create, boot),
        Step::new("address", Phase::Connect, await_address),
        Step::new("ssh", Phase::Connect, await_ssh),
        Step::new("cloud-init", Phase::Connect, await_cloud_init),
        Step::new("host-key", Phase::Access, replace_host_key),
        Step::new("scrub-seed", Phase::Access, scrub_seed),
        Step::new("prove-access", Phase::Access, prove_access),
    ]
}

/// Journals a new creation: the operation and the server's record, before anything is made.
///
/// In this order: a record that names an operation which is not there could be neither resumed nor destroyed, while an
/// operation that no server names is only a line of history.
pub async fn begin(world: &World, spec: &ServerSpec) -> Result<OperationRecord> {
    let plan = Plan { spec: spec.clone() };
    let subject = world.store.claim_name(SubjectKind::Server, spec.name.as_str()).await?;
    let about = (subject, spec.name.as_str());
    let record =
        operation::begun(about, OperationKind::Create, &plan, &steps_for(world.provider(spec.provider.kind())));
    world.store.begin_operation(&record).await?;
    world
        .store
        .put_server(&ServerRecord {
            id: subject.id,
            name: spec.name.clone(),
            provider: spec.provider.kind(),
            phase: Phase::Create,
            created_by: record.id,
            desired: spec.clone(),
            login_user: spec.user.clone(),
            machine: None,
            machine_next: None,
            host_keys: Vec::new(),
            client_key: None,
            pending_handlers: Vec::new(),
            unclean: false,
            verified: None,
        })
        .await?;
    Ok(record)
}

/// The operation that created a server. Until that is done, its plan is what the last `up` wished for: the machine is the same, or it would
/// have been undone, and how one comes into it may have been mended since.
pub async fn operation_of(world: &World, server: &ServerRecord) -> Result<OperationRecord> {
    let mut operation = world.store.operation(server.created_by).await?.ok_or_else(|| {
        Failure::new(Blame::Bug, format!("the operation that created {} is missing from the state", server.name))
    })?;
    if matches!(operation.state, OperationState::Running | OperationState::Failed) {
        operation.plan = operation::to_json(&Plan { spec: server.desired.clone() });
    }
    Ok(operation)
}

/// The spec that a creation recorded as its plan.
pub fn planned_spec(creation: &OperationRecord) -> Result<ServerSpec> {
    Ok(creation.read_plan::<Plan>()?.spec)
}

/// What a provider is asked for. With an empty seed it still names what is to be removed.
pub fn order(
    world: &World,
    spec: &ServerSpec,
    operation: OperationId,
    seed: Seed,
    found: Option<MachineRecord>,
) -> MachineOrder {
    MachineOrder {
        server: spec.name.clone(),
        operation,
        owner: world.owner,
        size: spec.size,
        networks: spec.networks.clone(),
        image_ref: spec.image.clone(),
        template: spec.template.is_none().then(|| template::contents(world, spec).digest),
        seed,
        options: spec.provider.clone(),
        login_key: None,
        openings: fence::openings_at_first(spec, &world.catalog),
        found,
    }
}

async fn make_keys(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    make_client_key(ctx).await?;
    let host = ctx.world.remote.generate_key()?;
    ctx.world.store.put_secret(Some(ctx.subject), secret_name::BOOTSTRAP_HOST_KEY, &host.private).await?;
    ctx.update(|record| record.host_keys = vec![host.public]).await?;
    Ok(())
}

/// What Ostler logs in with.
pub(super) async fn make_client_key(ctx: &Context<'_>) -> Result<()> {
    let client = ctx.world.remote.generate_key()?;
    ctx.world.store.put_secret(Some(ctx.subject), secret_name::CLIENT_KEY, &client.private).await?;
    ctx.update(|record| record.client_key = Some(client.public)).await?;
    Ok(())
}

pub(super) async fn forget_keys(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    for name in [secret_name::CLIENT_KEY, secret_name::BOOTSTRAP_HOST_KEY] {
        ctx.world.store.remove_secret(Some(ctx.subject), name).await?;
    }
    ctx.world.remote.forget(ctx.server()).await
}

/// What the machine boots from.
#[derive(Serialize, Deserialize)]
struct Image {
    image: ImageHandle,
}

async fn get_image(ctx: &Context<'_>, _: &Outputs) -> Result<Image> {
    let order = order(ctx.world, &ctx.spec, ctx.operation, Seed::empty(), None);
    Ok(Image { image: ctx.lifecycle()?.image(&order, &ctx.reporter).await? })
}

async fn create_machine(ctx: &Context<'_>, outputs: &Outputs) -> Result<()> {
    let lifecycle = ctx.lifecycle()?;
    let Image { image } = outputs.get()?;
    let record = ctx.record().await?;
    let host_key = record.host_keys.first().map_or("", String::as_str);
    let seed = seed(ctx, host_key, lifecycle.needs_guest_agent()).await?;
    let mut order = order(ctx.world, &ctx.spec, ctx.operation, seed, record.machine);
    order.login_key = record.client_key;
    let machine = lifecycle.create(&order, image, &Keeper(ctx), &ctx.reporter).await?;
    ctx.update(|record| record.machine = Some(machine)).await?;
    Ok(())
}

/// Keeps what is chosen in the subject's record.
pub(super) struct Keeper<'a, 'w>(pub(super) &'a Context<'w>);

#[async_trait::async_trait]
impl Keep for Keeper<'_, '_> {
    async fn keep(&self, chosen: &MachineRecord) -> Result<()> {
        self.0.update(|record| record.machine = Some(chosen.clone())).await?;
        Ok(())
    }
}

/// What cloud-init is told. `host_key`: the public half of the key that bootstraps trust.
pub(super) async fn seed(ctx: &Context<'_>, host_key: &str, needs_guest_agent: bool) -> Result<Seed> {
    let host_key = KeyPair { private: ctx.secret(secret_name::BOOTSTRAP_HOST_KEY).await?, public: host_key.to_owned() };
    let client_key = ctx.record().await?.client_key.unwrap_or_default();
    Ok(cloud_init::seed(&ctx.spec, ctx.world.owner, ctx.operation, &host_key, &client_key, needs_guest_agent))
}

async fn remove_machine(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    let found = ctx.record().await?.machine;
    let order = order(ctx.world, &ctx.spec, ctx.operation, Seed::empty(), found);
    ctx.lifecycle()?.remove(&order).await?;
    ctx.update(|record| record.machine = None).await?;
    Ok(())
}

/// What there is of a server that its creation made, for people; a best effort, for it is asked where something else has failed.
pub(super) async fn left(world: &World, server: &ServerName) -> Vec<String> {
    let Ok(Some(record)) = world.store.server(server).await else { return Vec::new() };
    let Some(lifecycle) = world.provider(record.provider).origin().lifecycle() else { return Vec::new() };
    let order = order(world, &record.desired, record.created_by, Seed::empty(), record.machine);
    lifecycle.left(&order).await
}

pub(super) async fn boot(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    let machine = ctx.lifecycle()?.start(&ctx.machine().await?, &ctx.reporter).await?;
    ctx.update(|record| {
        record.machine = Some(machine);
        record.phase = Phase::Connect;
    })
    .await?;
    say_slowness(ctx).await
}

/// Tells the user why waiting takes longer than the usual limit.
async fn say_slowness(ctx: &Context<'_>) -> Result<()> {
    let slowness = ctx.observe().await?.slowness;
    if slowness > 1 && !ctx.world.wait.exact {
        let limit = ctx.world.wait.limit(slowness).as_secs();
        let message = format!("the machine is emulated: waiting up to {limit} s for each stage");
        ctx.notice(Level::Info, message).await;
    }
    Ok(())
}

pub(super) async fn await_address(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    wait::for_address(ctx).await
}

pub(super) async fn await_ssh(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    wait::for_login(ctx).await?.close().await;
    Ok(())
}

pub(super) async fn await_cloud_init(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    wait::for_cloud_init(ctx).await?;
    ctx.update(|record| record.phase = Phase::Access).await?;
    Ok(())
}

pub(super) async fn replace_host_key(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    host_key::replace(ctx).await?;
    ctx.world.store.remove_secret(Some(ctx.subject), secret_name::BOOTSTRAP_HOST_KEY).await?;
    Ok(())
}

pub(super) async fn scrub_seed(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    ctx.lifecycle()?.scrub_seed(&ctx.machine().await?).await
}

pub(super) async fn prove_access(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    let first = ctx.take_session();
    let proved = async { access::prove(ctx, wait::for_login_as(ctx, &ctx.spec.user).await?).await };
    match proved.await {
        Ok(session) => {
            if let Some(first) = first {
                first.close().await;
            }
            // What comes next works over it: firewalls count connections.
            ctx.leave_session(session);
            Ok(())
        }
        Err(failure) => Err(adopt::explained(ctx, first, failure).await),
    }
}
