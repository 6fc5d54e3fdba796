//! The way to the server that a site runs on.

use crate::{
    converge::peer,
    error::{Blame, Failure, Result},
    hint::{Hint, Next},
    ids::{OperationId, ServerName, SiteName, StateId},
    model::{Phase, ServerRecord},
    ports::{Place, PortState, Session},
    spec::{SITE_APP, Value},
    world::{Context, World},
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

const OWN_ADDRESSES: &str = include_str!("../reach/scripts/own_addresses.sh");

/// Where requests come in.
const HTTPS: u16 = 443;
/// How long that port may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// An open login.
pub(super) struct Entrance {
    session: Box<dyn Session>,
    https: Option<SocketAddr>,
    network: String,
    owner: StateId,
}

impl Entrance {
    /// Logs in.
    pub(super) async fn open(
        world: &World,
        site: &SiteName,
        server: &ServerName,
        operation: OperationId,
    ) -> Result<Self> {
        let record = server_of(world, site, server).await?;
        let session = peer::log_in(world, &record, operation).await?.map_err(|why| {
            Failure::new(Blame::Target, why).because_of(format!("the site {site} can't be looked at"))
        })?;
        let network = match record.desired.app_params.get(SITE_APP).and_then(|params| params.get("network")) {
            Some(Value::String(name)) if !name.is_empty() => name.clone(),
            _ => "web".to_owned(),
        };
        Ok(Self { session, https: https(world, &record, operation).await?, network, owner: world.owner })
    }

    /// Addresses at which requests from here come to the server, one of each family at most: the one that is known, and the server's own one
    /// of the other family, where that is one of the internet and answers.
    pub(super) async fn addresses(&self, world: &World) -> Result<Vec<IpAddr>> {
        let Some(known) = self.https.filter(|known| !known.ip().is_loopback()) else { return Ok(Vec::new()) };
        let mut addresses = vec![known.ip()];
        let said = self.session.run(OWN_ADDRESSES, b"").await?.stdout;
        let mut own = said.lines().filter_map(|line| line.strip_prefix("address ")?.trim().parse::<IpAddr>().ok());
        if let Some(own) = own.find(|own| own.is_ipv4() != known.is_ipv4() && is_public(*own))
            && world.remote.try_port(SocketAddr::new(own, HTTPS), PATIENCE).await == PortState::Open
        {
            addresses.push(own);
        }
        Ok(addresses)
    }

    pub(super) fn session(&self) -> &dyn Session {
        self.session.as_ref()
    }

    pub(super) fn place(&self) -> Place<'_> {
        Place { session: self.session.as_ref(), https: self.https, network: &self.network, owner: self.owner }
    }

    pub(super) async fn close(self) {
        self.session.close().await;
    }
}

/// The server's record, where it can serve sites.
pub(super) async fn server_of(world: &World, site: &SiteName, server: &ServerName) -> Result<ServerRecord> {
    let refused = |message: String| Failure::new(Blame::User, message);
    let record = world.store.server(server).await?.ok_or_else(|| {
        refused(format!("the site {site} is to run on {server}, and there is no such server"))
            .with_hint(Hint::from(Next::ListServers).with(" lists the servers"))
    })?;
    if !record.desired.apps.iter().any(|app| app == SITE_APP) {
        return Err(refused(format!("{server} does not have the app `{SITE_APP}`, which brings requests to sites"))
            .with_hint(Hint::from(format!("add `{SITE_APP}` to its `apps`, then ")).with(Next::Up { file: None })));
    }
    if record.machine.is_none() || record.phase < Phase::Ready {
        return Err(refused(format!("{server} is not set up yet, so it can't serve the site {site}"))
            .with_hint(Hint::from(Next::Resume(server.clone())).with(" goes on with it")));
    }
    Ok(record)
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_private() && !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_unique_local() && !v6.is_unicast_link_local() && !v6.is_loopback(),
    }
}

/// Where the server's port 443 is reached from here, if it is.
async fn https(world: &World, record: &ServerRecord, operation: OperationId) -> Result<Option<SocketAddr>> {
    let ctx = Context::new(world, record.subject(), operation, record.desired.clone());
    let seen = ctx.observe().await?;
    let forwarded = seen.forwards.iter().find(|(_, there)| *there == HTTPS).map(|(here, _)| *here);
    // One of this machine's own addresses is that of a forwarded port.
    let own = seen.ssh.map(|ssh| ssh.ip()).filter(|ip| !ip.is_loopback()).map(|ip| SocketAddr::new(ip, HTTPS));
    let Some(address) = forwarded.or(own) else { return Ok(None) };
    Ok((world.remote.try_port(address, PATIENCE).await == PortState::Open).then_some(address))
}
