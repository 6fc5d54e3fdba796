//! Apps: which ones, in which order, and whether they get along.

use super::{
    Settings, SpecContext,
    fault::{Fault, Problem, nearest, quote},
    walk::Found,
};
use crate::{AppMeta, CatalogIndex, Proto};
use std::collections::{BTreeMap, HashMap};

type Params = BTreeMap<String, Settings>;

/// Apps of a server, what each depends on before it, and their parameters; none where the catalog is not known yet.
pub(super) fn resolve(
    server: &Found,
    catalog: Option<&CatalogIndex>,
    context: &SpecContext<'_>,
    faults: &mut Vec<Fault>,
) -> (Option<Vec<String>>, Option<Params>) {
    let Some(catalog) = catalog else { return (Some(Vec::new()), Some(Params::new())) };
    let before = faults.len();
    let Some(chosen) = server.get("apps").and_then(Found::list) else { return (None, None) };
    let mut resolver = Resolver { catalog, order: Vec::new(), open: Vec::new(), ports: HashMap::new() };
    // sshd is there before any app is.
    let sshd = server.get("ssh").and_then(|ssh| ssh.get("port")?.int()?.try_into().ok()).unwrap_or(22);
    resolver.ports.insert((sshd, Proto::Tcp), "the SSH server".into());
    let mut named: Vec<&str> = Vec::new();
    for found in chosen {
        let Some(name) = found.text() else { continue };
        let result = if named.contains(&name) {
            Err(Problem::new(format!("{} is named twice", quote(name))))
        } else {
            resolver.add(name)
        };
        named.push(name);
        faults.extend(result.err().map(|problem| found.fault(problem)));
    }
    let params = server.get("app_params").and_then(|params| {
        check_params(params, chosen, &resolver, faults);
        params.map()?.iter().map(|(app, params)| Some((app.clone(), context.settings(params)?))).collect()
    });
    let all_known = chosen.iter().all(|found| found.text().is_some()) && faults.len() == before;
    (all_known.then_some(resolver.order), params)
}

fn check_params(params: &Found, chosen: &[Found], resolver: &Resolver<'_>, faults: &mut Vec<Fault>) {
    let Some(given) = params.map() else { return };
    for (app, found) in given.iter().filter(|(app, _)| !resolver.order.contains(app)) {
        let named = chosen.iter().any(|found| found.text() == Some(app));
        if !named {
            let problem = Problem::new(format!("{} is not among the apps of this server", quote(app)));
            faults.push(found.fault(problem.hint("add it to `apps`, or take its parameters out")));
        }
    }
    for app in &resolver.order {
        let required = resolver.meta(app).map(required).unwrap_or_default();
        if let (false, Some(parameter)) = (given.iter().any(|(name, _)| name == app), required.first()) {
            let problem = Problem::new(format!("app {} needs the parameter `{parameter}`", quote(app)));
            faults.push(params.fault(problem.hint(format!("write `app_params: {{ {app}: {{ {parameter}: … }} }}`"))));
        }
    }
}

fn required(meta: &AppMeta) -> Vec<&str> {
    let list = meta.params.as_ref().and_then(|schema| schema.get("required")).and_then(|keys| keys.as_array());
    list.into_iter().flatten().filter_map(|key| key.as_str()).collect()
}

struct Resolver<'a> {
    catalog: &'a CatalogIndex,
    order: Vec<String>,
    /// Apps whose dependencies are being added.
    open: Vec<String>,
    /// Who listens where.
    ports: HashMap<(u16, Proto), String>,
}

impl<'a> Resolver<'a> {
    fn meta(&self, name: &str) -> Option<&'a AppMeta> {
        self.catalog.apps.iter().find(|meta| meta.name == name)
    }

    /// Adds an app after everything that it depends on.
    fn add(&mut self, name: &str) -> Result<(), Problem> {
        if self.order.iter().any(|app| app == name) {
            return Ok(());
        }
        let Some(meta) = self.meta(name) else {
            let hint = nearest(name, self.catalog.apps.iter().map(|meta| meta.name.as_str()));
            let message = match self.open.last() {
                Some(parent) => {
                    format!("app {} depends on {}, which the catalog does not have", quote(parent), quote(name))
                }
                None => format!("the catalog has no app {}", quote(name)),
            };
            return Err(Problem::new(message).hints(hint.filter(|_| self.open.is_empty())));
        };
        if let Some(start) = self.open.iter().position(|app| app == name) {
            let mut circle = self.open[start..].to_vec();
            circle.push(name.to_owned());
            return Err(Problem::new(format!("apps depend on one another in a circle: {}", circle.join(" -> "))));
        }
        self.open.push(name.to_owned());
        let result = meta.depends.iter().try_for_each(|dependency| self.add(dependency));
        self.open.pop();
        result?;
        self.order.push(name.to_owned());
        for port in &meta.ports {
            if let Some(other) = self.ports.insert((port.port, port.proto), format!("app `{name}`")) {
                let proto = if port.proto == Proto::Tcp { "tcp" } else { "udp" };
                return Err(Problem::new(format!(
                    "app {} and {other} both want port {}/{proto}",
                    quote(name),
                    port.port
                ))
                .hint("one server can have only one of them"));
            }
        }
        Ok(())
    }
}
