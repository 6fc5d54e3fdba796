//! A node, a provider that knows it, and an order.

use crate::support::Log;
use async_trait::async_trait;
use ostler_core::{
    Failure, Result,
    ids::{OperationId, ServerName, StateId},
    model::{Finding, ImageHandle, MachineOrder, MachineRecord, Observed, Seed},
    ports::{Lifecycle, Provider},
    secret::Secret,
    spec::{ImageRef, Network, ProviderOptions, ProxmoxEndpoint, ProxmoxOptions, ProxmoxTrust, SecretRef, Size},
};
use ostler_providers::{
    Tokens,
    image::ImageStore,
    proxmox::{Host, Patience, ProxmoxProvider},
};
use ostler_testkit::pve::FakeNode;
use std::{collections::BTreeMap, fs, path::PathBuf, sync::Mutex, time::Duration};

/// What an order says to Proxmox VE.
pub fn place(order: &mut MachineOrder) -> &mut ProxmoxOptions {
    match &mut order.options {
        ProviderOptions::Proxmox(options) => options,
        other => panic!("an order for {other:?}"),
    }
}

pub const MIB: u64 = 1 << 20;

/// Impatient, for whoever waits for nothing.
pub const IMPATIENT: Patience = Patience {
    connect: Duration::from_secs(5),
    answer: Duration::from_secs(2),
    attempts: 3,
    pause: Duration::from_millis(10),
    poll: Duration::from_millis(40),
};

struct Token(String);

#[async_trait]
impl Tokens for Token {
    async fn token(&self, _: &SecretRef) -> Result<Secret> {
        Ok(Secret::new(self.0.clone()))
    }
}

pub struct Lab {
    pub node: FakeNode,
    pub dir: tempfile::TempDir,
    pub provider: ProxmoxProvider,
    pub log: Log,
    /// What was got by operation, as the journal keeps it.
    images: Mutex<BTreeMap<String, ImageHandle>>,
}

impl Lab {
    /// VMIDs that were chosen, in order.
    pub fn vmids(&self) -> Vec<u64> {
        let vmid = |record: MachineRecord| {
            serde_json::from_str::<serde_json::Value>(&record.0).unwrap()["vmid"].as_u64().unwrap()
        };
        self.log.all_kept().into_iter().map(vmid).collect()
    }

    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = FakeNode::start().await.unwrap();
        let host = Host::with_cluster_files(dir.path().join("nowhere"), "");
        let provider = provider(&dir, &FakeNode::token(), host);
        fs::File::create(dir.path().join("disk.raw")).unwrap().set_len(4 * MIB).unwrap();
        Self { node, dir, provider, log: Log::default(), images: Mutex::default() }
    }

    /// The same when this machine is the node.
    pub async fn on_the_host() -> Self {
        let mut lab = Self::new().await;
        let pve = lab.node.be_the_host(lab.dir.path()).unwrap();
        let search_path = format!("{}:/usr/bin:/bin", lab.dir.path().display());
        let host = Host::with_cluster_files(pve, search_path).with_sockets(lab.node.sockets());
        lab.provider = provider(&lab.dir, &FakeNode::token(), host);
        lab
    }

    /// That of another Ostler, which knows nothing of this one.
    pub fn another_provider(&self) -> ProxmoxProvider {
        provider(&self.dir, &FakeNode::token(), Host::with_cluster_files(self.dir.path().join("nowhere"), ""))
    }

    pub fn with_token(mut self, token: &str) -> Self {
        self.provider = provider(&self.dir, token, Host::with_cluster_files(self.dir.path().join("nowhere"), ""));
        self
    }

    pub fn endpoint(&self) -> ProxmoxEndpoint {
        ProxmoxEndpoint {
            name: "pve1".into(),
            url: self.node.url(),
            token: SecretRef::Secret("pve1".into()),
            trust: ProxmoxTrust::fingerprint(&self.node.fingerprint()),
        }
    }

    pub fn options(&self) -> ProxmoxOptions {
        ProxmoxOptions {
            endpoint: self.endpoint(),
            node: "pve1".into(),
            vmid: None,
            storage: "local-lvm".into(),
            images: "local".into(),
            bridge: "vmbr0".into(),
            vlan: None,
            tags: vec!["web".into(), "a-b".into()],
        }
    }

    pub fn order(&self) -> MachineOrder {
        MachineOrder {
            server: ServerName::parse("web1").unwrap(),
            operation: OperationId::new(),
            owner: StateId::new(),
            size: Size { cpus: 2, memory: 1024 * MIB, disk: 16 * MIB },
            networks: vec![Network::default()],
            image_ref: ImageRef::Path(self.image_file()),
            seed: Seed {
                meta_data: "instance-id: i-1\n".into(),
                user_data: "#cloud-config\n# SECRET-KEY\n".into(),
                network_config: "version: 2\n".into(),
            },
            options: ProviderOptions::Proxmox(self.options()),
            template: None,
            login_key: None,
            openings: Vec::new(),
            found: None,
        }
    }

    pub fn image_file(&self) -> PathBuf {
        self.dir.path().join("disk.raw")
    }

    pub async fn findings(&self, order: &MachineOrder) -> Vec<String> {
        self.provider.preflight(order).await.unwrap().iter().map(text).collect()
    }

    /// Why nothing could be asked; it says what to do.
    pub async fn refusal(&self, order: &MachineOrder) -> String {
        let failure = self.provider.preflight(order).await.unwrap_err();
        assert!(!failure.hints.is_empty(), "{failure:?}");
        said(&failure)
    }

    /// Gets the image, unless it was got before, and makes the machine.
    pub async fn create(&self, order: &mut MachineOrder) -> Result<MachineRecord> {
        let known = self.image_of(order);
        let image = match known {
            Some(image) => image,
            None => self.provider.image(order, &self.log).await?,
        };
        self.gets(order, &image);
        self.provider.create(order, &image, &self.log, &self.log).await
    }

    /// What was got for an order.
    pub fn image_of(&self, order: &MachineOrder) -> Option<ImageHandle> {
        self.images.lock().unwrap().get(&order.operation.to_string()).cloned()
    }

    pub fn gets(&self, order: &MachineOrder, image: &ImageHandle) {
        self.images.lock().unwrap().insert(order.operation.to_string(), image.clone());
    }

    /// The same once more, as after a crash: with what was kept.
    pub async fn create_again(&self, order: &mut MachineOrder) -> Result<MachineRecord> {
        order.found = self.log.kept();
        self.create(order).await
    }

    pub async fn remove(&self, order: &mut MachineOrder) -> Result<()> {
        order.found = self.log.kept();
        self.provider.remove(order).await
    }

    /// What is told to be left of it.
    pub async fn left_of(&self, order: &mut MachineOrder) -> Vec<String> {
        order.found = self.log.kept();
        self.provider.left(order).await
    }

    pub async fn observe(&self, machine: &MachineRecord) -> Observed {
        self.provider.observe(&[machine]).await.unwrap().remove(0)
    }

    /// What is on the node beside the images.
    pub fn left(&self) -> (Vec<u32>, Vec<String>) {
        let volumes = self.node.volumes().into_iter().filter(|volume| !volume.contains(":import/")).collect();
        (self.node.vms().into_keys().collect(), volumes)
    }
}

fn provider(dir: &tempfile::TempDir, token: &str, host: Host) -> ProxmoxProvider {
    let images = ImageStore::new(dir.path().join("images"));
    ProxmoxProvider::new(images, Box::new(Token(token.into())), host).with_patience(IMPATIENT)
}

fn text(finding: &Finding) -> String {
    let mark = if finding.fatal { "" } else { "warning: " };
    assert!(!finding.hints.is_empty(), "a finding says what to do: {}", finding.message);
    format!("{mark}{}", finding.message)
}

/// A failure with its causes, in one line.
pub fn said(failure: &Failure) -> String {
    [std::slice::from_ref(&failure.message), failure.causes.as_slice()].concat().join(": ")
}
