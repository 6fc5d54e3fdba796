//! `cargo xtask deb` makes the Debian package from the release binary with the Ansible bundle inside.
//!
//! It uses cargo-deb, the most widely used tool for this. cargo-deb derives the dependencies on libraries, and
//! `crates/ostler/Cargo.toml` says which file goes where. The first call builds cargo-deb into `target/tools`.

use crate::{
    bundle, licences,
    shell::{ShellError, output, run},
};
use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Make the Debian package, with manual pages and completions
#[derive(clap::Args)]
pub struct Arguments {
    /// Take the release binary as it is
    #[arg(long)]
    no_build: bool,
    /// Install it in a Debian 13 root, and run it there (needs root and mmdebstrap)
    #[arg(long)]
    verify: bool,
}

/// Version of cargo-deb. It is fixed, because it decides what the package contains.
const CARGO_DEB: &str = "3.8.0";
/// Where the package and its parts are made.
const OUT: &str = "target/deb";

/// Runs the command.
pub fn run_deb(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    bundle::run(&bundle::Arguments::default())?;
    if !arguments.no_build {
        run(Command::new(env!("CARGO")).args(["build", "--release", "--locked", "--package", "ostler"]))?;
    }
    parts(Path::new("target/release/ostler"))?;
    let package = package()?;
    println!("{}: {:.1} MB", package.display(), fs::metadata(&package)?.len() as f64 / 1e6);
    if arguments.verify {
        verify(&package)?;
    }
    Ok(())
}

/// Writes what the binary prints (manual pages, completions), and the copyright file that Debian's policy (12.5) requires.
fn parts(ostler: &Path) -> Result<(), Box<dyn Error>> {
    let out = Path::new(OUT);
    if out.exists() {
        fs::remove_dir_all(out)?;
    }
    fs::create_dir_all(out)?;
    run(Command::new(ostler).args(["man", "--dir"]).arg(out.join("man")))?;
    for (shell, file) in [("bash", "ostler.bash"), ("zsh", "_ostler"), ("fish", "ostler.fish")] {
        fs::write(out.join(file), output(Command::new(ostler).args(["completions", shell]))?)?;
    }
    fs::write(out.join("crate-licences"), licences::text()?)?;
    let mit = fs::read_to_string("LICENSE-MIT")?;
    fs::write(
        out.join("copyright"),
        format!(
            "Ostler is under the Apache License 2.0 or the MIT licence, at your choice. The former is in\n\
             /usr/share/common-licenses/Apache-2.0; the latter reads:\n\n{mit}\n\
             The crates that it is built from are listed with their licences in crate-licences, beside this file. The binary\n\
             holds an Ansible bundle; its parts and their licences are listed in bundle-licences, and ship within it. It holds\n\
             LEGO, too, whose copyright and licence are in lego-copyright.\n"
        ),
    )?;
    Ok(())
}

fn package() -> Result<PathBuf, Box<dyn Error>> {
    let tools = Path::new("target/tools");
    let cargo_deb = tools.join("bin/cargo-deb");
    let version = output(Command::new(&cargo_deb).arg("--version")).unwrap_or_default();
    if version.trim() != CARGO_DEB {
        let install = ["install", "cargo-deb", "--locked", "--version", CARGO_DEB, "--force", "--root"];
        run(Command::new(env!("CARGO")).args(install).arg(tools))?;
    }
    let package = Path::new(OUT).join("ostler.deb");
    run(Command::new(&cargo_deb).args(["--package", "ostler", "--no-build", "--no-strip", "--output"]).arg(&package))?;
    Ok(package)
}

/// Installs the package with only its dependencies, runs it, and removes it again.
fn verify(package: &Path) -> Result<(), Box<dyn Error>> {
    if !rustix::process::geteuid().is_root() {
        return Err(Box::new(unmet("--verify makes a Debian root and enters it with chroot: run it as root")));
    }
    // mmdebstrap refuses folders that only root can enter. `target` may be one.
    let scratch = tempfile::Builder::new().prefix("ostler-deb-").tempdir()?;
    let root = scratch.path().join("root");
    // During mmdebstrap's run, because apt then still knows the mirror that this machine uses.
    let copy = format!("--customize-hook=copy-in {} /tmp", package.display());
    let install =
        "--customize-hook=chroot \"$1\" apt-get -qq -y --no-install-recommends install /tmp/ostler.deb >/dev/null";
    run(Command::new("mmdebstrap")
        .args(["--quiet", "--variant=apt", "--mode=root", &copy, install, "trixie"])
        .arg(&root))?;
    let inside = |command: &[&str]| {
        let mut enter = Command::new("chroot");
        enter.arg(&root).args(["/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin", "LC_ALL=C.UTF-8"]).args(command);
        enter
    };
    let version = output(&mut inside(&["ostler", "--version"]))?;
    if version.trim() != concat!("ostler ", env!("CARGO_PKG_VERSION")) {
        return Err(Box::new(unmet(&format!("`ostler --version` says {version}"))));
    }
    // QEMU is only recommended, so it is missing here, and the exit code says so.
    let doctor = inside(&["ostler", "doctor"]).output()?;
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let good = ["ok       Ansible and Python", "ok       SSH", "MISSING  servers on this machine"];
    if doctor.status.code() != Some(4) || !good.iter().all(|line| said.contains(line)) {
        return Err(Box::new(unmet(&format!("`ostler doctor` says:\n{said}"))));
    }
    let files = output(&mut inside(&["dpkg", "-L", "ostler"]))?;
    for file in [
        "/usr/share/bash-completion/completions/ostler",
        "/usr/share/zsh/vendor-completions/_ostler",
        "/usr/share/fish/vendor_completions.d/ostler.fish",
        "/usr/share/man/man1/ostler-plan.1.gz",
        "/usr/share/doc/ostler/modules/ufw.md",
        "/usr/share/doc/ostler/copyright",
        "/usr/share/doc/ostler/bundle-licences",
        "/usr/share/doc/ostler/lego-copyright",
        "/usr/share/doc/ostler/crate-licences",
    ] {
        // Minimal roots leave documentation out: it is in dpkg's list, but not on the disk.
        if !files.lines().any(|line| line.trim_end_matches(".gz") == file.trim_end_matches(".gz")) {
            return Err(Box::new(unmet(&format!("the package lacks {file}"))));
        }
    }
    run(&mut inside(&["apt-get", "-qq", "-y", "purge", "ostler"]))?;
    let mut paths = files.lines().map(|file| root.join(file.trim_start_matches('/')));
    if let Some(left) = paths.find(|path| path.is_file()) {
        return Err(Box::new(unmet(&format!("the package was removed, and {} is still there", left.display()))));
    }
    println!("the package installs, runs and goes in a Debian 13 root");
    Ok(())
}

fn unmet(what: &str) -> ShellError {
    ShellError::Unmet(what.to_owned())
}
