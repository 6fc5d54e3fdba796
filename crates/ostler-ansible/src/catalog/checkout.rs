//! A commit's files on disk.
//!
//! They are written here and not by a general checkout: no filter, attribute or hook of a repository has a say, and what must not
//! be on disk is refused by name.

use super::{CatalogError, git::Fetched};
use gix::{
    ObjectId, Repository,
    bstr::{BStr, ByteSlice},
    objs::tree::EntryKind,
};
use ostler_core::spec::CatalogSource;
use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

/// Files and folders of a catalog.
const MOST_ENTRIES: usize = 20_000;
/// Bytes of all its files.
const MOST_BYTES: u64 = 256 << 20;
/// Folders within folders.
const DEEPEST: usize = 32;

/// Writes the commit's files into the empty folder `to`. Returns what was left out.
pub(super) fn checkout(fetched: &Fetched, source: &CatalogSource, to: &Path) -> Result<Vec<String>, CatalogError> {
    let commit = fetched.repository.find_commit(fetched.commit).map_err(CatalogError::git(source))?;
    let tree = commit.tree_id().map_err(CatalogError::git(source))?.detach();
    let mut writer = Writer {
        repository: &fetched.repository,
        source,
        commit: fetched.commit,
        to,
        links: Vec::new(),
        left_out: Vec::new(),
        entries: 0,
        bytes: 0,
    };
    writer.folder(tree, Path::new(""), 0)?;
    writer.finish()
}

struct Writer<'a> {
    repository: &'a Repository,
    source: &'a CatalogSource,
    commit: ObjectId,
    to: &'a Path,
    /// Path and target of symbolic links. They come last, so that nothing is ever written through one.
    links: Vec<(PathBuf, PathBuf)>,
    left_out: Vec<String>,
    entries: usize,
    bytes: u64,
}

impl Writer<'_> {
    fn folder(&mut self, tree: ObjectId, folder: &Path, depth: usize) -> Result<(), CatalogError> {
        let tree = self.repository.find_tree(tree).map_err(CatalogError::git(self.source))?;
        for entry in tree.iter() {
            let entry = entry.map_err(CatalogError::git(self.source))?;
            let path = folder.join(OsStr::from_bytes(entry.filename()));
            if let Err(reason) = check_name(entry.filename()) {
                return Err(self.refuse(&path, reason));
            }
            self.entries += 1;
            if self.entries > MOST_ENTRIES || depth >= DEEPEST {
                return Err(self.refuse(&path, "a catalog has at most 20000 files, in folders at most 32 deep"));
            }
            let whole = self.to.join(&path);
            match entry.kind() {
                EntryKind::Tree => {
                    DirBuilder::new().mode(0o755).create(&whole).map_err(CatalogError::at(&whole))?;
                    self.folder(entry.object_id(), &path, depth + 1)?;
                }
                EntryKind::Blob => write(&whole, &self.blob(entry.object_id(), &path)?, 0o644)?,
                EntryKind::BlobExecutable => write(&whole, &self.blob(entry.object_id(), &path)?, 0o755)?,
                EntryKind::Link => {
                    let target = self.blob(entry.object_id(), &path)?;
                    self.links.push((path, PathBuf::from(OsStr::from_bytes(&target))));
                }
                EntryKind::Commit => {
                    self.left_out.push(format!("the catalog's submodule `{}` is left out", path.display()));
                }
            }
        }
        Ok(())
    }

    fn blob(&mut self, id: ObjectId, path: &Path) -> Result<Vec<u8>, CatalogError> {
        // Known before it is unpacked.
        let header = self.repository.find_header(id).map_err(CatalogError::git(self.source))?;
        self.bytes = self.bytes.saturating_add(header.size());
        if self.bytes > MOST_BYTES {
            return Err(self.refuse(path, "a catalog holds at most 256 MiB"));
        }
        Ok(self.repository.find_blob(id).map_err(CatalogError::git(self.source))?.take_data())
    }

    /// Makes the links, and refuses those that lead out of the tree or nowhere. Where one leads is asked of the file system, when
    /// all are there: what one means can depend on another.
    fn finish(self) -> Result<Vec<String>, CatalogError> {
        for (path, target) in &self.links {
            let whole = self.to.join(path);
            std::os::unix::fs::symlink(target, &whole).map_err(CatalogError::at(&whole))?;
        }
        let root = fs::canonicalize(self.to).map_err(CatalogError::at(self.to))?;
        for (path, target) in &self.links {
            let leads_inside = fs::canonicalize(self.to.join(path)).is_ok_and(|place| place.starts_with(&root));
            if target.is_absolute() || !leads_inside {
                return Err(self.refuse(path, "a link that leads out of the catalog, or nowhere"));
            }
        }
        Ok(self.left_out)
    }

    fn refuse(&self, path: &Path, reason: &'static str) -> CatalogError {
        let path: String = path.to_string_lossy().escape_debug().collect();
        CatalogError::Refused { path, commit: self.commit.to_string(), reason }
    }
}

/// Git itself refuses most of these in a pull, but a server can send anything.
fn check_name(name: &BStr) -> Result<(), &'static str> {
    let Ok(text) = name.to_str() else { return Err("a name that is not UTF-8") };
    if text.is_empty() || text == "." || text == ".." || text.contains(['/', '\\']) {
        return Err("a name that leads elsewhere");
    }
    if text.eq_ignore_ascii_case(".git") {
        return Err("a name that is Git's own");
    }
    if text.chars().any(char::is_control) || text.len() > 255 {
        return Err("a name with control characters, or too long a one");
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CatalogError> {
    let write = || -> io::Result<()> {
        let mut file = File::options().create_new(true).write(true).mode(mode).open(path)?;
        file.write_all(bytes)
    };
    write().map_err(CatalogError::at(path))
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["", ".", "..", "a/b", "a\\b", ".git", ".GIT", "a\nb", "a\u{1b}[31m"] {
            assert!(check_name(name.into()).is_err(), "{name:?}");
        }
        assert!(check_name(b"\xff"[..].into()).is_err());
        for name in ["main.yml", ".gitignore", "ä b", "..a"] {
            assert_eq!(check_name(name.into()), Ok(()), "{name:?}");
        }
    }
}
