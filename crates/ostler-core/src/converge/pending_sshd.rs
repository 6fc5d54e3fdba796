//! Settings of sshd that stand on a server's disk and are not in force: the first reload puts them into force, and one comes with
//! every run. What would lock us out is refused before anything is touched, with its file and line.
//!
//! In force is what this very session proves: its account, from its address, to the address and port that it reached. The rest is what
//! `sshd -T` makes of the files for that account and for the target user. The target user counts only where files are newer than what
//! sshd last read: what is in force and does not let them in is for the proof of their login to tell.

use crate::{
    error::{Blame, Failure, Result},
    ids::ServerName,
    ports::Session,
    reach::RUN_AS_ROOT,
    text::one_line,
    world::Context,
};
use std::net::IpAddr;

const SCRIPT: &str = include_str!("scripts/pending_sshd.sh");
/// Lines of the configuration that are shown, at most.
const SHOWN: usize = 3;

/// Looks at the server of `session`, as root by sudo without a password. Ostler's key is known there.
pub(crate) async fn refuse(ctx: &Context<'_>, session: &dyn Session) -> Result<()> {
    let record = ctx.record().await?;
    let key = record.client_key.as_deref().and_then(|key| key.split(' ').nth(1)).unwrap_or_default();
    look(ctx, session, RUN_AS_ROOT, "", key).await
}

/// The same before Ostler's key is there. `become_root` runs `sh -s` and first reads `input`.
pub(crate) async fn refuse_first(
    ctx: &Context<'_>,
    session: &dyn Session,
    become_root: &str,
    input: &str,
) -> Result<()> {
    look(ctx, session, become_root, input, "").await
}

async fn look(ctx: &Context<'_>, session: &dyn Session, become_root: &str, input: &str, key: &str) -> Result<()> {
    let arguments = format!("set -- $SSH_CONNECTION; set -- \"$1 $3 $4\" \"$(id -un)\" {} '{key}'\n", ctx.spec.user);
    let call = arguments + &become_root.replace("sh -s", "sh -s -- \"$1\" \"$2\" \"$3\" \"$4\"");
    let output = session.run(&call, format!("{input}{SCRIPT}").as_bytes()).await?;
    let look = Look::parse(&output.stdout);
    let account = session.transport().user;
    match look.fault(&account, &ctx.spec.user, ctx.spec.ssh.port, &ctx.record().await?.host_keys) {
        Some(fault) => Err(look.failure(ctx.server(), &fault)),
        None => Ok(()),
    }
}

/// What the script saw.
#[derive(Debug, Default)]
struct Look {
    /// What `sshd -t` says against the files.
    refused: Vec<String>,
    client: String,
    /// Where we arrived.
    address: String,
    port: u16,
    /// Whether systemd listens for sshd, so that sshd's own ports count only from the run on.
    socket: bool,
    /// Whether the guard still holds what a run that was cut off had changed: then a port that is pending is our own.
    armed: bool,
    /// Files that sshd has not read yet.
    newer: Vec<String>,
    /// `FILE:NUMBER:TEXT`.
    lines: Vec<String>,
    users: Vec<User>,
    host_keys: Vec<String>,
}

/// An account as sshd would see it.
#[derive(Debug, Default)]
struct User {
    name: String,
    groups: Vec<String>,
    settings: Vec<(String, String)>,
    /// Whether one of its files holds our key; `None` where there is no such account or key yet.
    has_key: Option<bool>,
    locked: bool,
}

/// Why nobody would get in any more.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    /// In one sentence without a full stop.
    why: String,
    /// The settings that do it.
    keywords: &'static [&'static str],
}

impl Look {
    fn parse(text: &str) -> Self {
        let mut look = Self::default();
        for line in text.lines() {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            match (kind, look.users.last_mut()) {
                ("connection", _) => {
                    let mut words = rest.split(' ').map(str::to_owned);
                    look.client = words.next().unwrap_or_default();
                    look.address = words.next().unwrap_or_default();
                    look.port = words.next().and_then(|port| port.parse().ok()).unwrap_or_default();
                }
                ("refused", _) => look.refused.push(one_line(rest)),
                ("socket", _) => look.socket = true,
                ("armed", _) => look.armed = true,
                ("newer", _) => look.newer.push(rest.to_owned()),
                ("line", _) => look.lines.push(rest.to_owned()),
                ("hostkey", _) => look.host_keys.push(rest.to_owned()),
                ("user", _) => look.users.push(User { name: rest.to_owned(), ..User::default() }),
                ("groups", Some(user)) => user.groups = rest.split_whitespace().map(str::to_owned).collect(),
                ("set", Some(user)) => {
                    let (keyword, value) = rest.split_once(' ').unwrap_or((rest, ""));
                    user.settings.push((keyword.to_owned(), value.to_owned()));
                }
                ("key", Some(user)) => user.has_key = Some(rest == "found"),
                ("locked", Some(user)) => user.locked = true,
                _ => {}
            }
        }
        look
    }

    /// `account`: whose session it is; `target`: who is to log in from now on; `port`: where sshd is to listen from now on.
    fn fault(&self, account: &str, target: &str, port: u16, pinned: &[String]) -> Option<Fault> {
        if !self.refused.is_empty() {
            let why = "sshd refuses its own configuration, so it would not start again";
            return Some(Fault { why: why.to_owned(), keywords: &[] });
        }
        let counts = |user: &&User| user.name == account || (user.name == target && !self.newer.is_empty());
        let users: Vec<_> = self.users.iter().filter(counts).collect();
        users
            .iter()
            .find_map(|user| self.not_listed(user))
            .or_else(|| users.iter().filter(|user| user.name == target).find_map(|user| self.not_by_key(user)))
            .or_else(|| self.not_listening(users.first()?, port))
            .or_else(|| self.another_key(pinned))
    }

    /// sshd_config(5): the lists are asked in this order.
    fn not_listed(&self, user: &User) -> Option<Fault> {
        let name = &user.name;
        let listed = |keyword: &str| -> Option<bool> {
            let patterns: Vec<_> = user.all(keyword).flat_map(str::split_whitespace).collect();
            let by_group = keyword.ends_with("groups");
            let matches = |pattern: &&str| match by_group {
                true => user.groups.iter().any(|group| fits(pattern, group)),
                false => self.is_user(pattern, name),
            };
            (!patterns.is_empty()).then(|| patterns.iter().any(matches))
        };
        let (why, keywords): (_, &[&str]) = if listed("denyusers") == Some(true) {
            (format!("{name} is among DenyUsers"), &["denyusers"])
        } else if listed("allowusers") == Some(false) {
            (format!("{name} is not among AllowUsers"), &["allowusers"])
        } else if listed("denygroups") == Some(true) {
            (format!("{name} is in one of DenyGroups"), &["denygroups"])
        } else if listed("allowgroups") == Some(false) {
            (format!("{name} is in none of AllowGroups"), &["allowgroups"])
        } else if user.is("refuseconnection", "yes") {
            ("connections from our address are refused".to_owned(), &["refuseconnection"])
        } else {
            return None;
        };
        Some(Fault { why, keywords })
    }

    /// `USER` or `USER@HOST`, where the host is an address or a network; we are known by our address.
    fn is_user(&self, pattern: &str, name: &str) -> bool {
        match pattern.rsplit_once('@') {
            Some((user, host)) => fits(user, name) && (fits(host, &self.client) || in_network(host, &self.client)),
            None => fits(pattern, name),
        }
    }

    fn not_by_key(&self, user: &User) -> Option<Fault> {
        let name = &user.name;
        let (why, keywords): (_, &[&str]) = if user.is("pubkeyauthentication", "no") {
            ("sshd accepts no keys".to_owned(), &["pubkeyauthentication"])
        } else if name == "root"
            && (user.is("permitrootlogin", "no") || user.is("permitrootlogin", "forced-commands-only"))
        {
            ("root may not log in".to_owned(), &["permitrootlogin"])
        } else if user
            .only("authenticationmethods")
            .is_some_and(|methods| !methods.split_whitespace().any(|method| method == "any" || method == "publickey"))
        {
            (format!("a key alone is not enough for {name} to log in"), &["authenticationmethods"])
        } else if user
            .only("pubkeyacceptedalgorithms")
            .is_some_and(|names| !names.split(',').any(|name| name == "ssh-ed25519"))
        {
            ("ed25519 keys are not accepted".to_owned(), &["pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes"])
        } else if !user.finds_key() {
            (format!("sshd would look for the keys of {name} where ours is not"), &["authorizedkeysfile"])
        } else if user.only("forcecommand").is_some_and(|command| command != "none") {
            (format!("sshd would run another command for {name} than the one asked for"), &["forcecommand"])
        } else if user.only("chrootdirectory").is_some_and(|folder| folder != "none") {
            (format!("sshd would confine {name} to a folder"), &["chrootdirectory"])
        } else if user.locked && user.is("usepam", "no") {
            (format!("without PAM, sshd refuses {name}, whose password is locked"), &["usepam"])
        } else {
            return None;
        };
        Some(Fault { why, keywords })
    }

    /// Where systemd listens now, sshd will after the run: then its addresses count, and the port is ours to set.
    fn not_listening(&self, user: &User, wanted: u16) -> Option<Fault> {
        let places: Vec<(&str, u16)> = user.all("listenaddress").filter_map(place).collect();
        let reaches = |address: &str| {
            let any = if self.address.contains(':') { "::" } else { "0.0.0.0" };
            address == any || address == self.address
        };
        let at: Vec<u16> = places.iter().filter(|(address, _)| reaches(address)).map(|(_, port)| *port).collect();
        if places.is_empty() || self.address.is_empty() {
            return None;
        }
        if at.is_empty() {
            let why = format!("sshd would no longer listen at {}, where it is reached now", self.address);
            return Some(Fault { why, keywords: &["listenaddress", "addressfamily"] });
        }
        if !self.socket && !self.armed && !at.contains(&self.port) && !at.contains(&wanted) {
            let why = format!("sshd would no longer listen on port {}, where it is reached now", self.port);
            return Some(Fault { why, keywords: &["port", "listenaddress"] });
        }
        None
    }

    fn another_key(&self, pinned: &[String]) -> Option<Fault> {
        let missing = !pinned.is_empty()
            && !self.host_keys.is_empty()
            && !pinned.iter().any(|pinned| self.host_keys.iter().any(|key| same_key(key, pinned)));
        missing.then(|| Fault {
            why: "sshd would show another host key than the pinned one".into(),
            keywords: &["hostkey"],
        })
    }

    fn failure(&self, server: &ServerName, fault: &Fault) -> Failure {
        let mut failure = Failure::new(Blame::Target, fault.why.clone());
        failure.causes.extend(self.lines_of(fault.keywords));
        failure.lines.clone_from(&self.refused);
        let mend = match (self.refused.as_slice(), failure.causes.as_slice(), fault.keywords) {
            ([_, ..], ..) => "mend the file until `sshd -t` on the server reports nothing",
            (_, [_, ..], _) => "mend the line, or take it out",
            // The key files of sshd's defaults stand in no line.
            (_, [], ["hostkey"]) => {
                "restore the private key whose public half is pinned (/etc/ssh/ssh_host_ed25519_key)"
            }
            (_, [], _) => "set it in a file of /etc/ssh/sshd_config.d",
        };
        let hint = format!("nothing was changed on the server: {mend}, then begin again");
        failure
            .because_of(format!("sshd settings on the disk of {server} are not in force yet and would lock us out"))
            .with_hint(hint)
    }

    /// Lines with one of these keywords, as `FILE, line 3: TEXT`; those that sshd has not read yet come first.
    fn lines_of(&self, keywords: &[&str]) -> Vec<String> {
        let mut found: Vec<_> = self
            .lines
            .iter()
            .filter_map(|line| {
                let (file, rest) = line.split_once(':')?;
                let (number, text) = rest.split_once(':')?;
                let keyword = text.trim_start().split([' ', '\t', '=']).next()?.to_ascii_lowercase();
                let is_old = !self.newer.iter().any(|newer| newer == file);
                keywords
                    .contains(&keyword.as_str())
                    .then(|| (is_old, format!("{file}, line {number}: {}", one_line(text))))
            })
            .collect();
        found.sort_by_key(|(is_old, _)| *is_old);
        found.into_iter().map(|(_, line)| line).take(SHOWN).collect()
    }
}

impl User {
    fn all<'a>(&'a self, keyword: &'a str) -> impl Iterator<Item = &'a str> {
        self.settings.iter().filter(move |(name, _)| name == keyword).map(|(_, value)| value.as_str())
    }

    fn only(&self, keyword: &str) -> Option<&str> {
        self.settings.iter().find(|(name, _)| name == keyword).map(|(_, value)| value.as_str())
    }

    /// A key that is not there yet will be where sshd looks by default.
    fn finds_key(&self) -> bool {
        let by_default = |file: &str| file == ".ssh/authorized_keys" || file == "%h/.ssh/authorized_keys";
        let by_command = self.only("authorizedkeyscommand").is_some_and(|command| command != "none");
        by_command
            || self.has_key.unwrap_or_else(|| {
                self.only("authorizedkeysfile").is_none_or(|files| files.split_whitespace().any(by_default))
            })
    }

    fn is(&self, keyword: &str, value: &str) -> bool {
        self.only(keyword) == Some(value)
    }
}

/// ssh_config(5), PATTERNS: `*` is any text, `?` any character.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = pattern.trim_start_matches('*');
            rest.is_empty() || text.char_indices().any(|(at, _)| fits(rest, &text[at..]))
        }
        Some(first) => {
            let mut chars = text.chars();
            chars.next().is_some_and(|c| first == '?' || first == c)
                && fits(&pattern[first.len_utf8()..], chars.as_str())
        }
    }
}

fn in_network(network: &str, address: &str) -> bool {
    let Some((base, bits)) = network.split_once('/') else { return false };
    let bits_of = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    let (Ok(base), Ok(address), Ok(bits)) = (base.parse(), address.parse(), bits.parse::<u32>()) else { return false };
    let ((base, length), (address, other)) = (bits_of(base), bits_of(address));
    let mask = if bits == 0 { 0 } else { u128::MAX << (128 - bits.min(128)) };
    length == other && bits <= length && base & mask == address & mask
}

/// `ADDRESS:PORT` or `[ADDRESS]:PORT`, as `sshd -T` writes it.
fn place(text: &str) -> Option<(&str, u16)> {
    let (address, port) = text.split_whitespace().next()?.rsplit_once(':')?;
    Some((address.trim_start_matches('[').trim_end_matches(']'), port.parse().ok()?))
}

fn same_key(one: &str, other: &str) -> bool {
    one.split_whitespace().take(2).eq(other.split_whitespace().take(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server on port 22 of 10.0.0.5 whose files differ from the usual by `more`, which speaks of ops.
    fn why(more: &str) -> Option<String> {
        look(&format!("{}set listenaddress 0.0.0.0:22\n{more}", BEFORE))
    }

    const BEFORE: &str = "connection 10.0.0.2 10.0.0.5 22\nuser ops\ngroups ops sudo\n";

    fn look(text: &str) -> Option<String> {
        Look::parse(text).fault("ops", "ops", 22, &["ssh-ed25519 AAAA".to_owned()]).map(|fault| fault.why)
    }

    #[test]
    fn whoever_is_not_listed_is_locked_out() {
        for fine in [
            "",
            "set allowusers alice\nset allowusers o?s",
            "set allowusers ops@10.0.0.0/8",
            "set allowusers *@10.*",
            "set denyusers root",
            "set denyusers ops@192.168.0.0/16",
            "set allowgroups ssh\nset allowgroups sudo",
            "set authorizedkeysfile /etc/ssh/keys/%u\nkey found",
        ] {
            assert_eq!(why(fine), None, "{fine}");
        }
        for (bad, words) in [
            ("set allowusers alice", "ops is not among AllowUsers"),
            ("set allowusers ops@192.168.0.0/16", "ops is not among AllowUsers"),
            ("set denyusers o*", "ops is among DenyUsers"),
            ("set denygroups sudo", "ops is in one of DenyGroups"),
            ("set allowgroups ssh", "ops is in none of AllowGroups"),
            ("set refuseconnection yes", "connections from our address are refused"),
            ("set pubkeyauthentication no", "sshd accepts no keys"),
            ("set authenticationmethods publickey,password", "a key alone is not enough for ops to log in"),
            ("set pubkeyacceptedalgorithms ssh-rsa,rsa-sha2-512", "ed25519 keys are not accepted"),
            (
                "set authorizedkeysfile /etc/ssh/keys/%u\nkey missing",
                "sshd would look for the keys of ops where ours is not",
            ),
            ("set forcecommand /bin/false", "sshd would run another command for ops than the one asked for"),
            ("set usepam no\nlocked", "without PAM, sshd refuses ops, whose password is locked"),
            ("hostkey ssh-ed25519 BBBB", "sshd would show another host key than the pinned one"),
        ] {
            assert_eq!(why(bad).as_deref(), Some(words), "{bad}");
        }
    }

    #[test]
    fn where_sshd_would_listen_counts() {
        let listening = |more: &str| look(&format!("{BEFORE}{more}"));
        assert_eq!(listening("set listenaddress [::]:22\nset listenaddress 10.0.0.5:22"), None);
        let elsewhere = "sshd would no longer listen at 10.0.0.5, where it is reached now";
        for bad in
            ["set listenaddress 127.0.0.1:22", "set listenaddress [::]:22", "socket\nset listenaddress 127.0.0.1:22"]
        {
            assert_eq!(listening(bad).as_deref(), Some(elsewhere), "{bad}");
        }
        let port = "sshd would no longer listen on port 22, where it is reached now";
        assert_eq!(listening("set listenaddress 0.0.0.0:2222").as_deref(), Some(port));
        assert_eq!(listening("armed\nset listenaddress 0.0.0.0:2222"), None, "a run that was cut off moved it");
        assert_eq!(
            listening("socket\nset listenaddress 0.0.0.0:2222"),
            None,
            "the socket listens, and then Ostler sets it"
        );
    }

    #[test]
    fn the_target_user_counts_by_what_is_new() {
        let text = "connection 10.0.0.2 10.0.0.5 22\nuser ops\nset allowusers root\nuser root\nset allowusers root\n";
        let fault = |text: &str| Look::parse(text).fault("root", "ops", 22, &[]).map(|fault| fault.why);
        assert_eq!(fault(text), None, "it is in force, and the proof of the login tells");
        let new = format!("newer /etc/ssh/sshd_config\n{text}");
        assert_eq!(fault(&new).as_deref(), Some("ops is not among AllowUsers"));
    }

    #[test]
    fn the_line_is_named() {
        let look = Look::parse(
            "connection 10.0.0.2 10.0.0.5 22\nnewer /etc/ssh/sshd_config.d/10-a.conf\n\
             line /etc/ssh/sshd_config:7:AllowUsers root\nline /etc/ssh/sshd_config.d/10-a.conf:1:\tallowusers=alice\n\
             line /etc/ssh/sshd_config:9:Port 22\n",
        );
        let fault = Fault { why: "ops is not among AllowUsers".into(), keywords: &["allowusers"] };
        let failure = look.failure(&ServerName::parse("web").unwrap(), &fault);
        assert_eq!(
            failure.causes,
            [
                "ops is not among AllowUsers",
                "/etc/ssh/sshd_config.d/10-a.conf, line 1: allowusers=alice",
                "/etc/ssh/sshd_config, line 7: AllowUsers root",
            ]
        );
        let refused = Look::parse("connection 10.0.0.2 10.0.0.5 22\nrefused /etc/ssh/sshd_config: line 3: Bad\n");
        let fault = refused.fault("ops", "ops", 22, &[]).unwrap();
        assert_eq!(
            refused.failure(&ServerName::parse("web").unwrap(), &fault).lines,
            ["/etc/ssh/sshd_config: line 3: Bad"]
        );
    }
}
