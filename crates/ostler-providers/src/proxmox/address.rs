//! Which address a server got by DHCP: as its guest agent says; else, where this machine is the node itself, as its neighbours or the
//! serial console show it.

use super::{
    console::Consoles,
    error::ProxmoxError,
    form::Form,
    host::Host,
    neighbours::{self, Neighbours},
    vm::Vm,
    wire::{AgentInterfaces, VmConfig},
};
use std::net::IpAddr;

/// Where addresses are looked for.
pub struct AddressFinder<'a> {
    /// This machine.
    pub host: &'a Host,
    /// Whom it sees.
    pub neighbours: &'a Neighbours,
    /// What it hears.
    pub consoles: &'a Consoles,
}

/// What is known of an address.
#[derive(Debug)]
pub enum GuestAddress {
    Known(IpAddr),
    /// Nothing yet; where it was looked for, and what may help.
    Unknown(String),
}

impl AddressFinder<'_> {
    /// The address of the first card of a VM that runs.
    pub async fn find(&self, vm: &Vm<'_>, config: &VmConfig) -> Result<GuestAddress, ProxmoxError> {
        let mac = vm.machine.mac.as_str();
        if let Some(address) = best(&told_by_agent(vm, mac).await?) {
            return Ok(GuestAddress::Known(address));
        }
        let node = &vm.machine.node;
        if !self.host.is(node) {
            return Ok(GuestAddress::Unknown(format!(
                "its guest agent has not reported an address yet, and nothing else can tell it from here: run Ostler on {node}, or give it a \
                 fixed one under `network`"
            )));
        }
        let bridge = config.property("net0", "bridge").unwrap_or_default();
        // The device that has the node's own address in a VLAN (interfaces(5) of Proxmox VE).
        let device = match config.property("net0", "tag") {
            Some(tag) => format!("{bridge}.{tag}"),
            None => bridge.clone(),
        };
        let mut found = self.neighbours.find(self.host, &device, mac).await;
        if best(&found).is_none() {
            found = self.consoles.addresses(vm.machine.vmid, mac);
        }
        Ok(best(&found).map_or_else(|| GuestAddress::Unknown(nowhere(&bridge, mac)), GuestAddress::Known))
    }
}

async fn told_by_agent(vm: &Vm<'_>, mac: &str) -> Result<Vec<IpAddr>, ProxmoxError> {
    match vm.client.get::<AgentInterfaces>(&vm.path("/agent/network-get-interfaces"), &Form::new()).await {
        Ok(interfaces) => {
            let card = interfaces.result.into_iter().find(|card| card.mac.eq_ignore_ascii_case(mac));
            let addresses = card.into_iter().flat_map(|card| card.addresses);
            Ok(addresses.filter_map(|address| address.address.parse().ok()).collect())
        }
        // The agent does not run yet, or the token may not ask it.
        Err(ProxmoxError::Refused { status: 500 | 403, .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// IPv4 first, and nothing that only the own link knows.
fn best(addresses: &[IpAddr]) -> Option<IpAddr> {
    let usable = addresses.iter().copied().filter(|address| match address {
        IpAddr::V4(address) => !address.is_link_local() && !address.is_loopback(),
        IpAddr::V6(address) => !address.is_unicast_link_local() && !address.is_loopback(),
    });
    usable.min_by_key(IpAddr::is_ipv6)
}

/// Where an address was looked for in vain.
fn nowhere(bridge: &str, mac: &str) -> String {
    let heard = match neighbours::is_heard(bridge, mac) {
        Some(true) => format!(", though {bridge} has heard from it: does DHCP answer there?"),
        Some(false) => format!(", and {bridge} has not heard from it: it may still be booting"),
        None => String::new(),
    };
    format!("no address of {mac} yet from its guest agent, the node's neighbours or its console{heard}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_can_reach_is_chosen() {
        let all = ["127.0.0.1", "fe80::1", "2001:db8::5", "169.254.1.1", "192.168.1.20"];
        let addresses = all.map(|address| address.parse().unwrap());
        assert_eq!(best(&addresses), Some("192.168.1.20".parse().unwrap()));
        assert_eq!(best(&addresses[..3]), Some("2001:db8::5".parse().unwrap()));
        assert_eq!(best(&addresses[..2]), None);
    }
}
