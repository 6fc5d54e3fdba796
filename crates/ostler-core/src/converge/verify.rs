//! Tries what a spec promises of a server, on the server and from here, and changes nothing.
//!
//! The promises are a table, one row each: that people get in as the spec says and nobody else, that ports are open and closed as
//! declared on IPv4 and IPv6, also those that Docker publishes, that a tunnel leads to the server, and what modules, apps and the tunnel's
//! role promise by their metadata. A row that can't be tried from here says so: what is not known is never called kept.

use crate::{
    converge::{promises, volumes},
    error::{Blame, Failure, Result},
    event::Level,
    ids::ServerName,
    model::{Outcome, TriedPromise, TunnelRecord, Verification},
    ports::{PortState, Session},
    reach::{RUN_AS_ROOT, fence},
    spec::{Opening, Promise, Proto, Scope, Source, app_ports, openings},
    text::one_line,
    tunnel::proof,
    world::Context,
};
use futures::future::join_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

const TRY_ALL: &str = concat!(include_str!("../reach/scripts/own_addresses.sh"), include_str!("scripts/verify.sh"));
/// How long a port may take to answer. One that a firewall drops takes all of it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether it is known that logins are as promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logins {
    /// They were proved just now, and each try is a connection that somebody may count.
    Proved,
    /// They are to be tried.
    ToTry,
}

/// Tries everything once. `session`: as the target user.
pub(crate) async fn verify(ctx: &Context<'_>, session: &dyn Session, logins: Logins) -> Result<Verification> {
    let mut table = Vec::new();
    match logins {
        _ if !ctx.spec.ssh.enabled => {}
        Logins::Proved => table.push(logins_are(ctx, Outcome::Kept)),
        Logins::ToTry => try_logins(ctx, session, &mut table).await,
    }
    let (mounted, tunnel) = (volumes::promises(ctx).await?, ctx.tunnel().await?);
    let mounted = mounted.iter().map(|promise| ("volumes", promise));
    let promises: Vec<_> = mounted.chain(promised(ctx)).collect();
    let facts = Facts::ask(session, promises.iter().map(|(_, promise)| *promise)).await?;
    table.push(row("sudo", format!("{} becomes root without a password", ctx.spec.user), Outcome::Kept));
    try_ports(ctx, session, &facts, tunnel.as_ref(), &mut table).await;
    if let Some(options) = &ctx.spec.tunnel {
        let says = format!("{} logs in through {}", ctx.spec.user, options.hostname);
        table.push(row(TUNNEL, says, try_tunnel(ctx, tunnel.as_ref()).await?));
    }
    for (index, (about, promise)) in promises.into_iter().enumerate() {
        let outcome = facts.promises.get(&index).cloned();
        let outcome = outcome.unwrap_or_else(|| Outcome::Unknown("the server did not say".into()));
        table.push(row(about, promise.says.clone(), outcome));
    }
    Ok(Verification { at: jiff::Timestamp::now(), of: digest(ctx), promises: table })
}

/// Digest of what the promises follow from. Where it changes, they are to be tried anew.
pub(crate) fn digest(ctx: &Context<'_>) -> String {
    let all = serde_json::json!([ctx.spec, promised(ctx), ctx.world.roles]).to_string();
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, all.as_bytes()).to_string()
}

/// The failure that broken promises are; `None` where there are none.
pub(crate) fn failure<'a>(
    server: &ServerName,
    verified: &Verification,
    broken: impl Iterator<Item = (&'a TriedPromise, &'a str)>,
) -> Option<Failure> {
    let broken: Vec<_> = broken.collect();
    let (first, why) = broken.first()?;
    let message = format!("{}: not so: {} ({why})", first.about, first.says);
    let rest = broken.iter().skip(1).map(|(promise, why)| format!("{}: {}: {why}", promise.about, promise.says));
    let count = format!("{server} does not keep {} of {} promises", broken.len(), verified.promises.len());
    Some(Failure::new(Blame::Target, message).because_of(count).with_lines(rest.collect()))
}

/// What rows are about that a tunnel promises.
const TUNNEL: &str = "tunnel";

/// What the modules and apps of the server and its tunnel promise, with their names.
fn promised<'a>(ctx: &'a Context<'_>) -> Vec<(&'a str, &'a Promise)> {
    let (spec, world) = (&ctx.spec, ctx.world);
    let modules = spec.modules_of(&world.modules).map(|meta| (&meta.name, &meta.promises));
    let apps = spec.apps_of(&world.catalog).map(|meta| (&meta.name, &meta.promises));
    let all = modules.chain(apps).flat_map(|(name, all)| all.iter().map(|promise| (name.as_str(), promise)));
    let of_tunnel = spec.tunnel.iter().flat_map(|_| world.tunnel_promises.iter().map(|promise| (TUNNEL, promise)));
    all.chain(of_tunnel).collect()
}

fn row(about: &str, says: impl Into<String>, outcome: Outcome) -> TriedPromise {
    TriedPromise { about: about.to_owned(), says: says.into(), of_others: false, outcome }
}

fn logins_are(ctx: &Context<'_>, outcome: Outcome) -> TriedPromise {
    row("ssh", promises::sentence(&ctx.spec), outcome)
}

async fn try_logins(ctx: &Context<'_>, session: &dyn Session, table: &mut Vec<TriedPromise>) {
    let mut notes = promises::Notes::new();
    let outcome = match promises::try_all(ctx, session, &mut notes).await {
        Ok(()) => Outcome::Kept,
        Err(failure) => {
            let words = std::iter::once(&failure.message).chain(&failure.causes).map(|words| one_line(words));
            Outcome::Broken(words.collect::<Vec<_>>().join(": "))
        }
    };
    table.push(logins_are(ctx, outcome));
    // The same by either family of addresses is one.
    let notes: BTreeSet<_> = notes.into_iter().map(|(level, message)| (message, level)).collect();
    let rows = notes.into_iter().map(|(message, level)| match level {
        Level::Info => row("ssh", "every login is proved", Outcome::Unknown(message)),
        // A run leaves such blocks alone, if the spec does not say otherwise.
        Level::Warning => TriedPromise {
            of_others: true,
            ..row("ssh", "the policy holds for logins from here", Outcome::Broken(message))
        },
    });
    table.extend(rows);
}

/// Whether a login through the tunnel succeeds. Where all logins go by it, this one did.
async fn try_tunnel(ctx: &Context<'_>, tunnel: Option<&TunnelRecord>) -> Result<Outcome> {
    let Some(tunnel) = tunnel else { return Ok(Outcome::Broken("there is no tunnel yet".into())) };
    if tunnel.through {
        return Ok(Outcome::Kept);
    }
    match proof::try_login(ctx, tunnel).await? {
        Ok(session) => {
            session.close().await;
            Ok(Outcome::Kept)
        }
        Err(error) => Ok(Outcome::Broken(one_line(&proof::words(&error)))),
    }
}

/// Tries each port that something listens on, or that an app is to have, at each address that a way leads to.
async fn try_ports(
    ctx: &Context<'_>,
    session: &dyn Session,
    facts: &Facts,
    tunnel: Option<&TunnelRecord>,
    table: &mut Vec<TriedPromise>,
) {
    let reached = session.transport().address.ip();
    if reached.is_loopback() {
        let why = "this machine forwards single ports to the server, so the others can't be tried from here";
        return table.push(row("ports", "ports are open and closed as declared", Outcome::Unknown(why.into())));
    }
    let (spec, catalog) = (&ctx.spec, &ctx.world.catalog);
    // What an app lets others on the network reach may be a part of it that not every server has, such as the managers of a swarm.
    let of_apps = app_ports(spec, catalog).filter(|port| port.proto == Proto::Tcp && port.scope == Scope::Public);
    let of_apps: BTreeSet<u16> = of_apps.map(|port| port.port).collect();
    // Where the spec wants no firewall, only the apps' own ports are promised anything.
    let (openings, mut ports) = match openings(spec, catalog) {
        Some(openings) => (openings, facts.ports.clone()),
        None => {
            let open = |port: &u16| Opening { ports: *port..=*port, proto: Some(Proto::Tcp), from: Source::Anyone };
            (of_apps.iter().map(open).collect(), BTreeSet::new())
        }
    };
    ports.extend(&of_apps);
    // Where a tunnel takes its place, nobody may connect to SSH's port, whatever the rules of the spec say. Else it is proved that we get in
    // there, and somebody may count the connections to it.
    let closed = tunnel.filter(|tunnel| tunnel.ssh_closed).map(|tunnel| tunnel.port);
    ports.remove(&spec.ssh.port);
    ports.extend(closed);
    let mut ways = vec![Way {
        address: reached,
        // Through a tunnel we come from the server itself, and to its other ports from elsewhere.
        from: facts.client.filter(|client| !client.is_loopback()),
    }];
    if !ports.is_empty() {
        match other_way(ctx, facts, reached, closed.is_some().then_some(&ports)).await {
            Ok(way) => ways.extend(way),
            Err(unknown) => table.push(unknown),
        }
    }
    let tries = ports.into_iter().map(|port| {
        let open = |way: &Way| match closed == Some(port) || !fence::lets_in_tcp(spec, catalog, way.address, port) {
            true => Some(false),
            false => way.expects(port, &openings),
        };
        let expected: Vec<_> = ways.iter().filter_map(|way| Some((way.address, open(way)?))).collect();
        async move {
            let tries = expected.into_iter().map(|(address, open)| async move {
                (address, open, ctx.world.remote.try_port(SocketAddr::new(address, port), PATIENCE).await)
            });
            (port, join_all(tries).await)
        }
    });
    for (port, tried) in join_all(tries).await {
        let Some((_, open, _)) = tried.first() else { continue };
        let word = if *open { "open" } else { "closed" };
        let outcome = judge(of_apps.contains(&port), &tried);
        let of_others = !open && closed != Some(port);
        table.push(TriedPromise { of_others, ..row("ports", format!("{port}/tcp is {word}"), outcome) });
    }
}

/// The server's address of the other family, where it has one; or the row that says that no way leads there from here. SSH's port shows
/// it; where that is `closed`, any of these others that says something.
async fn other_way(
    ctx: &Context<'_>,
    facts: &Facts,
    reached: IpAddr,
    closed: Option<&BTreeSet<u16>>,
) -> Result<Option<Way>, TriedPromise> {
    let other = facts.addresses.iter().find(|address| address.is_ipv4() != reached.is_ipv4());
    let Some(&address) = other else { return Ok(None) };
    let ssh = BTreeSet::from([ctx.spec.ssh.port]);
    let tries =
        closed.unwrap_or(&ssh).iter().map(|port| ctx.world.remote.try_port(SocketAddr::new(address, *port), PATIENCE));
    let says = |state| state == PortState::Open || closed.is_some() && state == PortState::Closed;
    if join_all(tries).await.into_iter().any(says) {
        return Ok(Some(Way { address, from: None }));
    }
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let why = format!("nothing at {address} answers from here, so it is not known whether a way leads there");
    Err(row("ports", format!("ports are open and closed as declared on {family}"), Outcome::Unknown(why)))
}

/// What came of trying one port at some addresses, where it is to be open (`true`) or closed.
fn judge(of_app: bool, tried: &[(IpAddr, bool, PortState)]) -> Outcome {
    for (address, open, state) in tried {
        match (open, state) {
            (false, PortState::Open) => return Outcome::Broken(format!("it is open at {address}")),
            (true, PortState::Filtered) => return Outcome::Broken(format!("nothing answers at {address}")),
            _ => {}
        }
    }
    // Whoever is refused got through the firewall; many a program listens on one family of addresses alone.
    let refused = tried.iter().all(|(_, open, state)| *open && *state == PortState::Closed);
    match tried.first() {
        Some((address, ..)) if of_app && refused => Outcome::Broken(format!("nothing listens at {address}")),
        _ => Outcome::Kept,
    }
}

/// An address of the server that a way leads to.
struct Way {
    address: IpAddr,
    /// Where we come from by it, as the server sees it, if that is known.
    from: Option<IpAddr>,
}

impl Way {
    /// Whether the port is to be open to us; `None` where that depends on where we come from, and nobody knows that.
    fn expects(&self, port: u16, openings: &[Opening]) -> Option<bool> {
        let admits = |from| openings.iter().any(|opening| opening.admits_tcp(port, from));
        let to_anyone = || {
            let mut open = openings.iter().filter(|opening| opening.from == Source::Anyone);
            open.any(|opening| opening.admits_tcp(port, self.address))
        };
        match self.from {
            Some(from) => Some(admits(from)),
            None if to_anyone() => Some(true),
            None => {
                let some =
                    openings.iter().any(|opening| opening.proto != Some(Proto::Udp) && opening.ports.contains(&port));
                (!some).then_some(false)
            }
        }
    }
}

/// What the server says of itself.
#[derive(Debug, Default, PartialEq)]
struct Facts {
    /// Where we come from.
    client: Option<IpAddr>,
    /// Its own address in each family.
    addresses: Vec<IpAddr>,
    /// TCP ports that somebody else may try.
    ports: BTreeSet<u16>,
    /// Outcomes of promises, by their place in the list.
    promises: BTreeMap<usize, Outcome>,
}

impl Facts {
    async fn ask(session: &dyn Session, promises: impl Iterator<Item = &Promise>) -> Result<Self> {
        let mut script = TRY_ALL.to_owned();
        for (index, promise) in promises.enumerate() {
            let quoted = promise.check.replace('\'', r"'\''");
            let _ = writeln!(script, "promise {index} '{quoted}'");
        }
        let output = session.run(&format!("{RUN_AS_ROOT} -- \"$SSH_CONNECTION\""), script.as_bytes()).await?;
        if output.status != 0 {
            let words = one_line(output.stderr.trim());
            return Err(Failure::new(Blame::Target, words).because_of("the server can't be asked what it keeps"));
        }
        Ok(Self::read(&output.stdout))
    }

    fn read(text: &str) -> Self {
        let mut facts = Self::default();
        for (keyword, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            match keyword {
                "client" => facts.client = value.parse().ok(),
                "address" => facts.addresses.extend(value.parse::<IpAddr>()),
                "port" => facts.ports.extend(value.parse::<u16>()),
                "promise" => {
                    let mut words = value.splitn(3, ' ');
                    let (index, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                    let outcome = match (status, words.next().unwrap_or_default().trim()) {
                        ("0", _) => Outcome::Kept,
                        (status, "") => Outcome::Broken(format!("its check ended with exit code {status}")),
                        (_, said) => Outcome::Broken(one_line(said)),
                    };
                    facts.promises.extend(index.parse().map(|index: usize| (index, outcome)));
                }
                _ => {}
            }
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_a_server_says_is_taken_as_it_is_meant() {
        let facts = Facts::read(
            "client 203.0.113.7\naddress 192.0.2.5\naddress 2001:db8::5\nport 80\nport 65536\npromise 0 0 \n\
             promise 1 3 inactive\npromise 2 1 \nnonsense\n",
        );
        assert_eq!(facts.client, Some(address("203.0.113.7")));
        assert_eq!((facts.addresses.len(), facts.ports), (2, BTreeSet::from([80])));
        assert_eq!(facts.promises[&0], Outcome::Kept);
        assert_eq!(facts.promises[&1], Outcome::Broken("inactive".into()));
        assert!(matches!(&facts.promises[&2], Outcome::Broken(why) if why.contains("exit code 1")));
    }

    #[test]
    fn a_port_is_judged_by_what_is_promised_of_it() {
        let (v4, v6) = (address("192.0.2.5"), address("2001:db8::5"));
        use PortState::*;
        assert_eq!(judge(true, &[(v4, true, Open), (v6, true, Closed)]), Outcome::Kept);
        assert_eq!(judge(false, &[(v4, true, Closed)]), Outcome::Kept);
        assert_eq!(judge(false, &[(v4, false, Filtered), (v6, false, Closed)]), Outcome::Kept);
        for broken in [
            judge(true, &[(v4, true, Closed), (v6, true, Closed)]),
            judge(true, &[(v4, true, Open), (v6, true, Filtered)]),
            judge(false, &[(v4, false, Filtered), (v6, false, Open)]),
        ] {
            assert!(matches!(broken, Outcome::Broken(_)), "{broken:?}");
        }
    }

    #[test]
    fn nothing_is_expected_of_a_port_that_is_open_to_some_where_nobody_knows_who_we_are() {
        let opening = |port, from| Opening { ports: port..=port, proto: None, from };
        let openings = [opening(80, Source::Anyone), opening(445, Source::Lan)];
        let known = Way { address: address("192.0.2.5"), from: Some(address("10.0.0.1")) };
        let unknown = Way { address: address("2001:db8::5"), from: None };
        let expected = |way: &Way| [80, 445, 3306].map(|port| way.expects(port, &openings));
        assert_eq!(expected(&known), [Some(true), Some(true), Some(false)]);
        assert_eq!(expected(&unknown), [Some(true), None, Some(false)]);
    }
}
