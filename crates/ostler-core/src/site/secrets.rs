//! Versions of a site's secrets. Each value that a release had is kept, encrypted, as long as that release is: so a rollback needs nobody to
//! remember it.

use super::record::SiteRecord;
use crate::{
    error::{Blame, Failure, Result},
    ports::Store,
    secret::Secret,
    spec::SecretRef,
    subject::Subject,
    world::World,
};
use std::collections::BTreeMap;

/// The versions of the secrets that a spec names: new ones where a value is another than before. The caller puts the record.
pub(super) async fn versions(
    world: &World,
    subject: Subject,
    record: &mut SiteRecord,
    wanted: &BTreeMap<String, SecretRef>,
) -> Result<BTreeMap<String, u32>> {
    let mut versions = BTreeMap::new();
    for (key, reference) in wanted {
        let value = world.resolve(reference).await?;
        let known = record.secrets.get(key).copied();
        let version = match known {
            Some(version) if kept(&*world.store, subject, version).await?.as_ref() == Some(&value) => version,
            _ => {
                record.last_secret += 1;
                world.store.put_secret(Some(subject), &name_of(record.last_secret), &value).await?;
                record.last_secret
            }
        };
        record.secrets.insert(key.clone(), version);
        versions.insert(key.clone(), version);
    }
    record.secrets.retain(|key, _| wanted.contains_key(key));
    Ok(versions)
}

/// Secrets whose values are others now than on record.
pub(super) async fn changed(
    world: &World,
    subject: Subject,
    on_record: &BTreeMap<String, u32>,
    wanted: &BTreeMap<String, SecretRef>,
) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    for (key, reference) in wanted {
        if let Some(version) = on_record.get(key)
            && kept(&*world.store, subject, *version).await? != Some(world.resolve(reference).await?)
        {
            changed.push(key.clone());
        }
    }
    Ok(changed)
}

/// The values of these versions.
pub(super) async fn values(
    store: &dyn Store,
    subject: Subject,
    versions: &BTreeMap<String, u32>,
) -> Result<BTreeMap<String, Secret>> {
    let mut values = BTreeMap::new();
    for (key, version) in versions {
        let missing =
            || Failure::new(Blame::Bug, format!("version {version} of the secret `{key}` is missing from the state"));
        values.insert(key.clone(), kept(store, subject, *version).await?.ok_or_else(missing)?);
    }
    Ok(values)
}

/// Forgets all versions but these.
pub(super) async fn forget_others(store: &dyn Store, subject: Subject, record: &SiteRecord) -> Result<()> {
    let kept = record.kept_secrets();
    for version in (1..=record.last_secret).filter(|version| !kept.contains(version)) {
        store.remove_secret(Some(subject), &name_of(version)).await?;
    }
    Ok(())
}

async fn kept(store: &dyn Store, subject: Subject, version: u32) -> Result<Option<Secret>> {
    store.secret(Some(subject), &name_of(version)).await
}

fn name_of(version: u32) -> String {
    format!("secret-{version}")
}
