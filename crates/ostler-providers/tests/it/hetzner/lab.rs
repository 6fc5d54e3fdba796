//! A cloud, a provider that knows it, and an order.

use crate::support::Log;
use async_trait::async_trait;
use ostler_core::{
    Failure, Result,
    ids::{OperationId, ServerName, StateId},
    model::{ImageHandle, MachineOrder, MachineRecord, Observed, OpenPort, Seed},
    ports::{Lifecycle, Provider},
    secret::Secret,
    spec::{
        HetznerAddress, HetznerEndpoint, HetznerOptions, ImageRef, Network, Proto, ProviderOptions, SecretRef, Size,
    },
};
use ostler_providers::{
    Tokens,
    hetzner::{HetznerProvider, Patience},
};
use ostler_testkit::hcloud::{FakeCloud, Records, TOKEN};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKKaEXrwLvhJFzXvJRHpRBhIbqJ1JlzfPlfp+z1ym2m";

/// Impatient, for whoever waits for nothing.
pub const IMPATIENT: Patience = Patience {
    connect: Duration::from_secs(5),
    answer: Duration::from_secs(2),
    attempts: 3,
    pause: Duration::from_millis(5),
    longest_pause: Duration::from_millis(20),
    waits: Duration::from_secs(5),
    action: Duration::from_secs(5),
    poll: Duration::from_millis(10),
};

struct Token(String);

#[async_trait]
impl Tokens for Token {
    async fn token(&self, _: &SecretRef) -> Result<Secret> {
        Ok(Secret::new(self.0.clone()))
    }
}

pub struct Lab {
    pub cloud: FakeCloud,
    pub machines: Arc<Records>,
    pub dir: tempfile::TempDir,
    pub provider: HetznerProvider,
    pub log: Log,
}

impl Lab {
    pub async fn new() -> Self {
        let (cloud, machines) = FakeCloud::start().await.unwrap();
        cloud.pace(Duration::from_millis(2));
        let dir = tempfile::tempdir().unwrap();
        let provider = provider(&dir, TOKEN, IMPATIENT);
        Self { cloud, machines, dir, provider, log: Log::default() }
    }

    pub fn with_token(mut self, token: &str) -> Self {
        self.provider = provider(&self.dir, token, IMPATIENT);
        self
    }

    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.provider = provider(&self.dir, TOKEN, patience);
        self
    }

    pub fn options(&self) -> HetznerOptions {
        HetznerOptions {
            endpoint: HetznerEndpoint {
                name: "hc".into(),
                url: self.cloud.url(),
                token: SecretRef::Secret("hetzner".into()),
            },
            types: vec!["cx23".into()],
            locations: vec!["fsn1".into()],
            network: None,
            volumes: Vec::new(),
            placement: None,
            ipv4: HetznerAddress::Own,
            ipv6: HetznerAddress::Own,
            backups: false,
            protect: false,
            firewall: true,
            load_balancer: None,
        }
    }

    pub fn order(&self) -> MachineOrder {
        self.order_with(|_| ())
    }

    pub fn order_with(&self, change: impl FnOnce(&mut HetznerOptions)) -> MachineOrder {
        let mut options = self.options();
        change(&mut options);
        MachineOrder {
            server: ServerName::parse("web1").unwrap(),
            operation: OperationId::new(),
            owner: StateId::new(),
            size: Size { cpus: 2, memory: 1 << 30, disk: 10 << 30 },
            networks: vec![Network::default()],
            image_ref: ImageRef::Named("debian-13".into()),
            seed: Seed {
                meta_data: "instance-id: i-1\n".into(),
                user_data: "#cloud-config\n# SECRET-KEY\n".into(),
                network_config: "version: 2\n".into(),
            },
            options: ProviderOptions::Hetzner(options),
            template: None,
            login_key: Some(KEY.into()),
            openings: vec![tcp(22), tcp(80)],
            found: None,
        }
    }

    pub async fn findings(&self, order: &MachineOrder) -> Vec<String> {
        let findings = self.provider.preflight(order).await.unwrap();
        let text = |finding: &ostler_core::model::Finding| {
            assert!(!finding.hints.is_empty(), "a finding says what to do: {}", finding.message);
            format!("{}{}", if finding.fatal { "" } else { "warning: " }, finding.message)
        };
        findings.iter().map(text).collect()
    }

    /// Makes the machine, with what was kept before.
    pub async fn create(&self, order: &mut MachineOrder) -> Result<MachineRecord> {
        let record = self.provider.create(order, &ImageHandle("debian-13".into()), &self.log, &self.log).await;
        order.found = self.log.kept();
        record
    }

    pub async fn observe(&self, machine: &MachineRecord) -> Observed {
        self.provider.observe(&[machine]).await.unwrap().remove(0)
    }

    /// How many there are of each family of resources that Ostler makes.
    pub fn left(&self) -> BTreeMap<&'static str, usize> {
        self.cloud.holdings()
    }

    /// The only server.
    pub fn server(&self) -> Value {
        let servers = self.cloud.resources("servers");
        assert_eq!(servers.len(), 1, "{servers:?}");
        servers.into_values().next().unwrap()
    }
}

pub fn tcp(port: u16) -> OpenPort {
    OpenPort { port, proto: Proto::Tcp }
}

pub fn provider(dir: &tempfile::TempDir, token: &str, patience: Patience) -> HetznerProvider {
    HetznerProvider::new(Box::new(Token(token.into())), dir.path().join("hetzner")).with_patience(patience)
}

/// A failure with its causes, in one line.
pub fn said(failure: &Failure) -> String {
    [std::slice::from_ref(&failure.message), failure.causes.as_slice()].concat().join(": ")
}
