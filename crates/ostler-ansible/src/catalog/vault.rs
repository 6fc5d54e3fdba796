//! What the roles of a catalog hold encrypted with `ansible-vault`: whole files, and values in YAML files.
//!
//! The format is that of Ansible's documentation, "Format of files encrypted with Ansible Vault": a header line
//! `$ANSIBLE_VAULT;VERSION;CIPHER[;ID]`, then lines of hexadecimal digits. In a YAML file all of them are indented.

use std::{
    fs,
    path::{Path, PathBuf},
};

const HEADER: &[u8] = b"$ANSIBLE_VAULT;";
/// As the inventory plugin has it: what is larger is no file of variables.
const LARGEST: u64 = 1 << 20;

/// Whether a whole file is encrypted.
pub(super) fn is_encrypted(text: &[u8]) -> bool {
    text.starts_with(HEADER) && holds_encrypted(text)
}

/// The first file in a folder that is encrypted, or has an encrypted value.
pub(super) fn first_encrypted(folder: &Path) -> Option<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries.into_iter().find_map(|path| {
        let meta = fs::symlink_metadata(&path).ok()?;
        if meta.is_dir() {
            return first_encrypted(&path);
        }
        let text = if meta.is_file() && meta.len() <= LARGEST { fs::read(&path).ok()? } else { return None };
        holds_encrypted(&text).then_some(path)
    })
}

/// A header alone may be somebody's words about it.
fn holds_encrypted(text: &[u8]) -> bool {
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    while let Some(line) = lines.next() {
        if line.starts_with(HEADER) {
            let next = lines.next().unwrap_or_default();
            if !next.is_empty() && next.iter().all(u8::is_ascii_hexdigit) {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_files_are_found_and_words_about_them_are_not() {
        let file = "$ANSIBLE_VAULT;1.1;AES256\n616263\n";
        assert!(is_encrypted(file.as_bytes()));
        let value = "a: 1\nb: !vault |\n  $ANSIBLE_VAULT;1.2;AES256;prod\n  616263\n";
        assert!(!is_encrypted(value.as_bytes()) && holds_encrypted(value.as_bytes()));
        assert!(!holds_encrypted(b"a file begins with\n$ANSIBLE_VAULT;1.1;AES256\nand then\n"));
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("vars")).unwrap();
        fs::write(folder.path().join("README.md"), "$ANSIBLE_VAULT;").unwrap();
        assert_eq!(first_encrypted(folder.path()), None);
        fs::write(folder.path().join("vars/main.yml"), value).unwrap();
        assert_eq!(first_encrypted(folder.path()), Some(folder.path().join("vars/main.yml")));
    }
}
