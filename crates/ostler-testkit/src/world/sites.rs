//! What sites run on: `sites/SITE.json` lists the releases that are there. An image called `crashing` ends again and again, one called `deaf`
//! never answers, and `missing` is nowhere.

use super::FakeWorld;
use async_trait::async_trait;
use ostler_core::{
    Blame, Failure, Result,
    ids::SiteName,
    ports::{
        Answer, Hook, HookEnd, Look, Place, Probe, ReleaseOrder, Reporter, Runtime, SiteImage, SiteSettings, Standing,
        Traffic,
    },
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// A release as it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FakeRelease {
    /// Its number.
    pub number: u32,
    /// What it is told by.
    pub mark: String,
    /// Who gets to it.
    pub traffic: Traffic,
    /// What runs.
    pub image: SiteImage,
    /// What else it is.
    pub settings: SiteSettings,
    /// The secrets that it has, with their values.
    pub secrets: BTreeMap<String, String>,
}

impl FakeRelease {
    fn is(&self, word: &str) -> bool {
        self.image.pinned.starts_with(word)
    }
}

impl FakeWorld {
    fn change_site(&self, site: &SiteName, change: impl FnOnce(&mut Vec<FakeRelease>)) {
        let before = self.dir.site(site.as_str());
        let mut after = before.clone();
        change(&mut after);
        let serves =
            |all: &[FakeRelease]| all.iter().any(|release| release.traffic == Traffic::All && !release.is("deaf"));
        if serves(&before) && !serves(&after) {
            self.dir.say(&format!("{site} is served by nobody"));
        }
        self.dir.write(&path(site), &after);
    }
}

fn path(site: &SiteName) -> String {
    format!("sites/{site}.json")
}

fn hook_path(site: &SiteName, number: u32, hook: Hook) -> String {
    format!("hooks/{site}-{number}-{}.json", hook.key())
}

fn pinned(reference: &str) -> SiteImage {
    let pinned = if reference.contains('@') { reference.to_owned() } else { format!("{reference}@pinned") };
    SiteImage { pinned, here_alone: false }
}

#[async_trait]
impl Runtime for FakeWorld {
    async fn look(&self, _: &Place<'_>, site: &SiteName) -> Result<Vec<Standing>> {
        let standing = |release: FakeRelease| {
            let wanted = u32::from(release.settings.replicas);
            let crashing = release.is("crashing");
            Standing {
                number: release.number,
                host: release.settings.domains[0].to_string(),
                traffic: release.traffic,
                wanted,
                running: if crashing { 0 } else { wanted },
                ended: if crashing { vec!["exit code 1".into(); 3] } else { Vec::new() },
                waiting: None,
                mark: release.mark,
            }
        };
        let look = async { Ok(self.dir.site(site.as_str()).into_iter().map(standing).collect()) };
        self.faults.around("runtime.look", look).await
    }

    async fn known_image(&self, _: &Place<'_>, reference: &str) -> Result<Option<SiteImage>> {
        Ok((!reference.starts_with("missing")).then(|| pinned(reference)))
    }

    async fn image(&self, _: &Place<'_>, reference: &str, _: &dyn Reporter) -> Result<SiteImage> {
        let image = async {
            match reference.starts_with("missing") {
                true => Err(Failure::new(Blame::Target, format!("there is no image `{reference}`"))),
                false => Ok(pinned(reference)),
            }
        };
        self.faults.around("runtime.image", image).await
    }

    fn built_name(&self, site: &SiteName, folder: &Path) -> Result<String> {
        Ok(format!("{site}-of-{}", folder.display()))
    }

    async fn build(&self, _: &Place<'_>, site: &SiteName, folder: &Path, _: &dyn Reporter) -> Result<SiteImage> {
        self.faults.around("runtime.build", async { Ok(pinned(&self.built_name(site, folder)?)) }).await
    }

    async fn start(&self, _: &Place<'_>, order: &ReleaseOrder) -> Result<()> {
        let release = FakeRelease {
            number: order.number,
            mark: order.mark.clone(),
            traffic: Traffic::Marked,
            image: order.image.clone(),
            settings: order.settings.clone(),
            secrets: order.secrets.iter().map(|(key, value)| (key.clone(), value.expose().to_owned())).collect(),
        };
        let start = async {
            self.change_site(&order.site, |all| {
                if all.iter().all(|other| other.mark != release.mark) {
                    all.retain(|other| other.number != release.number);
                    all.insert(0, release);
                }
            });
            Ok(())
        };
        self.faults.around("runtime.start", start).await
    }

    async fn last_words(&self, _: &Place<'_>, site: &SiteName, number: u32, _: Option<Hook>) -> Result<Vec<String>> {
        let release = self.dir.site(site.as_str()).into_iter().find(|release| release.number == number);
        let secrets = release.into_iter().flat_map(|release| release.secrets.into_values());
        Ok(secrets.map(|secret| format!("I have {secret}")).collect())
    }

    async fn begin_hook(&self, _: &Place<'_>, order: &ReleaseOrder, hook: Hook, command: &[String]) -> Result<()> {
        let begin = async {
            let path = hook_path(&order.site, order.number, hook);
            if self.dir.read::<Vec<String>>(&path).is_none() {
                self.dir.say(&format!("{} {}", hook.key(), command.join(" ")));
                self.dir.write(&path, &command);
            }
            Ok(())
        };
        self.faults.around("runtime.begin_hook", begin).await
    }

    async fn hook(&self, _: &Place<'_>, site: &SiteName, number: u32, hook: Hook) -> Result<HookEnd> {
        let end = match self.dir.read::<Vec<String>>(&hook_path(site, number, hook)) {
            Some(command) if command == ["false"] => HookEnd::Badly("exit code 1".into()),
            Some(_) => HookEnd::Well,
            None => HookEnd::Badly("it is gone".into()),
        };
        self.faults.around("runtime.hook", async { Ok(end) }).await
    }

    async fn end_hook(&self, _: &Place<'_>, site: &SiteName, number: u32, hook: Hook) -> Result<()> {
        let end = async {
            self.dir.remove(&hook_path(site, number, hook));
            Ok(())
        };
        self.faults.around("runtime.end_hook", end).await
    }

    async fn send(&self, _: &Place<'_>, order: &ReleaseOrder, traffic: Traffic) -> Result<()> {
        let send = async {
            self.change_site(&order.site, |all| {
                all.iter_mut().filter(|it| it.mark == order.mark).for_each(|release| release.traffic = traffic);
            });
            Ok(())
        };
        self.faults.around("runtime.send", send).await
    }

    async fn answer(&self, _: &Place<'_>, probe: &Probe<'_>, traffic: Traffic) -> Result<Answer> {
        let mut all =
            self.dir.names("sites").into_iter().flat_map(|name| self.dir.site(name.trim_end_matches(".json")));
        let gets = |release: &FakeRelease| match traffic {
            Traffic::All => release.traffic == Traffic::All,
            _ => release.traffic != Traffic::None,
        };
        let is_asked = |release: &FakeRelease| release.mark == probe.mark && gets(release);
        let answer = match all.find(|release| release.settings.domains[0].as_str() == probe.host && is_asked(release)) {
            Some(release) if release.is("deaf") => Answer::Release(502),
            Some(_) => Answer::Release(200),
            None => Answer::Other(404),
        };
        self.faults.around("runtime.answer", async { Ok(answer) }).await
    }

    async fn withdraw(&self, _: &Place<'_>, site: &SiteName, number: u32) -> Result<()> {
        let withdraw = async {
            self.change_site(site, |all| {
                all.iter_mut().filter(|it| it.number == number).for_each(|release| release.traffic = Traffic::None);
            });
            Ok(())
        };
        self.faults.around("runtime.withdraw", withdraw).await
    }

    async fn remove(&self, _: &Place<'_>, site: &SiteName, number: u32) -> Result<()> {
        let remove = async {
            self.change_site(site, |all| all.retain(|release| release.number != number));
            Ok(())
        };
        self.faults.around("runtime.remove", remove).await
    }

    async fn keep_secrets(&self, _: &Place<'_>, _: &SiteName, _: &[u32]) -> Result<()> {
        self.faults.around("runtime.keep_secrets", async { Ok(()) }).await
    }

    fn command(&self, site: &SiteName, number: u32, _: &Look<'_>) -> Vec<String> {
        vec!["look".into(), format!("{site}-{number}")]
    }
}
