//! `cargo xtask bundle` makes the Ansible that Ostler contains, so that users need neither Python nor pip.
//!
//! It combines Debian's Python 3.11 (which needs no newer glibc than that of Debian 12), wheels from PyPI and collections from the
//! `ansible` wheel in one relocatable tree. `ansible/bundle.lock` has the version and checksum of every input, and the same lock
//! gives the same bytes. Only `--relock` writes the lock, with what the mirrors have now. LEGO, the ACME client, is made beside it.

mod archive;
mod assemble;
mod debs;
mod error;
mod lego;
mod licences;
mod lock;
mod process;
mod verify;
mod wheels;

pub use debs::unpack_newest;
pub use error::BundleError;

use lock::Lock;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

/// Make the Ansible bundle from the locked Debian packages and wheels
#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Take the newest versions that the mirrors have, and rewrite ansible/bundle.lock
    #[arg(long)]
    pub relock: bool,
    /// Build even if target/bundle is up to date
    #[arg(long)]
    pub force: bool,
    /// Run the bundle in a Debian 13 root without Python (needs root and mmdebstrap)
    #[arg(long)]
    pub verify: bool,
}

/// Paths of inputs and outputs.
pub struct Paths {
    /// `ansible/bundle.lock`
    pub lock: PathBuf,
    /// `target/bundle`
    pub out: PathBuf,
    /// Downloads, by file name.
    pub cache: PathBuf,
}

impl Paths {
    fn of_workspace() -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
        let out = workspace.join("target/bundle");
        Self { lock: workspace.join("ansible/bundle.lock"), cache: out.join("cache"), out }
    }

    /// The bundle itself.
    pub fn archive(&self) -> PathBuf {
        self.out.join("ostler-ansible.tar.zst")
    }

    fn sum(&self) -> PathBuf {
        self.out.join("ostler-ansible.tar.zst.sha256")
    }

    fn licences(&self) -> PathBuf {
        self.out.join("LICENSES")
    }

    /// Names the lock and recipe that the outputs were made from. It is written last.
    fn stamp(&self) -> PathBuf {
        self.out.join("stamp")
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<(), BundleError> {
    let paths = Paths::of_workspace();
    fs::create_dir_all(&paths.cache).map_err(BundleError::at(&paths.cache))?;
    if arguments.relock {
        Lock { debs: debs::newest(&paths)?, wheels: wheels::newest(&paths)? }.write(&paths.lock)?;
    }
    let lock = Lock::read(&paths.lock)?;
    if arguments.force || !is_current(&paths, &lock) {
        build(&paths, &lock)?;
    } else {
        println!("{} is up to date", paths.archive().display());
    }
    lego::run(&paths)?;
    if arguments.verify {
        verify::run(&paths)?;
    }
    Ok(())
}

fn build(paths: &Paths, lock: &Lock) -> Result<(), BundleError> {
    let started = Instant::now();
    for stale in [paths.stamp(), paths.sum()] {
        if stale.exists() {
            fs::remove_file(&stale).map_err(BundleError::at(&stale))?;
        }
    }
    debs::download(paths, &lock.debs)?;
    wheels::download(paths, &lock.wheels)?;
    let tree = tempfile::tempdir_in(&paths.out).map_err(BundleError::at(&paths.out))?;
    let licences = assemble::assemble(paths, lock, tree.path())?;
    let (unpacked, packed, sum) = archive::pack(tree.path(), &paths.archive())?;
    write(&paths.licences(), &licences)?;
    write(&paths.sum(), &format!("{sum}  ostler-ansible.tar.zst\n"))?;
    write(&paths.stamp(), &stamp(lock))?;
    println!(
        "{}: {:.1} MB, {:.1} MB unpacked, {:.0} s, sha256 {sum}",
        paths.archive().display(),
        packed as f64 / 1e6,
        unpacked as f64 / 1e6,
        started.elapsed().as_secs_f64(),
    );
    Ok(())
}

fn is_current(paths: &Paths, lock: &Lock) -> bool {
    [paths.archive(), paths.sum(), paths.licences()].iter().all(|path| path.exists())
        && fs::read_to_string(paths.stamp()).is_ok_and(|text| text == stamp(lock))
}

/// Identifies lock and recipe together, because a changed recipe makes another bundle from the same inputs.
fn stamp(lock: &Lock) -> String {
    let recipe = concat!(include_str!("assemble.rs"), include_str!("archive.rs"), include_str!("licences.rs"));
    format!("{}\n", archive::sha256_hex(format!("{}{recipe}", lock.to_text()).as_bytes()))
}

fn write(path: &Path, text: &str) -> Result<(), BundleError> {
    fs::write(path, text).map_err(BundleError::at(path))
}
