//! Docker Swarm behind Traefik. Each release of a site is a service of its own ([`service`]); Docker is asked over a login to a manager
//! ([`docker`]), and Traefik by requests as anybody makes them ([`probe`]).

mod docker;
mod error;
mod image;
mod probe;
mod service;

use crate::folder::Packed;
use docker::{Request, filtered};
use error::SwarmError;
use service::SwarmSecret;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ostler_core::{
    Result,
    ids::SiteName,
    ports::{Answer, Hook, HookEnd, Look, Place, Probe, ReleaseOrder, Reporter, Runtime, SiteImage, Standing, Traffic},
    text::one_line,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

/// Sites on Docker Swarm.
#[derive(Clone, Copy, Debug, Default)]
pub struct SwarmRuntime;

/// Lines of what a release said last.
const LAST: u32 = 20;
/// How often a change is tried that another one came before.
const TRIES: u32 = 5;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    version: Version,
    spec: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    index: u64,
}

impl Service {
    fn label(&self, name: &str) -> &str {
        self.spec["Labels"][name].as_str().unwrap_or_default()
    }

    fn number(&self) -> Option<u32> {
        self.label(service::RELEASE).parse().ok()
    }

    fn labels(&self) -> BTreeMap<String, String> {
        serde_json::from_value(self.spec["Labels"].clone()).unwrap_or_default()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Task {
    #[serde(rename = "ServiceID")]
    service_id: String,
    created_at: String,
    status: Status,
    desired_state: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    state: String,
    #[serde(default)]
    err: String,
    #[serde(default)]
    message: String,
}

impl Status {
    fn words(&self) -> String {
        one_line(if self.err.is_empty() { &self.message } else { &self.err })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Secret {
    #[serde(rename = "ID")]
    id: String,
    spec: SecretSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SecretSpec {
    name: String,
    #[serde(default)]
    labels: HashMap<String, String>,
}

/// All services of a site; fails where another Ostler made one.
async fn services(place: &Place<'_>, site: &SiteName) -> Result<Vec<Service>, SwarmError> {
    let path = filtered("/services", &json!({ "label": [format!("{}={site}", service::SITE)] }));
    let answer = docker::ask(place, Request::get(path)).await?;
    if answer.status == 503 {
        return Err(SwarmError::NoManager);
    }
    let all: Vec<Service> = answer.well("list services")?.json()?;
    let all: Vec<_> = all.into_iter().filter(|it| it.label(service::HOOK).is_empty()).collect();
    match all.iter().any(|it| it.label(service::STATE) != place.owner.to_string()) {
        true => Err(SwarmError::OfAnother(site.to_string())),
        false => Ok(all),
    }
}

async fn tasks(place: &Place<'_>, services: &[Service]) -> Result<Vec<Task>, SwarmError> {
    if services.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = services.iter().map(|service| service.id.as_str()).collect();
    let answer = docker::ask(place, Request::get(filtered("/tasks", &json!({ "service": ids })))).await?;
    let mut tasks: Vec<Task> = answer.well("list tasks")?.json()?;
    tasks.sort_by(|one, other| other.created_at.cmp(&one.created_at));
    Ok(tasks)
}

fn standing(service: &Service, tasks: &[Task]) -> Option<Standing> {
    let own = || tasks.iter().filter(|task| task.service_id == service.id);
    let is_running = |task: &&Task| task.status.state == "running" && task.desired_state == "running";
    let ended = own().filter(|task| ["failed", "rejected", "complete"].contains(&task.status.state.as_str()));
    let waiting = own().find(|task| task.status.state == "pending" && !task.status.err.is_empty());
    let wanted = service.spec["Mode"]["Replicated"]["Replicas"].as_u64().unwrap_or_default();
    Some(Standing {
        number: service.number()?,
        mark: service.label(service::MARK).to_owned(),
        host: service.label(service::HOST).to_owned(),
        traffic: match service.label(service::TRAFFIC) {
            "all" => Traffic::All,
            "marked" => Traffic::Marked,
            _ => Traffic::None,
        },
        wanted: wanted.try_into().unwrap_or(u32::MAX),
        running: own().filter(is_running).count().try_into().unwrap_or(u32::MAX),
        ended: ended.map(|task| task.status.words()).collect(),
        waiting: waiting.map(|task| task.status.words()),
    })
}

async fn service_called(place: &Place<'_>, name: &str) -> Result<Option<Service>, SwarmError> {
    let found = docker::ask(place, Request::get(format!("/services/{name}"))).await?;
    if found.status == 404 {
        return Ok(None);
    }
    found.well(format!("show the service {name}"))?.json().map(Some)
}

/// The id of this server in its swarm.
async fn node(place: &Place<'_>) -> Result<String, SwarmError> {
    let info: Value = docker::ask(place, Request::get("/info")).await?.well("tell of itself")?.json()?;
    let node = info["Swarm"]["NodeID"].as_str().filter(|node| !node.is_empty());
    node.map(str::to_owned).ok_or(SwarmError::NoManager)
}

/// Changes the labels of a service, which restarts nothing. None there: fine, and `false`.
async fn relabel(
    place: &Place<'_>,
    name: &str,
    change: impl Fn(&Service) -> BTreeMap<String, String>,
) -> Result<bool, SwarmError> {
    let mut tries = 0;
    loop {
        let Some(found) = service_called(place, name).await? else { return Ok(false) };
        let mut spec = found.spec.clone();
        spec["Labels"] = json!(change(&found));
        if spec == found.spec {
            return Ok(true);
        }
        let path = format!("/services/{}/update?version={}", found.id, found.version.index);
        let answer = docker::ask(place, Request::post(path, spec)).await?;
        tries += 1;
        // The swarm itself changes it now and then.
        if answer.text.contains("out of sequence") && tries < TRIES {
            continue;
        }
        return answer.well(format!("change the service {name}")).map(|_| true);
    }
}

async fn remove_service(place: &Place<'_>, name: &str) -> Result<(), SwarmError> {
    let answer = docker::ask(place, Request::delete(format!("/services/{name}"))).await?;
    if answer.status == 404 {
        return Ok(());
    }
    answer.well(format!("remove the service {name}")).map(drop)
}

async fn secrets(place: &Place<'_>, site: &SiteName) -> Result<Vec<Secret>, SwarmError> {
    let path = filtered("/secrets", &json!({ "label": [format!("{}={site}", service::SITE)] }));
    docker::ask(place, Request::get(path)).await?.well("list secrets")?.json()
}

/// The secrets of a release, each of which is made where it is not there. A version's value never changes.
async fn have_secrets(place: &Place<'_>, order: &ReleaseOrder) -> Result<Vec<SwarmSecret>, SwarmError> {
    if order.secrets.is_empty() {
        return Ok(Vec::new());
    }
    let there = secrets(place, &order.site).await?;
    let mut have = Vec::new();
    for (key, version) in &order.settings.secrets {
        let Some(value) = order.secrets.get(key) else { continue };
        let name = service::secret_name(&order.site, *version);
        let id = match there.iter().find(|secret| secret.spec.name == name) {
            Some(known) if known.spec.labels.get(service::STATE) == Some(&place.owner.to_string()) => known.id.clone(),
            Some(_) => return Err(SwarmError::OfAnother(order.site.to_string())),
            None => {
                let labels = json!({ service::SITE: order.site, service::STATE: place.owner, service::SECRET: key });
                let body = json!({ "Name": name, "Labels": labels, "Data": STANDARD.encode(value.expose()) });
                let made = docker::ask(place, Request::post("/secrets/create", body)).await?;
                let made: Value = made.well(format!("keep the secret {key}"))?.json()?;
                made["ID"].as_str().unwrap_or_default().to_owned()
            }
        };
        have.push(SwarmSecret { key: key.clone(), name, id });
    }
    Ok(have)
}

#[async_trait]
impl Runtime for SwarmRuntime {
    async fn look(&self, place: &Place<'_>, site: &SiteName) -> Result<Vec<Standing>> {
        let services = services(place, site).await?;
        let tasks = tasks(place, &services).await?;
        let mut all: Vec<_> = services.iter().filter_map(|service| standing(service, &tasks)).collect();
        all.sort_by_key(|standing| std::cmp::Reverse(standing.number));
        Ok(all)
    }

    async fn known_image(&self, place: &Place<'_>, reference: &str) -> Result<Option<SiteImage>> {
        Ok(image::known(place, reference).await?)
    }

    async fn image(&self, place: &Place<'_>, reference: &str, reporter: &dyn Reporter) -> Result<SiteImage> {
        Ok(image::get(place, reference, reporter).await?)
    }

    fn built_name(&self, site: &SiteName, folder: &Path) -> Result<String> {
        Ok(image::built_name(site, &Packed::of(folder)?))
    }

    async fn build(
        &self,
        place: &Place<'_>,
        site: &SiteName,
        folder: &Path,
        reporter: &dyn Reporter,
    ) -> Result<SiteImage> {
        image::build(place, site, folder, reporter).await
    }

    async fn start(&self, place: &Place<'_>, order: &ReleaseOrder) -> Result<()> {
        let name = service::name(&order.site, order.number);
        if let Some(there) = services(place, &order.site).await?.iter().find(|it| it.number() == Some(order.number)) {
            if there.label(service::MARK) == order.mark {
                return Ok(());
            }
            remove_service(place, &name).await?;
        }
        let node = node(place).await?;
        let secrets = have_secrets(place, order).await?;
        let spec = service::spec(order, place.owner, (place.network, &node), &secrets);
        let made = docker::ask(place, Request::post("/services/create", spec)).await?;
        made.well(format!("make the service {name}"))?;
        Ok(())
    }

    async fn last_words(
        &self,
        place: &Place<'_>,
        site: &SiteName,
        number: u32,
        hook: Option<Hook>,
    ) -> Result<Vec<String>> {
        let name = hook.map_or_else(|| service::name(site, number), |hook| service::hook_name(site, number, hook));
        let script = format!("sudo -n timeout 10 docker service logs --raw --tail {LAST} {name} 2>&1 | tail -n {LAST}");
        Ok(place.session.run(&script, b"").await?.stdout.lines().map(str::to_owned).collect())
    }

    async fn begin_hook(&self, place: &Place<'_>, order: &ReleaseOrder, hook: Hook, command: &[String]) -> Result<()> {
        let name = service::hook_name(&order.site, order.number, hook);
        if let Some(there) = service_called(place, &name).await? {
            if there.label(service::MARK) == order.mark {
                return Ok(());
            }
            remove_service(place, &name).await?;
        }
        let node = node(place).await?;
        let secrets = have_secrets(place, order).await?;
        let spec = service::hook(order, place.owner, (place.network, &node), &secrets, (hook, command));
        let made = docker::ask(place, Request::post("/services/create", spec)).await?;
        made.well(format!("make the service {name}"))?;
        Ok(())
    }

    async fn hook(&self, place: &Place<'_>, site: &SiteName, number: u32, hook: Hook) -> Result<HookEnd> {
        let name = service::hook_name(site, number, hook);
        let Some(service) = service_called(place, &name).await? else {
            return Ok(HookEnd::Badly("somebody else removed it".into()));
        };
        let tasks = tasks(place, std::slice::from_ref(&service)).await?;
        let end = |task: &Task| match task.status.state.as_str() {
            "complete" => Some(HookEnd::Well),
            "failed" | "rejected" => Some(HookEnd::Badly(task.status.words())),
            _ => None,
        };
        Ok(tasks.iter().find_map(end).unwrap_or(HookEnd::NotYet))
    }

    async fn end_hook(&self, place: &Place<'_>, site: &SiteName, number: u32, hook: Hook) -> Result<()> {
        Ok(remove_service(place, &service::hook_name(site, number, hook)).await?)
    }

    async fn send(&self, place: &Place<'_>, order: &ReleaseOrder, traffic: Traffic) -> Result<()> {
        let name = service::name(&order.site, order.number);
        match relabel(place, &name, |_| service::labels(order, place.owner, place.network, traffic)).await? {
            true => Ok(()),
            false => Err(SwarmError::Gone(name).into()),
        }
    }

    async fn answer(&self, place: &Place<'_>, probe: &Probe<'_>, traffic: Traffic) -> Result<Answer> {
        Ok(probe::answer(place, probe, traffic).await?)
    }

    async fn withdraw(&self, place: &Place<'_>, site: &SiteName, number: u32) -> Result<()> {
        let withdrawn = |service: &Service| {
            let mut labels = service.labels();
            service::withdraw(&mut labels);
            labels
        };
        relabel(place, &service::name(site, number), withdrawn).await?;
        Ok(())
    }

    async fn remove(&self, place: &Place<'_>, site: &SiteName, number: u32) -> Result<()> {
        Ok(remove_service(place, &service::name(site, number)).await?)
    }

    async fn keep_secrets(&self, place: &Place<'_>, site: &SiteName, versions: &[u32]) -> Result<()> {
        let kept: Vec<String> = versions.iter().map(|version| service::secret_name(site, *version)).collect();
        for secret in secrets(place, site).await?.into_iter().filter(|secret| !kept.contains(&secret.spec.name)) {
            let answer = docker::ask(place, Request::delete(format!("/secrets/{}", secret.id))).await?;
            if answer.status != 404 {
                answer.well(format!("remove the secret {}", secret.spec.name))?;
            }
        }
        Ok(())
    }

    fn command(&self, site: &SiteName, number: u32, look: &Look<'_>) -> Vec<String> {
        let name = service::name(site, number);
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<String>>();
        match look {
            Look::Logs { lines, follow } => {
                let lines = lines.to_string();
                let follow = format!("--follow={follow}");
                words(&["sudo", "-n", "docker", "service", "logs", "--tail", &lines, &follow, &name])
            }
            Look::Exec { command, terminal } => {
                let tty = if *terminal { "--tty" } else { "--tty=false" };
                let script = format!(
                    "copy=$(docker ps --quiet --filter label=com.docker.swarm.service.name={name} | head -n 1); \
                     [ -n \"$copy\" ] || {{ echo 'no copy of it runs on this server' >&2; exit 1; }}; \
                     exec docker exec --interactive {tty} \"$copy\" \"$@\""
                );
                let mut all = words(&["sudo", "-n", "sh", "-c", &script, "sh"]);
                all.extend(command.iter().cloned());
                all
            }
        }
    }
}
