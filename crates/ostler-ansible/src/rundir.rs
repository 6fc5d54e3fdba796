//! A private folder for one run: sockets, temporary files, and the file that names the inventory plugin.

use crate::AnsibleError;
use ostler_core::ids::RunId;
use std::{
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

/// A UNIX socket's path has at most 107 bytes (unix(7)). The longest one below a run's folder is ssh's control socket:
/// `/cp/`, ten characters of Ansible's, and seventeen that ssh adds while it opens it.
const LONGEST_FOLDER: usize = 107 - 32;

/// The source that makes Ansible ask the inventory plugin.
const INVENTORY: &str = "plugin: ostler\n";

/// Starts Ansible behind a gate; see there.
const LAUNCHER: &str = include_str!("launcher.py");

/// File system in memory, on every Linux with glibc: shm_overview(7).
const MEMORY: &str = "/dev/shm";

/// The folder; removed with all in it when this is dropped.
///
/// What Ansible makes out of templates and encrypted files waits in files until it is sent. Those are kept in memory, where there
/// is such a file system, so that no secret is ever written to a disk.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    temporary: PathBuf,
    run: RunId,
}

impl RunDir {
    /// Makes it, for this user alone: in `runs`, or where that path is too long, in `/tmp`.
    pub fn create(runs: &Path, run: RunId) -> Result<Self, AnsibleError> {
        let path = place_of(runs, run);
        fs::create_dir_all(runs.parent().unwrap_or(runs)).map_err(AnsibleError::at(runs))?;
        make_private(runs)?;
        remove(&path, run)?; // of a crash
        make_private(&path)?;
        let memory = memory_of(run);
        let temporary = if make_private(&memory).is_ok() { memory } else { path.join("tmp") };
        let folder = Self { path, temporary, run };
        for part in [&folder.temporary, &folder.path.join("cp")] {
            make_private(part)?;
        }
        for (file, text) in [(folder.inventory(), INVENTORY), (folder.launcher(), LAUNCHER)] {
            fs::write(&file, text).map_err(AnsibleError::at(&file))?;
        }
        Ok(folder)
    }

    /// Removes what a run of a dead Ostler left.
    pub fn remove_leftovers(runs: &Path, run: RunId) -> Result<(), AnsibleError> {
        remove(&place_of(runs, run), run)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where Ansible's temporary files are.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Ansible's inventory source.
    pub fn inventory(&self) -> PathBuf {
        self.path.join("ostler.yml")
    }

    /// What the bundle's Python runs.
    pub fn launcher(&self) -> PathBuf {
        self.path.join("launch.py")
    }

    /// The socket that answers it.
    pub fn socket(&self) -> PathBuf {
        self.path.join("ostler.sock")
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let _ = remove(&self.path, self.run); // a later run clears what is left
    }
}

/// The same for the same arguments, so that a later Ostler finds it.
fn place_of(runs: &Path, run: RunId) -> PathBuf {
    let path = runs.join(run.to_string());
    if path.as_os_str().len() <= LONGEST_FOLDER {
        return path;
    }
    PathBuf::from(format!("/tmp/ostler-{run}"))
}

fn memory_of(run: RunId) -> PathBuf {
    Path::new(MEMORY).join(format!("ostler-{run}"))
}

/// Makes a folder for this user alone, or takes one that is.
fn make_private(path: &Path) -> Result<(), AnsibleError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        result => return result.map_err(AnsibleError::at(path)),
    }
    let metadata = fs::symlink_metadata(path).map_err(AnsibleError::at(path))?;
    let is_ours = metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
    if is_ours && metadata.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(AnsibleError::NotPrivate { path: path.to_owned() })
    }
}

fn remove(path: &Path, run: RunId) -> Result<(), AnsibleError> {
    for path in [path, &memory_of(run)] {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(AnsibleError::at(path)(error)),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_and_goes_when_dropped() {
        let root = tempfile::tempdir().unwrap();
        let folder = RunDir::create(&root.path().join("run"), RunId::new()).unwrap();
        let (path, temporary) = (folder.path().to_owned(), folder.temporary().to_owned());
        for path in [&path, &temporary] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o700);
        }
        assert_eq!(fs::read_to_string(folder.inventory()).unwrap(), INVENTORY);
        drop(folder);
        assert!(!path.exists() && !temporary.exists());
    }

    #[test]
    fn a_state_directory_with_a_long_path_still_gets_sockets() {
        let root = tempfile::tempdir().unwrap();
        let folder = RunDir::create(&root.path().join("x".repeat(100)).join("run"), RunId::new()).unwrap();
        std::os::unix::net::UnixListener::bind(folder.path().join("cp").join("y".repeat(27))).unwrap();
    }
}
