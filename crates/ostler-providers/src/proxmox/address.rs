//! Which address a server got by DHCP.

use super::{
    error::ProxmoxError,
    form::Form,
    vm::Vm,
    wire::{AgentAddress, AgentInterfaces},
};
use std::net::IpAddr;

/// The address of the card with this MAC: as the guest agent says, or else as this machine's own neighbours show it, which they
/// do on the node and in its network. `None`: not known yet.
pub async fn find(vm: &Vm<'_>, mac: &str) -> Result<Option<IpAddr>, ProxmoxError> {
    match vm.client.get::<AgentInterfaces>(&vm.path("/agent/network-get-interfaces"), &Form::new()).await {
        Ok(interfaces) => {
            let card = interfaces.result.iter().find(|card| card.mac.eq_ignore_ascii_case(mac));
            if let Some(address) = card.and_then(|card| best(&card.addresses)) {
                return Ok(Some(address));
            }
        }
        // The agent does not run yet, or the token may not ask it.
        Err(ProxmoxError::Refused { status: 500 | 403, .. }) => {}
        Err(error) => return Err(error),
    }
    let table = tokio::fs::read_to_string("/proc/net/arp").await.unwrap_or_default();
    Ok(neighbour(&table, mac))
}

/// IPv4 first, and nothing that only the own link knows.
fn best(addresses: &[AgentAddress]) -> Option<IpAddr> {
    let mut usable: Vec<IpAddr> = addresses
        .iter()
        .filter_map(|address| address.address.parse().ok())
        .filter(|address: &IpAddr| match address {
            IpAddr::V4(address) => !address.is_link_local() && !address.is_loopback(),
            IpAddr::V6(address) => !address.is_unicast_link_local() && !address.is_loopback(),
        })
        .collect();
    usable.sort_by_key(|address| address.is_ipv6());
    usable.first().copied()
}

/// The entry of a MAC in the kernel's table: address, type, flags, MAC (proc(5)). Flags 0x0: it did not answer.
fn neighbour(table: &str, mac: &str) -> Option<IpAddr> {
    table.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        [address, _, flags, found, ..] if *flags != "0x0" && found.eq_ignore_ascii_case(mac) => address.parse().ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_can_reach_is_chosen() {
        let all = ["127.0.0.1", "fe80::1", "2001:db8::5", "169.254.1.1", "192.168.1.20"];
        let addresses: Vec<_> = all.map(|address| AgentAddress { address: address.into() }).into();
        assert_eq!(best(&addresses), Some("192.168.1.20".parse().unwrap()));
        assert_eq!(best(&addresses[..3]), Some("2001:db8::5".parse().unwrap()));
        assert_eq!(best(&addresses[..2]), None);
    }

    #[test]
    fn the_neighbour_with_the_mac_is_found() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     192.168.1.7      0x1         0x0         52:54:00:aa:bb:cc     *        vmbr0\n\
                     192.168.1.20     0x1         0x2         52:54:00:aa:bb:cc     *        vmbr0\n";
        assert_eq!(neighbour(table, "52:54:00:AA:BB:CC"), Some("192.168.1.20".parse().unwrap()));
        assert_eq!(neighbour(table, "52:54:00:00:00:00"), None);
    }
}
