//! Fills a state directory with servers whose machines are off, to measure how `ostler status` bears them:
//! `populate DIR COUNT`.

use ostler_core::{
    event::EventKind,
    ids::{OperationId, ServerName, SubjectId},
    model::{
        ImageHandle, MachineOrder, MachineRecord, OperationKind, OperationRecord, OperationState, Phase, Seed,
        ServerRecord,
    },
    ports::{Keep, Lifecycle, Reporter, Store},
    spec::{ImageRef, LocalOptions, Network, ProviderKind, ProviderOptions, ServerSpec, Size, SshPolicy},
    subject::Subject,
};
use ostler_providers::{image::ImageStore, local::LocalProvider};
use ostler_store::SeaStore;
use std::path::{Path, PathBuf};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), Some(count)) = (arguments.next(), arguments.next()) else {
        return Err("usage: populate DIR COUNT".into());
    };
    let dir = std::path::absolute(dir)?;
    let store = SeaStore::open_sqlite(&dir).await?;
    let images = ImageStore::new(dir.join("images"));
    let provider = LocalProvider::new(dir.clone(), images, std::env::var_os("PATH").unwrap_or_default());
    let image = ImageHandle(image(&dir)?.display().to_string());
    for number in 0..count.parse::<u32>()? {
        add(&store, &provider, &image, number).await.map_err(|failure| format!("{failure}: {:?}", failure.causes))?;
    }
    Ok(())
}

/// An empty image: these machines are never started.
fn image(dir: &Path) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let image = dir.join("empty.qcow2");
    let made =
        std::process::Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&image).arg("1M").status()?;
    if made.success() { Ok(image) } else { Err("qemu-img makes no image".into()) }
}

struct Nobody;

#[async_trait::async_trait]
impl Reporter for Nobody {
    async fn report(&self, _: EventKind) {}
}

#[async_trait::async_trait]
impl Keep for Nobody {
    async fn keep(&self, _: &MachineRecord) -> ostler_core::Result<()> {
        Ok(())
    }
}

async fn add(store: &SeaStore, provider: &LocalProvider, image: &ImageHandle, number: u32) -> ostler_core::Result<()> {
    let name = ServerName::parse(&format!("server-{number}")).expect("a host label");
    let operation = OperationId::new();
    let spec = spec(name.clone());
    let order = MachineOrder {
        server: name.clone(),
        operation,
        owner: store.state_id().await?,
        size: spec.size,
        networks: spec.networks.clone(),
        image_ref: spec.image.clone(),
        seed: Seed::empty(),
        options: spec.provider.clone(),
        template: None,
        login_key: None,
        openings: Vec::new(),
        found: None,
    };
    let subject = Subject::server(SubjectId::new());
    let server = ServerRecord {
        id: subject.id,
        name: name.clone(),
        provider: ProviderKind::Local,
        phase: Phase::Ready,
        created_by: operation,
        desired: spec,
        login_user: "ops".into(),
        machine: Some(provider.create(&order, image, &Nobody, &Nobody).await?),
        machine_next: None,
        host_keys: vec!["ssh-ed25519 AAAA".into()],
        client_key: None,
        pending_handlers: Vec::new(),
        unclean: false,
        verified: None,
    };
    store.put_server(&server).await?;
    let record = OperationRecord {
        id: operation,
        subject,
        name: name.into(),
        kind: OperationKind::Create,
        state: OperationState::Succeeded,
        plan: "{}".into(),
        outputs: "{}".into(),
        steps: Vec::new(),
        failure: None,
        started: jiff::Timestamp::now(),
        ended: None,
    };
    store.begin_operation(&record).await
}

fn spec(name: ServerName) -> ServerSpec {
    ServerSpec {
        name,
        provider: ProviderOptions::Local(LocalOptions::default()),
        image: ImageRef::Named("debian-13".into()),
        size: Size { cpus: 2, memory: 1 << 30, disk: 10 << 30 },
        networks: vec![Network::default()],
        user: "ops".into(),
        password: None,
        authorized_keys: vec!["ssh-ed25519 AAAA".into()],
        ssh: SshPolicy::default(),
        modules: std::collections::BTreeMap::new(),
        catalog: None,
        apps: Vec::new(),
        app_params: std::collections::BTreeMap::new(),
        tunnel: None,
        ansible: ostler_core::spec::AnsibleOptions::default(),
        template: None,
        exclusive_keys: false,
    }
}
