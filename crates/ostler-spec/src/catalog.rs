//! What a catalog's `index.json` declares of its apps.

use crate::{Promise, Strategy};
use serde::{Deserialize, Serialize};

/// `index.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogIndex {
    /// The apps.
    pub apps: Vec<AppMeta>,
}

/// One app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppMeta {
    /// Key in the spec.
    pub name: String,
    /// What the playbook includes: a role under `roles/apps/`, or `NAMESPACE.COLLECTION.ROLE`.
    pub role: String,
    /// One line.
    #[serde(default)]
    pub description: String,
    /// Of the role.
    #[serde(default)]
    pub version: Option<String>,
    /// Debian packages that the role installs; a run installs those of all its roles at once.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Ports that it listens on.
    #[serde(default)]
    pub ports: Vec<AppPort>,
    /// Apps that run before it.
    #[serde(default)]
    pub depends: Vec<String>,
    /// `linear` if the role does not work under mitogen.
    #[serde(default)]
    pub strategy: Strategy,
    /// What the role counts on knowing of the server before it begins.
    #[serde(default)]
    pub facts: Facts,
    /// A template may hold it: run without parameters, the role leaves neither a secret nor data of its own on the server.
    #[serde(default)]
    pub template: bool,
    /// What holds on a server once the role has run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub promises: Vec<Promise>,
    /// What the role has to hear from another server first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
    /// JSON Schema of its parameters; an object schema.
    #[serde(default)]
    pub params: Option<serde_json::Value>,
}

/// Another server that has to say something before the role of an app can run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// The app's parameter that names the server; without it, or with an empty text, none is asked.
    pub param: String,
    /// Script for `sh`, run as root on that server. Each line `WORD TEXT` of its output becomes the variable `APP_peer_WORD`. With another
    /// status than 0 there is no answer, and the last line of its standard error says why.
    pub asks: String,
    /// The words whose texts anybody may see. All others are secrets.
    #[serde(default)]
    pub plain: Vec<String>,
    /// How a server is taken out again of what it joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave: Option<Leave>,
}

/// How a member is taken out of a cluster whose managers decide by majority. All are scripts for `sh`, run as root on the member itself or
/// on another member that is a manager. Each may be run again after it was cut off at any point; one that ends with another status than 0
/// is run again for a while, and the last line of its standard error says what is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leave {
    /// On the server itself: prints `ID manager` or `ID worker`; nothing where it is no member.
    pub member: String,
    /// On a manager: prints a line `ID ROLE STATE ADDRESS NAME` for each member; `ROLE` is `manager` or `worker`, `STATE` is `up` or
    /// `down`, `ADDRESS` may be `-`. Fails where it is no manager, or the managers have no majority.
    pub members: String,
    /// On a manager, as all that follow with the member's id as `$1`: prints a line for each thing that runs nowhere else.
    pub only: String,
    /// On another manager: has all that runs there run elsewhere.
    pub drain: String,
    /// On another manager: makes it no manager any more; succeeds once the others decide without it.
    pub demote: String,
    /// On the member itself: leaves, unless it still takes itself for a manager.
    pub leave: String,
    /// On another manager: forgets it once it is seen to have left, or at once where `$2` is `force`.
    pub forget: String,
}

/// Facts that are gathered before a role runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Facts {
    /// All of `ansible.builtin.setup`, and python3-apt for the `apt` module: what roles from elsewhere count on.
    #[default]
    All,
    /// Those of the release, which every run has; the role installs its packages by `ostler_packages`.
    Release,
}

/// A port of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppPort {
    /// 1 to 65535.
    pub port: u16,
    /// Transport.
    pub proto: Proto,
    /// Who may reach it.
    pub scope: Scope,
}

/// Transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// Who may reach a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everybody.
    Public,
    /// RFC 1918 and ULA addresses.
    Lan,
    /// The server itself only.
    Local,
}
