//! By which labels Ostler knows its own. They are the only way: a server's name may be anybody's.

use super::{Machine, wire::Labels};
use ostler_core::ids::{OperationId, StateId};
use serde_json::{Value, json};

/// The state directory that it belongs to.
pub const STATE: &str = "ostler/state";
/// The operation that made it. What several servers share has none.
pub const OPERATION: &str = "ostler/operation";
/// The server that it was made for.
pub const SERVER: &str = "ostler/server";
/// What it is for: `server`, `firewall`, `login`, `network` and so on.
pub const ROLE: &str = "ostler/role";
/// Digest of what the spec says of the server.
pub const SPEC: &str = "ostler/spec";

/// Of what goes with a server.
pub fn of_server(machine: &Machine, role: &str) -> Value {
    json!({
        (STATE): machine.owner, (OPERATION): machine.operation, (SERVER): machine.server, (ROLE): role,
        (SPEC): machine.spec,
    })
}

/// Of what outlives it, or is shared with others.
pub fn shared(machine: &Machine, role: &str) -> Value {
    json!({ (STATE): machine.owner, (ROLE): role })
}

/// Whether these say that the state of this machine made it, for whichever server.
pub fn are_ours(machine: &Machine, labels: &Labels) -> bool {
    labels.get(STATE).is_some_and(|state| *state == machine.owner.to_string())
}

/// Selects what an operation made.
pub fn made_by(operation: OperationId, owner: StateId) -> String {
    format!("{STATE}={owner},{OPERATION}={operation}")
}

/// Selects what any Ostler made.
pub fn anything() -> String {
    STATE.to_owned()
}
