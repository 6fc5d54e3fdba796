//! Secrets that a test plants, and the search for them where none may turn up: in outputs, in files, and in the arguments and
//! environments of all processes ([`Watch`]).
//!
//! A secret is looked for as it is, line by line where it has several, and as JSON (also within JSON), shell, URLs and base64
//! write it. How that is done here owes nothing to the code that masks them.

mod watch;

pub use watch::{Seen, Watch};

use aho_corasick::AhoCorasick;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Shortest line of a secret that is looked for alone, in bytes.
const SHORTEST_LINE: usize = 8;

/// The secrets of a test.
#[derive(Debug)]
pub struct Planted {
    search: AhoCorasick,
    /// Of each pattern of `search`: whose it is, and in which form.
    labels: Vec<String>,
}

/// A file with a secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// Below the folder that was searched.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
    /// Which secrets, in which forms.
    pub found: BTreeSet<String>,
}

impl Planted {
    /// Secrets, each after a name for messages. None may be part of another, nor anything that stands somewhere by chance.
    pub fn new(secrets: &[(&str, &str)]) -> Self {
        let (mut patterns, mut labels) = (Vec::new(), Vec::new());
        for (name, secret) in secrets {
            let lines = secret.lines().filter(|line| line.len() >= SHORTEST_LINE && line != secret);
            for text in [*secret].into_iter().chain(lines) {
                for (form, pattern) in forms(text) {
                    if !patterns.contains(&pattern) {
                        patterns.push(pattern);
                        labels.push(format!("{name} ({form})"));
                    }
                }
            }
        }
        Self { search: AhoCorasick::new(patterns).expect("few patterns"), labels }
    }

    /// Which secrets are in these bytes, in which forms.
    pub fn in_bytes(&self, bytes: &[u8]) -> BTreeSet<String> {
        self.search.find_overlapping_iter(bytes).map(|found| self.labels[found.pattern().as_usize()].clone()).collect()
    }

    /// Files below `folder` with a secret in them, of those that were changed since then: a file that is older than a secret
    /// can't hold it. Links are not followed, and what the kernel makes up (`proc`, `sys`, devices) is left out.
    pub fn in_files(&self, folder: &Path, since: SystemTime) -> Vec<Leak> {
        let since = since.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()).try_into().unwrap_or(i64::MAX);
        let mut leaks = Vec::new();
        self.below(folder, Path::new(""), since, &mut leaks);
        leaks
    }

    fn below(&self, top: &Path, path: &Path, since: i64, leaks: &mut Vec<Leak>) {
        for entry in fs::read_dir(top.join(path)).into_iter().flatten().flatten() {
            let path = path.join(entry.file_name());
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                if path != Path::new("proc") && path != Path::new("sys") {
                    self.below(top, &path, since, leaks);
                }
            } else if meta.is_file() && meta.ctime() >= since {
                // One that is gone meanwhile is looked for in vain.
                let found = self.in_bytes(&fs::read(top.join(&path)).unwrap_or_default());
                if !found.is_empty() {
                    leaks.push(Leak { path, mode: meta.mode() & 0o7777, found });
                }
            }
        }
    }
}

/// The ways in which a text is written somewhere.
fn forms(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = vec![("as it is", text.to_owned())];
    for json in [in_json(text), in_ascii(&in_json(text))] {
        forms.push(("JSON within JSON", in_json(&json)));
        forms.push(("JSON", json));
    }
    forms.push(("shell", text.replace('\'', r#"'"'"'"#)));
    forms.push(("shell", text.replace('\'', r"'\''")));
    for kept in ["", "/"] {
        forms.push(("URL", in_url(text, kept)));
        forms.push(("URL", in_url(text, kept).replace("%20", "+")));
    }
    for offset in 0..3 {
        // The characters that it shares with its neighbours are cut off.
        let bytes = [vec![0; offset], text.as_bytes().to_vec()].concat();
        let own = [0, 2, 3][offset]..bytes.len() * 8 / 6;
        forms.push(("base64", STANDARD_NO_PAD.encode(&bytes)[own.clone()].to_owned()));
        forms.push(("base64", URL_SAFE_NO_PAD.encode(&bytes)[own].to_owned()));
    }
    forms.into_iter().map(|(form, text)| (form, text.into_bytes())).collect()
}

fn in_json(text: &str) -> String {
    let quoted = serde_json::to_string(text).expect("a text is JSON");
    quoted[1..quoted.len() - 1].to_owned()
}

/// As Python's `json` writes it.
fn in_ascii(json: &str) -> String {
    let mut ascii = String::new();
    for character in json.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(ascii, "\\u{unit:04x}"); // a String takes everything
            }
        }
    }
    ascii
}

fn in_url(text: &str, kept: &str) -> String {
    let mut url = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.as_bytes().contains(&byte) {
            url.push(byte.into());
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "it's \"Pk7\" \\w/ ü€\nsecond line";

    fn planted() -> Planted {
        Planted::new(&[("a", SECRET), ("b", "quite another")])
    }

    #[test]
    fn every_form_is_found_where_other_programs_write_it() {
        // By Python's json.dumps, shlex.quote, urllib.parse and base64.
        for (text, label) in [
            (SECRET, "a (as it is)"),
            (r#"{"k": "it's \"Pk7\" \\w/ ü€\nsecond line"}"#, "a (JSON)"),
            (r#"{"k": "it's \"Pk7\" \\w/ \u00fc\u20ac\nsecond line"}"#, "a (JSON)"),
            (r#""{\"k\": \"it's \\\"Pk7\\\" \\\\w/ ü€\\nsecond line\"}""#, "a (JSON within JSON)"),
            ("echo 'it'\"'\"'s \"Pk7\" \\w/ ü€\nsecond line'", "a (shell)"),
            ("?k=it%27s%20%22Pk7%22%20%5Cw%2F%20%C3%BC%E2%82%AC%0Asecond%20line&l", "a (URL)"),
            ("?k=it%27s+%22Pk7%22+%5Cw%2F+%C3%BC%E2%82%AC%0Asecond+line&l", "a (URL)"),
            ("aXQncyAiUGs3IiBcdy8gw7zigqwKc2Vjb25kIGxpbmU=", "a (base64)"),
            ("eGl0J3MgIlBrNyIgXHcvIMO84oKsCnNlY29uZCBsaW5lIQ==", "a (base64)"),
            ("eHhpdCdzICJQazciIFx3LyDDvOKCrApzZWNvbmQgbGluZSE=", "a (base64)"),
            ("+second line", "a (as it is)"),
            ("cXVpdGUgYW5vdGhlcg==", "b (base64)"),
        ] {
            let found = planted().in_bytes(text.as_bytes());
            assert!(found.contains(label), "{label} is not found in {text}: {found:?}");
        }
        assert_eq!(planted().in_bytes(b"nothing of that, only a ******** and a second"), BTreeSet::new());
    }

    #[test]
    fn files_are_found_with_their_modes_and_old_ones_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("deep")).expect("a folder");
        fs::write(folder.path().join("deep/file"), "xx quite another xx").expect("a file");
        fs::write(folder.path().join("harmless"), "quite").expect("a file");
        let leaks = planted().in_files(folder.path(), UNIX_EPOCH);
        let [Leak { path, found, .. }] = &leaks[..] else { panic!("{leaks:?}") };
        assert_eq!((path.as_path(), found), (Path::new("deep/file"), &["b (as it is)".to_owned()].into()));
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        assert_eq!(planted().in_files(folder.path(), later), []);
    }
}
