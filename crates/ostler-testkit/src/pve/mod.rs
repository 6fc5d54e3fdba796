//! A Proxmox VE node on this machine: its REST API over HTTPS, with its status codes, its words and its traps.
//!
//! Every request is held against PVE's own schema and the token's privileges. Tasks run in the background under UPIDs. Disks are made
//! by the real qemu-img, and where guests are asked for, VMs are real QEMU. What it does otherwise follows the source of pve-manager,
//! qemu-server, pve-storage and pve-http-server 9.1.

mod api;
mod grants;
mod guest;
mod schema;
mod server;
mod state;
mod storage;
mod tasks;
mod templates;
mod vms;

pub use grants::ALL as ALL_GRANTS;
pub use state::{Seen, Storage};

use base64::Engine;
use sha2::{Digest, Sha256};
use state::State;
use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};

/// The node's name.
pub const NODE: &str = "pve1";
/// Its token's id.
pub const TOKEN_ID: &str = "ostler@pve!ostler";
/// And value.
pub const TOKEN_VALUE: &str = "2b7c9f3e-6f0a-4f3d-9a3e-0c1d5e8b7a61";

/// A free port of 127.0.0.1.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What goes wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it is answered as ever, and the next fault is the next request's.
    Nothing,
    /// This status with this text in the status line, and nothing is done.
    Refuse(u16, &'static str),
    /// Nothing is done, and no answer comes.
    Stall,
    /// It is done, and no answer comes.
    ActAndStall,
}

/// What goes wrong with one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskFault {
    /// It ends with these words, and cleans up as PVE does.
    Error(&'static str),
    /// Its worker is killed half-way, and nobody cleans up.
    Killed,
    /// It goes on only once [`FakeNode::release`] is called.
    Held,
}

/// The running node. Dropping it ends it, and its guests.
pub struct FakeNode {
    address: SocketAddr,
    certificate: Vec<u8>,
    authority: String,
    node: Arc<Node>,
    server: JoinHandle<()>,
}

/// What requests and tasks share.
struct Node {
    dir: TempDir,
    /// Address of the one guest that is real.
    guest: Option<Ipv4Addr>,
    released: watch::Sender<bool>,
    state: Mutex<State>,
}

impl Node {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl FakeNode {
    /// A node whose VMs are records only.
    pub async fn start() -> io::Result<Self> {
        Self::start_at(ANYWHERE).await
    }

    /// The same at this address of this machine's own; port 0: any that is free.
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        Self::new(None, address).await
    }

    /// A node whose VM is real, at this address of a /24 that this machine gets for as long as the VM runs. Needs root.
    pub async fn with_guest_at(address: Ipv4Addr) -> io::Result<Self> {
        Self::new(Some(address), ANYWHERE).await
    }

    /// The same for whoever has no runtime: on a thread of its own, with a real VM or records only.
    pub fn on_a_thread(guest: Option<Ipv4Addr>) -> io::Result<Self> {
        Self::on_a_thread_at(ANYWHERE, guest)
    }

    /// The same at this address of this machine's own.
    pub fn on_a_thread_at(address: SocketAddr, guest: Option<Ipv4Addr>) -> io::Result<Self> {
        let (sender, started) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                // Nobody waits for it any more where this fails.
                let _ = sender.send(Self::new(guest, address).await);
                std::future::pending::<io::Result<()>>().await
            })
        });
        started.recv().map_err(io::Error::other)?
    }

    async fn new(guest: Option<Ipv4Addr>, address: SocketAddr) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("ostler-pve-").tempdir()?;
        for folder in ["iso", "import", "images", "qemu"] {
            fs::create_dir(dir.path().join(folder))?;
        }
        let node =
            Arc::new(Node { dir, guest, released: watch::Sender::new(false), state: Mutex::new(State::default()) });
        let (server, address, certificate, authority) = server::start(Arc::clone(&node), address).await?;
        Ok(Self { address, certificate, authority, node, server })
    }

    /// URL of the API, without a path.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// SHA-256 of its certificate, as `pvenode cert info` shows it.
    pub fn fingerprint(&self) -> String {
        let bytes: Vec<String> = Sha256::digest(&self.certificate).iter().map(|byte| format!("{byte:02X}")).collect();
        bytes.join(":")
    }

    /// Certificate of its cluster's authority, in PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Its token, as Ostler keeps it.
    pub fn token() -> String {
        format!("{TOKEN_ID}={TOKEN_VALUE}")
    }

    /// Lets the next request to an endpoint, such as `GET /nodes/{node}/status`, go wrong; several faults hit one request each.
    pub fn fail(&self, endpoint: &str, fault: Fault) {
        self.node.lock().faults.entry(endpoint.to_owned()).or_default().push_back(fault);
    }

    /// The same for the next task of a kind, such as `qmcreate`.
    pub fn fail_task(&self, kind: &str, fault: TaskFault) {
        self.node.lock().task_faults.entry(kind.to_owned()).or_default().push_back(fault);
    }

    /// Lets go of tasks that are held.
    pub fn release(&self) {
        self.node.released.send_replace(true);
    }

    /// Gives the token a privilege.
    pub fn grant(&self, path: &str, privilege: &str) {
        self.node.lock().grants.grant(path, privilege);
    }

    /// Takes a privilege from the token.
    pub fn revoke(&self, path: &str, privilege: &str) {
        self.node.lock().grants.revoke(path, privilege);
    }

    /// Changes what a storage is.
    pub fn storage(&self, name: &str, change: impl FnOnce(&mut Storage)) {
        change(self.node.lock().storages.get_mut(name).expect("a storage of this name"));
    }

    /// The node's processors can't virtualise.
    pub fn without_virtualisation(&self) {
        self.node.lock().hvm = false;
    }

    /// The version that it says it is; before 9, the guest agent takes `VM.Monitor`.
    pub fn version(&self, version: &str) {
        version.clone_into(&mut self.node.lock().version);
    }

    /// Somebody else's VM, off, without a disk.
    pub fn add_vm(&self, vmid: u32, description: &str) {
        self.node.lock().add_vm(vmid, description);
    }

    /// A VM that an earlier node had, off, with its configuration and disks.
    pub fn restore_vm(&self, vmid: u32, config: BTreeMap<String, String>, disks: &[String]) {
        disks.iter().for_each(|disk| self.add_volume(disk, Some(vmid)));
        self.node.lock().vms.insert(vmid, state::Vm { config, ..state::Vm::default() });
    }

    /// A VM that is off becomes a template with these tags, whoever does that.
    pub fn becomes_template(&self, vmid: u32, tags: &str) {
        let mut state = self.node.lock();
        templates::convert(&mut state, vmid);
        state.vms.get_mut(&vmid).expect("a VM of this VMID").config.insert("tags".to_owned(), tags.to_owned());
    }

    /// Somebody else's volume: its id, and the VMID that it bears.
    pub fn add_volume(&self, volid: &str, vmid: Option<u32>) {
        let path = self.node.path(&format!("images/{}", volid.replace([':', '/'], "-")));
        fs::write(&path, "somebody's").expect("a written file");
        self.node.lock().add_volume(volid, vmid, path);
    }

    /// A VM is migrated to another node of the cluster, or back.
    pub fn migrate(&self, vmid: u32, node: &'static str) {
        let moved = Some(node).filter(|node| *node != NODE);
        self.node.lock().vms.get_mut(&vmid).expect("a VM of this VMID").moved = moved;
    }

    /// What the guest agent of every VM says: MAC address and address of the first card.
    pub fn agent_says(&self, mac: &str, address: &str) {
        self.node.lock().agent = Some((mac.to_owned(), address.to_owned()));
    }

    /// VMIDs that are taken, with their configurations.
    pub fn vms(&self) -> BTreeMap<u32, BTreeMap<String, String>> {
        self.node.lock().vms.iter().map(|(vmid, vm)| (*vmid, vm.config.clone())).collect()
    }

    /// Whether a VM runs.
    pub fn runs(&self, vmid: u32) -> bool {
        self.node.lock().vms.get(&vmid).is_some_and(|vm| vm.running)
    }

    /// Ids of all volumes.
    pub fn volumes(&self) -> Vec<String> {
        let mut state = self.node.lock();
        vms::settle_host(&self.node, &mut state);
        state.volumes.keys().cloned().collect()
    }

    /// What a volume holds.
    pub fn content(&self, volid: &str) -> Vec<u8> {
        let path = self.node.lock().volumes[volid].path.clone();
        fs::read(path).expect("a readable file")
    }

    /// All requests so far, in order.
    pub fn requests(&self) -> Vec<Seen> {
        self.node.lock().requests.clone()
    }

    /// Those of one endpoint.
    pub fn requests_for(&self, endpoint: &str) -> Vec<Seen> {
        self.requests().into_iter().filter(|request| request.endpoint == endpoint).collect()
    }

    /// The folder with the sockets of running VMs, such as `100.serial0`.
    pub fn sockets(&self) -> PathBuf {
        self.node.path("qemu")
    }

    /// Makes this machine the node: stand-ins for the host's programs in `dir`, and the cluster's files; returns where those are.
    pub fn be_the_host(&self, dir: &Path) -> io::Result<PathBuf> {
        let program = |name: &str, script: String| {
            let path = dir.join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}"))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        };
        // They write down what they were called for; the node does it when it is asked next.
        for (name, verb) in [("qm", "unlock"), ("pvesm", "free")] {
            let calls = self.node.path(verb);
            program(name, format!("[ \"$1\" = {verb} ] && echo \"$2\" >> '{}'\n", calls.display()))?;
        }
        program("pveversion", format!("echo 'pve-manager/{}/abcdef0123'\n", self.node.lock().version))?;
        // Nobody is there yet, and the token that is made is the one that the node knows.
        let made = format!(r#"{{"full-tokenid":"{TOKEN_ID}","value":"{TOKEN_VALUE}"}}"#);
        let answers = format!("*' list '*) echo '[]' ;;\n'user token add '*) echo '{made}' ;;");
        program("pveum", format!("case \"$*\" in\n{answers}\nesac\n"))?;
        program("pvesh", PVESH.to_owned())?;
        let pve = dir.join("pve");
        let own = pve.join("nodes").join(NODE);
        fs::create_dir_all(&own)?;
        let certificate = base64::engine::general_purpose::STANDARD.encode(&self.certificate);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{certificate}\n-----END CERTIFICATE-----\n");
        fs::write(own.join("pve-ssl.pem"), pem)?;
        std::os::unix::fs::symlink(format!("nodes/{NODE}"), pve.join("local"))?;
        Ok(pve)
    }
}

/// What the API says of a fresh node.
const PVESH: &str = r#"case "$*" in
  'get /nodes --output-format json') echo '[{"node":"pve1","status":"online"}]' ;;
  'get /nodes/pve1/storage --output-format json')
    echo '[{"storage":"local","content":"iso,import","active":1,"avail":214748364800},{"storage":"local-lvm","content":"images","active":1,"avail":214748364800}]' ;;
  'get /nodes/pve1/network --type any_bridge --output-format json') echo '[{"iface":"vmbr0","cidr":"192.168.1.2/24"}]' ;;
  'get /cluster/nextid --output-format json') echo '"100"' ;;
  *) exit 2 ;;
esac
"#;

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.server.abort();
        let mut state = self.node.lock();
        for vm in state.vms.values_mut() {
            drop(vm.guest.take());
        }
        // On a thread of its own the rest of it lives as long as the process.
        let _ = fs::remove_dir_all(self.node.dir.path());
    }
}
