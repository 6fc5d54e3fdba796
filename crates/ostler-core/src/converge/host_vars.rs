//! The contract with the roles: what a server's spec looks like as host variables.

use crate::{
    error::Result,
    model::ServerRecord,
    reach::password,
    secret::Secret,
    spec::{AppMeta, AppPort, CatalogIndex, Facts, ModuleMeta, SecretRef, ServerSpec, Settings, Value},
    world::World,
};
use std::collections::{BTreeMap, BTreeSet};

/// Variables that anybody may see.
pub(crate) fn plain(
    modules: &[ModuleMeta],
    catalog: &CatalogIndex,
    spec: &ServerSpec,
    record: &ServerRecord,
) -> BTreeMap<String, Value> {
    let mut vars = BTreeMap::new();
    for meta in modules {
        if let Some(Some(settings)) = spec.modules.get(&meta.name)
            && !meta.settings.is_empty()
        {
            vars.insert(meta.name.clone(), Value::Map(settings.clone()));
        }
    }
    let switches = spec.modules.iter().map(|(name, settings)| (name.clone(), Value::Bool(settings.is_some())));
    vars.insert("modules".into(), Value::Map(switches.collect()));
    vars.insert("ostler_packages".into(), strings(packages(modules, catalog, spec)));
    // The playbook includes what stands here.
    vars.insert("apps".into(), strings(spec.apps.iter().map(|app| role(catalog, app))));
    vars.insert("ostler_all_facts".into(), Value::Bool(spec.apps_of(catalog).any(|app| app.facts == Facts::All)));
    vars.insert("ostler_app_ports".into(), Value::List(app_ports(catalog, spec)));
    let all_params = spec.app_params.iter().map(|(app, params)| (app.clone(), Value::Map(params.clone())));
    vars.insert("app_params".into(), Value::Map(all_params.collect()));
    for (app, params) in &spec.app_params {
        vars.extend(prefixed(app, params));
    }
    vars.insert("ssh".into(), plain_data(&spec.ssh));
    vars.insert("ostler_user".into(), Value::String(spec.user.clone()));
    let keys = spec.authorized_keys.iter().cloned().chain(record.client_key.clone());
    vars.insert("ostler_authorized_keys".into(), strings(keys));
    vars.insert("ostler_host_keys".into(), strings(record.host_keys.iter().cloned()));
    vars.insert("ostler_exclusive_keys".into(), Value::Bool(spec.exclusive_keys));
    let mut pending: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (role, handler) in &record.pending_handlers {
        pending.entry(role.clone()).or_default().push(handler.clone());
    }
    let pending = pending.into_iter().map(|(role, handlers)| (role, strings(handlers)));
    vars.insert("ostler_pending_handlers".into(), Value::Map(pending.collect()));
    vars
}

/// Debian packages of everything that is switched on.
pub(crate) fn packages(modules: &[ModuleMeta], catalog: &CatalogIndex, spec: &ServerSpec) -> BTreeSet<String> {
    let modules = spec.modules_of(modules).flat_map(|meta| &meta.packages);
    let of_roles = modules.chain(spec.apps_of(catalog).flat_map(|meta| &meta.packages)).cloned();
    of_roles.chain(spec.provider.packages().into_iter().map(str::to_owned)).collect()
}

/// Variables that nobody may see.
pub(crate) async fn secret(world: &World, spec: &ServerSpec) -> Result<BTreeMap<String, Secret>> {
    let mut vars = BTreeMap::new();
    if let Some(reference) = &spec.password {
        let password = world.resolve(reference).await?;
        let hash = password::hash(world.owner, spec.name.as_str(), &spec.user, &password)?;
        vars.insert("ostler_user_password_hash".into(), hash);
    }
    if let Some(reference) = spec.vault_password() {
        vars.insert("ostler_vault_password".into(), world.resolve(reference).await?);
    }
    Ok(vars)
}

/// The texts of the secrets that parameters of apps name.
pub(crate) async fn secret_params(world: &World, spec: &ServerSpec) -> Result<BTreeMap<SecretRef, Secret>> {
    let mut named = Vec::new();
    spec.app_params.values().flat_map(Settings::values).for_each(|value| value.secrets(&mut named));
    let mut secrets = BTreeMap::new();
    for reference in named {
        secrets.insert(reference.clone(), world.resolve(reference).await?);
    }
    Ok(secrets)
}

/// Parameters as variables of their own, named as roles usually name them: `nginx_worker_connections`.
fn prefixed<'a>(app: &'a str, params: &'a Settings) -> impl Iterator<Item = (String, Value)> + 'a {
    let prefix = format!("{}_", app.replace('-', "_"));
    params.iter().map(move |(key, value)| {
        let name = if key.starts_with(&prefix) { key.clone() } else { format!("{prefix}{key}") };
        (name, value.clone())
    })
}

fn app_ports(catalog: &CatalogIndex, spec: &ServerSpec) -> Vec<Value> {
    spec.apps_of(catalog).flat_map(|meta| meta.ports.iter().map(|port| app_port(meta, port))).collect()
}

/// Of an app. One that the catalog does not have fails in Ansible, by its name.
fn role(catalog: &CatalogIndex, app: &str) -> String {
    catalog.apps.iter().find(|meta| meta.name == app).map_or(app, |meta| &meta.role).to_owned()
}

/// With the app's packages, by which the server tells the app's own program from another that has the port.
fn app_port(app: &AppMeta, port: &AppPort) -> Value {
    let packages = strings(app.packages.iter().cloned());
    let mut fields =
        BTreeMap::from([("app".to_owned(), Value::String(app.name.clone())), ("packages".to_owned(), packages)]);
    if let Value::Map(rest) = plain_data(port) {
        fields.extend(rest);
    }
    Value::Map(fields)
}

/// Plain data of this crate as a value.
pub(super) fn plain_data<T: serde::Serialize>(data: &T) -> Value {
    serde_json::to_value(data).and_then(serde_json::from_value).expect("plain data of this crate")
}

fn strings(items: impl IntoIterator<Item = String>) -> Value {
    Value::List(items.into_iter().map(Value::String).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{record, server};
    use serde_json::json;

    fn vars(spec: &ServerSpec, record: &ServerRecord) -> serde_json::Value {
        let setting = json!({ "type": "choice", "choices": ["web"], "default": "web", "help": "" });
        let meta = |name: &str, settings| json!({ "name": name, "title": "", "summary": "", "order": 1, "packages": ["curl", name], "settings": settings });
        let modules =
            json!([meta("ufw", json!({ "preset": setting })), meta("sysctl", json!({})), meta("swap", json!({}))]);
        let modules: Vec<ModuleMeta> = serde_json::from_value(modules).unwrap();
        let port = json!({ "port": 80, "proto": "tcp", "scope": "public" });
        let apps = json!({ "apps": [{ "name": "nginx", "role": "nginx", "packages": ["nginx"], "ports": [port], "facts": "release" }, { "name": "docker", "role": "docker_engine" }] });
        let catalog: CatalogIndex = serde_json::from_value(apps).unwrap();
        json!(plain(&modules, &catalog, spec, record))
    }

    #[test]
    fn modules_and_settings_in_the_shape_that_roles_read() {
        let mut spec = server("web");
        let settings = Settings::from([("preset".to_owned(), Value::String("web".into()))]);
        spec.modules =
            [("ufw".into(), Some(settings)), ("sysctl".into(), Some(Settings::new())), ("swap".into(), None)].into();
        let vars = vars(&spec, &record(&spec));
        assert_eq!(vars["modules"], json!({ "ufw": true, "sysctl": true, "swap": false }));
        assert_eq!(vars["ufw"], json!({ "preset": "web" }));
        assert!(vars.get("sysctl").is_none(), "a module without settings has no variable that could hide another one");
        assert_eq!(vars["ostler_packages"], json!(["curl", "sysctl", "ufw"]));
        assert_eq!(
            vars["ssh"],
            json!({
                "enabled": true, "auth": "key-only", "root_login": "prohibit-password", "port": 22, "crypto": "modern",
                "match_blocks": "keep",
            })
        );
    }

    #[test]
    fn apps_in_their_order_with_ports_and_parameters() {
        let mut spec = server("web");
        spec.apps = vec!["nginx".into(), "docker".into()];
        let params = [("worker_connections", Value::Int(512)), ("nginx_user", Value::String("www".into()))];
        spec.app_params = [("nginx".into(), params.map(|(key, value)| (key.to_owned(), value)).into())].into();
        let vars = vars(&spec, &record(&spec));
        assert_eq!(vars["apps"], json!(["nginx", "docker_engine"]), "the roles, for the playbook includes them");
        assert_eq!(vars["ostler_packages"], json!(["nginx"]), "installed with those of the modules");
        assert_eq!(vars["ostler_all_facts"], json!(true), "docker says nothing of facts");
        let port = json!({ "app": "nginx", "port": 80, "proto": "tcp", "scope": "public", "packages": ["nginx"] });
        assert_eq!(vars["ostler_app_ports"], json!([port]));
        assert_eq!(vars["app_params"], json!({ "nginx": { "worker_connections": 512, "nginx_user": "www" } }));
        assert_eq!((&vars["nginx_worker_connections"], &vars["nginx_user"]), (&json!(512), &json!("www")));

        spec.apps = vec!["nginx".into()];
        assert_eq!(self::vars(&spec, &record(&spec))["ostler_all_facts"], json!(false), "nginx needs none");
    }

    #[test]
    fn who_gets_in_and_what_is_still_to_be_restarted() {
        let mut spec = server("web");
        spec.authorized_keys = vec!["ssh-ed25519 AAAAuser me@here".into()];
        let mut record = record(&spec);
        record.client_key = Some("ssh-ed25519 AAAAostler".into());
        record.pending_handlers = vec![("ssh".into(), "reload sshd".into()), ("ssh".into(), "restart socket".into())];
        let vars = vars(&spec, &record);
        assert_eq!(vars["ostler_user"], json!("admin"));
        assert_eq!(vars["ostler_authorized_keys"], json!(["ssh-ed25519 AAAAuser me@here", "ssh-ed25519 AAAAostler"]));
        assert_eq!(vars["ostler_pending_handlers"], json!({ "ssh": ["reload sshd", "restart socket"] }));
    }
}
