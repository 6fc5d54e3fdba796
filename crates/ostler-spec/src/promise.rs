//! What a module or an app promises of a server once it has run, and how that is proved there.

use serde::{Deserialize, Serialize};

/// One promise of a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    /// What is promised, as a sentence without a full stop.
    pub says: String,
    /// Script for `sh`, run as root on the server, that tries it. Status 0: it is kept. Any other: the last line of its output says why not.
    pub check: String,
}
