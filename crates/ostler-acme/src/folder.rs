//! The folder that LEGO works in: private, and gone with the order.
//!
//! It is locked by its owner with flock(2), which the kernel takes back when the owner dies: whatever can be locked is a leftover, and the
//! next order removes it.

use crate::AcmeError;
use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};
use tempfile::TempDir;

const PREFIX: &str = "order-";

/// One order's folder. Dropping it removes it.
pub(crate) struct Folder {
    dir: TempDir,
    /// The folder, open; locked.
    pub handle: File,
}

impl Folder {
    /// Makes one below `parent`, and removes those of Ostlers that died.
    pub fn make(parent: &Path) -> Result<Self, AcmeError> {
        fs::create_dir_all(parent).map_err(AcmeError::at(parent))?;
        fs::set_permissions(parent, Permissions::from_mode(0o700)).map_err(AcmeError::at(parent))?;
        // Held until this returns: between its making and its lock, a folder would look like a leftover.
        let turn = File::open(parent).map_err(AcmeError::at(parent))?;
        turn.lock().map_err(AcmeError::at(parent))?;
        for entry in fs::read_dir(parent).map_err(AcmeError::at(parent))? {
            let path = entry.map_err(AcmeError::at(parent))?.path();
            let is_ours = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
            if is_ours && File::open(&path).is_ok_and(|lock| lock.try_lock().is_ok()) {
                fs::remove_dir_all(&path).map_err(AcmeError::at(&path))?;
            }
        }
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(AcmeError::at(parent))?;
        let handle = File::open(dir.path()).map_err(AcmeError::at(dir.path()))?;
        handle.lock().map_err(AcmeError::at(dir.path()))?;
        Ok(Self { dir, handle })
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_ostler_left_goes_and_what_a_living_one_has_stays() {
        let root = tempfile::tempdir().unwrap();
        let parent = root.path().join("acme");
        let living = Folder::make(&parent).unwrap();
        fs::create_dir_all(parent.join("order-dead/certificates")).unwrap();
        let other = Folder::make(&parent).unwrap();
        assert!(living.path().exists() && !parent.join("order-dead").exists());
        assert_eq!(fs::metadata(other.path()).unwrap().permissions().mode() & 0o777, 0o700);
        drop((living, other));
        assert_eq!(fs::read_dir(&parent).unwrap().count(), 0);
    }
}
