//! Placement groups, whose servers stand on different hosts: ten at most.

use super::{
    api::{Refusal, Reply, Request},
    state::{Id, Kind, State},
};
use serde_json::{Value, json};

const MOST: usize = 10;

pub(super) fn create(state: &mut State, request: &Request) -> Reply {
    let id = state.insert(
        Kind::PlacementGroup,
        json!({ "name": request.body["name"], "type": request.body["type"], "labels": request.body["labels"] }),
    );
    Ok(json!({ "placement_group": state.view(Kind::PlacementGroup, id)?, "action": null }))
}

/// Refuses one more server in a group that is full.
pub(super) fn has_room(state: &State, group: Id) -> Result<(), Refusal> {
    state.doc(Kind::PlacementGroup, group)?;
    match members(state, group).len() < MOST {
        true => Ok(()),
        false => Err(Refusal::new(412, "placement_error", "error during placement")),
    }
}

/// Servers of a group.
pub(super) fn members(state: &State, group: Id) -> Vec<Id> {
    state.all(Kind::Server).filter(|(_, server)| server["placement_group"] == group).map(|(id, _)| id).collect()
}

/// Servers stay, without a group.
pub(super) fn delete(state: &mut State, id: Id) -> Reply {
    for (_, server) in state.all_mut(Kind::Server).filter(|(_, server)| server["placement_group"] == id) {
        server["placement_group"] = Value::Null;
    }
    state.remove(Kind::PlacementGroup, id);
    Ok(Value::Null)
}
