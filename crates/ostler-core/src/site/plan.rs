//! What deploying a site would change. Touches nothing.

use super::{
    certificates, deploy,
    entrance::Entrance,
    names,
    record::{self, Release},
    release::is_well,
    secrets,
};
use crate::{
    error::{Blame, Failure, Result},
    hint::Next,
    ids::{OperationId, ServerName, SiteName},
    ports::SiteSettings,
    spec::SiteSpec,
    subject::Subject,
    world::World,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What deploying would do to one site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SitePlan {
    /// Which.
    pub site: SiteName,
    /// Where.
    pub server: ServerName,
    /// What would be another; empty: nothing is to be done.
    pub changes: Vec<SiteChange>,
    /// Why nothing would be done, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Failure>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SiteChange {
    /// Of what: a key of the spec, or what is seen on the server.
    pub what: String,
    /// What it is; `None`: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it would be; `None`: there would be none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

impl SitePlan {
    /// The same with its hints in words alone, for programs that read JSON.
    pub fn with_hints_in_words(self, called: impl Fn(&Next) -> String) -> Self {
        Self { refused: self.refused.map(|failure| failure.in_words(called)), ..self }
    }
}

/// Looks, and decides. A site that can't be looked at is refused, and keeps nobody from planning the others.
pub async fn plan(world: &World, spec: &SiteSpec) -> Result<SitePlan> {
    let (changes, refused) = match changes(world, spec).await {
        Ok(changes) => (changes, None),
        Err(failure) if failure.blame == Blame::Bug => return Err(failure),
        Err(failure) => (Vec::new(), Some(failure)),
    };
    Ok(SitePlan { site: spec.name.clone(), server: spec.server.clone(), changes, refused })
}

async fn changes(world: &World, spec: &SiteSpec) -> Result<Vec<SiteChange>> {
    let (reference, _) = deploy::reference(world, spec)?;
    let known = record::record(&*world.store, &spec.name).await?;
    let record = known.clone().map_or_else(|| record::SiteRecord::new(spec), |(_, record)| record);
    deploy::must_be_possible(world, &record, spec).await?;
    let (Some((subject, _)), Some(current)) = (&known, record.current()) else {
        let of = |what: &str, to: String| SiteChange { what: what.into(), from: None, to: Some(to) };
        let mut new = vec![of("image", reference.clone()), of("domains", words(&spec.domains))];
        new.extend(spec.secrets.keys().map(|key| of(&format!("secrets.{key}"), "its value".into())));
        let named = names::in_zones(&spec.zones, &spec.domains);
        if !named.is_empty() {
            new.push(of("records", format!("those that lead {} to {}", named.join(", "), spec.server)));
        }
        if let Some(order) = certificates::order(spec.certificate.as_ref(), &spec.zones, &spec.domains)? {
            new.push(of("certificate", certificates::in_words(&order)));
        }
        // It can't be had is found before anything is made.
        for secret in spec.secrets.values() {
            world.resolve(secret).await?;
        }
        return Ok(new);
    };
    let mut changes = of_settings(world, *subject, spec, current).await?;
    if current.reference != reference {
        changes.push(change("image", Some(&current.reference), Some(&reference)));
    }
    let entrance = Entrance::open(world, &spec.name, &spec.server, OperationId::new()).await?;
    let place = entrance.place();
    let (image, all) =
        (world.runtime.known_image(&place, &reference).await, world.runtime.look(&place, &spec.name).await);
    let addresses = if spec.zones.is_empty() { Ok(Vec::new()) } else { entrance.addresses(world).await };
    entrance.close().await;
    let (image, all) = (image?, all?);
    let wanted = names::wanted(&spec.zones, &spec.domains, &addresses?);
    for missing in names::missing(world, &wanted).await? {
        changes.push(SiteChange { what: "records".into(), from: None, to: Some(missing) });
    }
    if let Some(order) = certificates::order(spec.certificate.as_ref(), &spec.zones, &spec.domains)?
        && !record.certificates.iter().any(|known| known.serial.is_some() && order.is_met_by(&known.order))
    {
        let to = Some(certificates::in_words(&order));
        changes.push(SiteChange { what: "certificate".into(), from: None, to });
    }
    if let Some(image) = image.filter(|image| current.reference == reference && *image != current.image) {
        changes.push(change("image", Some(&current.image.pinned), Some(&image.pinned)));
    }
    if !is_well(&all, current.number) {
        let running = all.iter().map(|it| format!("release {}: {} of {} copies", it.number, it.running, it.wanted));
        let running: Vec<_> = running.collect();
        let from = if running.is_empty() { "nothing".into() } else { running.join(", ") };
        let to = format!("one release with {} copies", spec.replicas);
        changes.push(SiteChange { what: "running".into(), from: Some(from), to: Some(to) });
    }
    Ok(changes)
}

async fn of_settings(world: &World, subject: Subject, spec: &SiteSpec, current: &Release) -> Result<Vec<SiteChange>> {
    let SiteSettings { domains, port, health, replicas, env, secrets } = &current.settings;
    let mut changes = Vec::new();
    let mut compare = |what: &str, from: String, to: String| {
        if from != to {
            changes.push(change(what, Some(&from), Some(&to)));
        }
    };
    compare("domains", words(domains), words(&spec.domains));
    compare("port", port.to_string(), spec.port.to_string());
    let path = |path: &Option<String>| path.clone().unwrap_or_else(|| "none".into());
    compare("health.path", path(&health.path), path(&spec.health.path));
    compare("health.within", health.within.to_string(), spec.health.within.to_string());
    compare("replicas", replicas.to_string(), spec.replicas.to_string());
    changes.extend(of_map("env", env, &spec.env));
    let old: BTreeMap<_, _> = secrets.keys().map(|key| (key.clone(), "its value".to_owned())).collect();
    let mut new: BTreeMap<_, _> = spec.secrets.keys().map(|key| (key.clone(), "its value".to_owned())).collect();
    for key in secrets::changed(world, subject, secrets, &spec.secrets).await? {
        new.insert(key, "another value".into());
    }
    changes.extend(of_map("secrets", &old, &new));
    Ok(changes)
}

fn of_map(what: &str, old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<SiteChange> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
    differing.map(|key| change(&format!("{what}.{key}"), old.get(key), new.get(key))).collect()
}

fn change(what: &str, from: Option<&String>, to: Option<&String>) -> SiteChange {
    SiteChange { what: what.to_owned(), from: from.cloned(), to: to.cloned() }
}

fn words<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
