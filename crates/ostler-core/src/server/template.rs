//! Makes a template: a server without what makes it that one server, for others to be cloned from.
//!
//! It is created and applied as any server is, from a spec of its own ([`server_for`]), and what this operation adds takes its identity out
//! of it. `destroy` undoes its creation, as ever. The guest says itself that it is done, over the session that there is, and is then
//! cut off: so that is never guessed from a machine being off, which a power cut explains as well. Where the word did not come, the disk
//! may be half of a server and half of a template, and is made anew.

use crate::{
    error::{Blame, Failure, Result},
    hint::{Hint, Next},
    model::{OperationKind, OperationRecord, OperationState, Phase, Power, StepState},
    operation::{self, Driver, Outputs, Step},
    reach::{RUN_AS_ROOT, wait},
    server::{
        destroy,
        up::{self, OnFailure, Resumed},
    },
    spec::{ModuleMeta, ServerSpec, Settings, SshPolicy, TemplateContents, TemplateDigest},
    world::{Context, World},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The recorded plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// What the server was made from.
    pub spec: ServerSpec,
}

/// The steps, in order.
pub fn steps<'a>() -> Vec<Step<Context<'a>>> {
    vec![
        Step::new(GENERALISE, Phase::Ready, generalise),
        Step::new("off", Phase::Ready, power_off),
        Step::new("template", Phase::Ready, make_template),
    ]
}

/// The step that is never run again once it was begun.
const GENERALISE: &str = "generalise";
const SCRIPT: &str = include_str!("scripts/generalise.sh");
/// The template's own account while it is made.
const USER: &str = "ostler-template";

/// What a template for servers like `spec` holds.
pub fn contents(world: &World, spec: &ServerSpec) -> TemplateContents {
    TemplateContents::of(spec, &world.catalog, world.roles)
}

/// The spec of the server that becomes the template for `spec`: on its network and place, with nothing that is its own.
pub fn server_for(world: &World, spec: &ServerSpec) -> ServerSpec {
    let TemplateContents { digest, modules, apps } = contents(world, spec);
    ServerSpec {
        name: digest.server_name(),
        user: USER.to_owned(),
        password: None,
        authorized_keys: Vec::new(),
        exclusive_keys: false,
        ssh: SshPolicy::default(),
        modules: modules.into_iter().map(|name| (name.clone(), Some(defaults(&world.modules, &name)))).collect(),
        apps,
        app_params: Default::default(),
        tunnel: None,
        provider: spec.provider.of_any_server(),
        template: Some(digest),
        ..spec.clone()
    }
}

/// The settings of a module where a spec says nothing.
fn defaults(modules: &[ModuleMeta], name: &str) -> Settings {
    let meta = modules.iter().find(|meta| meta.name == name);
    let settings = meta.into_iter().flat_map(|meta| &meta.settings);
    settings.map(|(key, setting)| (key.clone(), setting.default.clone())).collect()
}

/// Makes the template of `spec`, which [`server_for`] made, from wherever it stands. The caller holds the lease.
pub async fn build(world: &World, spec: &ServerSpec) -> Result<Resumed> {
    let recorded = world.store.server(&spec.name).await?;
    let begun = match &recorded {
        Some(record) => world.store.latest_operation(record.subject()).await?,
        None => None,
    };
    let begun = begun.filter(|operation| operation.kind == OperationKind::Template);
    if let (Some(record), Some(mut operation)) = (recorded, begun) {
        let generalised = operation.steps.iter().find(|step| step.name == GENERALISE).map(|step| step.state);
        match (operation.state, generalised) {
            (OperationState::Succeeded, _) => {
                let seen = up::look_at_machine(world, &record).await?;
                if seen.is_some_and(|seen| seen.power != Power::Absent) {
                    return Ok(Resumed::Template);
                }
            }
            (_, Some(StepState::Started)) => destroy::destroy(world, &spec.name).await?,
            _ => return run(world, &mut operation).await,
        }
    }
    up::up(world, spec, OnFailure::Keep).await?;
    run(world, &mut begin(world, spec).await?).await
}

/// Journals it.
async fn begin(world: &World, spec: &ServerSpec) -> Result<OperationRecord> {
    let plan = Plan { spec: spec.clone() };
    let server = world.store.server(&spec.name).await?.ok_or_else(|| destroy::unknown(&spec.name))?;
    let record = operation::begun((server.subject(), spec.name.as_str()), OperationKind::Template, &plan, &steps());
    world.store.begin_operation(&record).await?;
    Ok(record)
}

async fn run(world: &World, operation: &mut OperationRecord) -> Result<Resumed> {
    let ctx = Context::new(world, operation.subject, operation.id, operation.read_plan::<Plan>()?.spec);
    let driver = Driver { store: &*world.store, reporter: &ctx.reporter, interrupt: &world.interrupt };
    driver.forward(operation, &steps(), &ctx).await?;
    Ok(Resumed::Template)
}

async fn generalise(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    // A power cut may have come since it was made. It still has its identity, so it may boot.
    let machine = ctx.lifecycle()?.start(&ctx.machine().await?, &ctx.reporter).await?;
    ctx.update(|record| record.machine = Some(machine)).await?;
    let session = wait::for_login(ctx).await?;
    let output = session.run(&format!("{RUN_AS_ROOT} -- {}", ctx.spec.user), SCRIPT.as_bytes()).await?;
    session.close().await;
    if output.status == 0 {
        return Ok(());
    }
    let server = ctx.server();
    Err(Failure::new(Blame::Target, output.stderr.trim())
        .because_of(format!("{server} could not be generalised (status {})", output.status))
        .with_hint(
            Hint::from("mend the cause, then ").with(Next::Resume(server.clone())).with(" creates it from scratch"),
        ))
}

async fn power_off(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    ctx.lifecycle()?.stop(&ctx.machine().await?, Duration::ZERO).await
}

async fn make_template(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    let templates = ctx
        .provider()
        .templates()
        .ok_or_else(|| Failure::new(Blame::Bug, format!("the provider of {} makes no templates", ctx.server())))?;
    templates.make_template(&ctx.machine().await?, digest(ctx)?).await
}

fn digest<'a>(ctx: &'a Context<'_>) -> Result<&'a TemplateDigest> {
    let missing = || Failure::new(Blame::Bug, format!("{} is to become no template", ctx.server()));
    ctx.spec.template.as_ref().ok_or_else(missing)
}
