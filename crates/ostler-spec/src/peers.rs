//! Servers that parameters of apps name: those must have the app, too, and name no further one.

use super::{
    Elsewhere,
    fault::{Fault, Problem, nearest, quote},
    walk::Found,
};
use crate::{CatalogIndex, ServerName, ServerSpec};

/// One server of the file, and what it became where nothing in it is at fault.
type Entry<'a> = (&'a str, &'a Found, Option<&'a ServerSpec>);

/// Finds what is at fault; returns the servers that are not in the file, which somebody who knows others has to look for.
pub(super) fn check(entries: &[Entry<'_>], catalog: &CatalogIndex, faults: &mut Vec<Fault>) -> Vec<Elsewhere> {
    let mut elsewhere = Vec::new();
    for app in &catalog.apps {
        let Some(peer) = &app.peer else { continue };
        let spec_of = |name: &str| entries.iter().find(|(other, ..)| *other == name).map(|(.., spec)| *spec);
        for (name, found, spec) in entries {
            let Some(wanted) = spec.and_then(|spec| spec.joins(app)) else { continue };
            let found = ["app_params", &app.name, &peer.param].into_iter().try_fold(*found, |at, key| at.get(key));
            let Some(found) = found else { continue };
            let joins_nobody =
                |name: &str| format!("`{name}` is the one that others name: leave its `{}` out", peer.param);
            let problem = match spec_of(wanted) {
                _ if wanted == *name => Problem::new("it names itself").hint(joins_nobody(name)),
                None => {
                    let message = format!("there is no server {}, neither in this file nor on record", quote(wanted));
                    let others = entries.iter().map(|(other, ..)| *other).filter(|other| other != name);
                    let fault = found.fault(Problem::new(message).hints(nearest(wanted, others)));
                    match ServerName::parse(wanted) {
                        Ok(server) => elsewhere.push(Elsewhere { server, fault, needs: None }),
                        Err(_) => faults.push(fault),
                    }
                    continue;
                }
                // It has faults of its own.
                Some(None) => continue,
                Some(Some(other)) if !other.apps.contains(&app.name) => {
                    Problem::new(format!("{} does not have the app `{}`", quote(wanted), app.name))
                        .hint(format!("add `{}` to its `apps`, or name another server", app.name))
                }
                Some(Some(other)) => match other.joins(app) {
                    None => continue,
                    Some(further) if further == *name => {
                        Problem::new(format!("{} and {} name each other", quote(name), quote(wanted)))
                            .hint(joins_nobody(wanted))
                    }
                    Some(further) => Problem::new(format!("{} itself names {}", quote(wanted), quote(further)))
                        .hint(format!("name {} here, too, unless that is this server", quote(further))),
                },
            };
            faults.push(found.fault(problem));
        }
    }
    elsewhere
}
