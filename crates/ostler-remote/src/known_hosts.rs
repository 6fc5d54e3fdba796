//! One known_hosts per server, under the server's name instead of its address.
//!
//! The file is derived from the pinned keys at each connect: it may be deleted at any time. Each key is parsed and written
//! anew, so a text with a line break can't smuggle in a second entry.

use crate::{RemoteError, keys};
use ostler_core::ids::ServerName;
use std::{
    fs, io,
    io::Write,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// Writes `STATE/servers/NAME/known_hosts`, atomically, unless it says so already; returns its path.
pub(crate) fn write(state_dir: &Path, server: &ServerName, host_keys: &[String]) -> Result<PathBuf, RemoteError> {
    let folder = folder(state_dir, server);
    let path = folder.join("known_hosts");
    let text = render(server, host_keys)?;
    if fs::read_to_string(&path).is_ok_and(|present| present == text) {
        return Ok(path);
    }
    replace(&folder, &path, &text).map_err(|source| RemoteError::File { path: path.clone(), source })?;
    Ok(path)
}

/// Removes it, and the server's folder if nothing else is in there.
pub(crate) fn remove(state_dir: &Path, server: &ServerName) -> Result<(), RemoteError> {
    let folder = folder(state_dir, server);
    let path = folder.join("known_hosts");
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(RemoteError::File { path, source }),
        _ => {
            let _ = fs::remove_dir(folder); // fails where others keep files too, which is as it should be
            Ok(())
        }
    }
}

fn folder(state_dir: &Path, server: &ServerName) -> PathBuf {
    state_dir.join("servers").join(server.as_str())
}

/// sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT": name, type, key.
fn render(server: &ServerName, host_keys: &[String]) -> Result<String, RemoteError> {
    let mut text = String::new();
    for key in host_keys {
        let key = keys::parse_public(key)?;
        let line =
            key.to_openssh().map_err(|source| RemoteError::PublicKey { text: key.comment().to_owned(), source })?;
        text.push_str(&format!("{server} {}\n", line.trim_end()));
    }
    Ok(text)
}

fn replace(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?; // 0600
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_exactly_the_pinned_keys_under_the_servers_name() {
        let state = tempfile::tempdir().unwrap();
        let name = ServerName::parse("web-1").unwrap();
        let (old, new) = (keys::generate().unwrap().public, keys::generate().unwrap().public);

        let path = write(state.path(), &name, &[format!("{old} a comment"), new.clone()]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("web-1 {old}\nweb-1 {new}\n"));

        write(state.path(), &name, std::slice::from_ref(&new)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("web-1 {new}\n"));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "a temporary file was left");

        remove(state.path(), &name).unwrap();
        remove(state.path(), &name).unwrap();
        assert_eq!(fs::read_dir(state.path().join("servers")).unwrap().count(), 0);
    }

    #[test]
    fn a_line_break_adds_no_entry() {
        let state = tempfile::tempdir().unwrap();
        let name = ServerName::parse("web-1").unwrap();
        let key = keys::generate().unwrap().public;
        let smuggled = format!("{key}\n* {key}");
        if let Ok(path) = write(state.path(), &name, &[smuggled]) {
            assert_eq!(fs::read_to_string(path).unwrap(), format!("web-1 {key}\n"));
        }
    }
}
