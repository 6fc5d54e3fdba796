//! Provider `existing`: servers that somebody else made and that SSH reaches. It makes nothing, so it has no other part than the adoption.

mod error;

pub use error::ExistingError;

use async_trait::async_trait;
use ostler_core::{
    Result,
    model::{Finding, MachineOrder, MachineRecord, Observed, Power},
    ports::{Adoption, Origin, Provider},
    spec::ProviderOptions,
};
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

/// Servers that are there already.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExistingProvider;

/// Content of a [`MachineRecord`]: where sshd is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// IP address or name.
    address: String,
    port: u16,
}

impl Place {
    fn read(record: &MachineRecord) -> Result<Self, ExistingError> {
        serde_json::from_str(&record.0).map_err(|source| ExistingError::BadRecord { record: record.0.clone(), source })
    }

    fn record(&self) -> MachineRecord {
        MachineRecord(serde_json::to_string(self).expect("two plain fields"))
    }

    /// A name is looked up each time: it may lead elsewhere tomorrow.
    async fn resolve(&self) -> Result<SocketAddr, ExistingError> {
        if let Ok(address) = self.address.parse::<IpAddr>() {
            return Ok(SocketAddr::new(address, self.port));
        }
        let unknown = |cause: String| ExistingError::Unknown { name: self.address.clone(), cause };
        let found = timeout(LOOKUP, tokio::net::lookup_host((self.address.as_str(), self.port)))
            .await
            .map_err(|_| unknown(format!("no answer within {} s", LOOKUP.as_secs())))?
            .map_err(|error| unknown(error.to_string()))?;
        // IPv4 first: a name with both is more often reachable by it.
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|address| address.is_ipv6());
        found.first().copied().ok_or_else(|| unknown("it has no address".to_owned()))
    }
}

/// How long a name may take to be looked up.
const LOOKUP: Duration = Duration::from_secs(5);
/// How long a server may take to show its banner before it counts as not answering.
const BANNER: Duration = Duration::from_secs(10);

fn place(options: &ProviderOptions) -> Result<Place, ExistingError> {
    let options = options.way_in().ok_or(ExistingError::NoOptions)?;
    Ok(Place { address: options.address.clone(), port: options.port })
}

#[async_trait]
impl Provider for ExistingProvider {
    fn origin(&self) -> Origin<'_> {
        Origin::Adopts(self)
    }

    async fn preflight(&self, order: &MachineOrder) -> Result<Vec<Finding>> {
        let place = place(&order.options)?;
        let problem = match place.resolve().await {
            Ok(address) => silence(address).await.map(|why| {
                let hint = format!("check that it runs and that its sshd listens on port {}", place.port);
                (format!("nothing at {address} answers as an SSH server: {why}"), hint)
            }),
            Err(error) => Some((error.to_string(), "write its IP address, or mend the name".to_owned())),
        };
        Ok(problem
            .map(|(message, hint)| Finding { fatal: true, message, hints: vec![hint.into()] })
            .into_iter()
            .collect())
    }

    /// Nothing can be seen of it from outside but where it is; whether it answers is what logging in finds out.
    async fn observe(&self, machines: &[&MachineRecord]) -> Result<Vec<Observed>> {
        let places = machines.iter().map(|machine| Place::read(machine)).collect::<Result<Vec<_>, _>>()?;
        let looks = places.iter().map(async |place| {
            let ssh = place.resolve().await;
            let detail = match &ssh {
                Ok(_) => String::new(),
                Err(error) => error.to_string(),
            };
            Observed { power: Power::On, ssh: ssh.ok(), detail, forwards: Vec::new(), slowness: 1 }
        });
        Ok(futures::future::join_all(looks).await)
    }

    async fn route_ssh(&self, machine: &MachineRecord, port: u16) -> Result<MachineRecord> {
        Ok(Place { port, ..Place::read(machine)? }.record())
    }
}

impl Adoption for ExistingProvider {
    fn adopt(&self, order: &MachineOrder) -> Result<MachineRecord> {
        Ok(place(&order.options)?.record())
    }
}

/// Why nothing there is an SSH server; `None` if there is one (RFC 4253, section 4.2: it begins with `SSH-`).
async fn silence(address: SocketAddr) -> Option<String> {
    let look = async {
        let mut begin = [0; 4];
        TcpStream::connect(address).await?.read_exact(&mut begin).await?;
        Ok::<_, std::io::Error>(begin)
    };
    match timeout(BANNER, look).await {
        Ok(Ok(begin)) if begin == *b"SSH-" => None,
        Ok(Ok(_)) => Some("it speaks something else".to_owned()),
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", BANNER.as_secs())),
    }
}
