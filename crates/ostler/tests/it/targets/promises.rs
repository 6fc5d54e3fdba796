//! What a spec promises about logging in is so, and what somebody's own configuration makes of it is said.

use super::support::{PASSWORD, bare, environment, key_lets_in, server, spec};
use ostler_testkit::{
    environment::{Finished, TestEnvironment},
    targets::{Lab, Target},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

const OPS: &str = "abc12345";

/// Whether plain ssh gets in with this password; it hands it over as a person would.
fn password_lets_in(environment: &TestEnvironment, target: &Target, user: &str, password: &str) -> bool {
    let known = environment.write("known_hosts", &format!("target {}\n", target.host_key()));
    let typed = environment.write("typed", &format!("#!/bin/sh\necho '{password}'\n"));
    fs::set_permissions(&typed, fs::Permissions::from_mode(0o700)).expect("a program");
    let output = Command::new("ssh")
        .args(["-F", "none", "-o", "HostKeyAlias=target", "-o", "ConnectTimeout=5", "-o", "PubkeyAuthentication=no"])
        .args(["-o", "NumberOfPasswordPrompts=1", "-o"])
        .arg(format!("UserKnownHostsFile={}", known.display()))
        .args(["-l", user, "--", &target.address().to_string(), "true"])
        .env("SSH_ASKPASS", typed)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .output();
    output.is_ok_and(|output| output.status.success())
}

/// The failures that ssh-audit finds.
fn audit(target: &Target) -> Option<Vec<String>> {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/ssh-audit");
    if !tool.exists() {
        let required = std::env::var_os("OSTLER_REQUIRE_SSH_AUDIT").is_some_and(|value| value == "1");
        assert!(!required, "ssh-audit is not there, and OSTLER_REQUIRE_SSH_AUDIT is 1");
        eprintln!("  skipped: no ssh-audit; `cargo xtask setup` does not install what only tests need");
        return None;
    }
    let output = Command::new("python3")
        .args(["-m", "ssh_audit", "--no-colors", "--skip-rate-test", &target.address().to_string()])
        .env("PYTHONPATH", tool)
        .stdin(Stdio::null())
        .output()
        .expect("python3 runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("(kex) mlkem768x25519-sha256"), "ssh-audit saw nothing: {text}");
    let count = |level: &str| text.lines().filter(|line| line.contains(&format!("[{level}]"))).count();
    eprintln!("  ssh-audit: {} failures, {} warnings", count("fail"), count("warn"));
    Some(text.lines().filter(|line| line.contains("[fail]")).map(str::to_owned).collect())
}

#[track_caller]
fn says(finished: &Finished, words: &str) {
    let said = format!("{}{}", finished.stdout, finished.stderr);
    assert!(said.contains(words), "not said: {words}\n{said}");
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn a_promised_password_lets_in_and_one_that_does_not_is_a_failure() {
    let Some(lab) = Lab::start() else { return };
    let environment = environment();
    let target = lab.boot_one(bare("box", 22));
    environment.write("ops", OPS);
    // What hardening roles write.
    target.write("/etc/ssh/sshd_config.d/20-hardening.conf", "AuthenticationMethods publickey\n");
    let promised = "    password: { file: ops }\n    ssh: { auth: key-and-password }\n";
    environment.write("ostler.yaml", &spec(&[server(&target, promised)]));
    let up = ["up", "ostler.yaml"];
    let first = environment.run(&up).ok();
    assert!(password_lets_in(&environment, &target, "ops", OPS), "the promised password does not let in");
    assert!(!password_lets_in(&environment, &target, "root", PASSWORD), "root gets in");
    let said = format!("{}{}", first.stdout, first.stderr);
    assert!(!said.contains("not proved"), "by IPv4 and by IPv6: {said}");

    eprintln!("* nothing changes and nothing is proved a second time");
    let logins = "journalctl -q -o cat -t sshd-session -t sshd --after-cursor=\"$(cat /tmp/then)\" | grep -c password";
    target.exec("journalctl --sync; journalctl -q -n 1 --show-cursor | sed -n 's/^-- cursor: //p' >/tmp/then").ok();
    let again = environment.run(&["up", "ostler.yaml", "--output", "json"]).ok();
    assert_eq!(again.changes(), [""; 0]);
    assert_eq!(target.exec(logins).stdout.trim(), "0", "a login by password that nobody needed");

    eprintln!("* a hash of an older Ostler's is made right");
    // 22 characters of salt: crypt(3) uses 16 and gives back no more, so nothing is ever equal to this.
    target.exec("usermod -p '$6$rounds=5000$abcdefghijklmnopqrstuv$'$(printf x%.0s $(seq 86)) ops").ok();
    assert!(!password_lets_in(&environment, &target, "ops", OPS));
    environment.run(&up).ok();
    assert!(password_lets_in(&environment, &target, "ops", OPS));

    eprintln!("* PAM refuses passwords: the failure has the words, and what to do");
    target.exec("cp /etc/pam.d/sshd /root/pam && sed -i '1i auth requisite pam_deny.so' /etc/pam.d/sshd").ok();
    environment.write("ops", "another one");
    let failed = environment.run(&up);
    assert_eq!(failed.code, 5, "{}", failed.stderr);
    for words in
        ["ops can't log in to box with the password", "Permission denied", "Failed password for ops", "/etc/pam.d/sshd"]
    {
        says(&failed, words);
    }
    assert!(!failed.stdout.contains("another one") && !failed.stderr.contains("another one"), "{failed:?}");
    target.exec("cp /root/pam /etc/pam.d/sshd").ok();
    environment.run(&["resume", "box"]).ok();
    assert!(password_lets_in(&environment, &target, "ops", "another one"));

    eprintln!("* key-only takes the password back");
    environment.write("ostler.yaml", &spec(&[server(&target, "    password: { file: ops }\n")]));
    environment.run(&up).ok();
    assert!(!password_lets_in(&environment, &target, "ops", "another one"));
    assert!(key_lets_in(&environment, &target, "ops", 22));
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn match_blocks_are_named_or_taken_over_and_the_algorithms_pass_an_audit() {
    let Some(lab) = Lab::start() else { return };
    let environment = environment();
    let target = lab.boot_one(bare("box", 22));
    let his = "Match Address 10.0.0.0/8,192.168.0.0/16\n  PasswordAuthentication yes\n  PermitRootLogin yes\n\
               Match User backup\n  Include /etc/ssh/backup.conf\n\
               Match LocalPort 22 Address 100.64.0.0/10\n  AllowUsers alice\n\
               Match all\n  PermitEmptyPasswords yes\n";
    target.write("/etc/ssh/backup.conf", "AuthenticationMethods password # for tapes\n");
    target.exec("cp /etc/ssh/sshd_config /root/before").ok();
    let before = target.read("/etc/ssh/sshd_config");
    target.write("/etc/ssh/sshd_config", &format!("{before}\n{his}"));
    target.exec("systemctl reload ssh").ok();
    let line = before.lines().count() + 2;
    let write = |rest: &str| environment.write("ostler.yaml", &spec(&[server(&target, rest)]));
    write("");
    let kept = environment.run(&["up", "ostler.yaml"]).ok();
    for words in [
        "PasswordAuthentication is `yes`",
        "PermitRootLogin is `yes`",
        &format!("`Match Address 10.0.0.0/8,192.168.0.0/16` (/etc/ssh/sshd_config:{line})"),
        "AuthenticationMethods is `password` for `Match User backup`",
        "shuts ops out from 100.64.0.1: allowusers is `alice`",
        "ssh.match_blocks: take-over",
        "sshd offers root a login by password",
    ] {
        says(&kept, words);
    }
    assert!(password_lets_in(&environment, &target, "root", PASSWORD), "it is the user's choice, and stays");
    assert!(
        target
            .exec("sshd -T -C user=x,host=x,addr=192.0.2.7,laddr=::1,lport=22")
            .stdout
            .contains("permitemptypasswords no")
    );

    write("    ssh: { match_blocks: take-over }\n");
    let taken = environment.run(&["up", "ostler.yaml"]).ok();
    assert!(!taken.stdout.contains("overrides the policy"), "{}", taken.stdout);
    assert!(!password_lets_in(&environment, &target, "root", PASSWORD), "root still gets in");
    assert!(
        target.read("/etc/ssh/backup.conf").starts_with("# Kept in /etc/ssh/sshd_config.d/00-ostler.conf by Ostler: ")
    );
    assert_eq!(environment.run(&["up", "ostler.yaml", "--output", "json"]).ok().changes(), [""; 0]);

    if let Some(failures) = audit(&target) {
        assert_eq!(failures, [""; 0]);
    }
}
