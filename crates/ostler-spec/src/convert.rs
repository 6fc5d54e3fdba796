//! From values that have the right shape to the typed spec, with the rules that join several keys.

use super::{
    Address, AnsibleOptions, CatalogSource, ExistingOptions, Forward, HetznerEndpoint, HetznerOptions, ImageRef,
    KeyFault, LocalOptions, MatchBlocks, Network, ProviderKind, ProviderOptions, ProxmoxEndpoint, ProxmoxOptions,
    RootLogin, SecretRef, ServerSpec, Settings, Size, Spec, SpecContext, SshAuth, SshCrypto, SshPolicy, Strategy,
    TunnelEndpoint, TunnelOptions, Value, access, apps,
    balancer::{self, Balancers},
    dns,
    fault::{Fault, Problem, nearest, quote},
    hetzner, peers, proxmox, rsa, rules, site, tunnel,
    walk::Found,
};
use crate::{CatalogIndex, FIREWALLS, ServerName};
use ipnet::{IpNet, Ipv6Net};
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
};

/// What a file without a server lacks.
pub(super) const SHORTEST: &str = "for example `servers: { web1: { authorized_keys: [ ~/.ssh/id_ed25519.pub ] } }`";

/// The spec, where nothing is at fault.
pub(super) fn spec(
    root: &Found,
    context: &SpecContext<'_>,
    index: Option<&CatalogIndex>,
    faults: &mut Vec<Fault>,
) -> Option<Spec> {
    let catalog = catalog(root, context);
    let servers = root.get("servers")?;
    let entries = servers.map()?;
    let has_sites = root.get("sites").and_then(Found::map).is_none_or(|sites| !sites.is_empty());
    if entries.is_empty() && !has_sites {
        faults.push(servers.fault(Problem::new("no server is named").hint(SHORTEST)));
    }
    let mut converter = Converter {
        context,
        index,
        faults,
        forwarded: HashMap::new(),
        endpoints: BTreeMap::new(),
        vmids: HashMap::new(),
        volumes: HashMap::new(),
        tunnels: BTreeMap::new(),
        hostnames: HashMap::new(),
    };
    converter.providers(root);
    converter.tunnels(root);
    let zones: Vec<_> = root
        .get("dns")
        .and_then(Found::map)
        .into_iter()
        .flatten()
        .map(|(name, found)| dns::read(name, found, &|secret| context.secret(secret), converter.faults))
        .collect();
    let servers: Vec<_> = entries.iter().map(|(name, found)| converter.server(name, found)).collect();
    let named = entries.iter().zip(&servers).map(|((name, found), spec)| (name.as_str(), found, spec.as_ref()));
    let named: Vec<_> = named.collect();
    let mut elsewhere = index.map(|index| peers::check(&named, index, converter.faults)).unwrap_or_default();
    let of_file: Vec<_> = named.iter().map(|(name, _, spec)| (*name, *spec)).collect();
    let known_zones: Vec<_> = zones.iter().flatten().collect();
    let (sites, further) = site::read(root, &of_file, &known_zones, index.is_some(), context, converter.faults);
    elsewhere.extend(further);
    let servers = servers.into_iter().collect::<Option<_>>()?;
    Some(Spec {
        path: context.path.clone(),
        catalog: catalog?,
        zones: zones.into_iter().collect::<Option<_>>()?,
        servers,
        sites: sites?,
        elsewhere,
    })
}

/// `None` where it is at fault.
pub(super) fn catalog(root: &Found, context: &SpecContext<'_>) -> Option<Option<CatalogSource>> {
    let found = root.get("catalog")?;
    if found.is_null() {
        return Some(None);
    }
    let commit = found.get("commit")?;
    Some(Some(CatalogSource {
        url: found.get("url")?.text()?.to_owned(),
        branch: found.get("branch")?.text()?.to_owned(),
        commit: if commit.is_null() { None } else { Some(commit.text()?.to_owned()) },
        vault_password: context.secret(found.get("vault_password")?)?,
    }))
}

struct Converter<'a> {
    context: &'a SpecContext<'a>,
    /// `None` where the catalog is not known yet, and apps can't be checked.
    index: Option<&'a CatalogIndex>,
    faults: &'a mut Vec<Fault>,
    /// Ports of this machine, with the key path that took each.
    forwarded: HashMap<u16, String>,
    /// Entries of `providers`.
    endpoints: BTreeMap<String, Endpoint>,
    /// VMIDs by provider, with the key path that took each.
    vmids: HashMap<(String, i64), String>,
    /// Volumes by provider, with the key path that took each.
    volumes: HashMap<(String, String), String>,
    /// Entries of `tunnels`; `None` where one is at fault.
    tunnels: BTreeMap<String, Option<TunnelEndpoint>>,
    /// Host names of tunnels, with the key path that took each.
    hostnames: HashMap<String, String>,
}

/// An entry of `providers`; without its content where that is at fault.
enum Endpoint {
    Proxmox(Option<ProxmoxEndpoint>),
    Hetzner(Option<HetznerEndpoint>, Balancers),
    /// Its kind is at fault.
    Unknown,
}

impl Converter<'_> {
    fn providers(&mut self, root: &Found) {
        for (name, found) in root.get("providers").and_then(Found::map).into_iter().flatten() {
            if rules::KINDS.contains(&name.as_str()) {
                let problem = Problem::new(format!("{} is a provider of its own", quote(name)));
                self.faults.push(found.fault(problem.hint("choose another name, such as `pve1` or `hc`")));
            }
            let token = found.get("token").and_then(|token| self.context.secret(token)).flatten();
            let endpoint = match found.get("kind").and_then(Found::text) {
                Some("hetzner") => {
                    let endpoint = hetzner::endpoint(name, found, token, self.faults);
                    Endpoint::Hetzner(endpoint, balancer::read(found, self.faults))
                }
                Some(_) => Endpoint::Proxmox(proxmox::endpoint(name, found, token, self.context, self.faults)),
                None => Endpoint::Unknown,
            };
            self.endpoints.insert(name.clone(), endpoint);
        }
    }

    fn tunnels(&mut self, root: &Found) {
        for (name, found) in root.get("tunnels").and_then(Found::map).into_iter().flatten() {
            let token = found.get("token").and_then(|token| self.context.secret(token)).flatten();
            self.tunnels.insert(name.clone(), tunnel::read_endpoint(name, found, token));
        }
    }

    /// `None` where it is at fault.
    fn tunnel(
        &mut self,
        server: &Found,
        modules: Option<&BTreeMap<String, Option<Settings>>>,
    ) -> Option<Option<TunnelOptions>> {
        let found = server.get("tunnel")?;
        if found.is_null() {
            return Some(None);
        }
        let (via, hostname, close) = (found.get("via")?, found.get("hostname")?, found.get("close_ssh")?);
        let name = via.text();
        if let Some(name) = name.filter(|name| !self.tunnels.contains_key(*name)) {
            let problem = Problem::new(format!("there is no tunnel {}", quote(name)));
            let problem = match self.tunnels.is_empty() {
                true => problem.hint("describe it under `tunnels`: `tunnels: { edge: { kind: cloudflare, … } }`"),
                false => problem.hints(nearest(name, self.tunnels.keys().map(String::as_str))),
            };
            self.faults.push(via.fault(problem));
            return None;
        }
        if let Some(text) = hostname.text()
            && let Some(taken) = self.hostnames.insert(text.to_owned(), hostname.path.clone())
        {
            let problem = Problem::new(format!("{} leads to another server: `{taken}`", quote(text)));
            self.faults.push(hostname.fault(problem.hint("give each server a host name of its own")));
        }
        let has_firewall = |modules: &BTreeMap<String, Option<Settings>>| {
            FIREWALLS.iter().any(|name| modules.get(*name).is_some_and(Option::is_some))
        };
        if close.bool() == Some(true) && modules.is_some_and(|modules| !has_firewall(modules)) {
            let problem = Problem::new("nothing on the server could close its SSH port: no firewall is switched on");
            self.faults.push(close.fault(problem.hint("switch on a firewall, such as `modules: { ufw: true }`")));
        }
        Some(Some(tunnel::options(found, self.tunnels.get(name?).cloned().flatten())?))
    }

    /// The kind of a server's provider; `None` where there is no such provider.
    fn provider(&mut self, found: &Found) -> Option<ProviderKind> {
        let name = found.text()?;
        match name {
            "local" => return Some(ProviderKind::Local),
            "existing" => return Some(ProviderKind::Existing),
            _ => {}
        }
        match self.endpoints.get(name) {
            Some(Endpoint::Proxmox(_)) => return Some(ProviderKind::Proxmox),
            Some(Endpoint::Hetzner(..)) => return Some(ProviderKind::Hetzner),
            Some(Endpoint::Unknown) => return None,
            None => {}
        }
        let problem = match name {
            "hetzner" => Problem::new("which project of Hetzner Cloud is meant?").hint(
                "describe it under `providers`, such as `providers: { hc: { kind: hetzner, token: { secret: hetzner } } }`, \
                 and name it here: `provider: hc`",
            ),
            "proxmox" => Problem::new("which Proxmox VE is meant?").hint(
                "describe it under `providers`, such as `providers: { pve1: { kind: proxmox, … } }`, and name it here: \
                 `provider: pve1`",
            ),
            name => {
                let known = rules::PROVIDERS.into_iter().chain(self.endpoints.keys().map(String::as_str));
                let problem = Problem::new(format!("there is no provider {}", quote(name)));
                problem.hints(nearest(name, known))
            }
        };
        self.faults.push(found.fault(problem));
        None
    }

    /// As [`Converter::existing`].
    fn proxmox(&mut self, provider: Option<ProviderKind>, server: &Found) -> Option<Option<ProxmoxOptions>> {
        let found = server.get("proxmox")?;
        let name = server.get("provider")?;
        if provider != Some(ProviderKind::Proxmox) {
            if provider.is_some() && !found.is_null() {
                let problem = Problem::new("this server has another provider");
                self.faults.push(found.fault(problem.hint("write the name of a Proxmox VE, or take this out")));
            }
            return Some(None);
        }
        if let Some(local) = server.get("local").filter(|value| value.at != server.at) {
            let problem = Problem::new("ports are forwarded by provider `local` only");
            self.faults
                .push(local.fault(problem.hint("a server of Proxmox VE has an address of its own: take it out")));
        }
        if found.is_null() {
            let problem = Problem::new("the spec must say where to make the server");
            self.faults.push(name.fault(problem.hint("write at least `proxmox: { node: pve1 }`")));
            return None;
        }
        let vmid = found.get("vmid")?;
        if let Some(number) = vmid.int()
            && let Some(taken) = self.vmids.insert((name.text()?.to_owned(), number), vmid.path.clone())
        {
            let problem = Problem::new(format!("VMID {number} is taken by `{taken}`"));
            self.faults.push(vmid.fault(problem.hint("choose another, or `auto` for the next free one")));
        }
        let Some(Endpoint::Proxmox(endpoint)) = self.endpoints.get(name.text()?) else { return None };
        Some(Some(proxmox::options(found, endpoint.clone())?))
    }

    /// As [`Converter::existing`].
    fn hetzner(&mut self, provider: Option<ProviderKind>, server: &Found) -> Option<Option<HetznerOptions>> {
        if provider != Some(ProviderKind::Hetzner) {
            let found = server.get("hetzner")?;
            if provider.is_some() && !found.is_null() {
                let problem = Problem::new("this server has another provider");
                self.faults.push(found.fault(problem.hint("write the name of a Hetzner Cloud, or take this out")));
            }
            return Some(None);
        }
        let name = server.get("provider")?.text()?;
        let Some(Endpoint::Hetzner(endpoint, balancers)) = self.endpoints.get(name) else { return None };
        let options = hetzner::options(server, endpoint.clone(), balancers, self.faults)?;
        let found = server.get("hetzner")?.get("volumes")?;
        for (volume, entry) in options.volumes.iter().zip(found.list()?) {
            let taken = self.volumes.insert((name.to_owned(), volume.name.clone()), entry.path.clone());
            // Twice for one server has words of its own.
            if let Some(taken) = taken.filter(|taken| !taken.starts_with(&found.path)) {
                let problem =
                    Problem::new(format!("the volume {} is another server's: `{taken}`", quote(&volume.name)));
                self.faults.push(entry.fault(problem.hint("a volume is attached to one server at most")));
            }
        }
        Some(Some(options))
    }

    fn server(&mut self, name: &str, found: &Found) -> Option<ServerSpec> {
        // Everything is looked at before anything is given up, so that all faults show at once.
        let image = found.get("image").and_then(|image| self.image(image));
        let size = found.get("size").and_then(size);
        let networks = found.get("network").and_then(|network| self.networks(network));
        let password = found.get("password").and_then(|password| self.context.secret(password));
        let keys = found.get("authorized_keys");
        let exclusive_keys = keys.and_then(|keys| keys.get("exclusive")?.bool()).unwrap_or(false);
        let keys = keys.and_then(|keys| access::keys(access::list(keys), self.context, self.faults));
        let ssh = found.get("ssh").and_then(ssh);
        access::check(found, self.faults);
        if let (Some(found), Some(keys), Some(ssh)) = (found.get("authorized_keys"), &keys, &ssh)
            && ssh.crypto != SshCrypto::System
            && let Some(problem) = rsa::refusal(keys)
        {
            self.faults.push(found.fault(problem));
        }
        let (apps, app_params) = apps::resolve(found, self.index, self.context, self.faults);
        let modules = found.get("modules").and_then(|modules| self.modules(modules));
        let local = found.get("local").and_then(|local| self.local(local));
        let strategy = found.get("ansible").and_then(|ansible| match ansible.get("strategy")?.text()? {
            "linear" => Some(Strategy::Linear),
            _ => Some(Strategy::Mitogen),
        });
        let provider = found.get("provider").and_then(|provider| self.provider(provider));
        let existing = self.existing(provider, found);
        let proxmox = self.proxmox(provider, found);
        let hetzner = self.hetzner(provider, found);
        if let (Some(provider), Some(network)) = (provider, found.get("network")) {
            self.cards_of_provider(provider, network);
        }
        let tunnel = self.tunnel(found, modules.as_ref());
        Some(ServerSpec {
            name: ServerName::parse(name).ok()?,
            provider: match provider? {
                ProviderKind::Local => ProviderOptions::Local(local?),
                ProviderKind::Existing => ProviderOptions::Existing(existing??),
                ProviderKind::Proxmox => ProviderOptions::Proxmox(proxmox??),
                ProviderKind::Hetzner => ProviderOptions::Hetzner(hetzner??),
            },
            image: image?,
            size: size?,
            networks: networks?,
            user: found.get("user")?.text()?.to_owned(),
            password: password?,
            authorized_keys: keys?,
            exclusive_keys,
            ssh: ssh?,
            modules: modules?,
            catalog: None,
            apps: apps?,
            app_params: app_params?,
            tunnel: tunnel?,
            ansible: AnsibleOptions { strategy: strategy? },
            template: None,
        })
    }

    /// What belongs to the provider is there, and what belongs to another is not.
    fn existing(&mut self, provider: Option<ProviderKind>, server: &Found) -> Option<Option<ExistingOptions>> {
        let found = server.get("existing")?;
        if provider != Some(ProviderKind::Existing) {
            if provider.is_some() && !found.is_null() {
                let problem = Problem::new("this server has another provider");
                self.faults.push(found.fault(problem.hint("write `provider: existing`, or take this out")));
            }
            return Some(None);
        }
        for key in ["image", "size", "network", "local"] {
            if let Some(written) = server.get(key).filter(|value| value.at != server.at) {
                let problem = Problem::new("an existing server has its own");
                self.faults.push(written.fault(problem.hint("take it out")));
            }
        }
        if found.is_null() {
            let problem = Problem::new("provider `existing` needs the server's address");
            self.faults.push(
                server.get("provider")?.fault(problem.hint("write `existing: { address: 10.0.0.7, user: root }`")),
            );
            return None;
        }
        let key = found.get("key")?;
        let path = if key.is_null() { None } else { Some(self.private_key(key)?) };
        Some(Some(ExistingOptions {
            address: found.get("address")?.text()?.to_owned(),
            port: found.get("port")?.int()?.try_into().ok()?,
            user: found.get("user")?.text()?.to_owned(),
            password: self.context.secret(found.get("password")?)?,
            key: path,
            host_key: found.get("host_key")?.text().map(str::to_owned),
        }))
    }

    /// The path of a private key that ssh can use.
    fn private_key(&mut self, found: &Found) -> Option<PathBuf> {
        let path = self.context.resolve(found.text()?);
        match (self.context.check_key)(&path) {
            Ok(()) => Some(path),
            Err(KeyFault { message, hint }) => {
                self.faults.push(found.fault(Problem::new(message).hint(hint)));
                None
            }
        }
    }

    fn image(&mut self, found: &Found) -> Option<ImageRef> {
        match found.text() {
            Some(name) if rules::IMAGES.contains(&name) => Some(ImageRef::Named(name.to_owned())),
            Some(path) => {
                let path = self.context.resolve(path);
                if !(self.context.is_file)(&path) {
                    let problem = Problem::new(format!("there is no file {}", quote(&path.to_string_lossy())));
                    self.faults.push(found.fault(problem));
                    return None;
                }
                Some(ImageRef::Path(path))
            }
            None => Some(ImageRef::Url {
                url: found.get("url")?.text()?.to_owned(),
                checksum: found.get("checksum")?.text()?.to_ascii_lowercase(),
            }),
        }
    }

    fn networks(&mut self, found: &Found) -> Option<Vec<Network>> {
        match found.list() {
            Some([]) => {
                let problem = Problem::new("a server without a network card can't be reached");
                self.faults.push(found.fault(problem.hint("leave `network` out for one with DHCP")));
                None
            }
            Some(cards) => {
                let cards: Vec<_> = cards.iter().map(|card| self.network(card)).collect();
                cards.into_iter().collect()
            }
            None => Some(vec![self.network(found)?]),
        }
    }

    /// What only some providers can do with a card.
    fn cards_of_provider(&mut self, provider: ProviderKind, network: &Found) {
        if provider == ProviderKind::Proxmox {
            return;
        }
        let cards = network.list().unwrap_or(std::slice::from_ref(network));
        let written = cards.iter().flat_map(|card| ["bridge", "vlan"].map(|key| card.get(key)));
        for found in written.flatten().filter(|found| !found.is_null()) {
            let problem = Problem::new("only Proxmox VE has bridges to plug a card into");
            self.faults.push(found.fault(problem.hint("take it out")));
        }
        if provider == ProviderKind::Local {
            for found in cards.iter().filter_map(|card| card.get("address6")).filter(|found| !found.is_null()) {
                let problem = Problem::new("provider `local` gives a card one address");
                self.faults.push(found.fault(problem.hint("take it out, or give it to a card of its own")));
            }
        }
    }

    fn network(&mut self, found: &Found) -> Option<Network> {
        let gateway = found.get("gateway")?;
        let address = match found.get("address")?.text() {
            Some("dhcp") => Some(Address::Dhcp),
            Some(text) => text.parse().ok().map(Address::Static),
            None => None,
        };
        let route: Option<IpAddr> = gateway.text().and_then(|text| text.parse().ok());
        if let (Some(route), Some(address)) = (route, address)
            && let Err(problem) = check_gateway(route, address)
        {
            self.faults.push(gateway.fault(problem));
        }
        let (address6, gateway6) = (found.get("address6")?, found.get("gateway6")?);
        let second: Option<Ipv6Net> = address6.text().and_then(|text| text.parse().ok());
        if second.is_some() && matches!(address, Some(Address::Static(IpNet::V6(_)))) {
            let problem = Problem::new("`address` is an IPv6 address already");
            self.faults.push(address6.fault(problem.hint("`address` takes the IPv4 one, or `dhcp`")));
        }
        let route6: Option<Ipv6Addr> = gateway6.text().and_then(|text| text.parse().ok());
        let problem = match (route6, second) {
            (Some(_), None) if address6.is_null() => Some(Problem::new("`gateway6` needs `address6`")),
            (Some(route), Some(address)) => check_gateway(route.into(), Address::Static(address.into())).err(),
            _ => None,
        };
        self.faults.extend(problem.map(|problem| gateway6.fault(problem)));
        let dns = found.get("dns")?.list()?.iter().map(|server| server.text()?.parse().ok());
        let search = found.get("search")?.list()?.iter().map(|domain| Some(domain.text()?.to_owned()));
        Some(Network {
            address: address?,
            gateway: if gateway.is_null() { None } else { Some(route?) },
            address6: second,
            gateway6: route6,
            dns: dns.collect::<Option<_>>()?,
            search: search.collect::<Option<_>>()?,
            bridge: found.get("bridge")?.text().map(str::to_owned),
            vlan: proxmox::number(found.get("vlan")?)?,
        })
    }

    fn modules(&mut self, found: &Found) -> Option<BTreeMap<String, Option<Settings>>> {
        let is_on =
            |name: &&&str| found.get(name).is_some_and(|module| module.bool() != Some(false) && !module.is_null());
        if let [first, second, ..] = FIREWALLS.iter().filter(is_on).collect::<Vec<_>>()[..] {
            let problem = Problem::new(format!("a server has one firewall, and `{first}` is on already"));
            let hint = format!(
                "take one of the two out: they have the same settings, and `{second}` takes over from `{first}` by itself"
            );
            self.faults.extend(found.get(second).map(|module| module.fault(problem.hint(hint))));
        }
        let switched = found.map()?.iter().map(|(name, found)| {
            let settings = match found.bool() {
                Some(false) => None,
                Some(true) => {
                    let meta = self.context.modules.iter().find(|meta| meta.name == *name)?;
                    Some(meta.settings.iter().map(|(key, setting)| (key.clone(), setting.default.clone())).collect())
                }
                None => Some(self.context.settings(found)?),
            };
            Some((name.clone(), settings))
        });
        switched.collect()
    }

    fn local(&mut self, found: &Found) -> Option<LocalOptions> {
        let mut forward = Vec::new();
        for (key, guest) in found.get("forward")?.map()? {
            let host: Option<u16> = key.parse().ok();
            if let Some(port) = host
                && let Some(taken) = self.forwarded.insert(port, guest.path.clone())
                && taken != guest.path
            {
                let problem = Problem::new(format!("port {port} of this machine is taken by `{taken}`"));
                self.faults.push(guest.fault(problem.hint("choose another, or `auto` for any that is free")));
            }
            forward.push(guest.int().and_then(|guest| Some(Forward { host, guest: guest.try_into().ok()? })));
        }
        Some(LocalOptions { forward: forward.into_iter().collect::<Option<_>>()? })
    }
}

impl SpecContext<'_> {
    /// A path of the file: `~/` is the home directory, and what is relative is relative to the file's folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => self.folder.join(path),
        }
    }

    /// A mapping as settings.
    pub(super) fn settings(&self, found: &Found) -> Option<Settings> {
        match found.value(&|path| self.resolve(path))? {
            Value::Map(settings) => Some(settings),
            _ => None,
        }
    }

    /// A secret that need not be named.
    fn secret(&self, found: &Found) -> Option<Option<SecretRef>> {
        if found.is_null() { Some(None) } else { found.secret(&|path| self.resolve(path)).map(Some) }
    }
}

fn size(found: &Found) -> Option<Size> {
    Some(Size {
        cpus: found.get("cpus")?.int()?.try_into().ok()?,
        memory: found.get("memory")?.int()?.try_into().ok()?,
        disk: found.get("disk")?.int()?.try_into().ok()?,
    })
}

fn ssh(found: &Found) -> Option<SshPolicy> {
    Some(SshPolicy {
        enabled: found.get("enabled")?.bool()?,
        auth: match found.get("auth")?.text()? {
            "key-and-password" => SshAuth::KeyAndPassword,
            _ => SshAuth::KeyOnly,
        },
        root_login: match found.get("root_login")?.text()? {
            "yes" => RootLogin::Yes,
            "prohibit-password" => RootLogin::ProhibitPassword,
            _ => RootLogin::No,
        },
        port: found.get("port")?.int()?.try_into().ok()?,
        crypto: match found.get("crypto")?.text()? {
            "system" => SshCrypto::System,
            "compatible" => SshCrypto::Compatible,
            _ => SshCrypto::Modern,
        },
        match_blocks: match found.get("match_blocks")?.text()? {
            "take-over" => MatchBlocks::TakeOver,
            _ => MatchBlocks::Keep,
        },
    })
}

fn check_gateway(gateway: IpAddr, address: Address) -> Result<(), Problem> {
    let Address::Static(net) = address else {
        return Err(Problem::new("a gateway needs a fixed address").hint("DHCP brings its own gateway"));
    };
    if gateway.is_ipv4() != net.addr().is_ipv4() {
        let family = if net.addr().is_ipv4() { "an IPv4" } else { "an IPv6" };
        return Err(Problem::new(format!("`{gateway}` can't be the gateway of {family} address")));
    }
    // Routers announce themselves by such an address, and many providers give no other.
    if matches!(gateway, IpAddr::V6(gateway) if gateway.is_unicast_link_local()) {
        return Ok(());
    }
    if !net.contains(&gateway) {
        return Err(Problem::new(format!("`{gateway}` is outside of the subnet {}", net.trunc())));
    }
    if gateway == net.addr() {
        return Err(Problem::new(format!("`{gateway}` is the server's own address")));
    }
    rules::not_an_end(gateway, &net)
}
