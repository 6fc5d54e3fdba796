//! The root file systems that targets stand on: Debian 13 by mmdebstrap, made once for each set of packages.

use super::succeed;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A bare Debian 13 with SSH: what its installer leaves, without Python and without sudo.
const PACKAGES: &[&str] = &[
    "ca-certificates",
    "dbus",
    "iproute2",
    "iputils-ping",
    "kmod",
    "libpam-systemd",
    "netbase",
    "openssh-server",
    "procps",
    "systemd-sysv",
    "udev",
];

const SUITE: &str = "trixie";

/// The root with these packages besides [`PACKAGES`], made if it is not there. It must not be changed.
pub(super) fn root(folder: &Path, extra: &[String]) -> PathBuf {
    let mut packages: Vec<&str> = PACKAGES.iter().copied().chain(extra.iter().map(String::as_str)).collect();
    packages.sort_unstable();
    packages.dedup();
    let recipe = Recipe { packages: packages.join(","), sources: sources(), apt: apt_settings() };
    let root = folder.join(format!("base-{}", recipe.key()));
    // Other threads and test processes want it at the same time.
    let lock = File::create(root.with_extension("lock")).expect("a lock file");
    lock.lock().expect("a lock");
    if !root.exists() {
        eprintln!("making the root of the targets with mmdebstrap: {}", root.display());
        recipe.make(&root);
    }
    root
}

struct Recipe {
    /// Comma-separated.
    packages: String,
    /// One line of sources.list(5) each.
    sources: Vec<String>,
    /// Lines of apt.conf(5).
    apt: String,
}

impl Recipe {
    fn key(&self) -> String {
        let mut hash = Sha256::new();
        for part in [&self.packages, &self.sources.join("\n"), &self.apt, include_str!("base.sh")] {
            hash.update(part);
            hash.update([0]);
        }
        hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Makes it, and gives it its name only when it is whole.
    fn make(&self, root: &Path) {
        // mmdebstrap refuses folders that only root may enter, but packs the tree into any file.
        let (tar, unfinished) = (root.with_extension("tar"), root.with_extension("unfinished"));
        let _ = fs::remove_dir_all(&unfinished);
        // Mounts of its own, and an end with this thread: it cleans up on SIGTERM.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "unshare", "--mount", "mmdebstrap", "--quiet", "--mode=root"]);
        command.args(["--variant=minbase", "--format=tar"]).arg(format!("--include={}", self.packages));
        command.arg(format!("--customize-hook={}", include_str!("base.sh")));
        for line in self.apt.lines() {
            command.arg(format!("--aptopt={line}"));
        }
        command.arg(SUITE).arg(&tar).args(&self.sources).env("TMPDIR", "/var/tmp").stdin(Stdio::null());
        succeed(&mut command);
        fs::create_dir(&unfinished).expect("a folder for the root");
        succeed(Command::new("tar").arg("--numeric-owner").arg("-xpf").arg(&tar).arg("-C").arg(&unfinished));
        fs::remove_file(&tar).expect("the archive is removed");
        fs::rename(&unfinished, root).expect("the root gets its name");
    }
}

/// The mirrors that this machine's apt uses, with the suites of the targets; Debian's own where it uses none.
fn sources() -> Vec<String> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"])
        .output()
        .expect("apt-get runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let used: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_suffix(" main")?.split_once(' '))
        .map(|(uri, suite)| (uri.trim_end_matches('/'), suite))
        .collect();
    let security = used.iter().find(|(_, suite)| suite.ends_with("-security")).map(|(uri, _)| *uri);
    // Only a whole mirror has updates too: the archives of others don't.
    let main = used.iter().find(|(_, suite)| suite.ends_with("-updates")).map(|(uri, _)| *uri);
    let security = security.unwrap_or("http://security.debian.org/debian-security");
    let main = main.unwrap_or("http://deb.debian.org/debian");
    vec![
        format!("deb {main} {SUITE} main"),
        format!("deb {main} {SUITE}-updates main"),
        format!("deb {security} {SUITE}-security main"),
    ]
}

/// How this machine's apt reaches its mirrors: proxies, and what it does not check.
fn apt_settings() -> String {
    let output = Command::new("apt-config").args(["dump", "Acquire"]).output().expect("apt-config runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let wanted = ["Acquire::http::Proxy", "Acquire::https::Proxy", "Acquire::Check-", "Acquire::Retries"];
    let lines = text.lines().filter(|line| wanted.iter().any(|start| line.starts_with(start)));
    lines.map(|line| format!("{line}\n")).collect()
}
