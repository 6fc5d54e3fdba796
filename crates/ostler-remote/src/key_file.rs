//! Whether ssh can use a private key in a file, and what stands in the way: said before anything is touched, for a key that ssh
//! does not take ends in nothing but `Permission denied`.
//!
//! ssh-keygen(1), which reads keys as ssh does, has the word; what is said here only explains its refusal.

use ostler_core::{spec::KeyFault, text};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
};

/// No key is as long, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Checks the private key in `path`. One with a passphrase will do where the ssh-agent at `agent` holds it, and so will the public
/// half of one that it holds.
pub fn check(path: &Path, agent: Option<&Path>) -> Result<(), KeyFault> {
    let name = path.display();
    let fault = |what: &str, hint: String| Err(KeyFault { message: format!("`{name}` {what}"), hint });
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) => return fault(&format!("can't be read: {error}"), missing(path, &error)),
    };
    if !meta.is_file() {
        let what = if meta.is_dir() { "is a folder" } else { "is not a file" };
        return fault(what, "name the file of a private key".to_owned());
    }
    if meta.len() > LONGEST {
        return fault("is too large for a key", "name the file of a private key".to_owned());
    }
    if crate::args::option_path(path).is_err() {
        let what = "has a name that can't be passed to ssh: it contains a `$`, a quote, a backslash or a line break";
        return fault(what, "give it another name".to_owned());
    }
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return fault(&format!("can't be read: {error}"), missing(path, &error)),
    };
    let refusal = match usable(path) {
        Ok(()) => return Ok(()),
        Err(refusal) => refusal,
    };
    let kind = Kind::of(&bytes);
    let in_agent = matches!(kind, Kind::Passphrase | Kind::Public)
        && agent.is_some_and(|agent| fingerprint(path).is_some_and(|key| holds(agent, &key)));
    if in_agent {
        return Ok(());
    }
    let mode = meta.mode() & 0o777;
    match kind.explained(&name.to_string()) {
        Some((what, hint)) => fault(what, hint),
        None if mode & 0o077 != 0 && meta.uid() == rustix::process::geteuid().as_raw() => fault(
            &format!("can be read by others (its mode is {mode:04o}), and ssh does not use such a key"),
            format!("`chmod 600 {name}`"),
        ),
        None => match refusal {
            // Without ssh-keygen nobody can say it better; `ostler doctor` knows of it.
            None => Ok(()),
            Some(words) => fault(
                &format!("is not a private key that ssh can use: ssh-keygen says `{words}`"),
                format!(
                    "`ssh-keygen -y -f {name}` must print its public half; it may have been cut off when it was copied"
                ),
            ),
        },
    }
}

fn missing(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "`ssh-keygen -t ed25519` makes a key pair".to_owned(),
        io::ErrorKind::PermissionDenied => {
            format!("it belongs to somebody else: see `ls -l {}`, and run Ostler as its owner", path.display())
        }
        _ => "name the file of a private key".to_owned(),
    }
}

/// What a file holds that is no private key as ssh wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Empty,
    ByteOrderMark,
    Binary,
    Putty,
    Ssh2,
    Ssh2Public,
    Pgp,
    X509,
    Certificate,
    Public,
    PublicPem,
    Dsa,
    Passphrase,
    NotAlone,
    CarriageReturns,
    Unended,
    Unknown,
}

impl Kind {
    fn of(bytes: &[u8]) -> Self {
        if bytes.starts_with(b"\xef\xbb\xbf") || bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Self::ByteOrderMark;
        }
        let Ok(text) = std::str::from_utf8(bytes) else { return Self::Binary };
        let first = text.split_whitespace().next().unwrap_or_default();
        let has = |words: &str| text.contains(words);
        if first.is_empty() {
            Self::Empty
        } else if has("\0") {
            Self::Binary
        } else if has("PuTTY-User-Key-File") {
            Self::Putty
        } else if has("BEGIN SSH2 PUBLIC KEY") {
            Self::Ssh2Public
        } else if has("BEGIN SSH2 ENCRYPTED PRIVATE KEY") {
            Self::Ssh2
        } else if has("BEGIN PGP ") {
            Self::Pgp
        } else if has("BEGIN CERTIFICATE") && !has("PRIVATE KEY") {
            Self::X509
        } else if first.ends_with("-cert-v01@openssh.com") {
            Self::Certificate
        } else if ["ssh-", "ecdsa-", "sk-"].iter().any(|start| first.starts_with(start)) {
            Self::Public
        } else if has("PUBLIC KEY-----") {
            Self::PublicPem
        } else if has("BEGIN DSA PRIVATE KEY") {
            Self::Dsa
        } else if has_passphrase(text) {
            Self::Passphrase
        } else if !has("PRIVATE KEY-----") {
            Self::Unknown
        } else if has("\r") {
            Self::CarriageReturns
        } else if !text.starts_with("-----BEGIN ") || text.lines().any(|line| line.ends_with([' ', '\t'])) {
            Self::NotAlone
        } else if has("-----END ") && !text.ends_with('\n') {
            Self::Unended
        } else {
            Self::Unknown
        }
    }

    /// What is wrong, after the file's name, and what to do.
    fn explained(self, name: &str) -> Option<(&'static str, String)> {
        let import = format!("`ssh-keygen -i -f {name}` converts it to OpenSSH's format");
        let of_private = || match name.strip_suffix(".pub") {
            Some(private) => format!("name its private half, `{private}`, or load that into your ssh-agent"),
            None => "name its private half, or load that into your ssh-agent".to_owned(),
        };
        Some(match self {
            Self::Empty => ("is empty", "name the file of a private key".to_owned()),
            Self::ByteOrderMark => (
                "begins with a byte order mark, as editors on Windows write it, which ssh can't read",
                "save it as plain ASCII text".to_owned(),
            ),
            Self::Binary => ("is not a text", "name a private key as ssh-keygen writes it".to_owned()),
            Self::Putty => (
                "is a PuTTY key, which ssh can't read",
                format!(
                    "`puttygen {name} -O private-openssh -o NEW` converts it to OpenSSH's format (Debian: putty-tools)"
                ),
            ),
            Self::Ssh2 => ("is a key of another SSH program, which ssh can't read", import),
            Self::Ssh2Public => ("is a public key, as other SSH programs write it", of_private()),
            Self::Pgp => ("is a PGP key, not an SSH key", "`ssh-keygen -t ed25519` makes a key pair".to_owned()),
            Self::X509 => ("is a certificate, not a private key", "name the private key that belongs to it".to_owned()),
            Self::Certificate => ("is a certificate, not a private key", of_private()),
            Self::Public => ("is a public key, and no ssh-agent of yours has its private half", of_private()),
            Self::PublicPem => ("is a public key", of_private()),
            Self::Dsa => (
                "is a DSA key, which the sshd of Debian 13 does not accept",
                "`ssh-keygen -t ed25519` makes a key pair".to_owned(),
            ),
            Self::Passphrase => (
                "has a passphrase, and nobody is there to type it",
                format!("load it into your ssh-agent (`ssh-add {name}`), or name a key without one"),
            ),
            Self::NotAlone => (
                "holds more than the key: text before it, or spaces at the ends of lines, which ssh can't read",
                format!(
                    "leave only the lines from `-----BEGIN` to `-----END` in it, such as by `sed -i 's/[[:blank:]]*$//; /-----BEGIN/,/-----END/!d' {name}`"
                ),
            ),
            Self::CarriageReturns => (
                "has Windows line endings, which ssh can't read",
                format!("`sed -i 's/\\r$//' {name}` takes the carriage returns out"),
            ),
            Self::Unended => {
                ("lacks the line feed after its last line, which ssh needs", format!("`echo >>{name}` adds it"))
            }
            Self::Unknown => return None,
        })
    }
}

/// Whether a private key is encrypted.
///
/// OpenSSH's own format (PROTOCOL.key in its sources) begins with a magic text and the name of its cipher, `none` where there is no
/// passphrase; older ones say it in words (RFC 1421, RFC 5958).
fn has_passphrase(text: &str) -> bool {
    // `openssh-key-v1\0`, the length 4, and `none`, as far as it fills whole characters of base64.
    const PLAIN: &str = "b3BlbnNzaC1rZXktdjEAAAAABG5vbm";
    let mut lines = text.lines().map(str::trim);
    if !lines.any(|line| line == "-----BEGIN OPENSSH PRIVATE KEY-----") {
        return text.contains("ENCRYPTED");
    }
    let start: String = lines.take(1).flat_map(str::chars).take(PLAIN.len()).collect();
    // One that is cut off before that is broken in another way.
    start.len() == PLAIN.len() && start != PLAIN
}

/// Whether ssh-keygen can use the key; its last words, if it ran.
fn usable(path: &Path) -> Result<(), Option<String>> {
    let output = keygen().args(["-y", "-P", "", "-f"]).arg(path).output().map_err(|_| None)?;
    if output.status.success() {
        return Ok(());
    }
    let said = text::plain(&String::from_utf8_lossy(&output.stderr));
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing");
    Err(Some(last.trim().chars().take(200).collect()))
}

/// The fingerprint of a key's public half, which stands in the file, or beside it.
fn fingerprint(path: &Path) -> Option<String> {
    let output = keygen().arg("-lf").arg(path).output().ok().filter(|output| output.status.success())?;
    String::from_utf8_lossy(&output.stdout).split_whitespace().nth(1).map(str::to_owned)
}

fn holds(agent: &Path, fingerprint: &str) -> bool {
    let mut command = program("ssh-add");
    command.arg("-l").env("SSH_AUTH_SOCK", agent).stderr(Stdio::null());
    let output = command.output();
    output
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).split_whitespace().any(|word| word == fingerprint))
}

fn keygen() -> Command {
    let mut command = program("ssh-keygen");
    command.env("SSH_ASKPASS_REQUIRE", "never");
    command
}

/// Our own environment may hold secrets that the spec names.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear().env("LC_ALL", "C").stdin(Stdio::null());
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::fs::PermissionsExt, path::PathBuf};

    /// A folder with keys that ssh-keygen made: `plain`, `locked` with a passphrase, and `pem`, `pkcs8` and their locked ones.
    struct Keys(tempfile::TempDir);

    impl Keys {
        fn new() -> Self {
            let keys = Self(tempfile::tempdir().unwrap());
            for (name, kind, format, passphrase) in [
                ("plain", "ed25519", "RFC4716", ""),
                ("locked", "ed25519", "RFC4716", "correct horse"),
                ("pem", "ecdsa", "PEM", ""),
                ("pem-locked", "ecdsa", "PEM", "correct horse"),
                ("pkcs8", "ecdsa", "PKCS8", ""),
                ("pkcs8-locked", "ecdsa", "PKCS8", "correct horse"),
            ] {
                let mut command = Command::new("ssh-keygen");
                command.args(["-q", "-t", kind, "-m", format, "-N", passphrase, "-f"]).arg(keys.path(name));
                assert!(command.status().unwrap().success(), "{name}");
            }
            keys
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.path(name);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        }
    }

    #[test]
    fn a_key_that_ssh_can_not_use_is_explained() {
        let keys = Keys::new();
        for good in ["plain", "pem", "pkcs8"] {
            assert!(check(&keys.path(good), None).is_ok(), "{good}");
        }
        let text = fs::read_to_string(keys.path("plain")).unwrap();
        let public = fs::read_to_string(keys.path("plain.pub")).unwrap();
        let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
        let cases: [(&str, Vec<u8>, &str, &str); 19] = [
            ("empty", Vec::new(), "is empty", ""),
            ("blank", b"\n\n".to_vec(), "is empty", ""),
            ("crlf", text.replace('\n', "\r\n").into(), "Windows line endings", "sed -i 's/\\r$//' "),
            ("unended", text.trim_end().into(), "lacks the line feed after its last line", "`echo >>"),
            ("bom", format!("\u{feff}{text}").into(), "byte order mark", "plain ASCII"),
            ("utf16", utf16, "byte order mark", ""),
            (
                "indented",
                text.replace('\n', "\n  ").replacen("--", "  --", 1).into(),
                "holds more than the key",
                "sed -i",
            ),
            ("commented", format!("# my key\n{text}").into(), "holds more than the key", "sed -i"),
            ("trailing", text.replace('\n', " \n").into(), "holds more than the key", "sed -i"),
            ("cut", text[..120].into(), "ssh-keygen says `", "cut off"),
            ("spoiled", text.replacen("AAAA", "AAAB", 1).into(), "`", ""),
            ("public", public.clone().into(), "is a public key", "ssh-agent"),
            (
                "certificate",
                public.replacen("ed25519", "ed25519-cert-v01@openssh.com", 1).into(),
                "is a certificate",
                "",
            ),
            ("putty", b"PuTTY-User-Key-File-3: ssh-ed25519\n".to_vec(), "is a PuTTY key", "puttygen "),
            (
                "ssh2",
                b"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n".to_vec(),
                "another SSH program",
                "ssh-keygen -i -f",
            ),
            ("pgp", b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n".to_vec(), "a PGP key", ""),
            ("dsa", b"-----BEGIN DSA PRIVATE KEY-----\n".to_vec(), "DSA", "ed25519"),
            ("x509", b"-----BEGIN CERTIFICATE-----\n".to_vec(), "is a certificate", ""),
            ("binary", b"\x7fELF\x00\xff".to_vec(), "is not a text", ""),
        ];
        for (name, bytes, what, hint) in cases {
            let path = keys.write(name, &bytes);
            let fault = check(&path, None).err().unwrap_or_else(|| panic!("{name} was accepted"));
            assert!(fault.message.starts_with(&format!("`{}` ", path.display())), "{name}: {fault:?}");
            assert!(fault.message.contains(what) && fault.hint.contains(hint), "{name}: {fault:?}");
            assert!(!fault.message.contains("b3BlbnNza"), "{name}: the key is shown: {fault:?}");
        }
        for locked in ["locked", "pem-locked", "pkcs8-locked"] {
            let fault = check(&keys.path(locked), None).unwrap_err();
            assert!(fault.message.ends_with("has a passphrase, and nobody is there to type it"), "{locked}: {fault:?}");
        }
        assert!(check(keys.0.path(), None).unwrap_err().message.ends_with("is a folder"));
        assert!(check(Path::new("/dev/zero"), None).unwrap_err().message.ends_with("is not a file"));
        assert!(check(&keys.path("none"), None).unwrap_err().message.contains("No such file"));
        assert!(check(&keys.write("a$b", text.as_bytes()), None).unwrap_err().message.contains("can't be passed"));
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_with_the_command_that_mends_it() {
        let keys = Keys::new();
        let path = keys.path("plain");
        for mode in [0o644, 0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let fault = check(&path, None).unwrap_err();
            assert!(fault.message.contains(&format!("can be read by others (its mode is {mode:04o})")), "{fault:?}");
            assert_eq!(fault.hint, format!("`chmod 600 {}`", path.display()));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(check(&path, None).is_ok());
    }

    #[tokio::test]
    async fn what_the_agent_holds_needs_no_passphrase_and_may_be_named_by_its_public_half() {
        let keys = Keys::new();
        let text = fs::read_to_string(keys.path("plain")).unwrap();
        let socket = keys.path("agent");
        let key = ssh_key::PrivateKey::from_openssh(&text).unwrap();
        let _agent = crate::agent::Agent::start(key, &socket).unwrap();
        // The same key, with a passphrase.
        let locked = keys.write("closed", text.as_bytes());
        let status =
            Command::new("ssh-keygen").args(["-q", "-p", "-P", "", "-N", "correct horse", "-f"]).arg(&locked).status();
        assert!(status.unwrap().success());
        // The agent answers from this thread.
        let looks = move || {
            for path in [locked, keys.path("plain.pub")] {
                assert!(check(&path, None).is_err(), "{}", path.display());
                assert!(check(&path, Some(&socket)).is_ok(), "{}", path.display());
            }
            assert!(check(&keys.path("pem.pub"), Some(&socket)).is_err(), "the agent does not have it");
        };
        tokio::task::spawn_blocking(looks).await.unwrap();
    }
}
