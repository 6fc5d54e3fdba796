//! A release as a service of the swarm: its description, and the labels by which Traefik brings it requests. Nothing here does anything.
//!
//! Each release is a service of its own. Swarm's own update would stop the old copies the moment that new ones are healthy, up to a poll of
//! Traefik before that knows of these; and nobody would have asked the new ones anything by then.

use ostler_core::{
    ids::{SiteName, StateId},
    ports::{Hook, ReleaseOrder, Traffic},
    spec::Domain,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The site that something belongs to.
pub(super) const SITE: &str = "ostler.site";
/// The state of Ostler that it belongs to.
pub(super) const STATE: &str = "ostler.state";
/// The number of the release.
pub(super) const RELEASE: &str = "ostler.release";
/// What it is told by from all others.
pub(super) const MARK: &str = "ostler.mark";
/// Its canonical domain.
pub(super) const HOST: &str = "ostler.host";
/// Who gets to it: `none`, `marked` or `all`.
pub(super) const TRAFFIC: &str = "ostler.traffic";
/// The name of a secret in the spec.
pub(super) const SECRET: &str = "ostler.secret";
/// Which hook of a release it is; no release has this label.
pub(super) const HOOK: &str = "ostler.hook";
/// Whether Traefik looks at the service.
const ENABLE: &str = "traefik.enable";

/// Header by which a release is asked for, and names itself to whoever did.
pub(super) const HEADER: &str = "X-Ostler-Release";

/// Priorities of routers: one name goes before all names below another, and whoever knows a mark before both. Newer releases go before older ones.
const WILD: u32 = 1_000_000;
const EXACT: u32 = 2_000_000;
const MARKED: u32 = 3_000_000;

const SECOND: u64 = 1_000_000_000;

/// A secret of the swarm that a release has.
pub(super) struct SwarmSecret {
    /// Its name in the spec, and of its file.
    pub(super) key: String,
    /// Its name in the swarm.
    pub(super) name: String,
    pub(super) id: String,
}

/// The name of a release's service.
pub(super) fn name(site: &SiteName, number: u32) -> String {
    format!("{site}-{number}")
}

/// The name of a secret in the swarm.
pub(super) fn secret_name(site: &SiteName, version: u32) -> String {
    format!("{site}.{version}")
}

/// What the service is to be. `node` is this server's.
pub(super) fn spec(
    order: &ReleaseOrder,
    owner: StateId,
    (network, node): (&str, &str),
    secrets: &[SwarmSecret],
) -> Value {
    let update = json!({ "Parallelism": 1, "Order": "start-first", "FailureAction": "rollback", "Monitor": 10 * SECOND, "Delay": 10 * SECOND });
    json!({
        "Name": name(&order.site, order.number),
        "Labels": labels(order, owner, network, Traffic::Marked),
        "TaskTemplate": template(order, (network, node), secrets),
        "Mode": { "Replicated": { "Replicas": order.settings.replicas } },
        // For whoever changes it by hand: Ostler makes another service.
        "UpdateConfig": update,
        "RollbackConfig": { "Parallelism": 1, "Order": "start-first", "Monitor": 10 * SECOND },
        // Traefik brings requests to each copy itself, and a kernel without IPVS has no address for all of them.
        "EndpointSpec": { "Mode": "dnsrr" },
    })
}

/// A service that runs a command once as the release would run.
pub(super) fn hook(
    order: &ReleaseOrder,
    owner: StateId,
    place: (&str, &str),
    secrets: &[SwarmSecret],
    (hook, command): (Hook, &[String]),
) -> Value {
    let mut template = template(order, place, secrets);
    template["ContainerSpec"]["Command"] = json!(command);
    template["RestartPolicy"] = json!({ "Condition": "none" });
    json!({
        "Name": hook_name(&order.site, order.number, hook),
        "Labels": { SITE: order.site, STATE: owner, MARK: order.mark, HOOK: hook.key() },
        "TaskTemplate": template,
        "Mode": { "ReplicatedJob": { "MaxConcurrent": 1, "TotalCompletions": 1 } },
    })
}

/// The name of a hook's service.
pub(super) fn hook_name(site: &SiteName, number: u32, hook: Hook) -> String {
    format!("{}_{}", name(site, number), hook.key())
}

/// What runs in each container.
fn template(order: &ReleaseOrder, (network, node): (&str, &str), secrets: &[SwarmSecret]) -> Value {
    let files = secrets.iter().map(|secret| (format!("{}_FILE", secret.key), format!("/run/secrets/{}", secret.key)));
    let all: BTreeMap<String, String> = order.settings.env.clone().into_iter().chain(files).collect();
    let env: Vec<String> = all.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let secrets: Vec<Value> = secrets
        .iter()
        .map(|SwarmSecret { key, name, id }| {
            let file = json!({ "Name": key, "UID": "0", "GID": "0", "Mode": 0o444 });
            json!({ "SecretID": id, "SecretName": name, "File": file })
        })
        .collect();
    // An image that came from no registry is on this node alone.
    let constraints: Vec<String> = order.image.here_alone.then(|| format!("node.id=={node}")).into_iter().collect();
    json!({
        "ContainerSpec": {
            "Image": order.image.pinned,
            "Labels": { SITE: order.site, RELEASE: order.number.to_string() },
            "Env": env,
            "Secrets": secrets,
            "StopGracePeriod": 30 * SECOND,
            "Init": true,
        },
        "RestartPolicy": { "Condition": "any", "Delay": SECOND },
        "Placement": { "Constraints": constraints },
        "Networks": [{ "Target": network }],
    })
}

/// The labels of a release to which so much traffic is sent.
pub(super) fn labels(
    order: &ReleaseOrder,
    owner: StateId,
    network: &str,
    traffic: Traffic,
) -> BTreeMap<String, String> {
    let (id, number, settings) = (name(&order.site, order.number), order.number, &order.settings);
    let canonical = &settings.domains[0];
    let mut labels = Labels(BTreeMap::new());
    labels.put(SITE, order.site.to_string());
    labels.put(STATE, owner.to_string());
    labels.put(RELEASE, number.to_string());
    labels.put(MARK, order.mark.clone());
    labels.put(HOST, canonical.to_string());
    labels.put(TRAFFIC, word(traffic));
    labels.put(ENABLE, (traffic != Traffic::None).to_string());
    labels.put("traefik.swarm.network", network);
    let service = format!("traefik.http.services.{id}.loadbalancer");
    labels.put(format!("{service}.server.port"), settings.port.to_string());
    // Without traffic, whoever asks by the mark hears what each copy answers, and not only that Traefik has taken it out.
    if let (Some(path), Traffic::All) = (&settings.health.path, traffic) {
        labels.put(format!("{service}.healthcheck.path"), path);
        labels.put(format!("{service}.healthcheck.hostname"), canonical.to_string());
        labels.put(format!("{service}.healthcheck.interval"), "2s");
        labels.put(format!("{service}.healthcheck.timeout"), "5s");
    }

    let marked = format!("{id}-marked");
    let rule = format!("Host(`{canonical}`) && Header(`{HEADER}`, `{}`)", order.mark);
    labels.router(&marked, &id, &rule, MARKED + number, Some(&marked));
    let says = format!("traefik.http.middlewares.{marked}.headers.customresponseheaders.{HEADER}");
    labels.put(says, answer(&order.mark, traffic));
    if traffic != Traffic::All {
        return labels.0;
    }

    labels.router(&id, &id, &format!("Host(`{canonical}`)"), EXACT + number, None);
    let also = format!("{id}-also");
    let (wild, exact): (Vec<&Domain>, Vec<&Domain>) = settings.domains[1..].iter().partition(|it| it.below().is_some());
    let exact: Vec<String> = exact.iter().map(|domain| format!("Host(`{domain}`)")).collect();
    let wild = wild.iter().filter_map(|domain| domain.below());
    let wild: Vec<String> =
        wild.map(|below| format!("HostRegexp(`^[a-zA-Z0-9_-]+\\.{}$`)", below.replace('.', "\\."))).collect();
    if !exact.is_empty() {
        labels.router(&also, &id, &exact.join(" || "), EXACT + number, Some(&also));
    }
    if !wild.is_empty() {
        labels.router(&format!("{id}-below"), &id, &wild.join(" || "), WILD + number, Some(&also));
    }
    if settings.domains.len() > 1 {
        let redirect = format!("traefik.http.middlewares.{also}.redirectregex");
        labels.put(format!("{redirect}.regex"), "^https?://[^/]+/(.*)$");
        labels.put(format!("{redirect}.replacement"), format!("https://{canonical}/${{1}}"));
        labels.put(format!("{redirect}.permanent"), "true");
    }
    labels.0
}

/// Changes labels so that nobody gets to the release any more.
pub(super) fn withdraw(labels: &mut BTreeMap<String, String>) {
    labels.insert(ENABLE.into(), "false".into());
    labels.insert(TRAFFIC.into(), word(Traffic::None).into());
}

/// What a release with so much traffic names itself as.
pub(super) fn answer(mark: &str, traffic: Traffic) -> String {
    if traffic == Traffic::All { format!("{mark} all") } else { mark.to_owned() }
}

pub(super) fn word(traffic: Traffic) -> &'static str {
    match traffic {
        Traffic::None => "none",
        Traffic::Marked => "marked",
        Traffic::All => "all",
    }
}

struct Labels(BTreeMap<String, String>);

impl Labels {
    fn put(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), value.into());
    }

    fn router(&mut self, name: &str, service: &str, rule: &str, priority: u32, middleware: Option<&str>) {
        let router = format!("traefik.http.routers.{name}");
        self.put(format!("{router}.rule"), rule);
        self.put(format!("{router}.priority"), priority.to_string());
        self.put(format!("{router}.entrypoints"), "websecure");
        self.put(format!("{router}.service"), service);
        if let Some(middleware) = middleware {
            self.put(format!("{router}.middlewares"), middleware);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::{
        ports::{SiteImage, SiteSettings},
        secret::Secret,
    };

    fn order() -> ReleaseOrder {
        let settings = json!({
            "domains": ["shop.example.com", "www.shop.example.com", "*.shop.example.com"], "port": 3000,
            "health": { "path": "/up", "within": 60 }, "replicas": 2, "env": { "APP_ENV": "production" }, "secrets": { "APP_KEY": 7 },
        });
        let settings: SiteSettings = serde_json::from_value(settings).unwrap();
        ReleaseOrder {
            site: SiteName::parse("shop").unwrap(),
            number: 3,
            mark: "M".into(),
            image: SiteImage { pinned: "sha256:abc".into(), here_alone: true },
            settings,
            secrets: [("APP_KEY".to_owned(), Secret::new("hunter2"))].into(),
        }
    }

    #[test]
    fn a_release_answers_by_its_mark_before_it_gets_any_traffic() {
        let before = labels(&order(), StateId::new(), "web", Traffic::Marked);
        let routers = |labels: &BTreeMap<String, String>| {
            let rules = labels.iter().filter(|(key, _)| key.ends_with(".rule"));
            rules.map(|(key, rule)| format!("{} {rule}", &key["traefik.http.routers.".len()..])).collect::<Vec<_>>()
        };
        assert_eq!(
            routers(&before),
            ["shop-3-marked.rule Host(`shop.example.com`) && Header(`X-Ostler-Release`, `M`)"]
        );
        let check = "traefik.http.services.shop-3.loadbalancer.healthcheck.path";
        assert_eq!(before.get(check), None);

        let after = labels(&order(), StateId::new(), "web", Traffic::All);
        assert_eq!(
            routers(&after),
            [
                "shop-3-also.rule Host(`www.shop.example.com`)",
                "shop-3-below.rule HostRegexp(`^[a-zA-Z0-9_-]+\\.shop\\.example\\.com$`)",
                "shop-3-marked.rule Host(`shop.example.com`) && Header(`X-Ostler-Release`, `M`)",
                "shop-3.rule Host(`shop.example.com`)",
            ]
        );
        assert_eq!(
            after["traefik.http.middlewares.shop-3-also.redirectregex.replacement"],
            "https://shop.example.com/${1}"
        );
        assert_eq!((after[check].as_str(), after["traefik.http.routers.shop-3.priority"].as_str()), ("/up", "2000003"));
        let said = "traefik.http.middlewares.shop-3-marked.headers.customresponseheaders.X-Ostler-Release";
        assert_eq!((before[said].as_str(), after[said].as_str()), ("M", "M all"));
    }

    #[test]
    fn nothing_secret_is_in_the_description_of_a_service() {
        let secrets = [SwarmSecret { key: "APP_KEY".into(), name: secret_name(&order().site, 7), id: "id7".into() }];
        let spec = spec(&order(), StateId::new(), ("web", "node1"), &secrets);
        assert!(!spec.to_string().contains("hunter2"));
        let container = &spec["TaskTemplate"]["ContainerSpec"];
        assert_eq!(container["Env"], json!(["APP_ENV=production", "APP_KEY_FILE=/run/secrets/APP_KEY"]));
        assert_eq!(container["Secrets"][0]["SecretName"], "shop.7");
        assert_eq!(spec["TaskTemplate"]["Placement"]["Constraints"], json!(["node.id==node1"]));
        assert_eq!(spec["Name"], "shop-3");
    }
}
