//! Records to store, and places to store them in.

use ostler_core::{
    event::{EventKind, Level, NewEvent},
    ids::{LeaseToken, OperationId, RunId, ServerName},
    model::{
        MachineRecord, OperationKind, OperationOverview, OperationRecord, OperationState, Outcome, Phase,
        ServerOverview, ServerRecord, StepRecord, TriedPromise, Verification,
    },
    ports::{ChildRecord, LeaseAnswer, LeaseOwner, Liveness, Store},
    secret::Secret,
    spec::*,
    subject::Subject,
};
use ostler_store::{SeaStore, StoreError};
use ostler_testkit::{earlier::EarlierState, mariadb::MariaDb};
use sea_orm::{Database, DatabaseConnection};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

/// A place where a store is, to be opened more than once.
pub struct Place {
    dir: tempfile::TempDir,
    /// `None`: SQLite in `dir`.
    pub url: Option<String>,
}

impl Place {
    pub fn sqlite() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), url: None }
    }

    pub fn mariadb() -> Option<Self> {
        Some(Self { url: Some(MariaDb::shared()?.database()), ..Self::sqlite() })
    }

    /// The state directory.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Puts an earlier state into it. What that says of a world is about none that is there.
    pub async fn restore(&self, state: &EarlierState) {
        match &self.url {
            None => state.restore(&self.dir(), &[]).await,
            Some(url) => {
                std::fs::create_dir_all(self.dir()).unwrap();
                state.restore_key(&self.dir().join("key"));
                state.restore_database(url, &[]).await;
            }
        }
    }

    pub async fn open(&self) -> SeaStore {
        self.try_open().await.unwrap()
    }

    pub async fn try_open(&self) -> Result<SeaStore, StoreError> {
        try_open(self.url.as_deref(), &self.dir()).await
    }

    /// The database as somebody with a SQL prompt has it.
    pub async fn raw(&self) -> DatabaseConnection {
        let file = || format!("sqlite://{}/state.db", self.dir().display());
        Database::connect(self.url.clone().unwrap_or_else(file)).await.unwrap()
    }
}

pub async fn open(url: Option<&str>, dir: &Path) -> SeaStore {
    try_open(url, dir).await.unwrap()
}

async fn try_open(url: Option<&str>, dir: &Path) -> Result<SeaStore, StoreError> {
    match url {
        None => SeaStore::open_sqlite(dir).await,
        Some(url) => {
            std::fs::create_dir_all(dir).unwrap();
            SeaStore::connect(&Secret::new(url), &dir.join("key")).await
        }
    }
}

/// The subject that is called so, always the same.
pub fn subject(text: &str) -> Subject {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    Subject::server(format!("{hex:0>32}").parse().unwrap())
}

pub fn name(text: &str) -> ServerName {
    ServerName::parse(text).unwrap()
}

/// Now, as exactly as the store keeps it.
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(jiff::Timestamp::now().as_microsecond()).unwrap()
}

pub fn server(text: &str) -> ServerRecord {
    let ufw = BTreeMap::from([
        ("preset".to_owned(), Value::String("web".into())),
        ("allow_app_ports".to_owned(), Value::Bool(true)),
        ("ports".to_owned(), Value::List(vec![Value::Int(80), Value::Int(443)])),
    ]);
    let modules = ["ufw", "fail2ban", "chrony", "sysctl", "unattended_upgrades"];
    ServerRecord {
        id: subject(text).id,
        name: name(text),
        provider: ProviderKind::Local,
        phase: Phase::Provision,
        created_by: OperationId::new(),
        desired: ServerSpec {
            exclusive_keys: true,
            template: None,
            name: name(text),
            provider: ProviderOptions::Local(LocalOptions { forward: vec![Forward { host: None, guest: 80 }] }),
            image: ImageRef::Named("debian-13".into()),
            size: Size { cpus: 2, memory: 1 << 30, disk: 8 << 30 },
            networks: vec![Network {
                address: Address::Static("10.0.0.5/24".parse().unwrap()),
                gateway: Some("10.0.0.1".parse().unwrap()),
                dns: vec!["9.9.9.9".parse().unwrap()],
                address6: Some("2001:db8::5/64".parse().unwrap()),
                gateway6: Some("fe80::1".parse().unwrap()),
                search: vec!["example.org".into()],
                bridge: Some("vmbr1".into()),
                vlan: Some(20),
            }],
            user: "admin".into(),
            password: Some(SecretRef::Secret("admin-password".into())),
            authorized_keys: vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEXAMPLE someone@somewhere".into()],
            ssh: SshPolicy { root_login: RootLogin::ProhibitPassword, ..SshPolicy::default() },
            modules: modules.iter().map(|module| (module.to_string(), Some(ufw.clone()))).collect(),
            catalog: None,
            apps: vec!["nginx".into(), "docker".into()],
            app_params: BTreeMap::from([("nginx".into(), ufw.clone())]),
            tunnel: None,
            ansible: AnsibleOptions::default(),
        },
        login_user: "admin".into(),
        machine: Some(MachineRecord(r#"{"pid":1,"note":"größer"}"#.into())),
        machine_next: Some(MachineRecord("{}".into())),
        host_keys: vec!["ssh-ed25519 AAAAhost".into()],
        client_key: Some("ssh-ed25519 AAAAclient".into()),
        pending_handlers: vec![("nginx".into(), "restart nginx".into())],
        unclean: true,
        verified: Some(Verification {
            at: now(),
            of: "digest".into(),
            promises: vec![TriedPromise {
                about: "nginx".into(),
                says: "port 80 answers".into(),
                of_others: true,
                outcome: Outcome::Broken("größer".into()),
            }],
        }),
    }
}

pub fn operation(server: &str) -> OperationRecord {
    OperationRecord {
        id: OperationId::new(),
        subject: subject(server),
        name: server.into(),
        kind: OperationKind::Create,
        state: OperationState::Running,
        plan: r#"{"candidates":["kvm","tcg"]}"#.into(),
        outputs: "{}".into(),
        steps: ["image", "disk", "seed", "start", "wait", "access", "provision"].map(StepRecord::pending).into(),
        failure: None,
        started: now(),
        ended: None,
    }
}

/// What a list says of them.
pub fn in_short(server: &ServerRecord, operation: Option<&OperationRecord>) -> ServerOverview {
    ServerOverview {
        id: server.id,
        name: server.name.clone(),
        provider: server.provider,
        phase: server.phase,
        machine: server.machine.clone(),
        verified: server.verified.clone(),
        operation: operation.cloned().map(|newest| OperationOverview {
            id: newest.id,
            kind: newest.kind,
            state: newest.state,
            steps: newest.steps,
            failure: newest.failure,
            started: newest.started,
        }),
    }
}

pub fn notice(message: &str) -> NewEvent {
    let kind = EventKind::Notice { level: Level::Info, message: message.into() };
    NewEvent::new(None, None, kind)
}

pub fn owner(pid: u32) -> LeaseOwner {
    LeaseOwner {
        host: "workstation".into(),
        boot: "9a2e".into(),
        machine: "m1".into(),
        pid,
        start_ticks: 4711,
        doing: "up".into(),
    }
}

/// Asks for a lease, knowing nothing of its holder; returns who keeps it from us.
pub async fn acquire(
    store: &dyn Store,
    subject: Subject,
    who: (LeaseToken, LeaseOwner),
    ttl: Duration,
) -> Option<LeaseOwner> {
    acquire_from(store, subject, who, ttl, Liveness::Unknown).await
}

/// The same, where this is known of the holder.
pub async fn acquire_from(
    store: &dyn Store,
    subject: Subject,
    (token, owner): (LeaseToken, LeaseOwner),
    ttl: Duration,
    holder: Liveness,
) -> Option<LeaseOwner> {
    let mut instead = None;
    loop {
        match store.acquire_lease(subject, token, &owner, ttl, instead.as_ref()).await.unwrap() {
            LeaseAnswer::Granted => return None,
            LeaseAnswer::HeldBy(lease) if lease.is_free(holder) => instead = Some(lease),
            LeaseAnswer::HeldBy(lease) => return Some(lease.owner),
        }
    }
}

pub fn child(server: &str, pid: u32) -> ChildRecord {
    ChildRecord { subject: subject(server), run: RunId::new(), pid, start_ticks: u64::MAX, boot: "9a2e".into() }
}
