//! Which Debian mirror this machine uses, as apt's own sources say (sources.list(5)).
//!
//! The suites become those of the image, whatever this machine runs. Third parties' archives are left out: a Debian mirror
//! is one whose suite is named exactly as a Debian release, with a component `main`, and that is not signed by another key.

use std::{fs, path::Path};

/// The release of the image.
pub const SUITE: &str = "trixie";

/// What releases are called in `Suites`.
const RELEASES: [&str; 10] =
    ["buster", "bullseye", "bookworm", "trixie", "forky", "sid", "stable", "oldstable", "testing", "unstable"];

/// Holds the keys of the archive, on the machine that builds and in the image.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where packages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The archive.
    pub main: String,
    /// Its security updates.
    pub security: String,
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            main: "http://deb.debian.org/debian".into(),
            security: "http://security.debian.org/debian-security".into(),
        }
    }
}

impl Mirror {
    /// The mirror that the sources below `etc_apt` name; Debian's own where they name none.
    pub fn of_host(etc_apt: &Path) -> Self {
        let mut entries = Vec::new();
        let mut files: Vec<_> =
            fs::read_dir(etc_apt.join("sources.list.d")).into_iter().flatten().flatten().map(|it| it.path()).collect();
        files.sort();
        files.insert(0, etc_apt.join("sources.list"));
        for file in files {
            let Ok(text) = fs::read_to_string(&file) else { continue };
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("list") => one_line(&text, &mut entries),
                Some("sources") => deb822(&text, &mut entries),
                _ => {}
            }
        }
        let default = Self::default();
        // Only a whole mirror has updates too, so such a one is preferred.
        let updates: Vec<_> =
            entries.iter().filter(|entry| entry.suite.ends_with("-updates")).map(|entry| &entry.uri).collect();
        let archives: Vec<_> = entries.iter().filter(|entry| RELEASES.contains(&entry.suite.as_str())).collect();
        let main = archives.iter().find(|entry| updates.contains(&&entry.uri)).or(archives.first());
        let security = entries.iter().find(|entry| is_security(&entry.suite));
        Self {
            main: main.map_or(default.main, |entry| entry.uri.clone()),
            security: security.map_or(default.security, |entry| entry.uri.clone()),
        }
    }

    /// The image's `debian.sources`.
    pub fn sources(&self) -> String {
        let Self { main, security } = self;
        format!(
            "Types: deb\nURIs: {main}\nSuites: {SUITE} {SUITE}-updates\nComponents: main\nSigned-By: {KEYRING}\n\n\
             Types: deb\nURIs: {security}\nSuites: {SUITE}-security\nComponents: main\nSigned-By: {KEYRING}\n"
        )
    }
}

struct Entry {
    uri: String,
    suite: String,
}

/// `bookworm-security`, or `buster/updates` as it was before.
fn is_security(suite: &str) -> bool {
    let release = suite.strip_suffix("-security").or(suite.strip_suffix("/updates"));
    release.is_some_and(|release| RELEASES.contains(&release))
}

/// `deb [signed-by=FILE] URI SUITE COMPONENT...`
fn one_line(text: &str, entries: &mut Vec<Entry>) {
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t'])) else { continue };
        let (options, rest) = match rest.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else { continue };
        let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
        add(entries, &[uri], &[suite], &words.collect::<Vec<_>>(), signed_by);
    }
}

/// Paragraphs of `Field: values`, continued on lines that begin with a blank.
fn deb822(text: &str, entries: &mut Vec<Entry>) {
    let text: String =
        text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{}\n", line.trim_end())).collect();
    for paragraph in text.split("\n\n") {
        let unfolded = paragraph.replace("\n ", " ").replace("\n\t", " ");
        let field = |name: &str| {
            let value = unfolded.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.trim().eq_ignore_ascii_case(name).then_some(value)
            });
            value.unwrap_or_default().split_whitespace().collect::<Vec<_>>()
        };
        if !field("Types").contains(&"deb") || field("Enabled").first().is_some_and(|it| it.eq_ignore_ascii_case("no"))
        {
            continue;
        }
        add(entries, &field("URIs"), &field("Suites"), &field("Components"), field("Signed-By").first().copied());
    }
}

fn add(entries: &mut Vec<Entry>, uris: &[&str], suites: &[&str], components: &[&str], signed_by: Option<&str>) {
    if !components.contains(&"main") || signed_by.is_some_and(|keyring| !keyring.contains("debian-archive")) {
        return;
    }
    for uri in uris.iter().filter_map(|uri| location(uri)) {
        entries.extend(suites.iter().map(|suite| Entry { uri: uri.clone(), suite: (*suite).to_owned() }));
    }
}

/// What the image's own apt can use: no CD, no folder of this machine, no password in the URL. A list of mirrors, which is
/// how Debian's cloud images do it, stands for its first one (apt-transport-mirror(1)).
fn location(uri: &str) -> Option<String> {
    let listed;
    let mut uri = uri;
    if let Some(list) = uri.strip_prefix("mirror+file:") {
        listed = fs::read_to_string(list).ok()?;
        uri = listed.split_whitespace().find(|word| word.starts_with("http"))?;
    }
    let (scheme, rest) = uri.split_once("://")?;
    let usable = matches!(scheme, "http" | "https") && !rest.split('/').next()?.contains('@');
    usable.then(|| uri.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Mirror {
        let apt = tempfile::tempdir().unwrap();
        fs::create_dir(apt.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            fs::write(apt.path().join(name), text.replace("@APT@", apt.path().to_str().unwrap())).unwrap();
        }
        Mirror::of_host(apt.path())
    }

    fn mirror(main: &str, security: &str) -> Mirror {
        Mirror { main: main.into(), security: security.into() }
    }

    #[test]
    fn without_sources_it_is_debians_own() {
        assert_eq!(of(&[]), Mirror::default());
        let ubuntu = "deb http://archive.ubuntu.com/ubuntu noble main\n";
        assert_eq!(of(&[("sources.list", ubuntu)]), Mirror::default());
    }

    #[test]
    fn one_line_sources_of_an_older_release_are_understood() {
        let list = "# deb http://no.example/debian bookworm main\ndeb-src http://src.example/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/etc/keyrings/apt.gpg] https://third.example bookworm main\n\
                    deb cdrom:[Debian]/ bookworm main\n\
                    deb http://user:word@private.example/debian bookworm main\n\
                    deb http://ftp.example/debian/ bookworm main contrib # here\n\
                    deb http://sec.example/debian-security bookworm-security main\n";
        assert_eq!(
            of(&[("sources.list", list)]),
            mirror("http://ftp.example/debian", "http://sec.example/debian-security")
        );
    }

    #[test]
    fn deb822_sources_are_understood() {
        let sources = "Types: deb\nEnabled: no\nURIs: http://off.example/debian\nSuites: trixie\nComponents: main\n\n\
                       Types: deb deb-src\n# comment\nURIs: http://near.example/debian\nSuites: trixie\n trixie-updates\n\
                       Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";
        let found = of(&[("sources.list.d/debian.sources", sources)]);
        assert_eq!(found, mirror("http://near.example/debian", "http://security.debian.org/debian-security"));
        assert!(found.sources().contains("URIs: http://near.example/debian\nSuites: trixie trixie-updates\n"));
    }

    #[test]
    fn a_whole_mirror_is_preferred() {
        let some = "deb http://apt.example bookworm main\n";
        let debian =
            "deb http://near.example/debian bookworm main\ndeb http://near.example/debian bookworm-updates main\n";
        let found = of(&[("sources.list.d/a.list", some), ("sources.list.d/debian.list", debian)]);
        assert_eq!(found.main, "http://near.example/debian");
    }

    #[test]
    fn a_list_of_mirrors_stands_for_its_first() {
        let sources =
            "Types: deb\nURIs: mirror+file:@APT@/debian.mirrors\nSuites: trixie trixie-updates\nComponents: main\n";
        let mirrors = "https://first.example/debian\nhttps://second.example/debian\n";
        let found = of(&[("sources.list.d/debian.sources", sources), ("debian.mirrors", mirrors)]);
        assert_eq!(found.main, "https://first.example/debian");
    }
}
