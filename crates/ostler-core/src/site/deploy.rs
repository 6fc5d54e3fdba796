//! `deploy` and `rollback`: what brings a site to its spec, or back to what it was.

use super::{
    entrance,
    record::{self, SiteRecord},
    release::{self, Afterwards, Got, Plan, SiteContext},
    remove, secrets,
};
use crate::{
    error::{Blame, Failure, Result},
    hint::{Hint, Next},
    ids::{ServerName, SiteName},
    model::{OperationKind, OperationRecord, OperationState, StepState},
    operation::{self, Driver, Interrupt},
    ports::SiteSettings,
    spec::{Domain, SiteSource, SiteSpec},
    subject::{Subject, SubjectKind},
    world::World,
};
use serde::Serialize;
use std::{collections::BTreeMap, path::PathBuf};

/// What a site came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deployed {
    /// Which.
    pub site: SiteName,
    /// The release that has the traffic.
    pub release: u32,
    /// The release that it goes back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_to: Option<u32>,
    /// Whether it is a new one.
    pub changed: bool,
    /// Where it answers.
    pub url: String,
}

/// Brings a site to its spec. The caller holds the lease on it.
pub async fn deploy(world: &World, spec: &SiteSpec) -> Result<Deployed> {
    entrance::server_of(world, &spec.name, &spec.server).await?;
    let subject = world.store.claim_name(SubjectKind::Site, spec.name.as_str()).await?;
    if let Some((_, record)) = record::record(&*world.store, &spec.name).await? {
        finish_last(world, subject, &record).await?;
    }
    let known = record::record(&*world.store, &spec.name).await?;
    let mut record = known.map_or_else(|| SiteRecord::new(spec), |(_, record)| record);
    must_be_possible(world, &record, spec).await?;
    let versions = secrets::versions(world, subject, &mut record, &spec.secrets).await?;
    record.desired = spec.clone();
    record::put(&*world.store, subject, &record).await?;
    let (reference, build) = reference(world, spec)?;
    let plan = Plan {
        site: spec.name.clone(),
        server: spec.server.clone(),
        number: record.last + 1,
        reference,
        build,
        image: None,
        settings: settings(spec, versions),
        back_to: None,
        zones: spec.zones.clone(),
        certificate: spec.certificate.clone(),
        before: spec.deploy_before.clone(),
        after: spec.deploy_after.clone(),
    };
    begin(world, subject, OperationKind::Deploy, plan).await
}

/// The same with what is on record, from another image where one is named.
pub async fn deploy_again(world: &World, name: &SiteName, image: Option<&str>) -> Result<Deployed> {
    let (_, record) = record::record(&*world.store, name).await?.ok_or_else(|| record::unknown(name))?;
    let mut spec = record.desired;
    if let Some(image) = image {
        spec.source = SiteSource::Image(image.to_owned());
    }
    deploy(world, &spec).await
}

/// Goes back to an earlier release, or the one before; what it was becomes a new release. The caller holds the lease on the site.
pub async fn roll_back(world: &World, name: &SiteName, to: Option<u32>) -> Result<Deployed> {
    let (subject, record) = record::record(&*world.store, name).await?.ok_or_else(|| record::unknown(name))?;
    finish_last(world, subject, &record).await?;
    let record = record::record(&*world.store, name).await?.map_or(record, |(_, record)| record);
    let kept = || record.releases.iter().map(|release| release.number.to_string()).collect::<Vec<_>>().join(", ");
    let refused = |message: String| {
        let failure = Failure::new(Blame::User, message);
        if record.releases.is_empty() {
            failure
        } else {
            failure.with_hint(format!("releases that are kept: {}", kept()))
        }
    };
    let release = match to {
        Some(number) => {
            record.release(number).ok_or_else(|| refused(format!("{name} has no release {number} to go back to")))?
        }
        None => {
            let earlier = record.releases.iter().find(|release| Some(release.number) < record.current);
            earlier.ok_or_else(|| refused(format!("{name} has no earlier release to go back to")))?
        }
    };
    let plan = Plan {
        site: name.clone(),
        server: record.server().clone(),
        number: record.last + 1,
        reference: release.reference.clone(),
        build: None,
        image: Some(release.image.clone()),
        settings: release.settings.clone(),
        back_to: Some(release.number),
        zones: record.desired.zones.clone(),
        certificate: record.desired.certificate.clone(),
        before: Vec::new(),
        after: Vec::new(),
    };
    let others = others_with(world, name, &plan.settings.domains).await?;
    others.map_or(Ok(()), Err)?;
    begin(world, subject, OperationKind::Rollback, plan).await
}

/// The name of the image, and the folder that it is built of.
pub(super) fn reference(world: &World, spec: &SiteSpec) -> Result<(String, Option<PathBuf>)> {
    Ok(match &spec.source {
        SiteSource::Image(reference) => (reference.clone(), None),
        SiteSource::Build(folder) => (world.runtime.built_name(&spec.name, folder)?, Some(folder.clone())),
    })
}

pub(super) fn settings(spec: &SiteSpec, secrets: BTreeMap<String, u32>) -> SiteSettings {
    SiteSettings {
        domains: spec.domains.clone(),
        port: spec.port,
        health: spec.health.clone(),
        replicas: spec.replicas,
        env: spec.env.clone(),
        secrets,
    }
}

/// Refuses what can't be had, before anything is touched.
pub(super) async fn must_be_possible(world: &World, record: &SiteRecord, spec: &SiteSpec) -> Result<()> {
    if record.current.is_some() && *record.server() != spec.server {
        return Err(other_server(&spec.name, record.server(), &spec.server));
    }
    others_with(world, &spec.name, &spec.domains).await?.map_or(Ok(()), Err)
}

fn other_server(site: &SiteName, from: &ServerName, to: &ServerName) -> Failure {
    Failure::new(Blame::Configuration, format!("the site {site} runs on {from}, and can't move to {to} by itself"))
        .with_hint(
            Hint::from(Next::RemoveSite(site.clone())).with(" takes it away there; then it can be deployed anew"),
        )
}

/// The failure that it is if another site has one of these domains.
async fn others_with(world: &World, name: &SiteName, domains: &[Domain]) -> Result<Option<Failure>> {
    for (_, other) in record::records(&*world.store).await? {
        if other.name == *name {
            continue;
        }
        if let Some(domain) = domains.iter().find(|domain| other.domains().any(|taken| taken == *domain)) {
            let message = format!("{domain} belongs to the site {}, so {name} can't have it", other.name);
            return Ok(Some(
                Failure::new(Blame::Configuration, message).with_hint(
                    Hint::from("take it out of one of the two; ")
                        .with(Next::RemoveSite(other.name.clone()))
                        .with(" takes that site away"),
                ),
            ));
        }
    }
    Ok(None)
}

/// Brings what an earlier operation left to its end: forward where its release serves already, else back.
async fn finish_last(world: &World, subject: Subject, record: &SiteRecord) -> Result<()> {
    let Some(mut last) = world.store.latest_operation(subject).await? else { return Ok(()) };
    if last.kind == OperationKind::Remove {
        return Err(Failure::new(
            Blame::User,
            format!("{} is being removed, and that has not come to its end", record.name),
        )
        .with_hint(Hint::from(Next::RemoveSite(record.name.clone())).with(" goes on with it")));
    }
    match last.state {
        OperationState::Succeeded | OperationState::Undone => Ok(()),
        _ if last.steps.iter().any(|step| step.name == release::RECORD && step.state == StepState::Done) => {
            forward(world, &mut last).await.map(drop)
        }
        _ => back(world, &mut last).await,
    }
}

async fn begin(world: &World, subject: Subject, kind: OperationKind, plan: Plan) -> Result<Deployed> {
    let mut operation = operation::begun((subject, plan.site.as_str()), kind, &plan, &release::steps());
    world.store.begin_operation(&operation).await?;
    let failure = match forward(world, &mut operation).await {
        Ok(deployed) => return Ok(deployed),
        // It came to its end, and what runs after that failed.
        Err(failure) if operation.state == OperationState::Succeeded => return Err(failure),
        Err(failure) => failure,
    };
    if operation.steps.iter().any(|step| step.name == release::RECORD && step.state == StepState::Done) {
        let again = Hint::from(Next::DeploySite(plan.site.clone())).with(" takes the older release away");
        return Err(failure
            .because_of(format!("release {} of {} serves, and is not the only one", plan.number, plan.site))
            .or_hint(again));
    }
    Err(match back(world, &mut operation).await {
        Ok(()) => with_what_serves(world, &plan.site, failure).await,
        Err(stuck) => {
            let mut failure = failure;
            failure.left =
                vec![format!("release {} of {}, which gets no traffic: {}", plan.number, plan.site, stuck.message)]
                    .into();
            with_what_serves(world, &plan.site, failure).await
        }
    })
}

/// The failure with what still has the traffic.
async fn with_what_serves(world: &World, name: &SiteName, mut failure: Failure) -> Failure {
    if let Ok(Some((_, record))) = record::record(&*world.store, name).await {
        failure.causes.push(match record.current {
            Some(number) => format!("release {number} of {name} serves as before"),
            None => format!("{name} is not served, as before"),
        });
    }
    failure
}

async fn forward(world: &World, operation: &mut OperationRecord) -> Result<Deployed> {
    let plan: Plan = operation.read_plan()?;
    let about = (&plan.site, &plan.server);
    let ctx = SiteContext::new(world, operation.subject, operation.id, about, Some(plan.clone()));
    let driver = Driver { store: &*world.store, reporter: &ctx.reporter, interrupt: &world.interrupt };
    let result = driver.forward(operation, &release::steps(), &ctx).await;
    let outcome = match result {
        Ok(outputs) => {
            let (same, record) = (outputs.get::<Got>()?.same, ctx.record().await?);
            let Afterwards { failure } = outputs.get()?;
            failure.clone().map_or(Ok(()), Err).map(|()| Deployed {
                release: record.current.unwrap_or(plan.number),
                back_to: plan.back_to,
                changed: !same,
                url: format!("https://{}/", plan.settings.domains[0]),
                site: plan.site,
            })
        }
        Err(failure) => Err(failure),
    };
    ctx.close().await;
    outcome
}

/// Takes back what was begun. It goes on when somebody wants to stop: it takes seconds, and what it leaves is as before.
async fn back(world: &World, operation: &mut OperationRecord) -> Result<()> {
    let plan: Plan = operation.read_plan()?;
    let (_switch, never) = Interrupt::new();
    let about = (&plan.site, &plan.server);
    let mut ctx = SiteContext::new(world, operation.subject, operation.id, about, Some(plan.clone()));
    ctx.interrupt = never.clone();
    let driver = Driver { store: &*world.store, reporter: &ctx.reporter, interrupt: &never };
    let result = driver.unwind(operation, &release::steps(), &ctx).await;
    ctx.close().await;
    result
}

/// Takes a site away with all its releases. The caller holds the lease on it.
pub async fn remove(world: &World, name: &SiteName) -> Result<()> {
    let (subject, record) = record::record(&*world.store, name).await?.ok_or_else(|| record::unknown(name))?;
    remove::remove(world, subject, &record).await
}
