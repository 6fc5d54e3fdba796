//! What there is of sites, on record and on their servers.

use super::{
    entrance::Entrance,
    record::{self, SiteRecord},
};
use crate::{
    error::{Blame, Failure, Result},
    hint::{Hint, Next},
    ids::{OperationId, SiteName},
    ports::{Look, Standing, Transport},
    world::World,
};

/// What runs of a site, newest first. Touches nothing.
pub async fn look(world: &World, record: &SiteRecord) -> Result<Vec<Standing>> {
    let entrance = Entrance::open(world, &record.name, record.server(), OperationId::new()).await?;
    let all = world.runtime.look(&entrance.place(), &record.name).await;
    entrance.close().await;
    all
}

/// Calls `run` with a login, and what that runs to have a look at the release that has the traffic.
pub async fn run<T>(
    world: &World,
    name: &SiteName,
    look: &Look<'_>,
    run: impl AsyncFnOnce(Transport, Vec<String>) -> T,
) -> Result<T> {
    let (_, record) = record::record(&*world.store, name).await?.ok_or_else(|| record::unknown(name))?;
    let number = record.current.ok_or_else(|| {
        Failure::new(Blame::User, format!("{name} is not deployed"))
            .with_hint(Hint::from(Next::DeploySite(name.clone())).with(" deploys it"))
    })?;
    let entrance = Entrance::open(world, name, record.server(), OperationId::new()).await?;
    let command = world.runtime.command(name, number, look);
    let result = run(entrance.place().session.transport(), command).await;
    entrance.close().await;
    Ok(result)
}
