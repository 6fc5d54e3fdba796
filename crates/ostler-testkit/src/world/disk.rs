//! The world's directory.
//!
//! `machines/NAME.json`, `cluster.json`, `tunnels/NAME.json`, `images/`, `known_hosts/NAME`, `runs/RUN.json` (runs that began and did not end), and `log`, one
//! line for each thing that happened.

use ostler_core::{
    ids::{OperationId, StateId},
    model::Seed,
    spec::{LocalOptions, Size},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// A directory that stands for the world.
#[derive(Clone, Debug)]
pub struct WorldDir(PathBuf);

/// A machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// What created it.
    pub operation: OperationId,
    /// Whose it is.
    pub owner: StateId,
    /// Virtual hardware.
    pub size: Size,
    /// Provider's options.
    pub local: LocalOptions,
    /// `false` while its creation is half done.
    pub complete: bool,
    /// Whether it runs.
    pub on: bool,
    /// What its first boot reads; `None` once scrubbed.
    pub seed: Option<Seed>,
    /// Whether it is a template.
    #[serde(default)]
    pub template: bool,
    /// TCP ports that the provider's firewall lets in; `None`: there is none in front of it.
    #[serde(default)]
    pub fence: Option<Vec<u16>>,
    /// Whether a load balancer of the provider's sends traffic to it.
    #[serde(default)]
    pub balanced: bool,
    /// What runs inside; `None` before the first boot.
    pub guest: Option<Guest>,
}

/// What is inside of a machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Guest {
    /// The account that can be logged in to.
    pub user: String,
    /// An account, and its password, that was there before Ostler.
    #[serde(default)]
    pub found: Option<(String, String)>,
    /// Public keys that get in.
    pub authorized_keys: Vec<String>,
    /// Public host key that sshd shows.
    pub host_key: String,
    /// One that is made and not yet in place.
    pub next_host_key: Option<String>,
    /// Host variables of the last run that changed something.
    pub config: serde_json::Value,
    /// The configuration that the service was last restarted with.
    pub restarted_with: serde_json::Value,
    /// dpkg was interrupted.
    pub dpkg_interrupted: bool,
    /// Its end of a tunnel runs.
    #[serde(default)]
    pub connector: bool,
}

/// A member of the world's cluster, which servers become by the app [`cluster_app`](super::cluster_app). Its id is its name with `id-` before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The server.
    pub server: String,
    /// Whether it is a manager.
    pub manager: bool,
    /// Whether anything may run on it.
    pub drained: bool,
    /// Whether it has left and is not forgotten yet.
    pub left: bool,
}

impl Machine {
    /// Where its sshd would be. Nothing listens there.
    pub fn address(&self) -> SocketAddr {
        let port = self.name.bytes().fold(7_u16, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Whether its end of a tunnel runs.
    pub fn is_connected(&self) -> bool {
        self.guest.as_ref().is_some_and(|guest| guest.connector)
    }

    /// Whether its firewall, and the provider's, let anybody in over SSH.
    pub fn ssh_is_open(&self) -> bool {
        self.fence.as_ref().is_none_or(|open| open.contains(&22))
            && self.guest.as_ref().is_none_or(|guest| guest.config["ostler_ssh_open"] != false)
    }
}

impl WorldDir {
    /// In `dir`, which exists.
    pub fn new(dir: &Path) -> Self {
        for part in ["machines", "tunnels", "images", "known_hosts", "runs", "sites", "hooks"] {
            fs::create_dir_all(dir.join(part)).expect("the world's directory is writable");
        }
        Self(dir.to_owned())
    }

    /// A path in it.
    pub fn path(&self, parts: &str) -> PathBuf {
        self.0.join(parts)
    }

    /// All machines, by name.
    pub fn machines(&self) -> Vec<Machine> {
        let mut names = self.names("machines");
        names.sort();
        names.iter().filter_map(|name| self.read(&format!("machines/{name}"))).collect()
    }

    /// One machine.
    pub fn machine(&self, name: &str) -> Option<Machine> {
        self.read(&format!("machines/{name}.json"))
    }

    /// The releases of a site that are there, newest first.
    pub fn site(&self, name: &str) -> Vec<super::FakeRelease> {
        self.read(&format!("sites/{name}.json")).unwrap_or_default()
    }

    /// Takes the power from all machines, as when this computer crashes.
    pub fn power_cut(&self) {
        for machine in self.machines() {
            self.put_machine(&Machine { on: false, ..machine });
        }
    }

    /// Members of the cluster.
    pub fn cluster(&self) -> Vec<Member> {
        self.read("cluster.json").unwrap_or_default()
    }

    /// Makes these servers the members of the cluster, with whether each is a manager.
    pub fn put_cluster(&self, servers: &[(&str, bool)]) {
        let member = |(server, manager): &(&str, bool)| Member {
            server: (*server).to_owned(),
            manager: *manager,
            drained: false,
            left: false,
        };
        self.write("cluster.json", &servers.iter().map(member).collect::<Vec<_>>());
    }

    /// What happened so far, one line each.
    pub fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Names of the files in one of its folders.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).expect("it is made with the world");
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Writes one.
    pub fn put_machine(&self, machine: &Machine) {
        self.write(&format!("machines/{}.json", machine.name), machine);
    }

    /// Changes what runs on one.
    ///
    /// # Panics
    /// If nothing runs there.
    pub fn change_guest(&self, name: &str, change: impl FnOnce(&mut Guest)) {
        let mut machine = self.machine(name).expect("it runs");
        change(machine.guest.as_mut().expect("it runs"));
        self.put_machine(&machine);
    }

    pub(super) fn say(&self, line: &str) {
        let log = fs::File::options().create(true).append(true).open(self.path("log"));
        log.and_then(|mut log| writeln!(log, "{line}")).expect("the world's directory is writable");
    }

    pub(super) fn write<T: Serialize>(&self, path: &str, value: &T) {
        let text = serde_json::to_string(value).expect("plain data");
        fs::write(self.path(path), text).expect("the world's directory is writable");
    }

    pub(super) fn read<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        let text = fs::read_to_string(self.path(path)).ok()?;
        Some(serde_json::from_str(&text).expect("written by `write`"))
    }

    /// Nothing there: fine.
    pub(super) fn remove(&self, path: &str) {
        match fs::remove_file(self.path(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{path}: {error}"),
            _ => {}
        }
    }
}
