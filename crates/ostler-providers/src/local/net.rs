//! Which subnets QEMU's user-mode network (slirp) shows to a machine: a pure function of its cards.
//!
//! User-mode networking needs no root and no bridge. Each card gets a network of its own; a static address gets the
//! subnet that it belongs to, so the spec's address, gateway and routes are true inside the guest.
//! Options: `qemu-system-x86_64 -help`, `-netdev user`; the limits were tried out with QEMU 10.0.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use ostler_core::spec::{Address, Network};
use std::net::{IpAddr, Ipv4Addr};

/// One card's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Options of `-netdev user` besides `id` and `hostfwd`.
    pub options: String,
    /// Where forwarded ports lead to; `None`: slirp's first DHCP address.
    pub guest: Option<Ipv4Addr>,
}

/// A network that slirp can't give. The text starts with the card, as in the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Ports are forwarded over the first card, and slirp forwards IPv4 only.
    #[error("networks/0: provider `local` reaches the server over IPv4 on the first card, `{0}` is IPv6")]
    FirstIsIpv6(IpNet),
    /// No room for a gateway.
    #[error(
        "networks/{index}: `{address}` leaves no room for a gateway; provider `local` takes prefixes of {least} to {most}"
    )]
    Prefix {
        /// Which card.
        index: usize,
        /// Its address.
        address: IpNet,
        /// Shortest prefix.
        least: u8,
        /// Longest prefix.
        most: u8,
    },
    /// The gateway is not a neighbour.
    #[error("networks/{index}: gateway `{gateway}` is not another address of `{address}`")]
    Gateway {
        /// Which card.
        index: usize,
        /// Its gateway.
        gateway: IpAddr,
        /// Its address.
        address: IpNet,
    },
}

/// The subnets of all cards, in their order.
pub fn subnets(networks: &[Network]) -> Result<Vec<Subnet>, NetworkError> {
    let taken: Vec<Ipv4Net> = networks
        .iter()
        .filter_map(|network| match network.address {
            Address::Static(IpNet::V4(net)) => Some(net.trunc()),
            _ => None,
        })
        .collect();
    // 10.0.2.0/24 is slirp's own default; the next ones are for further cards.
    let mut free = (2..=255u8).filter_map(|n| {
        let net = Ipv4Net::new(Ipv4Addr::new(10, 0, n, 0), 24).ok()?;
        (!taken.iter().any(|other| other.contains(&net) || net.contains(other))).then_some(net)
    });
    let mut subnets = Vec::new();
    for (index, network) in networks.iter().enumerate() {
        subnets.push(match network.address {
            Address::Dhcp => {
                let net = free.next().unwrap_or_else(|| Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 2, 0), 24));
                Subnet { options: format!("ipv4=on,ipv6=off,net={net}"), guest: None }
            }
            Address::Static(IpNet::V4(address)) => static_v4(index, address, network.gateway)?,
            Address::Static(IpNet::V6(address)) => static_v6(index, address, network.gateway)?,
        });
    }
    Ok(subnets)
}

fn static_v4(index: usize, address: Ipv4Net, gateway: Option<IpAddr>) -> Result<Subnet, NetworkError> {
    let guest = address.addr();
    if !(4..=31).contains(&address.prefix_len()) {
        return Err(NetworkError::Prefix { index, address: address.into(), least: 4, most: 31 });
    }
    let mut others = address.hosts().filter(|host| *host != guest);
    let host = match gateway {
        Some(IpAddr::V4(gateway)) if address.contains(&gateway) && gateway != guest => gateway,
        Some(gateway) => return Err(NetworkError::Gateway { index, gateway, address: address.into() }),
        None => others.next().unwrap_or(address.network()),
    };
    // slirp insists on a name server of its own. Small networks have no address left for it, and it may be elsewhere.
    let dns = others.find(|other| *other != host).unwrap_or(Ipv4Addr::new(192, 0, 2, 53));
    let net = address.trunc();
    let options = format!("ipv4=on,ipv6=off,net={net},host={host},dns={dns},dhcpstart={guest}");
    Ok(Subnet { options, guest: Some(guest) })
}

fn static_v6(index: usize, address: Ipv6Net, gateway: Option<IpAddr>) -> Result<Subnet, NetworkError> {
    let guest = address.addr();
    if index == 0 {
        return Err(NetworkError::FirstIsIpv6(address.into()));
    }
    if !(4..=126).contains(&address.prefix_len()) {
        return Err(NetworkError::Prefix { index, address: address.into(), least: 4, most: 126 });
    }
    let mut others = address.hosts().filter(|host| *host != guest && *host != address.network());
    let host = match gateway {
        Some(IpAddr::V6(gateway)) if address.contains(&gateway) && gateway != guest => gateway,
        Some(gateway) => return Err(NetworkError::Gateway { index, gateway, address: address.into() }),
        None => others.next().unwrap_or(address.network()),
    };
    let dns = others.find(|other| *other != host).unwrap_or(host);
    let options = format!("ipv4=off,ipv6=on,ipv6-net={},ipv6-host={host},ipv6-dns={dns}", address.trunc());
    Ok(Subnet { options, guest: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(address: &str, gateway: Option<&str>) -> Network {
        let address = if address == "dhcp" { Address::Dhcp } else { Address::Static(address.parse().unwrap()) };
        Network { address, gateway: gateway.map(|g| g.parse().unwrap()), ..Network::default() }
    }

    #[test]
    fn each_card_gets_a_network_of_its_own() {
        let cards = [card("10.0.3.7/24", None), card("dhcp", None), card("dhcp", None), card("fd00:7::9/64", None)];
        let options: Vec<_> = subnets(&cards).unwrap().into_iter().map(|s| s.options).collect();
        assert_eq!(
            options,
            [
                "ipv4=on,ipv6=off,net=10.0.3.0/24,host=10.0.3.1,dns=10.0.3.2,dhcpstart=10.0.3.7",
                "ipv4=on,ipv6=off,net=10.0.2.0/24",
                "ipv4=on,ipv6=off,net=10.0.4.0/24",
                "ipv4=off,ipv6=on,ipv6-net=fd00:7::/64,ipv6-host=fd00:7::1,ipv6-dns=fd00:7::2",
            ]
        );
    }

    #[test]
    fn the_gateway_of_the_spec_is_the_one_in_the_guest() {
        let subnet = &subnets(&[card("192.168.7.1/24", Some("192.168.7.254"))]).unwrap()[0];
        assert_eq!(
            subnet.options,
            "ipv4=on,ipv6=off,net=192.168.7.0/24,host=192.168.7.254,dns=192.168.7.2,dhcpstart=192.168.7.1"
        );
        assert_eq!(subnet.guest, Some(Ipv4Addr::new(192, 168, 7, 1)));
    }

    #[test]
    fn a_network_of_two_addresses_works() {
        let subnet = &subnets(&[card("10.9.0.2/30", Some("10.9.0.1"))]).unwrap()[0];
        assert_eq!(subnet.options, "ipv4=on,ipv6=off,net=10.9.0.0/30,host=10.9.0.1,dns=192.0.2.53,dhcpstart=10.9.0.2");
    }

    #[test]
    fn what_slirp_cannot_do_is_refused() {
        let refused = |cards: &[Network]| subnets(cards).unwrap_err().to_string();
        assert!(refused(&[card("fd00::2/64", None)]).contains("IPv4 on the first card"));
        assert!(refused(&[card("10.0.0.2/32", None)]).contains("no room for a gateway"));
        assert!(refused(&[card("10.0.0.2/24", Some("10.0.1.1"))]).contains("gateway `10.0.1.1`"));
    }
}
