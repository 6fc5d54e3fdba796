//! What the tests of existing servers share.

use ostler_testkit::{
    environment::TestEnvironment,
    targets::{Target, TargetOptions},
};
use std::process::Command;

/// Password of every target that has one.
pub const PASSWORD: &str = "correct horse battery staple";

/// Modules, an app, and sshd on another port than it has.
pub const FULL: &str = "    ssh: { port: 2200 }
    modules:
      baseline_tools: true
      unattended_upgrades: true
      ufw: { preset: web }
      fail2ban: true
    apps: [ nginx ]
";

/// A bare Debian that takes that password only.
pub fn bare(name: &str, port: u16) -> TargetOptions {
    TargetOptions::new(name).password(PASSWORD).port(port)
}

/// The same with what Ostler and a firewall need, for tests of something else than how that gets there.
pub fn prepared(options: TargetOptions) -> TargetOptions {
    ["nftables", "python3", "sudo", "ufw"].into_iter().fold(options, TargetOptions::package)
}

/// An environment with a key pair, and the targets' password in the file `password`.
pub fn environment() -> TestEnvironment {
    let environment = TestEnvironment::new(env!("CARGO_BIN_EXE_ostler")).with_ansible();
    environment.make_key();
    environment.write("password", &format!("{PASSWORD}\n"));
    environment
}

/// A server of the spec, in flow style: this target by its password, and `rest`.
pub fn server(target: &Target, rest: &str) -> String {
    format!(
        "  {}:\n    provider: existing\n    existing: {{ address: {}, port: {}, user: {}, password: {{ file: password }}, \
         host_key: '{}' }}\n    authorized_keys: [ id_ed25519.pub ]\n{rest}",
        target.name(),
        target.address(),
        target.ssh().port(),
        target.account(),
        fingerprint(target),
    )
}

/// A spec of these servers.
pub fn spec(servers: &[String]) -> String {
    format!("servers:\n{}", servers.concat())
}

/// The fingerprint of a target's host key, by ssh-keygen.
pub fn fingerprint(target: &Target) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key.pub");
    std::fs::write(&file, target.host_key()).expect("a file");
    let output = Command::new("ssh-keygen").arg("-lf").arg(&file).output().expect("ssh-keygen runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().nth(1).expect("a fingerprint").to_owned()
}

/// Whether a login as `user` with the key of the spec works at this port, by plain ssh.
pub fn key_lets_in(environment: &TestEnvironment, target: &Target, user: &str, port: u16) -> bool {
    let known =
        environment.write(&format!("known_hosts-{}", target.name()), &format!("target {}\n", target.host_key()));
    let status = Command::new("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "HostKeyAlias=target", "-o", "ConnectTimeout=5"])
        .args(["-o", "IdentitiesOnly=yes", "-o"])
        .arg(format!("UserKnownHostsFile={}", known.display()))
        .arg("-i")
        .arg(environment.path().join("id_ed25519"))
        .args(["-p", &port.to_string(), "-l", user, "--", &target.address().to_string(), "true"])
        .output();
    status.is_ok_and(|output| output.status.success())
}
