//! What guards a server against being locked out, as files: a driver, which keeps the clock, and one guard for each backend.
//!
//! A new backend is a new file in `scripts/guard/` that can `save` into a folder, `restore` from it, and `verify`.

use std::{
    collections::hash_map::DefaultHasher,
    fmt::Write,
    hash::{Hash, Hasher},
};

/// Paths on the server, and what they hold.
const FILES: &[(&str, &str)] = &[
    ("/var/lib/ostler/rollback/rollback", include_str!("scripts/guard/driver.sh")),
    ("/var/lib/ostler/rollback/files", include_str!("scripts/guard/files.sh")),
    ("/var/lib/ostler/rollback/guard.d/fail2ban", include_str!("scripts/guard/fail2ban.sh")),
    ("/var/lib/ostler/rollback/guard.d/iptables", include_str!("scripts/guard/iptables.sh")),
    ("/var/lib/ostler/rollback/guard.d/ssh", include_str!("scripts/guard/ssh.sh")),
    ("/var/lib/ostler/rollback/guard.d/sysctl", include_str!("scripts/guard/sysctl.sh")),
    ("/var/lib/ostler/rollback/guard.d/ufw", include_str!("scripts/guard/ufw.sh")),
    ("/etc/systemd/system/ostler-rollback.service", include_str!("scripts/guard/rollback.service")),
];

/// A part of a shell script that brings the guards to the server, if it has not this version of them already.
pub(crate) fn install() -> String {
    let mut hash = DefaultHasher::new();
    FILES.hash(&mut hash);
    let version = format!("{:016x}", hash.finish());
    let mut script = format!(
        "install -d -m 0700 /var/lib/ostler /var/lib/ostler/rollback /var/lib/ostler/rollback/guard.d\n\
         cd /var/lib/ostler/rollback\n\
         if [ -e /etc/systemd/system/ostler-rollback.service ]; then known=yes; fi\n\
         if [ \"$(cat version 2>/dev/null)\" != {version} ] || [ ! -e /etc/systemd/system/ostler-rollback.service ]; then\n"
    );
    for (path, content) in FILES {
        // By rename: the old one may be running.
        let _ = write!(script, "cat >new <<'OSTLER_EOF'\n{content}OSTLER_EOF\nchmod 0644 new\nmv new {path}\n");
    }
    // systemd reads a unit that it never heard of when it is started; to make it read all of them takes a quarter of a second.
    let _ = write!(
        script,
        "sync -f . /etc\n\
         systemctl -q --no-reload enable ostler-rollback.service\n\
         if [ -n \"${{known-}}\" ]; then systemctl daemon-reload; fi\n\
         systemctl -q try-restart ostler-rollback.service\n\
         echo {version} >new && mv new version\nfi\n"
    );
    script
}
