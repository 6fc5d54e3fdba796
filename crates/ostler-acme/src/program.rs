//! Where LEGO is: in the binary, from where it is put on disk once, else wherever this machine has it.

use crate::AcmeError;
use std::{
    env,
    fs::{self, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

include!(concat!(env!("OUT_DIR"), "/lego.rs"));

/// Whether this build carries LEGO.
pub fn has_lego() -> bool {
    EMBEDDED.is_some()
}

/// The program; below `parent` where it comes out of the binary.
pub(crate) fn find(parent: &Path) -> Result<PathBuf, AcmeError> {
    match EMBEDDED {
        Some((sum, packed)) => unpack(parent, sum, packed),
        None => {
            let path = env::var_os("PATH").unwrap_or_default();
            let found = env::split_paths(&path).map(|folder| folder.join("lego")).find(|file| file.is_file());
            let found = found.ok_or(AcmeError::NoLego)?;
            let said = Command::new(&found).arg("--version").output();
            let said = said.map_err(|source| AcmeError::Start { path: found.clone(), source })?;
            check(&found, &String::from_utf8_lossy(&said.stdout))?;
            Ok(found)
        }
    }
}

/// Refuses what has other flags and folders.
fn check(path: &Path, said: &str) -> Result<(), AcmeError> {
    let version = said.split_whitespace().nth(2).unwrap_or("of no known version");
    if version.starts_with("4.35.") {
        return Ok(());
    }
    Err(AcmeError::Version { path: path.to_owned(), version: ostler_core::text::one_line(version) })
}

/// Puts it on disk under its sum, and removes others; whoever runs one of those keeps it until it ends.
fn unpack(parent: &Path, sum: &str, packed: &[u8]) -> Result<PathBuf, AcmeError> {
    let path = parent.join(&sum[..16]);
    if path.exists() {
        return Ok(path);
    }
    fs::create_dir_all(parent).map_err(AcmeError::at(parent))?;
    let program = zstd::stream::decode_all(packed).map_err(AcmeError::at(&path))?;
    let mut file = tempfile::NamedTempFile::new_in(parent).map_err(AcmeError::at(parent))?;
    file.write_all(&program).map_err(AcmeError::at(&path))?;
    file.as_file().set_permissions(Permissions::from_mode(0o755)).map_err(AcmeError::at(&path))?;
    file.as_file().sync_all().map_err(AcmeError::at(&path))?;
    file.persist(&path).map_err(|error| AcmeError::File { path: path.clone(), source: error.error })?;
    for entry in fs::read_dir(parent).map_err(AcmeError::at(parent))?.flatten() {
        let name = entry.file_name();
        if name.len() == 16 && entry.path() != path {
            let _ = fs::remove_file(entry.path()); // it takes room, and no more
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_whose_flags_are_known_is_taken() {
        let lego = Path::new("/usr/bin/lego");
        assert!(check(lego, "lego version 4.35.2 linux/amd64\n").is_ok());
        for (said, version) in [("lego version 4.9.1 linux/amd64", "4.9.1"), ("lego version 5.1.0 x", "5.1.0")] {
            let error = check(lego, said).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("/usr/bin/lego is LEGO {version}; Ostler knows the flags and folders of 4.35 only")
            );
        }
    }

    #[test]
    fn the_one_that_ships_is_the_locked_one() {
        let root = tempfile::tempdir().unwrap();
        let Some((sum, packed)) = EMBEDDED else {
            let required = env::var_os("OSTLER_REQUIRE_TARGETS").is_some_and(|value| value == "1");
            assert!(!required, "this build carries no LEGO; `cargo xtask bundle` makes it");
            return eprintln!("skipped: this build carries no LEGO");
        };
        let program = unpack(root.path(), sum, packed).unwrap();
        let said = Command::new(&program).arg("--version").output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        check(&program, &said).unwrap();
        let locked = include_str!("../lego.lock");
        assert!(locked.contains(&format!("\"version\": \"{}-", said.split_whitespace().nth(2).unwrap())), "{said}");
    }
}
