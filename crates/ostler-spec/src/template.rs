//! What a template holds: as much of a server as many have in common, and nothing that is secret or one server's own.
//!
//! It follows from names alone: modules with their settings' defaults, and apps without parameters. Whatever a server's spec says beyond that,
//! the run of Ansible after the cloning applies.

use crate::{AppMeta, CatalogIndex, ServerName, ServerSpec};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fmt;

/// What a template for a server holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TemplateContents {
    /// Digest of all that it depends on.
    pub digest: TemplateDigest,
    /// Names of the modules.
    pub modules: Vec<String>,
    /// Names of the apps, in the order in which they run.
    pub apps: Vec<String>,
}

/// Digest of a template's contents: 12 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TemplateDigest(String);

impl TemplateDigest {
    /// Name of the server that becomes the template.
    pub fn server_name(&self) -> ServerName {
        ServerName::parse(&format!("template-{self}")).expect("hexadecimal digits behind a word")
    }
}

impl fmt::Display for TemplateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TemplateContents {
    /// For servers like this one, with apps of `catalog`; `roles` tells one version of the roles that ship with Ostler from another.
    ///
    /// Where the server is made is among it, for a template can only be cloned where it is.
    pub fn of(spec: &ServerSpec, catalog: &CatalogIndex, roles: &str) -> Self {
        let switched_on = spec.modules.iter().filter(|(_, settings)| settings.is_some());
        let modules: Vec<String> = switched_on.map(|(name, _)| name.clone()).collect();
        let apps = apps(spec, catalog);
        let source = spec.catalog.as_ref().filter(|_| !apps.is_empty()).map(|source| (&source.url, &source.commit));
        let place = spec.provider.place();
        let all = json!([roles, source, place, spec.image, modules, apps]);
        let digest = Sha256::digest(all.to_string());
        let digest = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Self { digest: TemplateDigest(digest), modules, apps }
    }
}

/// Those of the server's apps that a template may hold, and everything they depend on.
fn apps(spec: &ServerSpec, catalog: &CatalogIndex) -> Vec<String> {
    let mut held: Vec<String> = Vec::new();
    // What the catalog has encrypted is a secret wherever a role puts it.
    if spec.vault_password().is_some() {
        return held;
    }
    for name in &spec.apps {
        let app = catalog.apps.iter().find(|app| app.name == *name);
        if app.is_some_and(|app| app.template && !has_required(app) && app.depends.iter().all(|it| held.contains(it))) {
            held.push(name.clone());
        }
    }
    held
}

/// Whether the role does not run without parameters.
fn has_required(app: &AppMeta) -> bool {
    let required = app.params.as_ref().and_then(|params| params.get("required")?.as_array());
    required.is_some_and(|names| !names.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CatalogSource, ImageRef, SecretRef, Settings, SpecContext, Value};

    fn server() -> ServerSpec {
        let context = SpecContext {
            path: "ostler.yaml".into(),
            folder: "/".into(),
            home: None,
            modules: &[],
            catalog: &CatalogIndex::default(),
            read_file: &|_| {
                Ok("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBA".into())
            },
            is_file: &|_| true,
            check_key: &|_| Ok(()),
        };
        crate::read("servers: { web: { authorized_keys: [ key.pub ] } }", &context).unwrap().servers.remove(0)
    }

    fn catalog() -> CatalogIndex {
        let app = |name: &str, template: bool, depends: &[&str], required: &[&str]| {
            json!({ "name": name, "role": name, "template": template, "depends": depends,
                    "params": { "type": "object", "required": required } })
        };
        serde_json::from_value(json!({ "apps": [
            app("nginx", true, &[], &[]),
            app("database", false, &[], &[]),
            app("shop", true, &["nginx", "database"], &[]),
            app("mail", true, &[], &["domain"]),
        ] }))
        .unwrap()
    }

    fn spec() -> ServerSpec {
        let mut spec = server();
        spec.modules = [("ufw".into(), Some(Settings::new())), ("time_sync".into(), None)].into();
        spec.apps = ["nginx", "database", "shop", "mail"].map(str::to_owned).into();
        spec
    }

    #[test]
    fn what_may_hold_a_secret_is_left_out_with_all_that_needs_it() {
        let contents = TemplateContents::of(&spec(), &catalog(), "1");
        assert_eq!((contents.modules, contents.apps), (vec!["ufw".to_owned()], vec!["nginx".to_owned()]));
        let mut vaulted = spec();
        let vault_password = Some(SecretRef::Secret("vault".into()));
        vaulted.catalog =
            Some(CatalogSource { url: "file:///c".into(), branch: "stable".into(), commit: None, vault_password });
        assert_eq!(TemplateContents::of(&vaulted, &catalog(), "1").apps, [""; 0]);
    }

    #[test]
    fn it_depends_on_what_is_in_it_and_on_nothing_else() {
        let digest = |change: &dyn Fn(&mut ServerSpec)| {
            let mut spec = spec();
            change(&mut spec);
            TemplateContents::of(&spec, &catalog(), "1").digest
        };
        let same = digest(&|_| ());
        assert_eq!(same.to_string().len(), 12);
        assert_eq!(same.server_name().as_str(), format!("template-{same}"));
        let settings = Settings::from([("preset".to_owned(), Value::String("web".into()))]);
        assert_eq!(digest(&|spec| drop(spec.modules.insert("ufw".into(), Some(settings.clone())))), same);
        assert_eq!(digest(&|spec| (spec.user, spec.size.disk) = ("ops".into(), 1)), same);
        assert_eq!(digest(&|spec| spec.apps = vec!["nginx".into()]), same, "what is left out does not count");
        assert_ne!(digest(&|spec| spec.apps.clear()), same);
        assert_ne!(digest(&|spec| drop(spec.modules.insert("time_sync".into(), Some(Settings::new())))), same);
        assert_ne!(digest(&|spec| spec.image = ImageRef::Named("debian-14".into())), same);
        assert_ne!(TemplateContents::of(&spec(), &catalog(), "2").digest, same, "other roles");
    }
}
