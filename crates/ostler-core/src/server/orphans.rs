//! What bears Ostler's mark at a provider's, and no record knows.

use crate::{
    error::{Failure, Result},
    ids::OperationId,
    model::{Marked, Price},
    spec::ProviderOptions,
    world::World,
};
use futures::future::join_all;
use serde::Serialize;
use std::collections::BTreeSet;

/// Something that no record knows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Orphan {
    /// For people: `VM 100 web1 on pve1 of home`.
    pub what: String,
    /// Whose it is.
    pub of: Maker,
    /// A server uses it that no record knows either.
    pub in_use: bool,
    /// What it costs, where its provider says so.
    pub price: Option<Price>,
}

/// Whose something is, as far as its mark and the journal tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Maker {
    /// This state made it: its mark names the state, or an operation that is in this journal.
    ThisState,
    /// Another one did.
    AnotherState,
    /// The mark does not say.
    Unknown,
}

/// What a search came to.
#[derive(Debug, Default)]
pub struct Search {
    /// What was found, place by place.
    pub orphans: Vec<Orphan>,
    /// Places that answered, for people.
    pub searched: Vec<String>,
    /// Why the others did not.
    pub failures: Vec<Failure>,
}

/// Looks on this machine, wherever servers on record are, and where those of `places` would be. Touches nothing. A place that does not answer
/// hides no other one.
pub async fn search(world: &World, places: Vec<ProviderOptions>) -> Result<Search> {
    let mut known: BTreeSet<OperationId> = BTreeSet::new();
    let mut places: Vec<ProviderOptions> = std::iter::once(ProviderOptions::on_this_machine()).chain(places).collect();
    for server in world.servers().await? {
        known.insert(server.created_by);
        places.push(server.desired.provider);
    }
    let asked = distinct(places).into_iter().filter_map(|place| {
        let lifecycle = world.provider(place.kind()).origin().lifecycle()?;
        Some(async move { (place.whereabouts(), lifecycle.marked(&place).await) })
    });
    let (mut found, mut told) = (Search::default(), BTreeSet::new());
    for (place, answer) in join_all(asked).await {
        let marked = match answer {
            Ok(marked) => marked,
            Err(failure) => {
                found.failures.push(failure.because_of(format!("{place} can't be searched")));
                continue;
            }
        };
        found.searched.push(place);
        for marked in marked {
            let is_known = marked.operation.is_some_and(|operation| known.contains(&operation));
            // What outlives its server, or is shared, is an orphan once nobody uses it.
            let is_used = marked.operation.is_none() && marked.in_use;
            if !is_known && !is_used && told.insert(marked.what.clone()) {
                let of = maker(world, &marked).await?;
                let Marked { what, in_use, price, .. } = marked;
                found.orphans.push(Orphan { what, of, in_use, price });
            }
        }
    }
    Ok(found)
}

async fn maker(world: &World, marked: &Marked) -> Result<Maker> {
    let is_ours = match (marked.owner, marked.operation) {
        (Some(owner), _) => owner == world.owner,
        // Operations stay in the journal when their servers go.
        (None, Some(operation)) => world.store.operation(operation).await?.is_some(),
        (None, None) => return Ok(Maker::Unknown),
    };
    Ok(if is_ours { Maker::ThisState } else { Maker::AnotherState })
}

/// Each place once, whatever else servers there have.
fn distinct(places: Vec<ProviderOptions>) -> Vec<ProviderOptions> {
    let mut asked: Vec<ProviderOptions> = Vec::new();
    for place in places {
        if !asked.iter().any(|other| other.is_beside(&place)) {
            asked.push(place);
        }
    }
    asked
}
