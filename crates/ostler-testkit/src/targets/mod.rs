//! Throw-away Debian 13 servers: systemd-nspawn machines with a real systemd, sshd, apt, firewall and, if wanted, Docker.
//!
//! They answer SSH within a second or so, many at a time, and stand for servers that exist already: bare, with no Python and
//! no sudo unless a test asks for it. A [`Lab`] is the network that they share; tests reach a target by its LAN address, can
//! connect to it from addresses all over the world ([`Lab::probe`]), break it ([`Target::cut`], [`Target::fill_disk`],
//! [`Target::break_dns`], [`Target::kill`]) and look at it past SSH ([`Target::exec`]).
//!
//! ```no_run
//! use ostler_testkit::targets::{Lab, Source, TargetOptions, Verdict};
//! # fn test() {
//! let Some(lab) = Lab::start() else { return };
//! let web = lab.boot_one(TargetOptions::new("web").password("correct horse").port(2222));
//! assert_eq!(web.probe(Source::PublicV4, 2222), Verdict::Open);
//! assert_eq!(web.exec("cat /etc/hostname").ok().stdout, "web\n");
//! # }
//! ```
//!
//! Nothing is left when the last [`Target`] and the [`Lab`] are dropped, nor when the test process is killed: see
//! `keeper.sh`. On this machine a lab `N` adds the network device `otN` with 10.213.N.2/24, 2001:db8:N::2/64 and routes, cgroups
//! `otN-*`, files below `target/targets`, and nothing else: its mounts, processes and other devices are in namespaces of their own.
//! Kernel settings without a namespace (`vm.*`, most of `kernel.*`) are this machine's own: what a target sets there stays.
//!
//! It needs root and the programs in [`PROGRAMS`]. A test gets `None` where something is missing and should return then;
//! with `OSTLER_REQUIRE_TARGETS=1` in the environment, as in continuous integration, that is a failure instead.

mod base;
pub(crate) mod cloud;
mod disks;
mod lab;
mod network;
mod probe;
mod target;
#[cfg(test)]
mod tests;

pub use lab::{Footprint, Lab};
pub use probe::{Source, Verdict};
pub use target::{Target, TargetOptions};

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// What is needed, with Debian's package of it.
pub const PROGRAMS: &[(&str, &str)] = &[
    ("systemd-nspawn", "systemd-container"),
    ("mmdebstrap", "mmdebstrap"),
    ("slirp4netns", "slirp4netns"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("flock", "util-linux"),
    ("losetup", "mount"),
];

/// Why there can be no targets.
fn hindrance() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("targets need root".to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed =
        |program: &str| std::env::split_paths(&path).any(|dir: std::path::PathBuf| dir.join(program).exists());
    let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| !installed(program)).collect();
    let (program, package) = missing.first()?;
    let others = if missing.len() > 1 { format!(" (and {} more)", missing.len() - 1) } else { String::new() };
    Some(format!("there is no {program}{others} (Debian: {package})"))
}

/// Runs a command to its end, with `input` on its standard input; its standard output.
///
/// # Panics
/// If it fails.
#[track_caller]
fn feed(command: &mut Command, input: &str) -> String {
    use std::io::Write as _;
    let name = command.get_program().to_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("can't start {}: {error}", Path::new(&name).display()));
    // One that ends early says why on its standard error.
    let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("an end");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The same without input.
#[track_caller]
fn succeed(command: &mut Command) -> String {
    feed(command, "")
}
