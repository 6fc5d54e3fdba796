//! Tunnels in the spec: where they end, and which server is reached by one.

use super::{
    SecretRef, TunnelEndpoint, TunnelOptions, Value,
    fault::{Problem, quote},
    grammar::text,
    rules,
    shape::{Choice, Field, Presence::Default, Presence::Required, Shape, Text},
    walk::Found,
};
use crate::ServerName;

/// Where Cloudflare's API answers.
pub(super) const CLOUDFLARE: &str = "https://api.cloudflare.com/client/v4";

/// `tunnels.NAME`
pub(super) fn endpoint() -> Shape {
    let kind = Shape::Choice(vec![Choice::new("cloudflare", "Cloudflare Tunnel")]);
    Shape::object(vec![
        Field::new("kind", kind, Required, "What it is"),
        Field::new("account", Shape::Text(account()), Required, "Id of the account: 32 hexadecimal digits"),
        Field::new(
            "token",
            Shape::Secret,
            Required,
            "API token that may write tunnels, Access applications, service tokens and DNS, and read the zone; never the global key",
        ),
        Field::new("endpoint", Shape::Text(url()), text(CLOUDFLARE), "Where the API answers"),
    ])
}

/// `servers.NAME.tunnel`
pub(super) fn way() -> Shape {
    Shape::object(vec![
        Field::new("via", Shape::Text(name()), Required, "A name under `tunnels`"),
        Field::new(
            "hostname",
            Shape::Text(hostname()),
            Required,
            "Host name that leads to the server's SSH, in a zone of the account",
        ),
        Field::new(
            "close_ssh",
            Shape::Bool,
            Default(Value::Bool(false)),
            "Close the SSH port to everybody once a login through the tunnel is proved; all logins take the tunnel then",
        ),
    ])
}

/// A key under `tunnels`.
pub(super) fn name() -> Text {
    Text::checked("the name of a tunnel", Some("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"), |text| {
        ServerName::parse(text).map(drop).map_err(|_| {
            Problem::new(format!("{} is not the name of a tunnel", quote(text)))
                .hint("1 to 63 of a-z, 0-9 and `-`; it can't begin or end with `-`")
        })
    })
}

fn account() -> Text {
    Text::checked("the id of an account", Some("^[0-9a-f]{32}$"), |text| {
        match text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            true => Ok(()),
            false => Err(Problem::new(format!("{} is not the id of an account", quote(text)))
                .hint("32 hexadecimal digits; the address of the dashboard shows them after `dash.cloudflare.com/`")),
        }
    })
}

fn hostname() -> Text {
    Text::checked("a host name", Some(r"^[a-z0-9-]+(\.[a-z0-9-]+)+$"), |text| {
        let is_domain = (rules::domain().check.expect("it has one"))(text).is_ok();
        match is_domain && text.contains('.') && !text.contains(|c: char| c.is_ascii_uppercase()) {
            true => Ok(()),
            false => Err(Problem::new(format!("{} is not a host name in a zone", quote(text)))
                .hint("in lower case, such as `ssh-web1.example.com`")),
        }
    })
}

pub(super) fn url() -> Text {
    Text::checked("the URL of an API", Some("^https?://[^@?# ]+$"), |text| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://127.0.0.1:"));
        let bad = |c: char| c.is_whitespace() || c.is_control() || "@?#".contains(c);
        match rest {
            Some(rest) if !rest.is_empty() && !rest.contains(bad) => Ok(()),
            _ => Err(Problem::new(format!("{} is not the URL of an API", quote(text)))
                .hint("`https://`, or `http://127.0.0.1:PORT` for tests; leave it out for Cloudflare's own")),
        }
    })
}

/// An entry of `tunnels`; `None` where it is at fault.
pub(super) fn read_endpoint(name: &str, found: &Found, token: Option<SecretRef>) -> Option<TunnelEndpoint> {
    found.get("kind")?.text()?;
    Some(TunnelEndpoint {
        name: name.to_owned(),
        account: found.get("account")?.text()?.to_owned(),
        token: token?,
        url: found.get("endpoint")?.text()?.trim_end_matches('/').to_owned(),
    })
}

/// What `tunnel` of a server says.
pub(super) fn options(found: &Found, via: Option<TunnelEndpoint>) -> Option<TunnelOptions> {
    Some(TunnelOptions {
        hostname: found.get("hostname")?.text()?.to_owned(),
        close_ssh: found.get("close_ssh")?.bool()?,
        via: via?,
    })
}
