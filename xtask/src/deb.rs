//! `cargo xtask deb`: the Debian package, from the release binary with the Ansible bundle inside.
//!
//! cargo-deb makes it, the tool for this with the widest use: it derives the libraries that are depended on, and what goes where
//! stands in `crates/ostler/Cargo.toml`. It is built at the first time, into `target/tools`.

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

/// Which cargo-deb: its output decides what the package holds.
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

/// What the binary itself says: manual pages, completions. And the copyright file that Debian's policy (12.5) asks for.
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
             holds an Ansible bundle; its parts and their licences are listed in bundle-licences, and ship within it.\n"
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

/// Installs it with nothing but what it depends on, and runs it.
fn verify(package: &Path) -> Result<(), Box<dyn Error>> {
    if !rustix::process::geteuid().is_root() {
        return Err(Box::new(unmet("--verify makes a Debian root and enters it with chroot: run it as root")));
    }
    // mmdebstrap refuses folders that only root may enter, as those in target may be.
    let scratch = tempfile::Builder::new().prefix("ostler-deb-").tempdir()?;
    let root = scratch.path().join("root");
    // Within the run, where apt still knows the mirror that this machine uses.
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
    // Without the recommended QEMU it misses just that, which is what its exit code says.
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
        "/usr/share/doc/ostler/crate-licences",
    ] {
        // Minimal roots are told to leave documentation out; then it is in the list, and not on the disk.
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
