//! Cloudflare Tunnel: a remotely managed tunnel for each server, one ingress rule in it, a proxied CNAME, and a self-hosted Access application
//! that lets in one service token.
//!
//! What is made bears the server's name and the state's id, and is found by that after a crash. What others made is never changed: their
//! ingress rules stay in their order, a DNS record that leads here already is adopted, and one that leads elsewhere, or an application of
//! somebody else for the same host name, is refused.

mod client;
mod error;
mod ingress;
mod wire;

pub use client::Patience;

use async_trait::async_trait;
use client::Client;
use error::CloudflareError;
use futures::try_join;
use ostler_core::{
    Result,
    model::{DnsEntry, ServicePass, TunnelChange, TunnelLedger},
    ports::{KeepTunnel, TunnelOrder, Tunnels},
    secret::Secret,
    spec::SecretRef,
};
use serde_json::json;
use wire::{App, Configuration, Created, DnsRecord, Pass, Tunnel, Zone};

/// Finds the values of tokens that specs name.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// The value of one.
    async fn token(&self, reference: &SecretRef) -> Result<Secret>;
}

/// What each permission is called in the dashboard.
const TUNNEL: &str = "Cloudflare Tunnel Write";
const APPS: &str = "Access: Apps and Policies Write";
const PASSES: &str = "Access: Service Tokens Write";
const ZONES: &str = "Zone Read";
const DNS: &str = "DNS Write";

/// Tunnels in accounts at Cloudflare.
pub struct CloudflareTunnels {
    tokens: Box<dyn Tokens>,
    patience: Patience,
}

impl CloudflareTunnels {
    /// With the usual patience.
    pub fn new(tokens: Box<dyn Tokens>) -> Self {
        Self { tokens, patience: Patience::default() }
    }

    /// The same with another.
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    async fn account<'a>(&self, order: &'a TunnelOrder) -> Result<Account<'a>> {
        let token = self.tokens.token(&order.options.via.token).await?;
        let client = Client::new(&order.options.via, &token, self.patience)?;
        Ok(Account { client, order, path: format!("accounts/{}", order.options.via.account) })
    }
}

#[async_trait]
impl Tunnels for CloudflareTunnels {
    async fn look(&self, order: &TunnelOrder, made: &TunnelLedger) -> Result<Vec<TunnelChange>> {
        let account = self.account(order).await?;
        let zone = account.check().await?;
        let ((), tunnel, has_pass, apps) = try_join!(
            account.refuse_taken(&zone, made),
            account.find_tunnel(),
            account.has_pass(made),
            account.own_apps(),
        )?;
        let (ruled, dns) = match &tunnel {
            Some(tunnel) => try_join!(account.rule(tunnel), account.find_dns(&zone, tunnel, made))?,
            None => (None, None),
        };
        let has_app = has_pass && apps.iter().any(|app| account.fits(app, made));
        let mut changes = Vec::new();
        changes.extend(tunnel.is_none().then_some(TunnelChange::MakeTunnel));
        changes.extend((!has_pass).then_some(TunnelChange::MakeServiceToken));
        changes.extend((!has_app).then_some(TunnelChange::MakeApplication));
        changes.extend((tunnel.is_none() || ruled.is_some()).then_some(TunnelChange::SetIngressRule));
        changes.extend(match dns {
            None => Some(TunnelChange::MakeRecord),
            Some(dns) => (!dns.created && made.dns.as_ref() != Some(&dns)).then_some(TunnelChange::AdoptRecord),
        });
        Ok(changes)
    }

    async fn open(&self, order: &TunnelOrder, mut made: TunnelLedger, keep: &dyn KeepTunnel) -> Result<TunnelLedger> {
        let account = self.account(order).await?;
        let zone = account.check().await?;
        account.refuse_taken(&zone, &made).await?;
        let tunnel = account.tunnel().await?;
        if made.tunnel.as_ref() != Some(&tunnel) {
            // What hung on another tunnel's id is looked for anew.
            made = TunnelLedger { tunnel: Some(tunnel.clone()), dns: None, token: None, ..made };
            keep.keep(&made).await?;
        }
        if made.token.is_none() {
            made.token = Some(account.connector_token(&tunnel).await?);
            keep.keep(&made).await?;
        }
        // From here on the host name leads nowhere without the service token, whatever fails.
        if !account.has_pass(&made).await? {
            made.pass = Some(account.new_pass().await?);
            made.app = None;
            keep.keep(&made).await?;
        }
        let app = account.app(&made).await?;
        if made.app.as_ref() != Some(&app) {
            made.app = Some(app);
            keep.keep(&made).await?;
        }
        account.put_rule(&tunnel).await?;
        let dns = account.dns(&zone, &tunnel, &made).await?;
        if made.dns.as_ref() != Some(&dns) {
            made.dns = Some(dns);
            keep.keep(&made).await?;
        }
        Ok(made)
    }

    async fn close(&self, order: &TunnelOrder, mut made: TunnelLedger, keep: &dyn KeepTunnel) -> Result<Vec<String>> {
        let account = self.account(order).await?;
        let mut stays = Vec::new();
        if let Some(dns) = made.dns.take() {
            match dns.created {
                true => account.remove(&format!("zones/{}/dns_records/{}", dns.zone, dns.record), DNS).await?,
                false => stays.push(format!(
                    "the DNS record of {} stays: it was there before its tunnel",
                    order.options.hostname
                )),
            }
            keep.keep(&made).await?;
        }
        let tunnel = match made.tunnel.clone() {
            Some(tunnel) => Some(tunnel),
            None => account.find_tunnel().await?,
        };
        let mut others = 0;
        if let Some(tunnel) = &tunnel {
            others = account.take_rule(tunnel).await?;
        }
        // By their names too: a crash may have come between one and its entry.
        for app in account.own_apps().await? {
            account.remove(&format!("{}/access/apps/{}", account.path, app.id), APPS).await?;
        }
        made.app = None;
        for pass in account.own_passes().await? {
            account.remove(&format!("{}/access/service_tokens/{}", account.path, pass.id), PASSES).await?;
        }
        made.pass = None;
        keep.keep(&made).await?;
        match tunnel {
            Some(_) if others > 0 => stays.push(format!(
                "the tunnel {} stays: it has {others} ingress rules that Ostler did not make",
                account.name()
            )),
            Some(tunnel) => account.remove_tunnel(&tunnel).await?,
            None => {}
        }
        Ok(stays)
    }
}

/// One account, as one order uses it.
struct Account<'a> {
    client: Client,
    order: &'a TunnelOrder,
    /// `accounts/ID`
    path: String,
}

type Did<T> = std::result::Result<T, CloudflareError>;

impl Account<'_> {
    /// How all is called that is made for the order.
    fn name(&self) -> String {
        format!("ostler {} {}", self.order.server, self.order.owner)
    }

    /// What a DNS record of ours says of itself; 100 characters are allowed there.
    fn comment(&self) -> String {
        format!("ostler {}", self.order.owner)
    }

    fn hostname(&self) -> &str {
        &self.order.options.hostname
    }

    /// Whether the token is good, and what it may not do that we need; returns the zone of the host name.
    ///
    /// A token may read what it is allowed only with a permission more that no such token should have, so each thing is asked for.
    /// Reading shows that a permission is missing altogether; one that only reads is found out by the first request that writes.
    async fn check(&self) -> Did<Zone> {
        self.client.verify().await?;
        let may = async |path: &str, permission| match self
            .client
            .get::<serde_json::Value>(&format!("{}/{path}?per_page=1", self.path), permission)
            .await
        {
            Err(CloudflareError::Forbidden { .. }) => Ok(Some(permission)),
            other => other.map(|_| None),
        };
        let (tunnel, apps, passes, zone) = try_join!(
            may("cfd_tunnel", TUNNEL),
            may("access/apps", APPS),
            may("access/service_tokens", PASSES),
            self.zone(),
        )?;
        let mut missing: Vec<_> = [tunnel, apps, passes].into_iter().flatten().collect();
        match &zone {
            None => missing.push(ZONES),
            Some(zone) => match self.records(zone).await {
                Err(CloudflareError::Forbidden { .. }) => missing.push(DNS),
                other => drop(other?),
            },
        }
        match zone {
            Some(zone) if missing.is_empty() => Ok(zone),
            // It may see all zones, and this one is none of them; that can't be told from one that may see none.
            None if missing == [ZONES] => Err(CloudflareError::NoZone { hostname: self.hostname().to_owned() }),
            _ => Err(CloudflareError::Missing { name: self.order.options.via.name.clone(), missing }),
        }
    }

    /// The zone that the host name is in: the longest of its suffixes that is one.
    async fn zone(&self) -> Did<Option<Zone>> {
        let labels: Vec<&str> = self.hostname().split('.').collect();
        for from in 0..labels.len().saturating_sub(1) {
            let name = labels[from..].join(".");
            let found: Option<Vec<Zone>> = match self.client.get(&format!("zones?name={name}"), ZONES).await {
                Ok(zones) => Some(zones),
                Err(CloudflareError::Forbidden { .. }) => None,
                Err(error) => return Err(error),
            };
            if let Some(zone) = found.and_then(|zones| zones.into_iter().next()) {
                return Ok(Some(zone));
            }
        }
        Ok(None)
    }

    async fn records(&self, zone: &Zone) -> Did<Vec<DnsRecord>> {
        self.client.get(&format!("zones/{}/dns_records?name.exact={}", zone.id, self.hostname()), DNS).await
    }

    /// Refuses what others have for the host name, before anything is made.
    async fn refuse_taken(&self, zone: &Zone, made: &TunnelLedger) -> Did<()> {
        let ours = match &made.tunnel {
            Some(tunnel) => Some(tunnel.clone()),
            None => self.find_tunnel().await?,
        };
        let ours = ours.map(|tunnel| target(&tunnel));
        let taken = self.records(zone).await?.into_iter().find(|record| {
            ["A", "AAAA", "CNAME"].contains(&record.kind.as_str()) && Some(&record.content) != ours.as_ref()
        });
        if let Some(DnsRecord { kind, content, .. }) = taken {
            return Err(CloudflareError::RecordTaken { hostname: self.hostname().to_owned(), kind, content });
        }
        let apps = self.apps().await?;
        match apps.into_iter().find(|app| app.domain.as_deref() == Some(self.hostname()) && app.name != self.name()) {
            Some(app) => Err(CloudflareError::AppTaken { hostname: self.hostname().to_owned(), app: app.name }),
            None => Ok(()),
        }
    }

    async fn find_tunnel(&self) -> Did<Option<String>> {
        let path = format!("{}/cfd_tunnel?is_deleted=false&name={}", self.path, self.name().replace(' ', "%20"));
        let found: Vec<Tunnel> = self.client.get(&path, TUNNEL).await?;
        Ok(found.into_iter().next().map(|tunnel| tunnel.id))
    }

    /// Gets or makes the tunnel. Where somebody took ours away, another one serves as well.
    async fn tunnel(&self) -> Did<String> {
        if let Some(tunnel) = self.find_tunnel().await? {
            return Ok(tunnel);
        }
        let body = json!({ "name": self.name(), "config_src": "cloudflare" });
        let made: Tunnel = self.client.post(&format!("{}/cfd_tunnel", self.path), &body, TUNNEL).await?;
        Ok(made.id)
    }

    async fn connector_token(&self, tunnel: &str) -> Did<Secret> {
        let token: String = self.client.get(&format!("{}/cfd_tunnel/{tunnel}/token", self.path), TUNNEL).await?;
        Ok(Secret::new(token))
    }

    async fn passes(&self) -> Did<Vec<Pass>> {
        self.client.all(&format!("{}/access/service_tokens", self.path), PASSES).await
    }

    async fn own_passes(&self) -> Did<Vec<Pass>> {
        Ok(self.passes().await?.into_iter().filter(|pass| pass.name == self.name()).collect())
    }

    async fn has_pass(&self, made: &TunnelLedger) -> Did<bool> {
        let Some(held) = &made.pass else { return Ok(false) };
        Ok(self.own_passes().await?.iter().any(|pass| pass.id == held.id))
    }

    /// One whose secret nobody has kept is of no use; it goes with the application that lets it in.
    async fn new_pass(&self) -> Did<ServicePass> {
        for app in self.own_apps().await? {
            self.remove(&format!("{}/access/apps/{}", self.path, app.id), APPS).await?;
        }
        for pass in self.own_passes().await? {
            self.remove(&format!("{}/access/service_tokens/{}", self.path, pass.id), PASSES).await?;
        }
        let body = json!({ "name": self.name(), "duration": "forever" });
        let created: Created = self.client.post(&format!("{}/access/service_tokens", self.path), &body, PASSES).await?;
        let Created { id, client_id, client_secret } = created;
        Ok(ServicePass { id, client_id, client_secret: Secret::new(client_secret) })
    }

    async fn apps(&self) -> Did<Vec<App>> {
        self.client.all(&format!("{}/access/apps", self.path), APPS).await
    }

    async fn own_apps(&self) -> Did<Vec<App>> {
        Ok(self.apps().await?.into_iter().filter(|app| app.name == self.name()).collect())
    }

    /// Whether an application of ours lets in the service token and nobody else.
    fn fits(&self, app: &App, made: &TunnelLedger) -> bool {
        let pass = made.pass.as_ref().map_or("", |pass| pass.id.as_str());
        app.domain.as_deref() == Some(self.hostname()) && app.admits_only(pass)
    }

    /// Gets or makes the application that lets in the service token and nobody else.
    async fn app(&self, made: &TunnelLedger) -> Did<String> {
        for app in self.own_apps().await? {
            if self.fits(&app, made) {
                return Ok(app.id);
            }
            // Of an earlier service token, or changed by somebody: the host name must be open to nobody else.
            self.remove(&format!("{}/access/apps/{}", self.path, app.id), APPS).await?;
        }
        let pass = made.pass.as_ref().map_or("", |pass| pass.id.as_str());
        let policy = json!({
            "name": self.name(), "decision": "non_identity", "include": [{ "service_token": { "token_id": pass } }],
        });
        let body = json!({
            "name": self.name(), "type": "self_hosted", "domain": self.hostname(), "app_launcher_visible": false,
            "policies": [policy],
        });
        let app: App = self.client.post(&format!("{}/access/apps", self.path), &body, APPS).await?;
        Ok(app.id)
    }

    async fn configuration(&self, tunnel: &str) -> Did<Configuration> {
        self.client.get(&format!("{}/cfd_tunnel/{tunnel}/configurations", self.path), TUNNEL).await
    }

    async fn put(&self, tunnel: &str, config: &serde_json::Value) -> Did<()> {
        let path = format!("{}/cfd_tunnel/{tunnel}/configurations", self.path);
        self.client.put(&path, &json!({ "config": config }), TUNNEL).await
    }

    /// The document with our ingress rule among those of others; `None`: it has it already.
    async fn rule(&self, tunnel: &str) -> Did<Option<serde_json::Value>> {
        let config = self.configuration(tunnel).await?.config.unwrap_or_default();
        let service = format!("ssh://localhost:{}", self.order.port);
        Ok(ingress::with_rule(config, self.hostname(), &service))
    }

    /// Puts our rule there. The API takes whole documents, so what is there is read right before.
    async fn put_rule(&self, tunnel: &str) -> Did<()> {
        match self.rule(tunnel).await? {
            Some(changed) => self.put(tunnel, &changed).await,
            None => Ok(()),
        }
    }

    /// Takes it out again; returns how many rules of others there are.
    async fn take_rule(&self, tunnel: &str) -> Did<usize> {
        let found = match self.configuration(tunnel).await {
            Err(CloudflareError::NotFound { .. }) => return Ok(0),
            other => other?,
        };
        let (changed, others) = ingress::without_rule(found.config.unwrap_or_default(), self.hostname());
        if let Some(changed) = changed {
            self.put(tunnel, &changed).await?;
        }
        Ok(others)
    }

    /// The record that leads the host name to the tunnel.
    async fn find_dns(&self, zone: &Zone, tunnel: &str, made: &TunnelLedger) -> Did<Option<DnsEntry>> {
        let target = target(tunnel);
        let found = self.records(zone).await?.into_iter().find(|record| record.content == target);
        let Some(found) = found else { return Ok(None) };
        if !found.proxied {
            return Err(CloudflareError::NotProxied { hostname: self.hostname().to_owned() });
        }
        // Its comment says who made it, also where a crash came before the entry.
        let known = made.dns.as_ref().filter(|dns| dns.record == found.id);
        let created = known.map_or(found.comment == Some(self.comment()), |dns| dns.created);
        Ok(Some(DnsEntry { zone: zone.id.clone(), record: found.id, created }))
    }

    /// Gets, adopts or makes the record of the host name.
    async fn dns(&self, zone: &Zone, tunnel: &str, made: &TunnelLedger) -> Did<DnsEntry> {
        if let Some(found) = self.find_dns(zone, tunnel, made).await? {
            return Ok(found);
        }
        let body = json!({
            "name": self.hostname(), "type": "CNAME", "content": target(tunnel), "ttl": 1, "proxied": true, "comment": self.comment(),
        });
        let made: DnsRecord = self.client.post(&format!("zones/{}/dns_records", zone.id), &body, DNS).await?;
        Ok(DnsEntry { zone: zone.id.clone(), record: made.id, created: true })
    }

    /// Its connections may be counted for minutes after their end, and it can't be removed meanwhile; so they are cleaned up first.
    async fn remove_tunnel(&self, tunnel: &str) -> Did<()> {
        let path = format!("{}/cfd_tunnel/{tunnel}", self.path);
        let mut tries = 0;
        loop {
            self.remove(&format!("{path}/connections"), TUNNEL).await?;
            match self.remove(&path, TUNNEL).await {
                Err(CloudflareError::Refused { code: ACTIVE, .. }) if tries < self.client.patience.attempts => {}
                other => return other,
            }
            tries += 1;
            tokio::time::sleep(self.client.patience.pause).await;
        }
    }

    /// What is not there is removed already.
    async fn remove(&self, path: &str, permission: &'static str) -> Did<()> {
        match self.client.delete(path, permission).await {
            Err(CloudflareError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }
}

/// Error code of a tunnel that has connections.
const ACTIVE: u32 = 1022;

/// Where a host name must lead to lead through a tunnel.
fn target(tunnel: &str) -> String {
    format!("{tunnel}.cfargotunnel.com")
}
