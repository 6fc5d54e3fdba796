//! What the token may do.

use super::{
    NODE,
    api::{Refusal, forbidden},
};
use std::collections::{BTreeMap, BTreeSet};

/// What `ostler proxmox setup` grants in 9.x: path and privileges.
pub const ALL: [(&str, &[&str]); 5] = [
    (
        "/vms",
        &[
            "VM.Allocate",
            "VM.Audit",
            "VM.Clone",
            "VM.Config.CDROM",
            "VM.Config.CPU",
            "VM.Config.Disk",
            "VM.Config.HWType",
            "VM.Config.Memory",
            "VM.Config.Network",
            "VM.Config.Options",
            "VM.GuestAgent.Audit",
            "VM.PowerMgmt",
        ],
    ),
    ("/storage/local", &["Datastore.Allocate", "Datastore.AllocateTemplate", "Datastore.Audit"]),
    ("/storage/local-lvm", &["Datastore.AllocateSpace", "Datastore.Audit"]),
    ("/nodes/pve1", &["Sys.AccessNetwork", "Sys.Audit"]),
    ("/sdn/zones/localnetwork/vmbr0", &["SDN.Use"]),
];

/// Privileges by path. All propagate.
pub(super) struct Grants(BTreeMap<String, BTreeSet<String>>);

impl Default for Grants {
    fn default() -> Self {
        let granted = ALL.map(|(path, privileges)| {
            (path.to_owned(), privileges.iter().map(|privilege| (*privilege).to_owned()).collect())
        });
        Self(granted.into())
    }
}

impl Grants {
    pub fn grant(&mut self, path: &str, privilege: &str) {
        self.0.entry(path.to_owned()).or_default().insert(privilege.to_owned());
    }

    pub fn revoke(&mut self, path: &str, privilege: &str) {
        let taken = self.0.get_mut(path).is_some_and(|privileges| privileges.remove(privilege));
        assert!(taken, "{privilege} was not granted on {path}");
    }

    /// As `GET /access/permissions` shows them.
    pub fn shown(&self) -> BTreeMap<&str, BTreeMap<&str, u8>> {
        self.0
            .iter()
            .map(|(path, granted)| (path.as_str(), granted.iter().map(|it| (it.as_str(), 1)).collect()))
            .collect()
    }

    pub fn may(&self, path: &str, privilege: &str) -> bool {
        let above = path.match_indices('/').map(|(at, _)| if at == 0 { "/" } else { &path[..at] });
        above.chain([path]).any(|above| self.0.get(above).is_some_and(|granted| granted.contains(privilege)))
    }

    /// Refuses unless all are granted.
    pub fn all(&self, path: &str, privileges: &[&str]) -> Result<(), Refusal> {
        if privileges.iter().all(|privilege| self.may(path, privilege)) {
            return Ok(());
        }
        Err(forbidden(path, &privileges.join(", ")))
    }

    /// Refuses unless one is.
    pub fn any(&self, path: &str, privileges: &[&str]) -> Result<(), Refusal> {
        if privileges.iter().any(|privilege| self.may(path, privilege)) {
            return Ok(());
        }
        Err(forbidden(path, &privileges.join("|")))
    }

    /// What lets the node ask others on the network for somebody (API2/Storage/Status.pm).
    pub fn network(&self) -> Result<(), Refusal> {
        if ["Sys.Audit", "Sys.Modify"].iter().all(|privilege| self.may("/", privilege)) {
            return Ok(());
        }
        self.all(&format!("/nodes/{NODE}"), &["Sys.AccessNetwork"])
    }

    /// Whether a volume of a VM may be seen (`check_volume_access` of PVE/Storage.pm).
    pub fn sees_volume(&self, storage: &str, vmid: Option<u32>) -> bool {
        let path = format!("/storage/{storage}");
        match vmid {
            _ if self.may(&path, "Datastore.Allocate") => true,
            None => self.may(&path, "Datastore.AllocateSpace") || self.may(&path, "Datastore.Audit"),
            Some(vmid) => self.may(&path, "Datastore.Audit") && self.may(&format!("/vms/{vmid}"), "VM.Config.Disk"),
        }
    }
}
