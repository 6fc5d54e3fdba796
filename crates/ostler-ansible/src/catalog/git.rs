//! The repository of a catalog, fetched without the `git` program.

use super::CatalogError;
use gix::{
    ObjectId, Repository, ThreadSafeRepository,
    bstr::ByteSlice,
    create, open,
    progress::Discard,
    remote::{Direction, fetch::Shallow, fetch::Tags, ref_map},
};
use ostler_core::spec::CatalogSource;
use std::{
    fs,
    num::NonZeroU32,
    path::Path,
    sync::{Once, atomic::AtomicBool},
};

/// A commit, and the repository that has its files.
pub(super) struct Fetched {
    pub repository: Repository,
    pub commit: ObjectId,
}

/// There while a fetch is under way. After a crash it says that the repository may hold half of something.
const MARKER: &str = "ostler-fetching";

/// Each fetch adds a pack. One fetch of everything is cheaper than looking things up in too many.
const MOST_PACKS: usize = 50;

/// Fetches the newest commit of the branch, or the pinned one, into the bare repository at `path`, which is made where there is none.
/// It holds nothing that can't be fetched again: where anything looks wrong, it is made anew.
pub(super) fn fetch(path: &Path, source: &CatalogSource) -> Result<Fetched, CatalogError> {
    if let Some(folder) = source.url.strip_prefix("file://") {
        return open_folder(Path::new(folder), source);
    }
    if path.join(MARKER).exists() || packs(path) > MOST_PACKS {
        remove(path)?;
    }
    let shallow = Shallow::DepthAtRemote(NonZeroU32::MIN);
    let failed = || CatalogError::git(source);
    match &source.commit {
        None => {
            let branch = format!("refs/heads/{}", source.branch);
            let spec = format!("+{branch}:{branch}");
            let was_there = path.exists();
            let received = match receive(path, &source.url, &spec, shallow.clone()) {
                // What an earlier fetch left may be the cause.
                Err(error) if was_there && !error.is_retryable() => {
                    remove(path)?;
                    receive(path, &source.url, &spec, shallow)
                }
                result => result,
            };
            let (repository, tip) = received.map_err(failed())?;
            let no_branch = || CatalogError::NoBranch { url: source.url.clone(), branch: source.branch.clone() };
            Ok(Fetched { repository, commit: tip.ok_or_else(no_branch)? })
        }
        Some(commit) => {
            let id = ObjectId::from_hex(commit.as_bytes()).map_err(failed())?;
            // A server may refuse what is no branch's tip. Then all that it has is fetched, and the commit is in it or is not.
            let by_id = receive(path, &source.url, &format!("{commit}:refs/ostler/pinned"), shallow);
            let repository = match by_id {
                Ok((repository, _)) if is_commit(&repository, id) => repository,
                Err(error) if error.is_retryable() => return Err(failed()(error)),
                _ => {
                    remove(path)?;
                    receive(path, &source.url, "+refs/heads/*:refs/heads/*", Shallow::NoChange).map_err(failed())?.0
                }
            };
            if !is_commit(&repository, id) {
                return Err(CatalogError::NoCommit { url: source.url.clone(), commit: commit.clone() });
            }
            Ok(Fetched { repository, commit: id })
        }
    }
}

/// A repository of this machine is read where it lies: fetching from it would take the `git` program.
fn open_folder(folder: &Path, source: &CatalogSource) -> Result<Fetched, CatalogError> {
    let repository = gix::open_opts(folder, open::Options::isolated()).map_err(CatalogError::git(source))?;
    let commit = match &source.commit {
        Some(commit) => ObjectId::from_hex(commit.as_bytes())
            .ok()
            .filter(|id| is_commit(&repository, *id))
            .ok_or_else(|| CatalogError::NoCommit { url: source.url.clone(), commit: commit.clone() })?,
        None => {
            let name = format!("refs/heads/{}", source.branch);
            let branch = repository.try_find_reference(name.as_str()).map_err(CatalogError::git(source))?;
            let no_branch = || CatalogError::NoBranch { url: source.url.clone(), branch: source.branch.clone() };
            branch.ok_or_else(no_branch)?.peel_to_id().map_err(CatalogError::git(source))?.detach()
        }
    };
    Ok(Fetched { repository, commit })
}

fn is_commit(repository: &Repository, id: ObjectId) -> bool {
    repository.find_commit(id).is_ok_and(|commit| commit.tree_id().is_ok_and(|tree| repository.find_tree(tree).is_ok()))
}

/// Fetches what `spec` names into the repository at `path`, and says which commit its first match is. An error that is retryable
/// is the network's or the server's: it can't be reached, or does not answer.
fn receive(path: &Path, url: &str, spec: &str, shallow: Shallow) -> gix::Result<(Repository, Option<ObjectId>)> {
    static TLS: Once = Once::new();
    // The only one that is built in; it fails where another part of the program has chosen it already.
    TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));

    let repository: Repository = if path.join("HEAD").exists() {
        gix::open_opts(path, options())?
    } else {
        ThreadSafeRepository::init_opts(path, create::Kind::Bare, create::Options::default(), options())?.into()
    };
    let remote = repository
        .remote_at_without_url_rewrite(url)?
        .with_fetch_tags(Tags::None)
        .with_refspecs([spec.as_bytes().as_bstr()], Direction::Fetch)?;
    // Nobody is asked for a password, and no helper of the user's is.
    let connection = remote.connect(Direction::Fetch)?.with_credentials(|_| Ok(None));
    let prepared = connection.prepare_fetch(Discard, ref_map::Options::default())?;
    let tip = prepared.ref_map().mappings.first().and_then(|mapping| mapping.remote.as_id()).map(ToOwned::to_owned);
    if tip.is_some() {
        let marker = path.join(MARKER);
        fs::write(&marker, "").map_err(gix::Error::from_error)?;
        prepared.with_shallow(shallow).receive(Discard, &AtomicBool::new(false))?;
        fs::remove_file(&marker).map_err(gix::Error::from_error)?;
    }
    Ok((repository, tip))
}

/// Of the user's Git nothing is read. Of ssh everything is, but it may not ask.
fn options() -> open::Options {
    open::Options::isolated().config_overrides([
        "core.sshCommand=ssh -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15",
        "ssh.variant=ssh",
        "user.name=Ostler",
        "user.email=ostler@localhost",
    ])
}

fn packs(path: &Path) -> usize {
    let files = fs::read_dir(path.join("objects/pack")).into_iter().flatten().flatten();
    files.filter(|file| file.path().extension().is_some_and(|end| end == "pack")).count()
}

fn remove(path: &Path) -> Result<(), CatalogError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(CatalogError::at(path)(error)),
        _ => Ok(()),
    }
}
