//! One throw-away state directory with a local provider; nothing of it outlives its test.

use async_trait::async_trait;
use ostler_core::{
    event::EventKind,
    ids::{OperationId, ServerName, StateId},
    model::{MachineOrder, MachineRecord, Observed, Seed},
    ports::{Keep, Lifecycle, Provider, Reporter},
    spec::{ImageRef, LocalOptions, Network, ProviderOptions, Size},
};
use ostler_providers::{image::ImageStore, local::LocalProvider};
use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

pub const MIB: u64 = 1 << 20;

/// Keeps what is reported, and what is chosen.
#[derive(Default)]
pub struct Log {
    notices: Mutex<Vec<String>>,
    kept: Mutex<Vec<MachineRecord>>,
}

#[async_trait]
impl Reporter for Log {
    async fn report(&self, kind: EventKind) {
        if let EventKind::Notice { message, .. } = kind {
            self.notices.lock().unwrap().push(message);
        }
    }
}

#[async_trait]
impl Keep for Log {
    async fn keep(&self, chosen: &MachineRecord) -> ostler_core::Result<()> {
        self.kept.lock().unwrap().push(chosen.clone());
        Ok(())
    }
}

impl Log {
    pub fn notices(&self) -> Vec<String> {
        self.notices.lock().unwrap().clone()
    }

    /// All that was kept, in order.
    pub fn all_kept(&self) -> Vec<MachineRecord> {
        self.kept.lock().unwrap().clone()
    }

    /// The last that was kept.
    pub fn kept(&self) -> Option<MachineRecord> {
        self.all_kept().pop()
    }
}

pub struct Lab {
    root: tempfile::TempDir,
    pub provider: LocalProvider,
    pub owner: StateId,
    pub log: Log,
    orders: Vec<MachineOrder>,
}

impl Lab {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let provider = LocalProvider::new(state_of(&root), images_of(&state_of(&root)), env::var_os("PATH").unwrap());
        Self { root, provider, owner: StateId::new(), log: Log::default(), orders: Vec::new() }
    }

    pub fn state(&self) -> PathBuf {
        state_of(&self.root)
    }

    /// A lab where KVM counts as tried, so that a disk without a guest does not make it wait for signs of life.
    pub fn emulated() -> Self {
        let lab = Self::new();
        fs::create_dir_all(lab.state()).unwrap();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let verdict = serde_json::json!({ "boot": boot.trim(), "broken": "switched off for tests" });
        fs::write(lab.state().join("accel.json"), verdict.to_string()).unwrap();
        lab
    }

    /// An order for a machine with an empty disk: it runs its firmware and finds nothing to boot.
    pub fn order(&mut self, server: &str) -> MachineOrder {
        let image = self.state().join("empty.raw");
        fs::File::create(&image).unwrap().set_len(MIB).unwrap();
        self.order_of(server, image)
    }

    pub fn order_of(&mut self, server: &str, image: PathBuf) -> MachineOrder {
        let order = MachineOrder {
            server: ServerName::parse(server).unwrap(),
            operation: OperationId::new(),
            owner: self.owner,
            size: Size { cpus: 1, memory: 64 * MIB, disk: 16 * MIB },
            networks: vec![Network::default()],
            image_ref: ImageRef::Path(image),
            seed: Seed {
                meta_data: "instance-id: i-1\n".into(),
                user_data: "#cloud-config\n# SECRET-KEY\n".into(),
                network_config: "version: 2\n".into(),
            },
            options: ProviderOptions::Local(LocalOptions::default()),
            template: None,
            login_key: None,
            openings: Vec::new(),
            found: None,
        };
        self.orders.push(order.clone());
        order
    }

    pub fn home(&self, order: &MachineOrder) -> PathBuf {
        self.state().join("machines").join(order.server.as_str())
    }

    pub async fn create(&self, order: &MachineOrder) -> MachineRecord {
        self.try_create(order).await.unwrap()
    }

    pub async fn try_create(&self, order: &MachineOrder) -> ostler_core::Result<MachineRecord> {
        let image = self.provider.image(order, &self.log).await?;
        self.provider.create(order, &image, &self.log, &self.log).await
    }

    pub async fn start(&self, machine: &MachineRecord) {
        self.provider.start(machine, &self.log).await.unwrap();
    }

    pub async fn observe(&self, machine: &MachineRecord) -> Observed {
        self.provider.observe(&[machine]).await.unwrap().remove(0)
    }

    /// Process id of a machine that runs.
    pub async fn pid(&self, machine: &MachineRecord) -> u32 {
        let detail = self.observe(machine).await.detail;
        let pid = detail.strip_prefix("qemu pid ").and_then(|rest| rest.split(',').next()).unwrap();
        pid.parse().unwrap()
    }
}

impl Drop for Lab {
    /// Ends every machine, also after a failed assertion; on a thread, for the test's own runtime is still busy.
    fn drop(&mut self) {
        let (provider, orders) = (self.provider.clone(), std::mem::take(&mut self.orders));
        let ended = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            for order in orders {
                if let Err(failure) = runtime.block_on(provider.remove(&order)) {
                    eprintln!("left behind: {failure:?}");
                }
            }
        });
        ended.join().unwrap();
    }
}

/// Deeper than a socket address may be long, with characters that QEMU's options treat specially.
fn state_of(root: &tempfile::TempDir) -> PathBuf {
    root.path().join(format!("a folder, with = and {}", "depth-".repeat(16))).join("state")
}

pub fn images_of(state: &Path) -> ImageStore {
    ImageStore::new(state.join("images"))
}

pub fn read_json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

pub fn edit_json(path: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let mut value = read_json(path);
    edit(&mut value);
    fs::write(path, value.to_string()).unwrap();
}
