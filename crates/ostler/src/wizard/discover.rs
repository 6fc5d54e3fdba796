//! What need not be asked, because it can be found out: keys, whether this is a Proxmox VE host, what a node has to offer.

use crate::commands::{key::new::public_half, spec_file};
use ostler_core::{
    Result,
    ids::{ServerName, StateId},
    model::TunnelLedger,
    ports::{Store, TunnelOrder, Tunnels},
    secret::Secret,
    spec::{CatalogIndex, HetznerEndpoint, ModuleMeta, ProxmoxEndpoint, SecretRef, TunnelOptions},
    text::plain,
};
use ostler_providers::hetzner;
use ostler_providers::proxmox::{Host, Inventory, Offers, host_fingerprint, shown_fingerprint};
use ostler_store::SeaStore;
use ostler_tunnels::CloudflareTunnels;
use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
};
use tokio::runtime::Handle;

/// Everything around the conversation. What was looked up once is kept, for the questions come by again.
pub struct Surroundings {
    /// Where `~/` is.
    pub home: Option<PathBuf>,
    /// The folder that the wizard was called in.
    pub folder: PathBuf,
    /// This machine.
    pub host: Host,
    /// Where Hetzner's API is, if not at its own address.
    pub hetzner: Option<String>,
    /// Where Cloudflare's API is, if not at its own address.
    pub cloudflare: Option<String>,
    /// All modules.
    pub modules: Vec<ModuleMeta>,
    /// All apps.
    pub catalog: CatalogIndex,
    /// Where they come from; `None`: they ship with Ostler.
    pub catalog_url: Option<String>,
    /// The state, if there is one already: asking makes none.
    pub store: Option<SeaStore>,
    /// Drives what is asked of others.
    pub runtime: Handle,
    /// What was found.
    pub found: Found,
}

/// What was looked up already.
#[derive(Default)]
pub struct Found {
    fingerprints: RefCell<HashMap<String, String>>,
    inventories: RefCell<HashMap<String, Inventory>>,
    offers: RefCell<HashMap<String, hetzner::Offers>>,
    tunnels: RefCell<HashSet<String>>,
}

impl Surroundings {
    /// Public keys of the person, as paths that begin with `~/`, the most usual first.
    pub fn keys(&self) -> Vec<String> {
        let Some(home) = &self.home else { return Vec::new() };
        let files = std::fs::read_dir(home.join(".ssh")).into_iter().flatten().flatten();
        let names = files.filter_map(|file| file.file_name().into_string().ok()).filter(|name| name.ends_with(".pub"));
        let mut names: Vec<String> = names.collect();
        names.sort_by_key(|name| (name != "id_ed25519.pub", name.clone()));
        names.into_iter().map(|name| format!("~/.ssh/{name}")).collect()
    }

    /// The private key that can be made where the person has no key at all.
    pub fn new_key(&self) -> Option<PathBuf> {
        let file = self.home.as_ref()?.join(".ssh/id_ed25519");
        (self.keys().is_empty() && file.symlink_metadata().is_err()).then_some(file)
    }

    /// A file of keys that a draft names. That of a key that is made at the end has something in its place.
    pub fn read_named_file(&self, path: &Path) -> io::Result<String> {
        const STAND_IN: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        match spec_file::read_named_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let is_new = self.new_key().is_some_and(|key| public_half(&key) == path);
                if is_new { Ok(STAND_IN.to_owned()) } else { Err(error) }
            }
            read => read,
        }
    }

    /// What a key says of itself: its type and its comment.
    pub fn key_comment(&self, path: &str) -> String {
        let file = self.home.as_ref().zip(path.strip_prefix("~/")).map(|(home, rest)| home.join(rest));
        let text = file.and_then(|file| spec_file::read_named_file(&file).ok()).unwrap_or_default();
        let text = text.trim_start_matches('\u{feff}');
        let mut words =
            plain(text.lines().next().unwrap_or_default()).split(' ').map(str::to_owned).collect::<Vec<_>>();
        if words.len() > 1 {
            words.remove(1);
        }
        words.join(" ")
    }

    /// The node that this machine is, if it is one.
    pub fn node(&self) -> Option<String> {
        self.host.node()
    }

    /// The fingerprint of this host's certificate.
    pub fn host_fingerprint(&self) -> Result<String> {
        Ok(host_fingerprint(&self.host)?)
    }

    /// The fingerprint that is shown at a URL.
    pub fn fingerprint(&self, url: &str) -> Result<String> {
        if let Some(known) = self.found.fingerprints.borrow().get(url) {
            return Ok(known.clone());
        }
        let shown = self.runtime.block_on(shown_fingerprint(url))?;
        self.found.fingerprints.borrow_mut().insert(url.to_owned(), shown.clone());
        Ok(shown)
    }

    /// What there is on a node or cluster.
    pub fn inventory(&self, place: &Place) -> Result<Inventory> {
        let key = match place {
            Place::Host => String::new(),
            Place::Api(endpoint, token) => format!("{} {:?} {}", endpoint.url, endpoint.trust, token.expose()),
        };
        if let Some(known) = self.found.inventories.borrow().get(&key) {
            return Ok(known.clone());
        }
        let inventory = self.runtime.block_on(self.offers(place)?.inventory())?;
        self.found.inventories.borrow_mut().insert(key, inventory.clone());
        Ok(inventory)
    }

    /// Whether no VM has a VMID.
    pub fn is_free(&self, place: &Place, vmid: u32) -> Result<bool> {
        Ok(self.runtime.block_on(self.offers(place)?.is_free(vmid))?)
    }

    /// What a project of Hetzner Cloud can choose from.
    pub fn hetzner_offers(&self, endpoint: &HetznerEndpoint, token: &Secret) -> Result<hetzner::Offers> {
        let key = format!("{} {}", endpoint.url, token.expose());
        if let Some(known) = self.found.offers.borrow().get(&key) {
            return Ok(known.clone());
        }
        let offers = self.runtime.block_on(hetzner::Offers::of(endpoint, token))?;
        self.found.offers.borrow_mut().insert(key, offers.clone());
        Ok(offers)
    }

    /// Fails where a server can't have a tunnel with this token.
    pub fn try_tunnel(&self, server: ServerName, options: &TunnelOptions, token: &Secret) -> Result<()> {
        let key = format!("{} {} {}", options.via.account, options.hostname, token.expose());
        if self.found.tunnels.borrow().contains(&key) {
            return Ok(());
        }
        let order = TunnelOrder { server, owner: StateId::new(), options: options.clone(), port: 22 };
        let tunnels = CloudflareTunnels::new(Box::new(Typed(token.clone())));
        self.runtime.block_on(tunnels.look(&order, &TunnelLedger::default()))?;
        self.found.tunnels.borrow_mut().insert(key);
        Ok(())
    }

    /// Names of secrets that are kept already.
    pub fn secrets(&self) -> Result<Vec<String>> {
        match &self.store {
            Some(store) => self.runtime.block_on(store.secret_names()),
            None => Ok(Vec::new()),
        }
    }

    /// One of them.
    pub fn secret(&self, name: &str) -> Result<Option<Secret>> {
        match &self.store {
            Some(store) => self.runtime.block_on(store.secret(None, name)),
            None => Ok(None),
        }
    }

    fn offers(&self, place: &Place) -> Result<Offers> {
        Ok(match place {
            Place::Host => Offers::of_host(&self.host),
            Place::Api(endpoint, token) => Offers::of(endpoint, token)?,
        })
    }
}

/// A token that no store keeps yet.
struct Typed(Secret);

#[async_trait::async_trait]
impl ostler_tunnels::Tokens for Typed {
    async fn token(&self, _: &SecretRef) -> Result<Secret> {
        Ok(self.0.clone())
    }
}

/// Where a Proxmox VE is asked.
#[derive(Clone, Debug)]
pub enum Place {
    /// On this very host.
    Host,
    /// Over its API, with the value of the token.
    Api(ProxmoxEndpoint, Secret),
}
