//! Fetches Debian packages with apt and a configuration of its own. It needs neither root nor the host's packages and sources.
//!
//! It does use the host's mirror and apt.conf.d (proxies, certificates). It fetches a locked package by its path in the pool. That
//! needs no package lists, and works for a while after a newer version appeared.

use super::{
    BundleError, Paths, archive,
    lock::{Deb, DebianArchive},
    process,
};
use std::{fs, path::Path, process::Command};

/// Python, and the libraries that the wheels and the kept parts of Python are linked to. Only glibc is taken from the host.
const PACKAGES: [&str; 12] = [
    "gcc-12-base", // holds the licence of libgcc-s1
    "libbz2-1.0",
    "libcrypt1",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libssl3",
    "python3.11-minimal",
    "zlib1g",
];

/// The mirrors for a host that is not Debian.
const MIRROR: &str = "http://deb.debian.org/debian";
const SECURITY_MIRROR: &str = "http://deb.debian.org/debian-security";

/// Finds the newest packages on the mirrors.
pub fn newest(paths: &Paths) -> Result<Vec<Deb>, BundleError> {
    let mirrors = Mirrors::of_host()?;
    let root = tempfile::tempdir_in(&paths.out).map_err(BundleError::at(&paths.out))?;
    let sources = mirrors.source(&mirrors.debian, "bookworm")
        + &mirrors.source(&mirrors.debian, "bookworm-updates")
        + &mirrors.source(&mirrors.security, "bookworm-security");
    let options = private_apt(root.path(), &sources)?;
    process::succeed(Command::new("apt-get").args(&options).args(["-qq", "update"]))?;
    let printed =
        process::succeed(Command::new("apt-get").args(&options).args(["download", "--print-uris"]).args(PACKAGES))?;
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    let debs: Vec<Deb> = printed.lines().filter_map(|line| parse_print_uris(line, &mirrors)).collect();
    match PACKAGES.iter().find(|name| !debs.iter().any(|deb| deb.package == **name)) {
        Some(missing) => Err(BundleError::NoSuchDeb { package: (*missing).to_owned() }),
        None => Ok(debs),
    }
}

/// Downloads the locked packages into the cache.
pub fn download(paths: &Paths, debs: &[Deb]) -> Result<(), BundleError> {
    let mirrors = Mirrors::of_host()?;
    for deb in debs {
        let file = paths.cache.join(deb.file());
        if archive::has_sum(&file, &deb.sha256)? {
            continue;
        }
        let uri = format!("{}/{}", mirrors.base(deb.archive), deb.path);
        println!("{uri}");
        let output = process::run(
            Command::new("/usr/lib/apt/apt-helper")
                .args(["-o", "APT::Sandbox::User=root", "download-file", &uri])
                .arg(&file)
                .arg(format!("SHA256:{}", deb.sha256)),
        )?;
        if !output.status.success() {
            let (package, version) = (deb.package.clone(), deb.version.clone());
            return Err(BundleError::DebGone { package, version, uri, stderr: process::stderr(&output) });
        }
        archive::check_sum(&file, &deb.sha256)?;
    }
    Ok(())
}

/// Unpacks the newest version of a package that a suite of Debian has into a folder, with none of what it depends on.
pub fn unpack_newest(suite: &str, package: &str, folder: &Path) -> Result<(), BundleError> {
    let mirrors = Mirrors::of_host()?;
    let root = tempfile::tempdir().map_err(BundleError::at(folder))?;
    let options = private_apt(root.path(), &mirrors.source(&mirrors.debian, suite))?;
    process::succeed(Command::new("apt-get").args(&options).args(["-qq", "update"]))?;
    let mut download = Command::new("apt-get");
    download.args(&options).args(["-qq", "download", package]).current_dir(root.path());
    process::succeed(&mut download)?;
    let entries = fs::read_dir(root.path()).map_err(BundleError::at(root.path()))?;
    let mut files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let deb = files
        .find(|file| file.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| BundleError::NoSuchDeb { package: package.to_owned() })?;
    let unfinished = folder.with_extension("unfinished");
    fs::create_dir_all(&unfinished).map_err(BundleError::at(&unfinished))?;
    process::succeed(Command::new("dpkg-deb").arg("--extract").arg(deb).arg(&unfinished))?;
    fs::rename(&unfinished, folder).map_err(BundleError::at(folder))
}

/// Base addresses of the archives, without a final slash.
struct Mirrors {
    debian: String,
    security: String,
}

impl Mirrors {
    /// The mirrors in the host's own sources, for whichever release.
    fn of_host() -> Result<Self, BundleError> {
        let printed = process::run(Command::new("apt-get").args(["update", "--print-uris"]))?;
        Ok(Self::parse(&String::from_utf8_lossy(&printed.stdout)))
    }

    /// Reads lines of the form `'BASE/dists/SUITE/InRelease' FILE SIZE`.
    fn parse(printed: &str) -> Self {
        let bases: Vec<&str> = printed
            .lines()
            .filter_map(|line| line.strip_prefix('\''))
            .filter_map(|line| line.split_once("/dists/"))
            .map(|(base, _)| base)
            .collect();
        let ending = |suffix: &str| bases.iter().find(|base| base.ends_with(suffix)).map(|base| (*base).to_owned());
        Self {
            debian: ending("/debian").unwrap_or_else(|| MIRROR.to_owned()),
            security: ending("/debian-security").unwrap_or_else(|| SECURITY_MIRROR.to_owned()),
        }
    }

    /// A line of apt's sources.
    fn source(&self, base: &str, suite: &str) -> String {
        format!("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {base} {suite} main\n")
    }

    fn base(&self, archive: DebianArchive) -> &str {
        match archive {
            DebianArchive::Debian => &self.debian,
            DebianArchive::DebianSecurity => &self.security,
        }
    }
}

/// Options for an apt whose sources, lists, cache and status lie in `root`.
fn private_apt(root: &Path, sources: &str) -> Result<Vec<String>, BundleError> {
    for folder in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(root.join(folder)).map_err(BundleError::at(root))?;
    }
    fs::write(root.join("sources.list"), sources).map_err(BundleError::at(root))?;
    fs::write(root.join("status"), "").map_err(BundleError::at(root))?;
    let root = root.display();
    Ok([
        format!("Dir::State={root}/state"),
        format!("Dir::State::status={root}/status"),
        format!("Dir::Cache={root}/cache"),
        format!("Dir::Etc::sourcelist={root}/sources.list"),
        "Dir::Etc::sourceparts=-".to_owned(),
        "Dir::Etc::preferencesparts=-".to_owned(),
        "Dir::Etc::preferences=-".to_owned(),
        "APT::Architecture=amd64".to_owned(),
        "APT::Architectures=amd64".to_owned(),
        "APT::Default-Release=".to_owned(),
        "APT::Sandbox::User=root".to_owned(), // the user _apt can't write here
    ]
    .into_iter()
    .flat_map(|option| ["-o".to_owned(), option])
    .collect())
}

/// Reads `'BASE/pool/...' PACKAGE_VERSION_ARCH.deb SIZE SHA256:HEX`.
fn parse_print_uris(line: &str, mirrors: &Mirrors) -> Option<Deb> {
    let (uri, rest) = line.strip_prefix('\'')?.split_once("' ")?;
    let mut rest = rest.split(' ');
    let mut name = rest.next()?.split('_');
    let (package, version) = (name.next()?.to_owned(), name.next()?.replace("%3a", ":"));
    let sha256 = rest.nth(1)?.strip_prefix("SHA256:")?.to_owned();
    let (archive, path) = [DebianArchive::Debian, DebianArchive::DebianSecurity]
        .into_iter()
        .find_map(|archive| Some((archive, uri.strip_prefix(mirrors.base(archive))?.strip_prefix('/')?)))?;
    Some(Deb { package, version, archive, path: path.to_owned(), sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_come_from_the_host_and_default_to_debian() {
        let printed = "'http://mirror.example/debian/dists/trixie/InRelease' mirror_InRelease 0\n";
        let mirrors = Mirrors::parse(printed);
        assert_eq!(mirrors.debian, "http://mirror.example/debian");
        assert_eq!(mirrors.security, SECURITY_MIRROR);
    }

    #[test]
    fn a_printed_uri_gives_version_archive_and_path() {
        let line = "'http://deb.debian.org/debian-security/pool/updates/main/z/zlib/zlib1g_1.2%2b1_amd64.deb' \
                    zlib1g_1%3a1.2+1_amd64.deb 86684 SHA256:d7dd";
        let deb = parse_print_uris(line, &Mirrors::parse("")).unwrap();
        assert_eq!(deb.version, "1:1.2+1");
        assert_eq!(deb.archive, DebianArchive::DebianSecurity);
        assert_eq!(deb.path, "pool/updates/main/z/zlib/zlib1g_1.2%2b1_amd64.deb");
        assert_eq!(deb.sha256, "d7dd");
    }
}
