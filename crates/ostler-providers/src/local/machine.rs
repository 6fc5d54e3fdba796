//! A machine's folder: what is on disk, and who owns it.
//!
//! `STATE/machines/SERVER/machine.json` is the only truth about a machine; the record in the store merely names it. The
//! file appears together with its folder (by one rename) and before anything else, so that whatever a crash leaves behind
//! says whose it is, and nothing without it was made by Ostler.

use super::{error::LocalError, process::Process};
use ostler_core::{
    ids::{OperationId, ServerName, StateId},
    model::MachineOrder,
    spec::{Forward, Network, Size},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use uuid::Uuid;

/// Whole content of `machine.json`. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub server: ServerName,
    /// The operation that made it.
    pub operation: OperationId,
    /// The state directory that owns it.
    pub owner: StateId,
    /// SMBIOS UUID; on QEMU's command line it tells this machine's process from any other.
    pub uuid: Uuid,
    /// What its disk is an overlay of.
    pub image: PathBuf,
    /// Virtual hardware.
    pub size: Size,
    /// Network cards.
    pub networks: Vec<Network>,
    /// Port of 127.0.0.1 that leads to the guest's port 22.
    pub ssh_port: u16,
    /// Ways to sshd where it was moved to another port of the guest.
    #[serde(default)]
    pub ssh_moved: Vec<Forwarded>,
    /// Further forwarded ports, in the order of the order.
    pub forwards: Vec<Forwarded>,
    /// The seed's `meta-data`. Stays in the scrubbed seed, for it says that this is the same instance.
    pub meta_data: String,
    /// The seed's `network-config`. Stays in the scrubbed seed, for cloud-init reads it at every boot.
    pub network_config: String,
    /// A guest was started from this disk, so the disk may hold what exists nowhere else.
    pub booted: bool,
    /// The seed holds no secrets any more.
    pub scrubbed: bool,
    /// What its QEMU was last known to do.
    pub run: Run,
}

/// A forwarded port, chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarded {
    /// What was ordered.
    pub order: Forward,
    /// Port of 127.0.0.1.
    pub host: u16,
}

/// What a machine's QEMU was last known to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum Run {
    /// There is none.
    Off,
    /// It is about to be started, or a crash came between its start and the next line.
    Starting {
        /// With which accelerator.
        accel: Accel,
    },
    /// It was started.
    On {
        /// With which accelerator.
        accel: Accel,
        /// As which process.
        process: Process,
    },
}

/// How the guest's instructions are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// By the processor.
    Kvm,
    /// By QEMU's translator.
    Tcg,
}

impl Accel {
    /// QEMU's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        }
    }

    /// How much longer than with hardware everything takes; measured for boots and package installations.
    pub fn slowness(self) -> u32 {
        match self {
            Accel::Kvm => 1,
            Accel::Tcg => 5,
        }
    }
}

/// The folder of one machine.
#[derive(Clone, Debug)]
pub struct Home {
    machines: PathBuf,
    server: ServerName,
}

impl Home {
    /// The folder of `server`, which may not exist.
    pub fn new(machines: &Path, server: &ServerName) -> Self {
        Self { machines: machines.to_owned(), server: server.clone() }
    }

    /// The folder itself.
    pub fn path(&self) -> PathBuf {
        self.machines.join(self.server.as_str())
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Reads `machine.json`; `None` if there is no such machine.
    pub fn load(&self) -> Result<Option<Machine>, LocalError> {
        let path = self.file(MACHINE);
        match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map(Some).map_err(|source| LocalError::Damaged { path, source })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.path().exists() {
                    Err(LocalError::NotAMachine(self.path()))
                } else {
                    Ok(None)
                }
            }
            Err(error) => Err(LocalError::file("read", path)(error)),
        }
    }

    /// Replaces `machine.json`; durable when it returns.
    pub fn save(&self, machine: &Machine) -> Result<(), LocalError> {
        write_private(&self.file(MACHINE), &as_json(machine))
    }

    /// Makes the folder with `machine.json` in it, as one step.
    pub fn make(&self, machine: &Machine) -> Result<(), LocalError> {
        private_dir(&self.machines)?;
        let fresh = self.machines.join(format!(".new-{}", self.server));
        remove_tree(&fresh)?;
        private_dir(&fresh)?;
        write_private(&fresh.join(MACHINE), &as_json(machine))?;
        fs::rename(&fresh, self.path()).map_err(LocalError::file("make", self.path()))?;
        sync_dir(&self.machines)
    }

    /// Removes the folder, as one step as far as others can see, and what a crash during `make` or `remove` left.
    pub fn remove(&self) -> Result<(), LocalError> {
        let gone = self.machines.join(format!(".gone-{}", self.server));
        remove_tree(&gone)?;
        match fs::rename(self.path(), &gone) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(LocalError::file("remove", self.path())(error));
            }
            _ => {}
        }
        remove_tree(&gone)?;
        remove_tree(&self.machines.join(format!(".new-{}", self.server)))
    }
}

/// Every readable machine under `machines`. One that is damaged is nobody's competitor, and its own commands say so.
pub fn all(machines: &Path) -> Vec<Machine> {
    let Ok(entries) = fs::read_dir(machines) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| ServerName::parse(entry.file_name().to_str()?).ok())
        .filter_map(|server| Home::new(machines, &server).load().ok().flatten())
        .collect()
}

/// Refuses a machine that `order` did not make.
pub fn check_ours(machine: &Machine, order: &MachineOrder) -> Result<(), LocalError> {
    if machine.owner != order.owner {
        return Err(LocalError::OtherOwner {
            server: order.server.clone(),
            found: machine.owner,
            expected: order.owner,
        });
    }
    if machine.operation != order.operation {
        return Err(LocalError::OtherOperation { server: order.server.clone(), found: machine.operation });
    }
    Ok(())
}

/// Writes a file of mode 0600 that is either the old or the new one at any time; durable when it returns.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), LocalError> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().map_err(LocalError::file("write", path))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes a folder of mode 0700 and its parents, unless it exists.
pub fn private_dir(path: &Path) -> Result<(), LocalError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(LocalError::file("make", path))
}

fn as_json(machine: &Machine) -> Vec<u8> {
    serde_json::to_vec_pretty(machine).expect("a machine has only text keys")
}

fn sync_dir(path: &Path) -> Result<(), LocalError> {
    fs::File::open(path).and_then(|dir| dir.sync_all()).map_err(LocalError::file("write", path))
}

fn remove_tree(path: &Path) -> Result<(), LocalError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LocalError::file("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The file in a machine's folder that says whose it is.
pub const MACHINE: &str = "machine.json";
