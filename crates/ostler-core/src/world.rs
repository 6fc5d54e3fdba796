//! What every operation works with.

use crate::{
    error::{Blame, Failure, Result},
    event::{EventKind, Level},
    hint::{Hint, Next},
    ids::{OperationId, ServerName, StateId},
    model::{MachineRecord, Observed, Power, ServerRecord, TunnelRecord},
    operation::{EventLog, Interrupt, Leaser, ScopedReporter},
    ports::{
        Acme, Ask, Credential, Dns, Engine, Lifecycle, Login, Provider, Remote, Reporter, Runtime, Session, Store,
        Through, Tunnels,
    },
    secret::Secret,
    spec::{CatalogIndex, ModuleMeta, Promise, ProviderKind, SecretRef, ServerSpec},
    subject::Subject,
};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Where servers come from, by kind. Every kind that a spec can name has one.
pub type Providers = std::collections::HashMap<ProviderKind, Box<dyn Provider>>;

/// Resolves `{ env: ... }` and `{ file: ... }`.
pub type OutsideSecrets = dyn Fn(&SecretRef) -> Result<Secret> + Send + Sync;

/// The ports, joined by whoever starts Ostler, and the options of what is asked for. It owns what it holds, so work may outlive
/// whoever began it; a clone costs little.
#[derive(Clone)]
pub struct World {
    /// The state.
    pub store: Arc<dyn Store>,
    /// The event log over it.
    pub log: Arc<EventLog>,
    /// Takes leases for this process.
    pub leaser: Arc<Leaser>,
    /// Where servers come from.
    pub providers: Arc<Providers>,
    /// Where tunnels end.
    pub tunnels: Arc<dyn Tunnels>,
    /// Records in zones.
    pub dns: Arc<dyn Dns>,
    /// Authorities that issue certificates.
    pub acme: Arc<dyn Acme>,
    /// SSH.
    pub remote: Arc<dyn Remote>,
    /// What sites run on.
    pub runtime: Arc<dyn Runtime>,
    /// Ansible.
    pub engine: Arc<dyn Engine>,
    /// Secrets that Ostler does not keep itself.
    pub outside_secret: Arc<OutsideSecrets>,
    /// Tells the version of the roles that this Ostler ships.
    pub roles: &'static str,
    /// Modules that this Ostler ships.
    pub modules: Arc<[ModuleMeta]>,
    /// What holds on a server that has a tunnel, by the role that sets up its end.
    pub tunnel_promises: Arc<[Promise]>,
    /// The catalog of apps.
    pub catalog: Arc<CatalogIndex>,
    /// Folder with its files; `None`: it ships with Ostler.
    pub catalog_tree: Option<PathBuf>,
    /// The person in front of the terminal.
    pub ask: Arc<dyn Ask>,
    /// The user's own ssh-agent, if there is one.
    pub user_agent: Option<PathBuf>,
    /// Take the host key of an existing server as it is shown, if nobody can say whether it is the right one.
    pub accept_new_host_keys: bool,
    /// The spec file as the user would name it again in a shell, where one was named.
    pub spec_file: Option<String>,
    /// Asks what is under way to stop.
    pub interrupt: Interrupt,
    /// How long to wait for servers.
    pub wait: WaitOptions,
    /// Id of the state.
    pub owner: StateId,
}

impl World {
    /// What to do after a failure whose cause may lie in the spec: `up` takes the file as it is then, and `resume` the plan on record.
    pub(crate) fn way_on(&self, server: &ServerName) -> Hint {
        match &self.spec_file {
            Some(_) => Hint::from("mend the cause, then ").with(Next::Up { file: self.spec_file.clone() }),
            None => Hint::from("mend the cause, then ")
                .with(Next::Resume(server.clone()))
                .with("; where the spec is at fault, mend that, then ")
                .with(Next::Up { file: None }),
        }
    }

    /// All servers on record.
    pub(crate) async fn servers(&self) -> Result<Vec<ServerRecord>> {
        let mut servers = Vec::new();
        for seen in self.store.overview().await? {
            // One may have been destroyed meanwhile.
            servers.extend(self.store.server(&seen.name).await?);
        }
        Ok(servers)
    }

    /// The provider of a kind.
    pub fn provider(&self, kind: ProviderKind) -> &dyn Provider {
        self.providers[&kind].as_ref()
    }

    /// The value of a secret that the spec names.
    pub async fn resolve(&self, reference: &SecretRef) -> Result<Secret> {
        resolve(&*self.store, &*self.outside_secret, reference).await
    }
}

/// The value of a secret that the spec names: from the store, or by `outside`.
pub async fn resolve(store: &dyn Store, outside: &OutsideSecrets, reference: &SecretRef) -> Result<Secret> {
    let SecretRef::Secret(name) = reference else { return outside(reference) };
    store.secret(None, name).await?.ok_or_else(|| {
        Failure::new(Blame::Configuration, format!("there is no secret `{name}`"))
            .with_hint(Hint::from(Next::SetSecret(Some(name.clone()))).with(" stores it"))
    })
}

/// The world as one operation on one server sees it.
pub struct Context<'a> {
    /// The world.
    pub world: &'a World,
    /// The server that it works on.
    pub subject: Subject,
    /// The operation.
    pub operation: OperationId,
    /// What the server shall be, as the operation's plan recorded it.
    pub spec: ServerSpec,
    /// Takes the operation's events.
    pub reporter: ScopedReporter<'a>,
    /// The login that one step leaves to the next.
    session: Mutex<Option<Box<dyn Session>>>,
}

/// Names of a server's own secrets in the store.
pub(crate) mod secret_name {
    /// Ostler's private client key.
    pub const CLIENT_KEY: &str = "client-key";
    /// Private half of the host key that only bootstraps trust.
    pub const BOOTSTRAP_HOST_KEY: &str = "bootstrap-host-key";
    /// [`TunnelRecord`](crate::model::TunnelRecord), as JSON.
    pub const TUNNEL: &str = "tunnel";
}

impl<'a> Context<'a> {
    /// For one operation on `subject`.
    pub fn new(world: &'a World, subject: Subject, operation: OperationId, spec: ServerSpec) -> Self {
        let reporter = world.log.scope(Some((subject, &spec.name)), Some(operation));
        Self { world, subject, operation, spec, reporter, session: Mutex::default() }
    }

    /// Says something that people should know.
    pub(crate) async fn notice(&self, level: Level, message: impl Into<String>) {
        self.reporter.report(EventKind::Notice { level, message: message.into() }).await;
    }

    /// Leaves a login to what comes next.
    pub(crate) fn leave_session(&self, session: Box<dyn Session>) {
        *self.session.lock().expect("no panic while held") = Some(session);
    }

    /// The login that was left, if there is one.
    pub(crate) fn take_session(&self) -> Option<Box<dyn Session>> {
        self.session.lock().expect("no panic while held").take()
    }

    /// Name of the subject.
    pub fn server(&self) -> &ServerName {
        &self.spec.name
    }

    /// The provider of the subject.
    pub fn provider(&self) -> &'a dyn Provider {
        self.world.provider(self.spec.provider.kind())
    }

    /// What makes the subject's machine, for steps that only such a server has.
    pub fn lifecycle(&self) -> Result<&'a dyn Lifecycle> {
        self.provider().origin().lifecycle().ok_or_else(|| {
            Failure::new(Blame::Bug, format!("{} is to be made by a provider that makes no servers", self.server()))
        })
    }

    /// The subject's record.
    pub async fn record(&self) -> Result<ServerRecord> {
        self.world.store.server(self.server()).await?.ok_or_else(|| {
            Failure::new(Blame::Bug, format!("{} is missing from the state while it is worked on", self.server()))
        })
    }

    /// Changes the subject's record.
    pub async fn update(&self, change: impl FnOnce(&mut ServerRecord)) -> Result<ServerRecord> {
        let mut record = self.record().await?;
        change(&mut record);
        self.world.store.put_server(&record).await?;
        Ok(record)
    }

    /// The provider's record of the subject.
    pub async fn machine(&self) -> Result<MachineRecord> {
        self.record()
            .await?
            .machine
            .ok_or_else(|| Failure::new(Blame::Bug, format!("{} has no machine on record", self.server())))
    }

    /// What the machine is seen to be doing.
    pub async fn observe(&self) -> Result<Observed> {
        let machine = self.machine().await?;
        let mut observed = self.provider().observe(&[&machine]).await?;
        Ok(observed.pop().unwrap_or(Observed {
            power: Power::Absent,
            ssh: None,
            detail: String::new(),
            forwards: Vec::new(),
            slowness: 1,
        }))
    }

    /// How to log in to the subject, at an address that was observed.
    pub async fn login(&self, address: std::net::SocketAddr, user: &str) -> Result<Login> {
        let record = self.record().await?;
        let key = self.secret(secret_name::CLIENT_KEY).await?;
        let through = self.tunnel().await?.filter(|tunnel| tunnel.through);
        Ok(Login {
            server: self.server().clone(),
            address,
            user: user.to_owned(),
            host_keys: record.host_keys,
            credential: Credential::Key(key),
            through: through.as_ref().and_then(Through::of),
        })
    }

    /// What there is of the tunnel to the subject.
    pub async fn tunnel(&self) -> Result<Option<TunnelRecord>> {
        tunnel_of(self.world, self.subject).await
    }

    /// Keeps that, or, with `None`, that there is none any more.
    pub(crate) async fn put_tunnel(&self, tunnel: Option<&TunnelRecord>) -> Result<()> {
        let store = &self.world.store;
        match tunnel {
            Some(tunnel) => {
                let text = Secret::new(serde_json::to_string(tunnel).expect("plain data of this crate"));
                store.put_secret(Some(self.subject), secret_name::TUNNEL, &text).await
            }
            None => store.remove_secret(Some(self.subject), secret_name::TUNNEL).await.map(drop),
        }
    }

    /// One of the subject's own secrets.
    pub async fn secret(&self, name: &str) -> Result<Secret> {
        self.world.store.secret(Some(self.subject), name).await?.ok_or_else(|| {
            Failure::new(Blame::Bug, format!("secret `{name}` of {} is missing from the state", self.server()))
        })
    }
}

/// What there is of the tunnel to a server.
pub async fn tunnel_of(world: &World, server: Subject) -> Result<Option<TunnelRecord>> {
    let Some(text) = world.store.secret(Some(server), secret_name::TUNNEL).await? else { return Ok(None) };
    serde_json::from_str(text.expose())
        .map(Some)
        .map_err(|error| Failure::new(Blame::Bug, format!("the record of the tunnel can't be read: {error}")))
}

impl Through {
    /// The way through a tunnel; `None` where that is not made yet.
    pub(crate) fn of(tunnel: &TunnelRecord) -> Option<Self> {
        let pass = tunnel.made.pass.as_ref()?;
        Some(Self {
            hostname: tunnel.options.hostname.clone(),
            client_id: pass.client_id.clone(),
            client_secret: pass.client_secret.clone(),
        })
    }
}

/// How long, and how often, to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitOptions {
    /// Longest wait for each of SSH and cloud-init. Multiplied by the provider's slowness unless `exact`. An `exact` one also
    /// bounds the wait for other package managers.
    pub timeout: Duration,
    /// Longest pause between two tries.
    pub interval: Duration,
    /// The user said how long: no stretching.
    pub exact: bool,
    /// How long a server waits for new settings of SSH and firewall to be confirmed before it puts the old ones back.
    /// Multiplied by the provider's slowness.
    pub rollback_after: Duration,
    /// Silence after a connection that was refused, for firewalls count connections within a window and begin anew with each that
    /// they reject. That of `ufw limit` is 30 s.
    pub window: Duration,
}

impl Default for WaitOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(120),
            interval: Duration::from_secs(3),
            exact: false,
            rollback_after: Duration::from_secs(60),
            window: Duration::from_secs(31),
        }
    }
}

impl WaitOptions {
    /// The limit for a machine of this slowness.
    pub fn limit(&self, slowness: u32) -> Duration {
        if self.exact { self.timeout } else { self.timeout * slowness.max(1) }
    }

    /// The limit for another package manager that is at work on the server, such as unattended-upgrades.
    pub fn lock_limit(&self) -> Duration {
        if self.exact { self.timeout } else { LOCKED }
    }
}

/// What unattended-upgrades usually needs. While a server waits for it, it says so.
const LOCKED: Duration = Duration::from_secs(300);
