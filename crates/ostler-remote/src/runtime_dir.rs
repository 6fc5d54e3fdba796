//! Folders for sockets: one per session, gone with it.
//!
//! They lie in `$XDG_RUNTIME_DIR/ostler` or `/tmp/ostler-UID`, because a socket's path may have no more than 107 bytes
//! (unix(7)) and state directories can be deep. Each is locked by its owner with flock(2), which the kernel takes back when
//! the owner dies: whatever can be locked is a leftover. Process ids would not do, for containers may share `/tmp`.

use crate::RemoteError;
use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// How session folders' names begin; others may keep theirs beside them.
const PREFIX: &str = "ssh-";

/// 107, less `/`, the prefix and six random characters, `/c`, and the `.` with 16 random characters that ssh appends while
/// it binds.
const LONGEST_BASE: usize = 107 - 1 - PREFIX.len() - 6 - 2 - 17;

/// A session's folder. Dropping it removes it.
pub(crate) struct SessionDir {
    dir: TempDir,
    _lock: File,
}

impl SessionDir {
    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where the agent listens.
    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.dir.path().join("a")
    }

    /// Where the master listens.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.dir.path().join("c")
    }

    /// Writes public keys, a file each.
    pub(crate) fn write_keys(&self, keys: &[String]) -> io::Result<Vec<PathBuf>> {
        let write = |(number, key): (usize, &String)| {
            let path = self.dir.path().join(format!("{number}.pub"));
            fs::write(&path, format!("{key}\n"))?;
            // ssh looks at it as at a private key, too.
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            Ok(path)
        };
        keys.iter().enumerate().map(write).collect()
    }
}

/// The folder of an Ostler that died. Nobody else clears it while this lives.
pub(crate) struct Leftover {
    path: PathBuf,
    _lock: File,
}

impl Leftover {
    /// Where its master listened.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.path.join("c")
    }

    /// Removes it.
    pub(crate) fn clear(self) {
        let _ = fs::remove_dir_all(&self.path); // someone else's turn next time
    }
}

/// Makes a folder for a session under `base`, and finds those of Ostlers that died.
pub(crate) fn open(base: &Path) -> Result<(SessionDir, Vec<Leftover>), RemoteError> {
    if base.as_os_str().len() > LONGEST_BASE {
        return Err(RemoteError::SocketPath { path: base.to_owned() });
    }
    let failed = |source| RemoteError::File { path: base.to_owned(), source };
    match fs::DirBuilder::new().mode(0o700).create(base) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let uid = rustix::process::geteuid().as_raw();
    if !is_private(base, uid) {
        return Err(RemoteError::Hostile { path: base.to_owned(), uid });
    }

    // Held until this returns: between its making and its lock, a folder would look like a leftover.
    let turn = File::open(base).map_err(failed)?;
    turn.lock().map_err(failed)?;
    let leftovers = leftovers(base).map_err(failed)?;
    let dir = tempfile::Builder::new()
        .prefix(PREFIX)
        .rand_bytes(6)
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir_in(base)
        .map_err(failed)?;
    let lock = File::open(dir.path()).map_err(failed)?;
    lock.lock().map_err(failed)?;
    Ok((SessionDir { dir, _lock: lock }, leftovers))
}

/// The folder for all sessions of user `uid`: in `xdg_runtime_dir` if that is private to them and short enough.
pub(crate) fn base(xdg_runtime_dir: Option<&Path>, uid: u32) -> PathBuf {
    xdg_runtime_dir
        .filter(|dir| dir.is_absolute() && is_private(dir, uid))
        .map(|dir| dir.join("ostler"))
        .filter(|dir| dir.as_os_str().len() <= LONGEST_BASE)
        .unwrap_or_else(|| PathBuf::from(format!("/tmp/ostler-{uid}")))
}

/// A real folder, not a link to one, that belongs to `uid` and that no other can enter.
fn is_private(path: &Path, uid: u32) -> bool {
    fs::symlink_metadata(path).is_ok_and(|it| it.is_dir() && it.uid() == uid && it.mode() & 0o077 == 0)
}

fn leftovers(base: &Path) -> io::Result<Vec<Leftover>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(base)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let path = entry.path();
        let Ok(lock) = File::open(&path) else { continue };
        if lock.try_lock().is_ok() {
            found.push(Leftover { path, _lock: lock });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn uid() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn private_tempdir() -> TempDir {
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir_in("/tmp").unwrap()
    }

    #[test]
    fn a_hostile_folder_is_refused() {
        let root = private_tempdir();
        let open_to_all = root.path().join("open");
        fs::create_dir(&open_to_all).unwrap();
        fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(open(&open_to_all), Err(RemoteError::Hostile { .. })));

        let link = root.path().join("link");
        symlink(root.path(), &link).unwrap();
        assert!(matches!(open(&link), Err(RemoteError::Hostile { .. })));
    }

    #[test]
    fn a_folder_that_is_shared_or_deep_is_not_used() {
        let root = private_tempdir();
        assert_eq!(base(Some(root.path()), uid()), root.path().join("ostler"));
        let fallback = PathBuf::from(format!("/tmp/ostler-{}", uid()));
        assert_eq!(base(Some(&root.path().join("deep".repeat(20))), uid()), fallback);
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(base(Some(root.path()), uid()), fallback);
        assert_eq!(base(None, uid()), fallback);
    }

    #[test]
    fn only_folders_without_a_living_owner_are_leftovers() {
        let root = private_tempdir();
        let base = root.path().join("ostler");
        let (alive, _) = open(&base).unwrap();
        let dead = base.join("ssh-deadbe");
        fs::create_dir(&dead).unwrap();
        fs::create_dir(base.join("of-another-part")).unwrap();

        let (other, leftovers) = open(&base).unwrap();
        assert_eq!(leftovers.iter().map(|it| it.path.clone()).collect::<Vec<_>>(), [dead]);
        let (_, held_by_another) = open(&base).unwrap();
        assert!(held_by_another.is_empty());
        leftovers.into_iter().for_each(Leftover::clear);
        drop((alive, other));
        assert_eq!(fs::read_dir(&base).unwrap().count(), 1, "only the other part's stays");
    }
}
