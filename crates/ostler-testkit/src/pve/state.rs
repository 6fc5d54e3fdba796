//! What the node is made of.

use super::{Fault, TaskFault, grants::Grants, guest::Guest, schema::Parameters};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::PathBuf,
};

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Such as `GET /nodes/{node}/status`.
    pub endpoint: String,
    /// Its parameters, decoded.
    pub parameters: Parameters,
    /// Its body, unless it was an upload.
    pub body: String,
}

/// A storage.
#[derive(Clone, Debug)]
pub struct Storage {
    /// `dir`, `lvmthin`, ...
    pub kind: &'static str,
    /// Content types, with commas between.
    pub content: String,
    /// Bytes that are free.
    pub avail: u64,
    /// Can be reached.
    pub active: bool,
    /// Is not switched off.
    pub enabled: bool,
}

/// A volume.
#[derive(Clone, Debug)]
pub(super) struct Volume {
    /// The VMID that it bears.
    pub vmid: Option<u32>,
    /// Its file.
    pub path: PathBuf,
    /// The volume whose file its own leans on, if it is a linked clone.
    pub base: Option<String>,
}

/// A VM.
#[derive(Default)]
pub(super) struct Vm {
    /// Its configuration, with `lock` if it is locked.
    pub config: BTreeMap<String, String>,
    /// The other node that it was migrated to.
    pub moved: Option<&'static str>,
    /// Whether it runs.
    pub running: bool,
    /// Its QEMU, where guests are real.
    pub guest: Option<Guest>,
}

impl Vm {
    /// A key of its configuration; empty where it has none.
    pub fn text(&self, key: &str) -> &str {
        self.config.get(key).map_or("", String::as_str)
    }

    pub fn is_template(&self) -> bool {
        self.text("template") == "1"
    }
}

/// A task.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// `qmcreate` and the like.
    pub kind: &'static str,
    /// What it works on.
    pub id: String,
    /// `USER@REALM!TOKENID`
    pub token: String,
    /// Lines.
    pub log: Vec<String>,
    /// How it ended.
    pub exit: Option<String>,
}

/// All of it.
pub(super) struct State {
    pub version: String,
    pub hvm: bool,
    pub grants: Grants,
    pub storages: BTreeMap<String, Storage>,
    pub volumes: BTreeMap<String, Volume>,
    pub vms: BTreeMap<u32, Vm>,
    /// In the order in which they began.
    pub tasks: Vec<(String, Task)>,
    pub agent: Option<(String, String)>,
    pub faults: HashMap<String, VecDeque<Fault>>,
    pub task_faults: HashMap<String, VecDeque<TaskFault>>,
    pub requests: Vec<Seen>,
}

impl Default for State {
    fn default() -> Self {
        let storage = |kind, content: &str| Storage {
            kind,
            content: content.to_owned(),
            avail: 200 << 30,
            active: true,
            enabled: true,
        };
        let storages = [
            ("local".to_owned(), storage("dir", "iso,vztmpl,backup,import")),
            ("local-lvm".to_owned(), storage("lvmthin", "images,rootdir")),
        ];
        Self {
            version: "9.1.3".to_owned(),
            hvm: true,
            grants: Grants::default(),
            storages: storages.into(),
            volumes: BTreeMap::new(),
            vms: BTreeMap::new(),
            tasks: Vec::new(),
            agent: None,
            faults: HashMap::new(),
            task_faults: HashMap::new(),
            requests: Vec::new(),
        }
    }
}

impl State {
    pub fn add_vm(&mut self, vmid: u32, description: &str) {
        let config = [("description", description), ("cores", "1"), ("memory", "512")];
        let config = config.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        self.vms.insert(vmid, Vm { config, ..Vm::default() });
    }

    pub fn add_volume(&mut self, volid: &str, vmid: Option<u32>, path: PathBuf) {
        self.volumes.insert(volid.to_owned(), Volume { vmid, path, base: None });
    }

    /// Removes a volume with its file, unless clones lean on that: a thin volume's blocks stay as long as anybody has them.
    pub fn remove_volume(&mut self, volid: &str) {
        if let Some(volume) = self.volumes.remove(volid)
            && !self.is_leaned_on(volid)
        {
            let _ = std::fs::remove_file(volume.path);
        }
    }

    /// Whether linked clones of a volume are there.
    pub fn is_leaned_on(&self, volid: &str) -> bool {
        self.volumes.values().any(|volume| volume.base.as_deref() == Some(volid))
    }

    pub fn task(&mut self, upid: &str) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|(id, _)| id == upid).map(|(_, task)| task)
    }
}
