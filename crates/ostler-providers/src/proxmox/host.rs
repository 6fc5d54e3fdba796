//! This machine, where it is the node itself: root there may do what no token can.

use super::error::ProxmoxError;
use std::{env, ffi::OsString, path::PathBuf, process::Stdio};

/// Where a node's API is, as the node calls itself.
pub fn url(node: &str) -> String {
    format!("https://{node}:8006")
}

/// This machine.
#[derive(Clone, Debug)]
pub struct Host {
    pve: PathBuf,
    sockets: PathBuf,
    search_path: OsString,
}

impl Host {
    /// With the programs of `search_path`, which is written as `PATH` is.
    pub fn new(search_path: impl Into<OsString>) -> Self {
        Self::with_cluster_files("/etc/pve".into(), search_path)
    }

    /// The same with the cluster's file system somewhere else.
    pub fn with_cluster_files(pve: PathBuf, search_path: impl Into<OsString>) -> Self {
        Self { pve, sockets: "/var/run/qemu-server".into(), search_path: search_path.into() }
    }

    /// The same with the sockets of running VMs somewhere else.
    pub fn with_sockets(self, sockets: PathBuf) -> Self {
        Self { sockets, ..self }
    }

    /// Name of the node that this machine is, if it is one: `/etc/pve/local` leads to `nodes/NAME`.
    pub fn node(&self) -> Option<String> {
        let local = std::fs::read_link(self.pve.join("local")).ok()?;
        Some(local.file_name()?.to_str()?.to_owned())
    }

    /// Whether root's programs of this very node are at hand.
    pub(super) fn is(&self, node: &str) -> bool {
        self.find("qm").is_some() && self.node().as_deref() == Some(node)
    }

    /// Takes the lock off a VM whose making was broken off.
    pub(super) async fn unlock(&self, vmid: u32) -> Result<(), ProxmoxError> {
        self.output("qm", &["unlock", &vmid.to_string()]).await.map(drop)
    }

    /// Removes a volume.
    pub(super) async fn free(&self, volume: &str) -> Result<(), ProxmoxError> {
        self.output("pvesm", &["free", volume]).await.map(drop)
    }

    /// Socket of a VM's first serial port, `serial0: socket`. It is there while the VM runs.
    pub(super) fn console(&self, vmid: u32) -> PathBuf {
        self.sockets.join(format!("{vmid}.serial0"))
    }

    /// A file of the cluster's file system.
    pub(super) fn cluster_file(&self, name: &str) -> PathBuf {
        self.pve.join(name)
    }

    /// Runs a program of Proxmox VE's to its end; returns what it printed.
    pub(super) async fn output(&self, name: &'static str, arguments: &[&str]) -> Result<String, ProxmoxError> {
        let program = self.find(name).ok_or(ProxmoxError::NotAHost)?;
        let output = tokio::process::Command::new(&program)
            .args(arguments)
            .env_clear()
            .env("PATH", &self.search_path)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|source| ProxmoxError::File { path: program.display().to_string(), source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(ProxmoxError::Program { what: format!("{name} {}", arguments.join(" ")), said })
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        env::split_paths(&self.search_path).map(|folder| folder.join(name)).find(|path| path.is_file())
    }
}
