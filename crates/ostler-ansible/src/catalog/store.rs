//! The commits of catalogs that are at hand.
//!
//! `CATALOGS/HASH-OF-URL/` holds the bare repository, `trees/COMMIT/` with the files of each commit that passed the check, and
//! `known.json`, which says for each branch which of them was its newest one when, so that a server that is away stops nobody.
//! A tree is filled under another name and renamed; it is never changed. Who uses one holds a shared lock on `trees/COMMIT.lock`.
//! `.lock` is held by whoever fetches, opens or removes anything here.

use super::{Catalog, CatalogError, check_catalog, checkout::checkout, git};
use crate::unpack::sync_all;
use jiff::Timestamp;
use ostler_core::spec::{CatalogIndex, CatalogSource};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// Start of the name of a tree that is not complete.
const TEMPORARY: &str = ".tree-";

/// Catalogs on this machine.
#[derive(Clone, Debug)]
pub struct CatalogStore {
    root: PathBuf,
}

impl CatalogStore {
    /// Catalogs in `state/catalogs`. Touches nothing yet.
    pub fn new(state: &Path) -> Self {
        Self { root: state.join("catalogs") }
    }

    /// The newest commit of the source's branch, or its pinned one.
    ///
    /// Where it can't be fetched or is at fault, the last good one of the branch takes its place, and a warning says so. With
    /// `offline`, that one is taken without asking the server. A pinned commit that is at hand is never fetched again, and no other
    /// commit takes its place.
    ///
    /// # Errors
    /// Where there is neither a new commit nor a last good one.
    pub async fn sync(&self, source: &CatalogSource, offline: bool) -> Result<Catalog, CatalogError> {
        let (store, source) = (self.clone(), source.clone());
        let (send, receive) = tokio::sync::oneshot::channel();
        // Not on tokio's own threads: it would wait for a server that does not answer before the program can end.
        let thread = std::thread::spawn(move || {
            let _ = send.send(store.sync_now(&source, offline)); // nobody waits for it any more
        });
        match receive.await {
            Ok(result) => result,
            Err(_) => std::panic::resume_unwind(thread.join().expect_err("it ended without a result")),
        }
    }

    fn sync_now(&self, source: &CatalogSource, offline: bool) -> Result<Catalog, CatalogError> {
        let folder = RepositoryFolder::open(&self.root, source)?;
        folder.clear_leftovers()?;
        if let Some(commit) = &source.commit
            && folder.tree(commit).is_dir()
        {
            return folder.catalog(commit, Vec::new());
        }
        let mut known = folder.known();
        let last = known.branches.get(&source.branch).filter(|_| source.commit.is_none()).cloned();
        let failure = if offline {
            CatalogError::NotAtHand { url: source.url.clone() }
        } else {
            match folder.refresh() {
                Ok((commit, notes)) => {
                    if source.commit.is_none() {
                        let newest = Known { commit: commit.clone(), at: Timestamp::now() };
                        known.branches.insert(source.branch.clone(), newest);
                        folder.remember(&known)?;
                    }
                    let catalog = folder.catalog(&commit, notes)?;
                    folder.remove_unused(&known, &commit)?;
                    return Ok(catalog);
                }
                Err(error) => error,
            }
        };
        let Some(last) = last.filter(|last| folder.tree(&last.commit).is_dir()) else { return Err(failure) };
        let used = format!("using commit {}, fetched {} ago", short(&last.commit), age(last.at, Timestamp::now()));
        let warning = if offline {
            format!("the catalog was not refreshed (offline, as you asked); {used}")
        } else {
            format!("the catalog could not be refreshed ({}); {used}", failure.in_one_line())
        };
        folder.catalog(&last.commit, vec![warning])
    }
}

/// What is known of the branches of one repository.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct KnownBranches {
    url: String,
    branches: BTreeMap<String, Known>,
}

/// The newest good commit of a branch.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    commit: String,
    /// When it was last seen to be the newest one.
    at: Timestamp,
}

/// The folder of one repository, locked.
struct RepositoryFolder<'a> {
    path: PathBuf,
    source: &'a CatalogSource,
    _one_at_a_time: File,
}

impl<'a> RepositoryFolder<'a> {
    /// Waits while another Ostler has it.
    fn open(root: &Path, source: &'a CatalogSource) -> Result<Self, CatalogError> {
        let hash: String = Sha256::digest(&source.url).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let path = root.join(hash);
        // The state directory may be made here, and it is for its owner alone.
        let make =
            |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(CatalogError::at(path));
        make(&path.join("trees"))?;
        let lock = open_lock(&path.join(".lock"))?;
        lock.lock().map_err(CatalogError::at(&path))?;
        Ok(Self { path, source, _one_at_a_time: lock })
    }

    fn trees(&self) -> PathBuf {
        self.path.join("trees")
    }

    fn tree(&self, commit: &str) -> PathBuf {
        self.trees().join(commit)
    }

    /// Of a crash.
    fn clear_leftovers(&self) -> Result<(), CatalogError> {
        for (path, name) in list(&self.trees())? {
            if name.starts_with(TEMPORARY) {
                fs::remove_dir_all(&path).map_err(CatalogError::at(&path))?;
            }
        }
        Ok(())
    }

    /// Fetches, and makes the tree if it is new and good. Returns the commit, and what is to be said of it.
    fn refresh(&self) -> Result<(String, Vec<String>), CatalogError> {
        let fetched = git::fetch(&self.path.join("repository.git"), self.source)?;
        let commit = fetched.commit.to_string();
        let tree = self.tree(&commit);
        if tree.is_dir() {
            self.index(&commit)?;
            return Ok((commit, Vec::new()));
        }
        let temporary =
            tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(self.trees()).map_err(CatalogError::at(&tree))?;
        let notes = checkout(&fetched, self.source, temporary.path())?;
        check_catalog(temporary.path(), Path::new("")).into_index(self.what(&commit))?;
        let finish = || -> io::Result<()> {
            sync_all(&File::open(temporary.path())?)?;
            fs::rename(temporary.path(), &tree)?;
            File::open(self.trees())?.sync_all()
        };
        finish().map_err(CatalogError::at(&tree))?;
        let _renamed = temporary.keep();
        Ok((commit, notes))
    }

    fn what(&self, commit: &str) -> String {
        format!("commit {} of the catalog {}", short(commit), self.source.url)
    }

    fn index(&self, commit: &str) -> Result<CatalogIndex, CatalogError> {
        check_catalog(&self.tree(commit), Path::new("")).into_index(self.what(commit))
    }

    fn catalog(&self, commit: &str, warnings: Vec<String>) -> Result<Catalog, CatalogError> {
        let tree = self.tree(commit);
        let in_use = open_lock(&lock_of(&tree))?;
        in_use.lock_shared().map_err(CatalogError::at(&tree))?;
        let source = CatalogSource { commit: Some(commit.to_owned()), ..self.source.clone() };
        Ok(Catalog {
            index: self.index(commit)?,
            source: Some(source),
            tree: Some(tree),
            warnings,
            _in_use: Some(in_use),
        })
    }

    /// Nothing, where the file is missing or damaged: then it is written anew.
    fn known(&self) -> KnownBranches {
        let text = fs::read_to_string(self.path.join("known.json")).unwrap_or_default();
        serde_json::from_str(&text)
            .unwrap_or_else(|_| KnownBranches { url: self.source.url.clone(), ..Default::default() })
    }

    fn remember(&self, known: &KnownBranches) -> Result<(), CatalogError> {
        let path = self.path.join("known.json");
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
            file.write_all(&serde_json::to_vec_pretty(known)?)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(CatalogError::at(&path))
    }

    /// Removes trees that are neither a branch's newest one nor in use.
    fn remove_unused(&self, known: &KnownBranches, current: &str) -> Result<(), CatalogError> {
        for (path, name) in list(&self.trees())? {
            let wanted = name == current || known.branches.values().any(|known| known.commit == name);
            if wanted || !path.is_dir() {
                continue;
            }
            if open_lock(&lock_of(&path))?.try_lock().is_ok() {
                fs::remove_dir_all(&path).map_err(CatalogError::at(&path))?;
                // Nobody else can be about to open it: that takes `.lock`, which is ours.
                fs::remove_file(lock_of(&path)).map_err(CatalogError::at(&path))?;
            }
        }
        Ok(())
    }
}

fn list(folder: &Path) -> Result<Vec<(PathBuf, String)>, CatalogError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(CatalogError::at(folder))? {
        let entry = entry.map_err(CatalogError::at(folder))?;
        entries.push((entry.path(), entry.file_name().to_string_lossy().into_owned()));
    }
    Ok(entries)
}

fn lock_of(tree: &Path) -> PathBuf {
    tree.with_extension("lock")
}

fn open_lock(path: &Path) -> Result<File, CatalogError> {
    File::options().create(true).truncate(false).write(true).open(path).map_err(CatalogError::at(path))
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

/// In the largest unit that fits.
fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_for_people() {
        let ago = |seconds| age(Timestamp::from_second(0).unwrap(), Timestamp::from_second(seconds).unwrap());
        assert_eq!(
            [ago(-5), ago(1), ago(59), ago(60), ago(7200), ago(3 * 86_400 + 5)],
            ["0 seconds", "1 second", "59 seconds", "1 minute", "2 hours", "3 days"]
        );
    }
}
