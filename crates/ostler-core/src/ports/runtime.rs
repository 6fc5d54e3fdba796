//! What sites run on, in terms of sites and releases.
//!
//! Each release of a site runs beside the others, under its number. It is started without traffic and answers only whoever knows its mark;
//! then traffic is sent to it, and the older ones are taken away. So there is always one release that answers, whatever fails.

use crate::{
    error::Result,
    ids::{SiteName, StateId},
    ports::{Reporter, Session},
    secret::Secret,
    spec::{Domain, SiteHealth},
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr, path::Path};

/// A server, as a runtime gets at it.
pub struct Place<'a> {
    /// A login that may become root.
    pub session: &'a dyn Session,
    /// Where its port 443 is reached from here; `None`: it is not.
    pub https: Option<SocketAddr>,
    /// The network on which requests come to sites.
    pub network: &'a str,
    /// The state that what is made belongs to.
    pub owner: StateId,
}

/// An image, as it was found on the server: no name that may mean something else tomorrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteImage {
    /// `NAME@sha256:…` of a registry, or the id of one that the server alone has.
    pub pinned: String,
    /// Only this server has it, so the site runs on no other.
    pub here_alone: bool,
}

/// What a release is, but for its image and the values of its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteSettings {
    /// Names that it answers to; the first one is canonical, the others redirect.
    pub domains: Vec<Domain>,
    /// Port that the program listens on.
    pub port: u16,
    /// When it counts as up.
    pub health: SiteHealth,
    /// How many copies run.
    pub replicas: u16,
    /// Plain environment.
    pub env: BTreeMap<String, String>,
    /// Which version of each secret it has. No two secrets of a site have the same.
    pub secrets: BTreeMap<String, u32>,
}

/// What is to be started.
pub struct ReleaseOrder {
    /// Of which site.
    pub site: SiteName,
    /// Its number, unique among those of the site.
    pub number: u32,
    /// By which it is told from all others when it answers.
    pub mark: String,
    /// What runs.
    pub image: SiteImage,
    /// What else it is.
    pub settings: SiteSettings,
    /// Values of its secrets, by their names.
    pub secrets: BTreeMap<String, Secret>,
}

impl ReleaseOrder {
    /// The text without the secrets that it may hold.
    pub fn masked(&self, text: &str) -> String {
        let values = self.secrets.values().map(Secret::expose).filter(|value| !value.trim().is_empty());
        values.fold(text.to_owned(), |text, value| text.replace(value, "***"))
    }
}

/// Who gets to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Traffic {
    /// Nobody.
    None,
    /// Whoever knows its mark.
    Marked,
    /// Everybody, unless a newer one gets all.
    All,
}

/// How a release stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its number.
    pub number: u32,
    /// By which it is told from all others when it answers.
    pub mark: String,
    /// The canonical domain that it has.
    pub host: String,
    /// Who gets to it.
    pub traffic: Traffic,
    /// Copies that shall run.
    pub wanted: u32,
    /// Copies that run, and are healthy where the image says how that is seen.
    pub running: u32,
    /// Why copies ended that should run, newest first.
    pub ended: Vec<String>,
    /// Why copies are not begun, such as that no server may run them.
    pub waiting: Option<String>,
}

/// A request by host name to one release.
#[derive(Clone, Copy, Debug)]
pub struct Probe<'a> {
    /// Host name.
    pub host: &'a str,
    /// Path, with its slash.
    pub path: &'a str,
    /// The release's mark.
    pub mark: &'a str,
}

/// What came of a request by host name, through whatever stands in front of the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This release answered, with this status.
    Release(u16),
    /// Somebody else did, with this status.
    Other(u16),
    /// Nobody did, and why.
    Nobody(String),
}

/// When a command of the user's runs once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Before a release starts.
    Before,
    /// Once it serves.
    After,
}

impl Hook {
    /// As it stands in the spec.
    pub fn key(self) -> &'static str {
        match self {
            Self::Before => "deploy_before",
            Self::After => "deploy_after",
        }
    }
}

/// What came of such a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookEnd {
    /// It is not over.
    NotYet,
    /// It succeeded.
    Well,
    /// It did not, and why.
    Badly(String),
}

/// Something to run on the server by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look<'a> {
    /// Shows what the program says.
    Logs {
        /// How many lines of what it said before.
        lines: u32,
        /// Go on until stopped.
        follow: bool,
    },
    /// Runs a command in a copy that runs on this server.
    Exec {
        /// Program and arguments.
        command: &'a [String],
        /// With a terminal.
        terminal: bool,
    },
}

/// Runs sites on servers. Whatever is asked for may be there already in part, and is completed.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// All releases of a site that are there, newest first.
    async fn look(&self, place: &Place<'_>, site: &SiteName) -> Result<Vec<Standing>>;

    /// What a reference means on the server now, without asking anybody else; `None`: it has no such image.
    async fn known_image(&self, place: &Place<'_>, reference: &str) -> Result<Option<SiteImage>>;

    /// Gets an image to the server, unless it is there for certain.
    async fn image(&self, place: &Place<'_>, reference: &str, reporter: &dyn Reporter) -> Result<SiteImage>;

    /// What the image of a folder of this machine is called: another name where anything in the folder is another.
    fn built_name(&self, site: &SiteName, folder: &Path) -> Result<String>;

    /// Makes the image of a folder on the server.
    async fn build(
        &self,
        place: &Place<'_>,
        site: &SiteName,
        folder: &Path,
        reporter: &dyn Reporter,
    ) -> Result<SiteImage>;

    /// Starts a release, which gets no traffic but by its mark. Does not wait for it.
    async fn start(&self, place: &Place<'_>, order: &ReleaseOrder) -> Result<()>;

    /// What copies of a release said last, or a hook of it, for people.
    async fn last_words(
        &self,
        place: &Place<'_>,
        site: &SiteName,
        number: u32,
        hook: Option<Hook>,
    ) -> Result<Vec<String>>;

    /// Begins to run a command once as a release would run, with its image, environment and secrets. Does not wait for it. Begun already: fine.
    async fn begin_hook(&self, place: &Place<'_>, order: &ReleaseOrder, hook: Hook, command: &[String]) -> Result<()>;

    /// What came of it.
    async fn hook(&self, place: &Place<'_>, site: &SiteName, number: u32, hook: Hook) -> Result<HookEnd>;

    /// Ends it, and removes what it leaves. None there: fine.
    async fn end_hook(&self, place: &Place<'_>, site: &SiteName, number: u32, hook: Hook) -> Result<()>;

    /// Changes who gets to a release. It takes a few seconds until that holds; [`Runtime::answer`] tells.
    async fn send(&self, place: &Place<'_>, order: &ReleaseOrder, traffic: Traffic) -> Result<()>;

    /// Asks a release for a path, through whatever stands in front of it: from here where the server is reached, else on the server itself.
    /// With [`Traffic::All`], only a release to which traffic is sent counts as the one that answers.
    async fn answer(&self, place: &Place<'_>, probe: &Probe<'_>, traffic: Traffic) -> Result<Answer>;

    /// Withdraws traffic from a release of which nothing but its number is known. None there: fine.
    async fn withdraw(&self, place: &Place<'_>, site: &SiteName, number: u32) -> Result<()>;

    /// Removes a release. None there: fine.
    async fn remove(&self, place: &Place<'_>, site: &SiteName, number: u32) -> Result<()>;

    /// Removes the secrets of a site but for these versions.
    async fn keep_secrets(&self, place: &Place<'_>, site: &SiteName, versions: &[u32]) -> Result<()>;

    /// What a login on the server runs to have a look at a release.
    fn command(&self, site: &SiteName, number: u32, look: &Look<'_>) -> Vec<String>;
}
