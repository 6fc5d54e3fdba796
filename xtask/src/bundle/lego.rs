//! LEGO, the ACME client that Ostler carries: one program, beside the Ansible bundle, for it has nothing to do with Python.
//!
//! Debian's stable releases have one that is too old (no ARI, no profiles), so it comes from backports. `crates/ostler-acme/lego.lock` has its
//! version and sum. A new version is locked by hand: Ostler knows the flags and folders of this one.

use super::{BundleError, Paths, debs, lock::Deb, process};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Of 22.
const LEVEL: i32 = 19;
const LOCK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/ostler-acme/lego.lock");

/// Makes `lego.zst` and `lego-copyright` from the locked package, unless they are there.
pub fn run(paths: &Paths) -> Result<(), BundleError> {
    let lock = Path::new(LOCK);
    let text = fs::read_to_string(lock).map_err(BundleError::at(lock))?;
    let deb: Deb =
        serde_json::from_str(&text).map_err(|source| BundleError::LockSyntax { path: lock.to_owned(), source })?;
    let (program, stamp) = (packed(paths), paths.out.join("lego.stamp"));
    if program.exists() && fs::read_to_string(&stamp).is_ok_and(|made_of| made_of == deb.sha256) {
        println!("{} is up to date", program.display());
        return Ok(());
    }
    debs::download(paths, std::slice::from_ref(&deb))?;
    let tree = tempfile::tempdir_in(&paths.out).map_err(BundleError::at(&paths.out))?;
    process::succeed(Command::new("dpkg-deb").arg("--extract").arg(paths.cache.join(deb.file())).arg(tree.path()))?;
    let copyright = tree.path().join("usr/share/doc/lego/copyright");
    fs::copy(&copyright, paths.out.join("lego-copyright")).map_err(BundleError::at(&copyright))?;
    let packed = fs::read(tree.path().join("usr/bin/lego")).and_then(|plain| zstd::bulk::compress(&plain, LEVEL));
    // In one go: a build of Ostler may be reading it.
    let temporary = program.with_extension("new");
    fs::write(&temporary, packed.map_err(BundleError::at(&program))?).map_err(BundleError::at(&temporary))?;
    fs::rename(&temporary, &program).map_err(BundleError::at(&program))?;
    fs::write(&stamp, &deb.sha256).map_err(BundleError::at(&stamp))?;
    println!("{}: LEGO {}", program.display(), deb.version);
    Ok(())
}

fn packed(paths: &Paths) -> PathBuf {
    paths.out.join("lego.zst")
}
