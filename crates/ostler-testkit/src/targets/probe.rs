//! Connections to targets from addresses of one's choice.

use super::lab::Lab;
use socket2::{Domain, Socket, Type};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// How long a connection may take until it counts as dropped: the machine may be busy.
const DROPPED_AFTER: Duration = Duration::from_millis(1500);

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// 198.51.100.7: somebody on the internet.
    PublicV4,
    /// 2001:db8:ffff::7: the same by IPv6.
    PublicV6,
    /// A neighbour on the targets' private IPv4 network. (The test process itself is another one: [`Lab::host`].)
    Lan,
    /// A neighbour by unique local IPv6 (RFC 4193).
    Ula,
    /// Any address in 198.51.100.0/24 or 2001:db8:ffff::/48: one of many on the internet.
    Internet(IpAddr),
}

impl Source {
    /// All kinds, each once.
    pub const ALL: [Source; 4] = [Source::PublicV4, Source::PublicV6, Source::Lan, Source::Ula];

    /// Its address in this lab.
    pub fn address(self, lab: &Lab) -> IpAddr {
        match self {
            Source::PublicV4 => Ipv4Addr::new(198, 51, 100, 7).into(),
            Source::PublicV6 => Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7).into(),
            Source::Lan => lab.network().lan(super::network::NEIGHBOUR).into(),
            Source::Ula => lab.network().ula(super::network::NEIGHBOUR).into(),
            Source::Internet(address) => address,
        }
    }
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was accepted.
    Open,
    /// The target said no: nothing listens there, or a firewall rejects.
    Refused,
    /// No answer.
    Dropped,
}

impl Lab {
    /// A connection from `source`. It stays in the lab's network: a test can talk through it.
    ///
    /// # Errors
    /// Those of connect(2); `TimedOut` without an answer.
    pub fn connect(&self, source: Source, to: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        let from = SocketAddr::new(source.address(self), 0);
        self.in_network(move || {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            socket.bind(&from.into())?;
            socket.connect_timeout(&to.into(), timeout)?;
            Ok(socket.into())
        })
    }

    /// What becomes of a connection from `source`.
    ///
    /// # Panics
    /// If it fails in a way that says nothing of the target, as for an address of another family.
    #[track_caller]
    pub fn probe(&self, source: Source, to: SocketAddr) -> Verdict {
        use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, PermissionDenied, TimedOut};
        match self.connect(source, to, DROPPED_AFTER) {
            Ok(_) => Verdict::Open,
            Err(error) => match error.kind() {
                TimedOut => Verdict::Dropped,
                // The lab knows the hardware address of each target, so unreachable is what an ICMP message said.
                ConnectionRefused | HostUnreachable | NetworkUnreachable | PermissionDenied => Verdict::Refused,
                _ => panic!("can't probe {to} from {source:?}: {error}"),
            },
        }
    }
}
