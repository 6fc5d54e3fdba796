//! What a module's `meta/ostler.yml` declares. Schema, checks and docs are made from it: a new role adds everything.

use crate::{Promise, Strategy, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A module's metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleMeta {
    /// Name of the role and key in the spec.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// One line.
    pub summary: String,
    /// Modules run in ascending order.
    pub order: u32,
    /// Debian packages that the role installs; Ostler fetches those of all chosen modules in one transaction. `a | b`: the first one, unless
    /// another one is there.
    #[serde(default)]
    pub packages: Vec<String>,
    /// `linear` if the role does not work under mitogen.
    #[serde(default)]
    pub strategy: Strategy,
    /// What stays on a server when the module is switched off, in one line.
    #[serde(default)]
    pub leaves: String,
    /// What holds on a server once the role has run.
    #[serde(default)]
    pub promises: Vec<Promise>,
    /// Its settings.
    #[serde(default)]
    pub settings: BTreeMap<String, Setting>,
    /// Name of the module that has the same settings, and declares them for both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings_of: Option<String>,
}

impl ModuleMeta {
    /// Gives each module the settings that another one declares for it.
    #[must_use]
    pub fn share_settings(mut modules: Vec<Self>) -> Vec<Self> {
        let declared: BTreeMap<String, _> =
            modules.iter().map(|meta| (meta.name.clone(), meta.settings.clone())).collect();
        for meta in &mut modules {
            if let Some(settings) = meta.settings_of.as_ref().and_then(|name| declared.get(name)) {
                meta.settings.clone_from(settings);
            }
        }
        modules
    }
}

/// One setting of a module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: SettingType,
    /// Allowed values of a `choice`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// What a `list` is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<SettingItems>,
    /// Regular expression that a `string` matches, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// What a `string` is, if Ostler knows more of it than a pattern can say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<TextFormat>,
    /// Least value of an `int`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// Greatest value of an `int`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    /// Value where the spec says nothing.
    pub default: Value,
    /// One line of help.
    pub help: String,
}

/// Type of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SettingType {
    /// `true` or `false`
    Bool,
    /// A whole number.
    Int,
    /// A text.
    String,
    /// One of `choices`.
    Choice,
    /// A list of texts.
    List,
}

/// Element type of a list setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingItems {
    /// Always `string` for now.
    #[serde(rename = "type")]
    pub kind: SettingType,
    /// Regular expression that each element matches, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// What each element is, as of a setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<TextFormat>,
}

/// Texts that Ostler knows the rules of, also as `format` in the schema of an app's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextFormat {
    /// A time zone that Debian 13 has; may be empty.
    Timezone,
    /// An IP address or a host name.
    Host,
    /// An IP address, alone or with its prefix.
    Network,
    /// The name of a Debian package.
    Package,
    /// A rule of the modules that are firewalls.
    FirewallRule,
}
