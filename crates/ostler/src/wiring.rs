//! Joins core's ports to their implementations. The only place that names concrete types.

use crate::{
    ask::Terminal,
    cli::Global,
    environment,
    log_file::LogFile,
    output::{Access, Stage, hints, print_warning},
    process,
};
use ostler_acme::LegoAcme;
use ostler_ansible::{AnsibleEngine, Catalog, CatalogStore, GroupingEngine};
use ostler_core::{
    Blame, Failure, Result,
    ids::{ServerName, StateId},
    model::{Power, ServerRecord},
    operation::{EventLog, Interrupt, LEASE_TTL, Leaser},
    ports::{Lease, Provider, Store},
    secret::Secret,
    spec::{ModuleMeta, Promise, ProviderKind, SecretRef},
    subject::Subject,
    text::plain,
    world::{Providers, WaitOptions, World, resolve},
};
use ostler_dns::Zones;
use ostler_providers::{
    Tokens,
    existing::ExistingProvider,
    hetzner::HetznerProvider,
    image::ImageStore,
    local::LocalProvider,
    proxmox::{Host, ProxmoxProvider},
};
use ostler_remote::OpenSsh;
use ostler_runtimes::SwarmRuntime;
use ostler_service::{Limits, Service};
use ostler_store::SeaStore;
use ostler_tunnels::CloudflareTunnels;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// How servers are reached.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct WaitArguments {
    /// Longest wait for each of SSH and cloud-init [default: 120, five times that where the machine is emulated], and for
    /// another package manager that is at work on the server [default: 300]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: Option<u64>,
    /// Longest pause between two tries.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    interval: u64,
    /// How long a server waits for new settings of SSH and firewall to be proved before it puts the old ones back; five times
    /// that where the machine is emulated.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(10..=3600))]
    rollback_after: u64,
    /// Take the host key of an existing server as it is shown at the first connection. Nobody compares it then.
    #[arg(long)]
    accept_new_host_keys: bool,
}

impl Default for WaitArguments {
    fn default() -> Self {
        Self { timeout: None, interval: 3, rollback_after: 60, accept_new_host_keys: false }
    }
}

impl WaitArguments {
    /// The usual ones, with this timeout.
    pub fn up_to(timeout: Option<u64>) -> Self {
        Self { timeout, ..Self::default() }
    }

    fn options(self) -> WaitOptions {
        let default = WaitOptions::default();
        WaitOptions {
            timeout: self.timeout.map_or(default.timeout, Duration::from_secs),
            interval: Duration::from_secs(self.interval),
            exact: self.timeout.is_some(),
            rollback_after: Duration::from_secs(self.rollback_after),
            ..default
        }
    }
}

/// How long the state may take to store what is left of the events in the end.
const FLUSH: Duration = Duration::from_secs(5);

/// An open state directory with everything around it.
pub struct Session {
    /// The state.
    pub store: SeaStore,
    /// SSH.
    pub remote: Arc<OpenSsh>,
    /// Images.
    pub images: ImageStore,
    /// The terminal.
    pub stage: Stage,
    engine: Arc<GroupingEngine>,
    keep_events: Option<Duration>,
    state_dir: PathBuf,
    owner: StateId,
    modules: Arc<[ModuleMeta]>,
    tunnel_promises: Arc<[Promise]>,
    catalog: Catalog,
    wait: WaitOptions,
    ask: Arc<Terminal>,
    accept_new_host_keys: bool,
    spec_file: Option<String>,
    doing: &'static str,
    log_file: Option<LogFile>,
    interrupt: (watch::Sender<bool>, Interrupt),
}

impl Session {
    /// Opens the state directory; `doing` is what others are told who find a lease of ours.
    pub async fn open(global: &Global, wait: WaitArguments, doing: &'static str) -> Result<Self> {
        let keep_events = environment::keep_events()?;
        let state_dir = state_dir(global)?;
        let store = SeaStore::open_sqlite(&state_dir).await?;
        let owner = store.state_id().await?;
        let interrupt = Interrupt::new();
        let stage = Stage::of_process();
        let images = match std::env::var(environment::IMAGE_SITE) {
            Ok(site) if !site.is_empty() => ImageStore::with_site(state_dir.join("images"), site),
            _ => ImageStore::new(state_dir.join("images")),
        };
        Ok(Self {
            store,
            remote: Arc::new(OpenSsh::new(state_dir.clone(), environment::runtime_dir())),
            images,
            engine: Arc::new(GroupingEngine::new(AnsibleEngine::new(&state_dir, &state_dir))),
            keep_events,
            owner,
            modules: ostler_ansible::module_catalog()?.into(),
            tunnel_promises: ostler_ansible::tunnel_promises()?.into(),
            catalog: Catalog::shipped()?,
            wait: wait.options(),
            ask: Arc::new(Terminal::new(global.non_interactive, stage.clone(), interrupt.1.clone())),
            stage,
            accept_new_host_keys: wait.accept_new_host_keys,
            spec_file: None,
            doing,
            log_file: open_log(global, &environment::log_dir(&state_dir)),
            interrupt,
            state_dir,
        })
    }

    /// The same with the catalog that a spec was read with.
    pub fn with_catalog(mut self, catalog: Catalog) -> Self {
        self.catalog = catalog;
        self
    }

    /// The same with the file that the spec was read from, for hints that name it.
    pub fn with_spec_file(mut self, file: &Path) -> Self {
        self.spec_file = Some(environment::quoted(file));
        self
    }

    /// The same with the catalog that is on record for these servers: the very commit, fetched again if it is gone.
    pub async fn with_recorded_catalog(self, servers: &[ServerName]) -> Result<Self> {
        let mut sources = Vec::new();
        for server in servers {
            let source = self.store.server(server).await?.and_then(|record| record.desired.catalog);
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        let [Some(source)] = sources.as_slice() else {
            if sources.len() > 1 {
                return Err(Failure::new(Blame::User, "these servers were planned with different catalogs")
                    .with_hint("resume them one after the other, or plan them anew by `ostler up`"));
            }
            return Ok(self);
        };
        let catalog = CatalogStore::new(&self.state_dir).sync(source, false).await.map_err(|error| {
            Failure::from(error.in_words(hints::command))
                .with_hint("`ostler up` with the spec file plans anew, with the catalog as it is now")
        })?;
        Ok(self.with_catalog(catalog))
    }

    /// Calls `work` with a service that works on so many servers at once. The first Ctrl-C (or SIGTERM) asks all that it works on to stop
    /// at the next step boundary; the second one drops it, and with it its child processes.
    pub async fn with_service<T>(&self, at_once: u16, work: impl AsyncFnOnce(&Service) -> Result<T>) -> Result<T> {
        let service = Service::new(self.world(), Limits { at_once, keep_events: self.keep_events });
        let result = tokio::select! {
            result = work(&service) => result,
            stopped = self.second_interrupt(|| service.cancel_all()) => {
                service.stop_now().await;
                Err(stopped)
            }
        };
        self.flush(service.world()).await;
        result
    }

    /// Calls `work`, which starts no operation, with the world. The first Ctrl-C (or SIGTERM) asks it to stop; the second one drops it, and
    /// with it its child processes.
    pub async fn with_world<T>(&self, work: impl AsyncFnOnce(&World) -> Result<T>) -> Result<T> {
        let world = self.world();
        let result = tokio::select! {
            result = work(&world) => result,
            stopped = self.second_interrupt(|| ()) => Err(stopped),
        };
        self.flush(&world).await;
        result
    }

    /// What there is to work with, with an event log of its own.
    pub fn world(&self) -> World {
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        let is_shared = self.store.is_shared();
        let leaser = Leaser {
            store: store.clone(),
            owner: process::this_owner(self.doing),
            ttl: LEASE_TTL,
            liveness: Arc::new(move |owner| process::liveness(owner, is_shared)),
        };
        World {
            log: Arc::new(EventLog::new(store.clone())),
            store,
            leaser: Arc::new(leaser),
            providers: Arc::new(self.providers()),
            tunnels: Arc::new(CloudflareTunnels::new(Box::new(Secrets(self.store.clone())))),
            dns: Arc::new(Zones::new(Box::new(Secrets(self.store.clone())))),
            acme: Arc::new(LegoAcme::new(&self.state_dir, process::own_program())),
            remote: self.remote.clone(),
            runtime: Arc::new(SwarmRuntime),
            engine: self.engine.clone(),
            outside_secret: Arc::new(outside_secret),
            roles: ostler_ansible::roles_id(),
            modules: self.modules.clone(),
            tunnel_promises: self.tunnel_promises.clone(),
            catalog: Arc::new(self.catalog.index.clone()),
            catalog_tree: self.catalog.tree.clone(),
            ask: self.ask.clone(),
            user_agent: environment::ssh_agent(),
            accept_new_host_keys: self.accept_new_host_keys,
            spec_file: self.spec_file.clone(),
            interrupt: self.interrupt.1.clone(),
            wait: self.wait,
            owner: self.owner,
        }
    }

    async fn flush(&self, world: &World) {
        let unstored = match tokio::time::timeout(FLUSH, world.log.flush()).await {
            Ok(flushed) => flushed.err(),
            Err(_) => Some(Failure::new(Blame::Bug, "the last events are not stored: the state does not answer")),
        };
        if let Some(failure) = unstored {
            let causes: String = failure.causes.iter().map(|cause| format!(": {cause}")).collect();
            self.stage.print_error(&format!("warning: {}\n", plain(&format!("{failure}{causes}"))));
        }
    }

    /// Whether an Ostler that is not known to be dead works on the subject.
    pub async fn is_at_work(&self, subject: Subject) -> Result<bool> {
        let is_free = |lease: Lease| lease.is_free(process::liveness(&lease.owner, self.store.is_shared()));
        Ok(self.store.lease(subject).await?.is_some_and(|lease| !is_free(lease)))
    }

    /// Where the JSON-line log is written; none if its folder can't be made.
    pub fn log_file(&self) -> Option<&LogFile> {
        self.log_file.as_ref()
    }

    /// Where servers come from.
    pub fn providers(&self) -> Providers {
        let local: Box<dyn Provider> =
            Box::new(LocalProvider::new(self.state_dir.clone(), self.images.clone(), environment::search_path()));
        let tokens = Box::new(Secrets(self.store.clone()));
        let host = Host::new(environment::search_path());
        let proxmox: Box<dyn Provider> = Box::new(ProxmoxProvider::new(self.images.clone(), tokens, host));
        let existing: Box<dyn Provider> = Box::new(ExistingProvider);
        Providers::from([
            (ProviderKind::Local, local),
            (ProviderKind::Existing, existing),
            (ProviderKind::Proxmox, proxmox),
            (ProviderKind::Hetzner, Box::new(self.hetzner())),
        ])
    }

    /// Hetzner Cloud.
    pub fn hetzner(&self) -> HetznerProvider {
        HetznerProvider::new(Box::new(Secrets(self.store.clone())), self.state_dir.join("hetzner"))
    }

    /// How a server is reached; nothing where that is not known.
    pub async fn access_of(&self, record: &ServerRecord) -> Access {
        self.observed_access(record).await.unwrap_or_default()
    }

    async fn observed_access(&self, record: &ServerRecord) -> Result<Access> {
        let Some(machine) = &record.machine else { return Ok(Access::default()) };
        let observed = self.providers()[&record.provider].observe(&[machine]).await?.pop();
        Ok(observed
            .filter(|observed| observed.power == Power::On)
            .map(|observed| Access { ssh: observed.ssh, forwards: observed.forwards })
            .unwrap_or_default())
    }

    /// Whether Ctrl-C was pressed.
    pub fn interrupted(&self) -> bool {
        self.interrupt.1.is_set()
    }

    async fn second_interrupt(&self, at_the_first: impl Fn()) -> Failure {
        let (Ok(mut interrupts), Ok(mut terminations)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return std::future::pending().await;
        };
        for time in 1..=2 {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
            }
            if time == 1 {
                self.stage.print_error("stopping at the end of this step; Ctrl-C again stops at once\n");
                self.interrupt.0.send_replace(true);
                at_the_first();
            }
        }
        Interrupt::failure()
    }
}

/// Tokens of providers and tunnels, wherever a spec says that they are.
struct Secrets(SeaStore);

#[async_trait::async_trait]
impl Tokens for Secrets {
    async fn token(&self, reference: &SecretRef) -> Result<Secret> {
        resolve(&self.0, &outside_secret, reference).await
    }
}

#[async_trait::async_trait]
impl ostler_dns::Tokens for Secrets {
    async fn token(&self, reference: &SecretRef) -> Result<Secret> {
        resolve(&self.0, &outside_secret, reference).await
    }
}

#[async_trait::async_trait]
impl ostler_tunnels::Tokens for Secrets {
    async fn token(&self, reference: &SecretRef) -> Result<Secret> {
        resolve(&self.0, &outside_secret, reference).await
    }
}

/// The log is a copy: that it can't be written is worth a line, and no more.
fn open_log(global: &Global, dir: &Path) -> Option<LogFile> {
    let warn = |error: &_| print_warning(global.output, &format!("no log is written to {}: {error}", dir.display()));
    LogFile::open(dir).inspect_err(warn).ok()
}

/// The state directory of this invocation.
pub fn state_dir(global: &Global) -> Result<PathBuf> {
    let dir = match &global.state_dir {
        Some(dir) => dir.clone(),
        None => environment::default_state_dir()?,
    };
    std::path::absolute(&dir).map_err(|error| {
        Failure::new(Blame::User, error.to_string())
            .because_of(format!("the state directory {} can't be used", dir.display()))
    })
}

/// Resolves the secrets that Ostler does not keep itself.
fn outside_secret(reference: &SecretRef) -> Result<Secret> {
    let missing = |what: String, cause: String| {
        Failure::new(Blame::Configuration, cause).because_of(what).with_hint(
            "provide it, or let Ostler keep it: `ostler secret set NAME`, and `{ secret: NAME }` in the spec",
        )
    };
    match reference {
        SecretRef::Env(name) => std::env::var(name).map(Secret::new).map_err(|error| {
            missing(format!("the secret in environment variable {name} can't be read"), error.to_string())
        }),
        SecretRef::File(path) => std::fs::read_to_string(path)
            .map(|text| Secret::new(text.strip_suffix('\n').unwrap_or(&text)))
            .map_err(|error| missing(format!("the secret in {} can't be read", path.display()), error.to_string())),
        SecretRef::Secret(name) => {
            Err(Failure::new(Blame::Bug, format!("secret `{name}` was asked for outside of the store")))
        }
    }
}
