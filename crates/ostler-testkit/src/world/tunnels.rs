//! An account that tunnels end in: `tunnels/NAME.json` for each.

use super::FakeWorld;
use async_trait::async_trait;
use ostler_core::{
    Blame, Failure, Result,
    model::{DnsEntry, ServicePass, TunnelChange, TunnelLedger},
    ports::{KeepTunnel, Through, TunnelOrder, Tunnels},
    secret::Secret,
};
use serde::{Deserialize, Serialize};

/// What there is of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FakeTunnel {
    /// The server that it leads to.
    pub server: String,
    /// Its host name.
    pub hostname: String,
    /// What a client proves itself with.
    pub secret: String,
    /// Whether its host name leads to it.
    pub named: bool,
}

#[async_trait]
impl Tunnels for FakeWorld {
    async fn look(&self, order: &TunnelOrder, made: &TunnelLedger) -> Result<Vec<TunnelChange>> {
        let is_there = self.dir.read::<FakeTunnel>(&path(order)).is_some() && made.dns.is_some();
        Ok(if is_there { Vec::new() } else { vec![TunnelChange::MakeTunnel, TunnelChange::MakeRecord] })
    }

    async fn open(&self, order: &TunnelOrder, mut made: TunnelLedger, keep: &dyn KeepTunnel) -> Result<TunnelLedger> {
        let path = path(order);
        self.faults
            .around("tunnels.open", async {
                let mut tunnel = self.dir.read(&path).unwrap_or_else(|| FakeTunnel {
                    server: order.server.to_string(),
                    hostname: order.options.hostname.clone(),
                    secret: String::new(),
                    named: false,
                });
                made.tunnel = Some("tunnel".into());
                made.token = Some(Secret::new("token"));
                if made.pass.as_ref().is_none_or(|pass| pass.client_secret.expose() != tunnel.secret) {
                    // One whose secret nobody has kept is made anew.
                    tunnel.secret.push('s');
                    let client_secret = Secret::new(tunnel.secret.clone());
                    made.pass = Some(ServicePass { id: "pass".into(), client_id: "client".into(), client_secret });
                    self.dir.write(&path, &tunnel);
                    self.faults.middle("tunnels.open")?;
                    keep.keep(&made).await?;
                }
                made.app = Some("app".into());
                tunnel.named = true;
                self.dir.write(&path, &tunnel);
                made.dns = Some(DnsEntry { zone: "zone".into(), record: "record".into(), created: true });
                Ok(made)
            })
            .await
    }

    async fn close(&self, order: &TunnelOrder, _: TunnelLedger, _: &dyn KeepTunnel) -> Result<Vec<String>> {
        self.faults
            .around("tunnels.close", async {
                if self.dir.machine(order.server.as_str()).is_some_and(|machine| machine.on && machine.is_connected()) {
                    return Err(Failure::new(Blame::Provider, "the tunnel has active connections"));
                }
                self.dir.remove(&path(order));
                Ok(Vec::new())
            })
            .await
    }
}

impl FakeWorld {
    /// The machine that a client gets to through a tunnel.
    pub(super) fn machine_behind(&self, through: &Through) -> Option<String> {
        let mut names = self.dir.names("tunnels");
        names.sort();
        let tunnels = names.iter().filter_map(|name| self.dir.read::<FakeTunnel>(&format!("tunnels/{name}")));
        let tunnel = tunnels.into_iter().find(|tunnel| {
            tunnel.named && tunnel.hostname == through.hostname && tunnel.secret == through.client_secret.expose()
        })?;
        let machine = self.dir.machine(&tunnel.server)?;
        (machine.on && machine.is_connected()).then_some(machine.name)
    }
}

fn path(order: &TunnelOrder) -> String {
    format!("tunnels/{}.json", order.server)
}
