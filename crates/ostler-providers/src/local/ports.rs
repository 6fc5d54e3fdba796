//! Ports of 127.0.0.1 that lead to a machine: chosen once, kept, and chosen anew only where somebody else took one.

use super::{
    error::LocalError,
    machine::{Forwarded, Machine},
};
use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::RangeInclusive,
};
use uuid::Uuid;

/// Below the ports that Linux gives to outgoing connections (32768 and up), so that none of those is in the way.
const RANGE: RangeInclusive<u16> = 20000..=32767;

/// Whether somebody could listen on it now.
pub fn check(port: u16) -> io::Result<()> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop)
}

/// Where a port is reached.
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// All ports that a machine keeps for itself, also while it is off.
pub fn kept(machine: &Machine) -> impl Iterator<Item = u16> {
    std::iter::once(machine.ssh_port)
        .chain(machine.ssh_moved.iter().chain(&machine.forwards).map(|forward| forward.host))
}

/// Where a machine looks for a free port. Machines start at different places, so that two that are made at once hardly ever
/// meet.
fn candidates(machine: Uuid) -> impl Iterator<Item = u16> {
    let count = RANGE.end() - RANGE.start() + 1;
    let start = machine.as_u128() as u16 % count;
    (0..count).map(move |n| RANGE.start() + (start + n) % count)
}

/// One more free port for a machine.
pub fn free(machine: &Machine, taken: &BTreeSet<u16>) -> Result<u16, LocalError> {
    candidates(machine.uuid).find(|port| !taken.contains(port) && check(*port).is_ok()).ok_or(LocalError::NoFreePort)
}

/// Makes sure that all ports of a machine that is off can be had: keeps what is free, replaces what is not, and fails where
/// the order names the port. Port 0 counts as not chosen yet. `others` are ports that other machines keep.
pub fn settle(machine: &mut Machine, others: &BTreeSet<u16>) -> Result<(), LocalError> {
    let mut taken = others.clone();
    for forward in &machine.forwards {
        if let Some(port) = forward.order.host {
            check(port).map_err(|source| LocalError::Port { port, server: machine.server.clone(), source })?;
            taken.insert(port);
        }
    }
    let free = |port: u16, taken: &BTreeSet<u16>| !taken.contains(&port) && check(port).is_ok();
    let mut unsettled = Vec::new();
    let chosen = machine.forwards.iter_mut().filter(|forward| forward.order.host.is_none());
    let chosen = machine.ssh_moved.iter_mut().chain(chosen).map(|forward| &mut forward.host);
    for port in std::iter::once(&mut machine.ssh_port).chain(chosen) {
        if *port != 0 && free(*port, &taken) {
            taken.insert(*port);
        } else {
            unsettled.push(port);
        }
    }
    let mut candidates = candidates(machine.uuid);
    for port in unsettled {
        *port = candidates.find(|port| free(*port, &taken)).ok_or(LocalError::NoFreePort)?;
    }
    for Forwarded { order, host } in &mut machine.forwards {
        *host = order.host.unwrap_or(*host);
    }
    Ok(())
}
