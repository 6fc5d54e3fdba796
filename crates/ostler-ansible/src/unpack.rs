//! Puts what the binary carries on disk, once per version.
//!
//! Each version has a folder named for its content. It is filled under another name, written through to the disk and renamed,
//! with a marker written last: a crash at any point leaves either nothing or a temporary folder that the next one clears.
//! Who uses a version holds a shared lock on `HASH.lock` as long as it lives. Whoever unpacks a new version removes the
//! others that nobody has locked.

use crate::{AnsibleError, embedded::Embedded};
use rustix::io::Errno;
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Within a complete folder; holds the whole hash.
const MARKER: &str = ".complete";
/// Start of the name of a folder that is not complete.
const TEMPORARY: &str = ".unpack-";
/// The bundle's decoder window, as a power of two; see `cargo xtask bundle`.
const WINDOW_LOG_MAX: u32 = 27;

/// How the bytes in the binary are packed.
#[derive(Clone, Copy)]
pub(crate) enum Format {
    /// tar
    Tar,
    /// tar within zstd
    TarZst,
}

/// A folder that stays while this lives.
#[derive(Debug)]
pub(crate) struct Unpacked {
    pub path: PathBuf,
    _in_use: File,
}

/// Makes sure that `parent/HASH` holds what `embedded` packs. Blocks while another Ostler does the same.
pub(crate) fn unpack(parent: &Path, embedded: &Embedded, format: Format) -> Result<Unpacked, AnsibleError> {
    fs::create_dir_all(parent).map_err(AnsibleError::at(parent))?;
    let one_at_a_time = open_lock(&parent.join(".lock"))?;
    one_at_a_time.lock().map_err(AnsibleError::at(parent))?;

    let name = &embedded.sha256[..16];
    let path = parent.join(name);
    let in_use = open_lock(&lock_of(&path))?;
    in_use.lock_shared().map_err(AnsibleError::at(&path))?;
    if !is_complete(&path, embedded) {
        remove_where(parent, |entry| entry.starts_with(TEMPORARY) || entry == name)?;
        let failed = |source| AnsibleError::Unpack { path: path.clone(), source };
        fill(parent, &path, embedded, format).map_err(failed)?;
        remove_unused(parent, name)?;
    }
    Ok(Unpacked { path, _in_use: in_use })
}

fn is_complete(path: &Path, embedded: &Embedded) -> bool {
    fs::read_to_string(path.join(MARKER)).is_ok_and(|text| text == embedded.sha256)
}

fn fill(parent: &Path, path: &Path, embedded: &Embedded, format: Format) -> io::Result<()> {
    let folder = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(parent)?;
    match format {
        Format::Tar => extract(embedded.bytes, folder.path())?,
        Format::TarZst => {
            let mut decoder = zstd::Decoder::new(embedded.bytes)?;
            decoder.window_log_max(WINDOW_LOG_MAX)?;
            extract(decoder, folder.path())?;
        }
    }
    // One call for thousands of files. Where a file system has none, the marker still comes after them.
    let directory = File::open(folder.path())?;
    sync_all(&directory)?;
    fs::write(folder.path().join(MARKER), embedded.sha256)?;
    sync_all(&directory)?;
    fs::rename(folder.path(), path)?;
    let _renamed = folder.keep();
    File::open(parent)?.sync_all()
}

fn extract(packed: impl Read, folder: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(packed);
    archive.set_preserve_mtime(false);
    archive.unpack(folder)
}

/// Writes through all that the file system of `directory` holds back.
pub(crate) fn sync_all(directory: &File) -> io::Result<()> {
    match rustix::fs::syncfs(directory) {
        Err(Errno::NOSYS) => Ok(()),
        result => Ok(result?),
    }
}

/// Removes complete folders of other versions, unless someone has them locked.
fn remove_unused(parent: &Path, current: &str) -> Result<(), AnsibleError> {
    remove_where(parent, |entry| {
        let is_version = entry.len() == 16 && entry.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_version
            && entry != current
            && open_lock(&lock_of(&parent.join(entry))).is_ok_and(|lock| lock.try_lock().is_ok())
    })
}

/// Nobody else unpacks, locks or removes here meanwhile: the caller holds `.lock`.
fn remove_where(parent: &Path, unwanted: impl Fn(&str) -> bool) -> Result<(), AnsibleError> {
    for entry in fs::read_dir(parent).map_err(AnsibleError::at(parent))? {
        let path = entry.map_err(AnsibleError::at(parent))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && unwanted(&name) {
            fs::remove_dir_all(&path).map_err(AnsibleError::at(&path))?;
        }
    }
    Ok(())
}

/// Lock files stay, empty: removing one that another process has just opened would give two processes two locks.
fn lock_of(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

fn open_lock(path: &Path) -> Result<File, AnsibleError> {
    File::options().create(true).truncate(false).write(true).open(path).map_err(AnsibleError::at(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Embedded = Embedded { sha256: "1111111111111111aaaa", bytes: &[] };
    const TWO: Embedded = Embedded { sha256: "2222222222222222bbbb", bytes: &[] };

    /// The same hash with an archive of one file behind it.
    fn packed(embedded: Embedded) -> Embedded {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o755);
        builder.append_data(&mut header, "bin/program", &b"hi"[..]).unwrap();
        Embedded { bytes: builder.into_inner().unwrap().leak(), ..embedded }
    }

    fn folders(parent: &Path) -> Vec<String> {
        let entries = fs::read_dir(parent).unwrap().map(|entry| entry.unwrap());
        let mut names: Vec<String> = entries
            .filter(|entry| entry.file_type().unwrap().is_dir())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_second_time_nothing_is_written() {
        let root = tempfile::tempdir().unwrap();
        let first = unpack(root.path(), &packed(ONE), Format::Tar).unwrap();
        assert_eq!(fs::read_to_string(first.path.join("bin/program")).unwrap(), "hi");
        // An archive without contents: a second unpacking would leave an empty folder.
        let second = unpack(root.path(), &ONE, Format::Tar).unwrap();
        assert!(second.path.join("bin/program").exists());
    }

    #[test]
    fn what_a_crash_left_is_cleared_and_made_good() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(".unpack-dead/bin")).unwrap();
        fs::create_dir_all(root.path().join("1111111111111111/bin")).unwrap();
        let unpacked = unpack(root.path(), &packed(ONE), Format::Tar).unwrap();
        assert!(unpacked.path.join("bin/program").exists());
        assert_eq!(folders(root.path()), ["1111111111111111"]);
    }

    #[test]
    fn a_failed_unpacking_leaves_no_folder() {
        let root = tempfile::tempdir().unwrap();
        let broken = Embedded { bytes: b"not zstd", ..ONE };
        let error = unpack(root.path(), &broken, Format::TarZst).unwrap_err();
        assert!(matches!(error, AnsibleError::Unpack { .. }));
        assert_eq!(folders(root.path()), Vec::<String>::new());
    }

    #[test]
    fn an_old_version_goes_when_nobody_uses_it() {
        let root = tempfile::tempdir().unwrap();
        let old = unpack(root.path(), &packed(ONE), Format::Tar).unwrap();
        drop(unpack(root.path(), &packed(TWO), Format::Tar).unwrap());
        assert_eq!(folders(root.path()), ["1111111111111111", "2222222222222222"]);
        drop(old);
        drop(
            unpack(root.path(), &packed(Embedded { sha256: "3333333333333333cccc", bytes: &[] }), Format::Tar).unwrap(),
        );
        assert_eq!(folders(root.path()), ["3333333333333333"]);
    }

    #[test]
    fn two_at_once_get_the_same_whole_folder() {
        let root = tempfile::tempdir().unwrap();
        let embedded = packed(ONE);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let root = root.path().to_owned();
                std::thread::spawn(move || {
                    unpack(&root, &embedded, Format::Tar).unwrap().path.join("bin/program").exists()
                })
            })
            .collect();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    }
}
