//! What authoritative servers answer.

use crate::{Patience, error::DnsError, query};
use futures::future::join_all;
use hickory_proto::{
    op::ResponseCode,
    rr::{RData, RecordType},
};
use ostler_core::{
    ports::{DnsRecord, RecordKind},
    spec::ZoneSpec,
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

/// Where DNS servers listen.
const PORT: u16 = 53;

/// First pause between two looks; it doubles.
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// The authoritative servers of a zone: those that the spec names, or all addresses of those that its NS records name.
pub async fn authorities(zone: &ZoneSpec, patience: Patience) -> Result<Vec<SocketAddr>, DnsError> {
    if !zone.nameservers.is_empty() {
        return Ok(zone.nameservers.clone());
    }
    let unknown = |said: String| DnsError::NoAuthorities { zone: zone.name.clone(), said };
    let mut said = "no resolver is configured".to_owned();
    for resolver in resolvers().await {
        let answer = match query::ask(resolver, &zone.name, RecordType::NS, true, patience).await {
            Ok(answer) => answer,
            Err(error) => {
                said = error.to_string();
                continue;
            }
        };
        let names = answer.answers.iter().filter_map(|record| match &record.data {
            RData::NS(name) => Some(name.0.to_ascii()),
            _ => None,
        });
        let addresses = join_all(names.map(|name| async move {
            tokio::net::lookup_host((name.trim_end_matches('.').to_owned(), PORT))
                .await
                .map(Iterator::collect::<Vec<_>>)
        }));
        let found: Vec<SocketAddr> = addresses.await.into_iter().flatten().flatten().collect();
        let reachable = reachable(found).await;
        if !reachable.is_empty() {
            return Ok(reachable);
        }
        said = format!("{resolver} knows no server of it ({})", answer.metadata.response_code);
    }
    Err(unknown(said))
}

/// Those of families that there is a way to from here.
async fn reachable(all: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let ways = join_all(all.iter().map(|address| async move {
        let here = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        match tokio::net::UdpSocket::bind(here).await {
            Ok(socket) => socket.connect(address).await.is_ok(),
            Err(_) => false,
        }
    }));
    let ways = ways.await;
    all.into_iter().zip(ways).filter(|(_, way)| *way).map(|(address, _)| address).collect()
}

/// The resolvers of this machine (resolv.conf(5)); where it names none, one on this machine.
async fn resolvers() -> Vec<SocketAddr> {
    let text = tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default();
    let address = |line: &str| -> Option<IpAddr> { line.strip_prefix("nameserver")?.trim().parse().ok() };
    let mut found: Vec<SocketAddr> =
        text.lines().filter_map(address).map(|address| SocketAddr::new(address, PORT)).collect();
    if found.is_empty() {
        found.push((Ipv4Addr::LOCALHOST, PORT).into());
    }
    found
}

/// What the first of these servers that answers has of a name, of every kind that we know.
pub async fn of_name(servers: &[SocketAddr], name: &str, patience: Patience) -> Result<Vec<DnsRecord>, DnsError> {
    let mut all = Vec::new();
    for kind in query::KINDS {
        // Behind an alias are records of another name.
        let found = first(servers, name, kind, false, patience).await?;
        all.extend(found.into_iter().filter(|record| record.name == name));
    }
    Ok(all)
}

async fn first(
    servers: &[SocketAddr],
    name: &str,
    kind: RecordKind,
    recursion: bool,
    patience: Patience,
) -> Result<Vec<DnsRecord>, DnsError> {
    let mut failed = None;
    for server in servers {
        match answer(*server, name, kind, recursion, patience).await {
            Ok(records) => return Ok(records),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| DnsError::NoAuthorities { zone: name.to_owned(), said: "there is none".into() }))
}

/// The records of a kind that a server answers with; a name that is not there has none.
async fn answer(
    server: SocketAddr,
    name: &str,
    kind: RecordKind,
    recursion: bool,
    patience: Patience,
) -> Result<Vec<DnsRecord>, DnsError> {
    let answer = query::ask(server, name, query::record_type(kind), recursion, patience).await?;
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(query::records(&answer.answers, kind)),
        code => {
            let (server, name) = (server.to_string(), name.to_owned());
            Err(DnsError::BadAnswer { server, name, code: code.to_string() })
        }
    }
}

/// Records of a name and kind, as the zone's servers or the machine's resolvers answer.
pub async fn lookup(
    zone: Option<&ZoneSpec>,
    name: &str,
    kind: RecordKind,
    patience: Patience,
) -> Result<Vec<DnsRecord>, DnsError> {
    match zone {
        Some(zone) => first(&authorities(zone, patience).await?, name, kind, false, patience).await,
        None => first(&resolvers().await, name, kind, true, patience).await,
    }
}

/// Waits until all authoritative servers answer with a record.
pub async fn settle(
    zone: &ZoneSpec,
    record: &DnsRecord,
    timeout: Duration,
    patience: Patience,
) -> Result<(), DnsError> {
    let begun = Instant::now();
    let authorities = authorities(zone, patience).await?;
    let mut pause = FIRST_LOOK.min(patience.look);
    loop {
        let answers = join_all(authorities.iter().map(|server| async move {
            let found = answer(*server, &record.name, record.kind, false, patience).await;
            match found {
                Ok(found) if found.iter().any(|other| other.is_same(record)) => None,
                Ok(found) if found.is_empty() => Some(format!("{server} has none")),
                Ok(found) => {
                    let values: Vec<_> = found.iter().map(|record| DnsError::words(&record.value)).collect();
                    Some(format!("{server} has {}", values.join(", ")))
                }
                Err(error) => Some(error.to_string()),
            }
        }));
        let missing: Vec<String> = answers.await.into_iter().flatten().collect();
        if missing.is_empty() {
            return Ok(());
        }
        if begun.elapsed() + pause >= timeout {
            return Err(DnsError::NotSettled {
                zone: zone.name.clone(),
                record: format!("{} {}", record.kind, record.name),
                seconds: timeout.as_secs(),
                said: missing.join("; "),
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(patience.look);
    }
}
