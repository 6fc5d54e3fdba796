//! Causes that lie around a server and not in what was done to it: a full disk, a lock of apt or dpkg, names that can't be looked
//! up. The programs that meet them say so in walls of text, each in its own way; here they get plain words and a next step.

use crate::{
    hint::{Hint, Next},
    ids::ServerName,
    ports::Session,
};

/// What stands in the way of a task or script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A file system of the server is full.
    NoSpace,
    /// Another package manager is at work.
    Locked {
        /// The lock.
        file: String,
        /// The process that holds it, as `PID (NAME)`.
        holder: Option<String>,
    },
    /// The server can't look up a name.
    NoName {
        /// The name, where it was said.
        name: Option<String>,
    },
    /// Packages must stay as they are, by `apt-mark hold`.
    Held {
        /// Their names, with commas between them.
        packages: String,
    },
    /// sudo wants a password or a terminal, or refuses.
    Sudo {
        /// Its own words.
        words: String,
    },
}

impl Cause {
    /// Finds one in what a module, apt, dpkg or a shell has said.
    pub fn of(text: &str) -> Option<Self> {
        // sudo says so each time where the server does not know its own name, and goes on.
        let text =
            text.lines().filter(|line| !line.contains("sudo: unable to resolve host")).collect::<Vec<_>>().join("\n");
        // strerror(3) of ENOSPC, and apt's own words before it begins.
        if ["No space left on device", "enough free space in"].iter().any(|words| text.contains(words)) {
            return Some(Self::NoSpace);
        }
        // apt: `Could not get lock FILE. It is held by process PID (NAME)`, or without the process where it can't see it.
        if let Some((_, rest)) = text.split_once("ould not get lock ") {
            let file = rest.split_whitespace().next().unwrap_or_default().trim_end_matches(['.', ',', ':']);
            return Some(Self::Locked { file: file.to_owned(), holder: holder(rest) });
        }
        // `ostler_packages` names them.
        if let Some((_, rest)) = text.split_once("held packages stand in the way: ") {
            let packages = rest.split([':', '\n']).next().unwrap_or_default().to_owned();
            return Some(Self::Held { packages });
        }
        if let Some(words) = text.lines().find(|line| is_refusal_of_sudo(line)) {
            return Some(Self::Sudo { words: words.trim_start_matches("sudo: ").trim_end_matches('.').to_owned() });
        }
        // apt's methods: `Temporary failure resolving 'NAME'`, `Could not resolve 'NAME'`; `curl` writes a colon.
        for words in ["emporary failure resolving ", "ould not resolve host: ", "ould not resolve "] {
            if let Some((_, rest)) = text.split_once(words) {
                return Some(Self::NoName { name: name(rest) });
            }
        }
        // gai_strerror(3): EAI_AGAIN and EAI_NONAME.
        let unknown = ["Temporary failure in name resolution", "Name or service not known"];
        unknown.iter().any(|words| text.contains(words)).then_some(Self::NoName { name: None })
    }

    /// In one sentence without a full stop. `full` are the file systems that were found full.
    pub fn words(&self, full: &[String]) -> String {
        match self {
            Self::NoSpace if full.is_empty() => "the server's disk is full".to_owned(),
            Self::NoSpace => format!("the server is out of disk space: {} is full", full.join(" and ")),
            Self::Locked { file, holder: Some(holder) } => {
                format!("another package manager is running: process {holder} holds {file}")
            }
            Self::Locked { file, holder: None } => format!("another package manager is running and holds {file}"),
            Self::NoName { name: Some(name) } => format!("name resolution fails: the server can't look up {name}"),
            Self::NoName { name: None } => "name resolution fails on the server".to_owned(),
            Self::Held { packages } => format!("held packages are in the way: {packages}"),
            Self::Sudo { words } => format!("Ostler can't become root with sudo: {words}"),
        }
    }

    /// What to do about it.
    pub fn hint(&self, server: &ServerName) -> Hint {
        let run = |command: String| Hint::from(Next::Run { server: server.clone(), command });
        let what = match self {
            Self::NoSpace => run("df -h".into()).with(" shows the disks: free some space"),
            Self::Locked { .. } => {
                Hint::from("wait until it ends, or stop it (").with(Next::WaitLonger).with(" waits longer)")
            }
            Self::NoName { .. } => {
                run("cat /etc/resolv.conf".into()).with(" shows its DNS servers: see that they answer")
            }
            Self::Held { packages } => {
                let names = packages.replace(',', "");
                run(format!("sudo apt-mark unhold {names}")).with(" lets them change")
            }
            Self::Sudo { .. } => run("sudo -l".into()).with(
                " shows the rules; the last one that matches counts, and must be Ostler's (/etc/sudoers.d/zz-ostler-*)",
            ),
        };
        what.with("; then ").with(Next::Resume(server.clone()))
    }
}

/// sudo(8) with `-n`.
fn is_refusal_of_sudo(line: &str) -> bool {
    line.starts_with("sudo: a password is required")
        || line.starts_with("sudo: sorry, you must have a tty")
        || line.contains(" is not in the sudoers file")
        || line.starts_with("Sorry, user ")
}

fn holder(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("held by process ")?;
    let line = rest.lines().next().unwrap_or_default();
    let end = line.find(')').map_or_else(|| line.find(char::is_whitespace).unwrap_or(line.len()), |end| end + 1);
    Some(line[..end].trim_end_matches(['.', ',']).to_owned()).filter(|holder| !holder.is_empty())
}

/// In quotes, or up to the next space.
fn name(text: &str) -> Option<String> {
    let mut parts = text.split(|c: char| c == '\'' || c == '"' || c.is_whitespace());
    let name = parts.find(|part| !part.is_empty())?.trim_end_matches(['.', ',', ')', ':']);
    Some(name.to_owned()).filter(|name| !name.is_empty())
}

/// File systems without bytes or inodes, as `/var (512 MiB)`. Images that are mounted are always full.
const FULL: &str = "skip='-x squashfs -x iso9660 -x efivarfs'
df -Pk $skip 2>/dev/null | awk 'NR > 1 && $2 > 0 && $5 + 0 >= 99 { printf \"%s (%d MiB)\\n\", $6, $2 / 1024 }'
df -Pi $skip 2>/dev/null | awk 'NR > 1 && $2 > 0 && $4 == 0 { printf \"%s (out of inodes)\\n\", $6 }'";

/// The file systems that are full at the moment. Where the server can't be asked, none.
pub(crate) async fn full_disks(session: &dyn Session) -> Vec<String> {
    let said = session.run(FULL, b"").await.map(|output| output.stdout).unwrap_or_default();
    said.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Option<String> {
        Cause::of(text).map(|cause| cause.words(&["/ (512 MiB)".to_owned()]))
    }

    #[test]
    fn what_programs_say_is_told_apart() {
        let full = Some("the server is out of disk space: / (512 MiB) is full".to_owned());
        for text in [
            "OSError: [Errno 28] No space left on device: '/var/lib/ostler/packages.new'",
            "dpkg: error processing archive x.deb (--unpack): cannot copy extracted data: failed to write (No space left on device)",
            "E: You don't have enough free space in /var/cache/apt/archives/.",
        ] {
            assert_eq!(words(text), full, "{text}");
        }
        let lock = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 77 (unattended-upgr)\nN: Be aware";
        let held = "another package manager is running: process 77 (unattended-upgr) holds /var/lib/dpkg/lock-frontend";
        assert_eq!(words(lock).as_deref(), Some(held));
        let unseen = "Failed to lock directory: E:Could not get lock /var/lib/apt/lists/lock - open (11: Resource)";
        assert_eq!(
            words(unseen).as_deref(),
            Some("another package manager is running and holds /var/lib/apt/lists/lock")
        );
        for text in [
            "W: Failed to fetch http://deb.debian.org/debian/dists/trixie/InRelease  Temporary failure resolving 'deb.debian.org'",
            "Could not resolve 'deb.debian.org'",
            "curl: (6) Could not resolve host: deb.debian.org",
        ] {
            let known = "name resolution fails: the server can't look up deb.debian.org";
            assert_eq!(words(text).as_deref(), Some(known), "{text}");
        }
        assert_eq!(
            words("<urlopen error [Errno -2] Name or service not known>").as_deref(),
            Some("name resolution fails on the server")
        );
        assert_eq!(words("E: Unable to locate package ngnix"), None);
        assert_eq!(words("sudo: unable to resolve host web: Name or service not known\nE: it is broken"), None);
        assert_eq!(
            words("sudo: unable to resolve host web: Name or service not known\nsudo: a password is required")
                .as_deref(),
            Some("Ostler can't become root with sudo: a password is required")
        );
        assert_eq!(
            words("cannot install a: held packages stand in the way: b, c: a : Depends: b (>= 2)").as_deref(),
            Some("held packages are in the way: b, c")
        );
    }

    #[test]
    fn the_hint_ends_in_how_to_go_on() {
        let server = ServerName::parse("web").unwrap();
        for cause in [Cause::NoSpace, Cause::Locked { file: String::new(), holder: None }, Cause::NoName { name: None }]
        {
            assert_eq!(cause.hint(&server).parts().last(), Some(&Next::Resume(server.clone()).into()), "{cause:?}");
        }
    }
}
