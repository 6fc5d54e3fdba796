//! The rules of single texts: names, addresses, paths.

use super::{
    fault::{Problem, quote, words},
    shape::Text,
};
use crate::ServerName;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr};

pub(super) fn server_name() -> Text {
    Text::checked("a server name", Some("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"), |text| {
        if text == "localhost" {
            return Err(Problem::new("`localhost` is every machine's name for itself"));
        }
        // The key path shows the name already.
        ServerName::parse(text).map(drop).map_err(|_| {
            Problem::new("not a server name").hint("1 to 63 of a-z, 0-9 and `-`; it can't begin or end with `-`")
        })
    })
}

/// How messages call a provider.
pub(super) const PROVIDER: &str = "the name of a provider";

/// Providers that need no entry of their own: a name is a kind.
pub(super) const PROVIDERS: [&str; 2] = ["local", "existing"];

/// Kinds of providers, also of one to come: no entry under `providers` may be called so.
pub const KINDS: [&str; 4] = ["local", "existing", "proxmox", "hetzner"];

/// One of these, or a name under `providers`.
pub(super) fn provider_name() -> Text {
    Text::checked(PROVIDER, Some("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"), |text| {
        ServerName::parse(text).map(drop).map_err(|_| {
            Problem::new(format!("{} is not the name of a provider", quote(text)))
                .hint("1 to 63 of a-z, 0-9 and `-`; it can't begin or end with `-`")
        })
    })
}

/// A name that useradd(8) of Debian 13 takes, which is more than adduser(8) does. It has no character that means anything to a shell, a
/// path or sshd's `-C`; only in the name of a file of sudoers.d a dot would be one too many.
const LOGIN_NAME: &str = r"^[A-Za-z0-9_.][A-Za-z0-9_.-]{0,31}\$?$";

/// The account that Ostler and people log in as.
pub(super) fn user_name() -> Text {
    Text::checked("a user name", Some(LOGIN_NAME), |text| {
        if text == "root" {
            return Err(Problem::new("`root` can't be the user that Ostler logs in as")
                .hint("name another account, such as `ops`: it becomes root with sudo, which leaves a trace"));
        }
        login_name(text)?;
        if RESERVED.contains(&text) || text.starts_with("systemd-") {
            return Err(Problem::new(format!("{} is an account or group of the system itself", quote(text)))
                .hint("choose a name of its own, such as `ops`"));
        }
        Ok(())
    })
}

/// Accounts and groups of Debian's base-passwd, and those that packages of a plain server add: a user of the same name
/// can't be made, or would own what is the system's.
const RESERVED: [&str; 61] = [
    "_apt",
    "_chrony",
    "_ssh",
    "adm",
    "audio",
    "avahi",
    "backup",
    "bin",
    "cdrom",
    "crontab",
    "daemon",
    "dialout",
    "dip",
    "disk",
    "docker",
    "fax",
    "floppy",
    "games",
    "gnats",
    "input",
    "irc",
    "kmem",
    "kvm",
    "list",
    "lp",
    "lxd",
    "mail",
    "man",
    "messagebus",
    "mysql",
    "netdev",
    "news",
    "nobody",
    "nogroup",
    "operator",
    "plugdev",
    "polkitd",
    "postfix",
    "postgres",
    "proxy",
    "render",
    "sasl",
    "sgx",
    "shadow",
    "src",
    "sshd",
    "staff",
    "sudo",
    "sync",
    "sys",
    "syslog",
    "tape",
    "tcpdump",
    "tty",
    "users",
    "utmp",
    "uucp",
    "uuidd",
    "video",
    "voice",
    "www-data",
];

/// An account as it is found on a server; the system's own are fine here.
pub(super) fn account() -> Text {
    Text::checked("a user name", Some(LOGIN_NAME), login_name)
}

fn login_name(text: &str) -> Result<(), Problem> {
    let name = text.strip_suffix('$').unwrap_or(text);
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let refuse = |hint: &str| Err(Problem::new(format!("{} is not a user name", quote(text))).hint(hint));
    if !(1..=32).contains(&name.len()) || !name.bytes().all(good) || name.starts_with('-') {
        return refuse("1 to 32 of a-z, A-Z, 0-9, `_`, `.` and `-`, not beginning with `-`");
    }
    if name.bytes().all(|b| b.is_ascii_digit()) {
        return refuse("digits alone are the number of an account, and Debian does not accept them as a name");
    }
    if [".", ".."].contains(&name) {
        return refuse("it is the name of a folder");
    }
    Ok(())
}

/// An address or a name, without a port or a user.
pub(super) fn host() -> Text {
    Text::checked("an IP address or a host name", None, |text| {
        if let Ok(address) = text.parse::<IpAddr>() {
            return of_one_machine(address);
        }
        if text.contains('@') {
            return Err(Problem::new("the address holds a user").hint("the user goes under `user`"));
        }
        if let Some((host, port)) = text.rsplit_once(':')
            && port.parse::<u16>().is_ok()
        {
            return Err(Problem::new("the address holds a port")
                .hint(format!("write `address: {}, port: {port}`", host.trim_matches(['[', ']']))));
        }
        let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if digits || (domain().check.expect("it has one"))(text).is_err() {
            return Err(Problem::new(format!("{} is neither an IP address nor a host name", quote(text)))
                .hint("for example `10.0.0.7` or `box.example.org`"));
        }
        Ok(())
    })
}

/// As `ssh-keygen -lf` shows it: 43 characters of base64, without padding.
pub(super) fn fingerprint() -> Text {
    Text::checked("a fingerprint such as `SHA256:…`", Some("^SHA256:[A-Za-z0-9+/]{43}$"), |text| {
        let good = text
            .strip_prefix("SHA256:")
            .is_some_and(|sum| sum.len() == 43 && sum.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/".contains(&b)));
        if good {
            return Ok(());
        }
        Err(Problem::new(format!("{} is not a fingerprint of a host key", quote(text))).hint(
            "on the server, `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` shows it: `SHA256:` and 43 characters",
        ))
    })
}

pub(super) fn ip() -> Text {
    Text::checked("an IP address", None, |text| match text.parse::<IpAddr>() {
        Ok(address) => of_one_machine(address),
        Err(_) => Err(Problem::new(format!("{} is not an IP address", quote(text)))),
    })
}

fn of_one_machine(address: IpAddr) -> Result<(), Problem> {
    if address.is_unspecified() || address.is_multicast() {
        return Err(Problem::new(format!("`{address}` is not an address of one machine")));
    }
    Ok(())
}

pub(super) fn ip6() -> Text {
    Text::checked("an IPv6 address", None, |text| match text.parse::<Ipv6Addr>() {
        Ok(address) => of_one_machine(address.into()),
        Err(_) => Err(Problem::new(format!("{} is not an IPv6 address", quote(text)))),
    })
}

/// An IPv6 address that a network card can have, with its prefix.
pub(super) fn card_address6() -> Text {
    Text::checked("an IPv6 address such as `2001:db8::20/64`", None, |text| {
        if text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4())
            || text.parse::<IpNet>().is_ok_and(|net| net.addr().is_ipv4())
        {
            return Err(Problem::new(format!("{} is an IPv4 address", quote(text))).hint("it belongs to `address`"));
        }
        of_a_card(text, "not an IPv6 address with its prefix", "for example `2001:db8::20/64`")
    })
}

/// `dhcp`, or an address that a network card can have, with its prefix.
pub(super) fn card_address() -> Text {
    Text::checked("`dhcp` or an address such as `192.168.1.20/24`", None, |text| {
        if text == "dhcp" {
            return Ok(());
        }
        of_a_card(text, "neither `dhcp` nor an address with its prefix", "for example `192.168.1.20/24`")
    })
}

/// Refuses what is no such address, being what `otherwise` says.
fn of_a_card(text: &str, otherwise: &str, hint: &str) -> Result<(), Problem> {
    if let Ok(address) = text.parse::<IpAddr>() {
        let prefix = if address.is_ipv4() { 24 } else { 64 };
        return Err(Problem::new(format!("{} lacks its prefix", quote(text)))
            .hint(format!("did you mean `{address}/{prefix}`?")));
    }
    let Ok(net) = text.parse::<IpNet>() else {
        return Err(Problem::new(format!("{} is {otherwise}", quote(text))).hint(hint));
    };
    let address = net.addr();
    if net.prefix_len() == 0 || address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return Err(Problem::new(format!("{} is not an address that a network card can have", quote(text))));
    }
    not_an_end(address, &net)
}

/// Refuses the first and the last address of a subnet, which are the subnet's own.
pub(super) fn not_an_end(address: IpAddr, net: &IpNet) -> Result<(), Problem> {
    let subnet = net.trunc();
    if net.max_prefix_len() - net.prefix_len() < 2 {
        // RFC 3021 and RFC 6164: in a subnet of two, both are hosts.
        return Ok(());
    }
    if address == net.network() {
        return Err(Problem::new(format!("`{address}` is the address of the network {subnet} itself")));
    }
    if address.is_ipv4() && address == net.broadcast() {
        return Err(Problem::new(format!("`{address}` is the broadcast address of {subnet}")));
    }
    Ok(())
}

pub(super) fn domain() -> Text {
    Text::checked("a domain", None, |text| {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() <= 253 && text.split('.').all(label) {
            return Ok(());
        }
        Err(Problem::new(format!("{} is not a domain", quote(text))).hint("for example `example.org`"))
    })
}

/// How messages call an image.
pub(super) const IMAGE: &str = "an image";

/// Images that Ostler can fetch or build by name.
pub const IMAGES: [&str; 1] = ["debian-13"];

/// A name that Ostler knows, or a path.
pub(super) fn image() -> Text {
    Text::checked(IMAGE, None, |text| {
        if IMAGES.contains(&text) {
            return Ok(());
        }
        if text.contains("://") {
            return Err(Problem::new("an image from elsewhere needs its checksum")
                .hint("write `{ url: https://…, checksum: sha256:… }`"));
        }
        if text.contains(['\0', '\n']) {
            return Err(Problem::new(format!("{} is not a path", quote(text))));
        }
        if is_path(text) {
            return Ok(());
        }
        Err(Problem::new(format!("unknown image {}", quote(text)))
            .hint(format!("known by name: {}; a path contains a `/` or ends in .qcow2, .img or .raw", words(&IMAGES))))
    })
}

fn is_path(text: &str) -> bool {
    text.contains('/') || [".qcow2", ".img", ".raw"].iter().any(|end| text.ends_with(end))
}

pub(super) fn url() -> Text {
    Text::checked("a URL", Some("^https?://"), |text| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let authority = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or(""));
        match authority {
            Some(authority) if authority.contains('@') => {
                Err(Problem::new("the URL holds a user or password").hint("this file is no place for secrets"))
            }
            Some(authority)
                if !authority.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control()) =>
            {
                Ok(())
            }
            _ => {
                Err(Problem::new(format!("{} is not a URL", quote(text)))
                    .hint("it starts with `https://` or `http://`"))
            }
        }
    })
}

/// Where a catalog is fetched from.
pub(super) fn git_url() -> Text {
    const SCHEMES: [&str; 4] = ["https://", "http://", "ssh://", "file://"];
    Text::checked("the URL of a Git repository", Some("^(https?|ssh|file)://"), |text| {
        let Some((scheme, rest)) = SCHEMES.iter().find_map(|scheme| Some((*scheme, text.strip_prefix(scheme)?))) else {
            let problem = Problem::new("not the URL of a Git repository that Ostler can fetch"); // and it may hold a secret
            return Err(match text.split_once(':') {
                Some((_, path)) if path.starts_with("//") => {
                    problem.hint("Ostler fetches `https://`, `http://`, `ssh://` and `file://`")
                }
                Some((host, path)) if host.contains('@') && !path.is_empty() => {
                    problem.hint("`ssh://USER@HOST/PATH` says the same")
                }
                _ => problem.hint(
                    "for example `https://git.example.org/catalog.git`, or `file:///srv/catalog.git` for a folder",
                ),
            });
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if let Some((user, _)) = authority.rsplit_once('@')
            && (scheme != "ssh://" || user.contains(':'))
        {
            return Err(Problem::new("the URL holds a user or password").hint(
                "this file is no place for secrets: use a repository that anyone may read, or `ssh://git@HOST/PATH` with a key",
            ));
        }
        let unusable = |c: char| c.is_whitespace() || c.is_control();
        if text.contains(unusable) || path.len() < 2 || (authority.is_empty() != (scheme == "file://")) {
            return Err(Problem::new(format!("{} is not the URL of a Git repository", quote(text))).hint(
                if scheme == "file://" {
                    "`file://` and an absolute path: `file:///srv/catalog.git`"
                } else {
                    "it names a host and a path"
                },
            ));
        }
        if authority.rsplit('@').next().is_some_and(|host| host.starts_with('-')) || authority.starts_with('-') {
            return Err(Problem::new(format!("{} names no host", quote(text))));
        }
        Ok(())
    })
}

/// Name of a branch, by the rules of git-check-ref-format(1).
pub(super) fn branch() -> Text {
    Text::checked("a branch", None, |text| {
        let bad = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
        let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
        let good = !text.contains(bad)
            && text.split('/').all(part)
            && !text.contains("..")
            && !text.contains("@{")
            && !text.starts_with('-')
            && !text.ends_with('.')
            && text != "@"
            && text.len() <= 200;
        if good { Ok(()) } else { Err(Problem::new(format!("{} is not the name of a branch", quote(text)))) }
    })
}

/// Whole id of a commit.
pub(super) fn commit() -> Text {
    Text::checked("the id of a commit", Some("^[0-9a-f]{40}$"), |text| {
        if text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Ok(());
        }
        Err(Problem::new(format!("{} is not the id of a commit", quote(text)))
            .hint("all 40 hexadecimal digits, in quotes; `git rev-parse HEAD` prints them"))
    })
}

/// Name of an app or of its role: it is part of file names, and, with `_` for `-`, of variables.
pub(super) fn app_name() -> Text {
    Text::checked("the name of an app", Some("^[a-z][a-z0-9_-]{0,39}$"), |text| {
        let first = text.starts_with(|c: char| c.is_ascii_lowercase());
        let rest = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        if first && rest && text.len() <= 40 {
            return Ok(());
        }
        Err(Problem::new(format!("{} is not a name for an app", quote(text)))
            .hint("1 to 40 of a-z, 0-9, `_` and `-`, beginning with a letter"))
    })
}

/// The role of an app: a folder of the catalog, or `NAMESPACE.COLLECTION.ROLE`.
pub(super) fn app_role() -> Text {
    let pattern = "^([a-z][a-z0-9_-]{0,39}|[a-z][a-z0-9_]*\\.[a-z][a-z0-9_]*\\.[a-z][a-z0-9_]*)$";
    Text::checked("the role of an app", Some(pattern), |text| {
        let plain = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_lowercase())
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        let parts: Vec<&str> = text.split('.').collect();
        let good = match parts.as_slice() {
            [name] => plain(&name.replace('-', "_")) && name.len() <= 40,
            parts => parts.len() == 3 && parts.iter().all(|part| plain(part)) && text.len() <= 200,
        };
        if good {
            return Ok(());
        }
        Err(Problem::new(format!("{} is not a name for a role", quote(text))).hint(
            "a folder's: 1 to 40 of a-z, 0-9, `_` and `-`, beginning with a letter; or a collection's: \
             `NAMESPACE.COLLECTION.ROLE`",
        ))
    })
}

/// Name of a Debian package: Debian Policy 5.6.1.
pub(super) fn package() -> Text {
    Text::checked("a Debian package", Some("^[a-z0-9][a-z0-9+.-]+$"), |text| {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b);
        if text.len() >= 2 && text.bytes().all(good) && text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Ok(());
        }
        Err(Problem::new(format!("{} is not the name of a Debian package", quote(text))))
    })
}

pub(super) fn checksum() -> Text {
    Text::checked("a checksum", Some("^(sha256:[0-9a-fA-F]{64}|sha512:[0-9a-fA-F]{128})$"), |text| {
        let hex = |digits: &str, length| digits.len() == length && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let good = match text.split_once(':') {
            Some(("sha256", digits)) => hex(digits, 64),
            Some(("sha512", digits)) => hex(digits, 128),
            _ => false,
        };
        if good {
            return Ok(());
        }
        Err(Problem::new(format!("{} is not a checksum", quote(text)))
            .hint("`sha256:` and 64 hexadecimal digits, or `sha512:` and 128"))
    })
}

/// A port of this machine, or `auto`.
pub(super) fn host_port() -> Text {
    Text::checked("a port or `auto`", Some("^(auto|[1-9][0-9]{0,4})$"), |text| {
        if text == "auto" || text.parse::<u16>().is_ok_and(|port| port > 0 && !text.starts_with(['+', '0'])) {
            return Ok(());
        }
        Err(Problem::new("not a port of this machine").hint("1 to 65535, or `auto` for any that is free"))
    })
}

/// A path to a public key, or such a key itself.
pub(super) fn key_or_path() -> Text {
    Text::checked("a public key or the path of one", None, |text| {
        if text.trim().is_empty() || text.contains('\0') {
            return Err(Problem::new("expected a public key or the path of one"));
        }
        Ok(())
    })
}
