//! From a bare server with a password to one that is provisioned.

use super::support::{FULL, PASSWORD, bare, environment, fingerprint, key_lets_in, server, spec};
use ostler_testkit::targets::{Lab, Source, TargetOptions, Verdict};

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn a_bare_server_with_a_password_on_port_2222_is_provisioned_and_the_second_time_nothing_changes() {
    let Some(lab) = Lab::start() else { return };
    let environment = environment();
    let target = lab.boot_one(bare("web", 2222));
    target.exec("mkdir -p /root/.ssh && echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBA old' >/root/.ssh/authorized_keys").ok();
    environment.write("ostler.yaml", &spec(&[server(&target, FULL)]));

    let plan = environment.run(&["plan", "ostler.yaml"]).ok();
    assert!(plan.stdout.contains("take over the existing server"), "{}", plan.stdout);

    environment.run(&["up", "ostler.yaml"]).ok();
    assert_eq!(target.probe(Source::Lan, 2222), Verdict::Dropped, "the old port is closed");
    assert_eq!(target.probe(Source::PublicV4, 2200), Verdict::Open);
    assert_eq!(target.probe(Source::PublicV4, 80), Verdict::Open, "nginx serves");
    assert!(key_lets_in(&environment, &target, "ops", 2200), "the user's key lets them in");
    assert!(target.read("/root/.ssh/authorized_keys").contains(" old"), "keys that were there are kept");
    assert!(target.exec("test -e /var/lib/ostler/rollback/armed").code != 0, "nothing is left to be confirmed");
    let copies = target.exec("find /etc/nginx -name '*~'").stdout;
    assert_eq!(copies, "", "Debian's own files need no copies");
    let whoami = environment.run(&["ssh", "web", "--", "id", "-un"]).ok();
    assert_eq!(whoami.stdout.trim(), "ops");

    let again = environment.run(&["up", "ostler.yaml", "--output", "json"]).ok();
    assert_eq!(again.changes(), [""; 0]);
    assert_eq!(again.outcome()["changed"], 0);
    assert!(!again.stdout.contains("restricted key"), "Ansible minds a variable of ours: {}", again.stdout);

    let destroyed = environment.run(&["destroy", "web", "--yes"]).ok();
    assert!(destroyed.stderr.contains("released") || destroyed.stdout.contains("released"), "{destroyed:?}");
    assert!(!target.read("/home/ops/.ssh/authorized_keys").contains("ostler"), "Ostler's own key is gone");
    assert!(key_lets_in(&environment, &target, "ops", 2200), "the user's own stays");
    assert!(target.exec("systemctl is-active nginx").stdout.contains("active"), "what runs there goes on");
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn a_sudo_user_whose_sudo_asks_for_the_password_will_do() {
    let Some(lab) = Lab::start() else { return };
    let environment = environment();
    let target = lab.boot_one(TargetOptions::new("box").password(PASSWORD).sudo_user("admin"));
    environment.write("ostler.yaml", &spec(&[server(&target, "    user: deploy\n")]));
    environment.run(&["up", "ostler.yaml"]).ok();
    assert!(key_lets_in(&environment, &target, "deploy", 22));
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn what_cannot_be_trusted_or_entered_is_refused_with_the_reason() {
    let Some(lab) = Lab::start() else { return };
    let environment = environment();
    let target = lab.boot_one(bare("box", 22));
    let good = spec(&[server(&target, "")]);

    let unknown = good.replace(&format!(", host_key: '{}'", fingerprint(&target)), "");
    environment.write("ostler.yaml", &unknown);
    let refused = environment.run(&["up", "ostler.yaml"]);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains(&format!("host_key: \"{}\"", fingerprint(&target))), "{}", refused.stderr);
    environment.run(&["destroy", "box", "--yes"]).ok();

    let wrong = format!("SHA256:{}", "A".repeat(43));
    environment.write("ostler.yaml", &good.replace(&fingerprint(&target), &wrong));
    let refused = environment.run(&["up", "ostler.yaml"]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    for word in [wrong, fingerprint(&target)] {
        assert!(refused.stderr.contains(&word), "{}", refused.stderr);
    }
    environment.run(&["destroy", "box", "--yes"]).ok();

    environment.write("ostler.yaml", &good);
    environment.write("password", "not this one\n");
    let refused = environment.run(&["up", "ostler.yaml"]);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("refuses the login of root"), "{}", refused.stderr);
    let attempts = target.exec("journalctl -t sshd-session -t sshd --no-pager | grep -c 'Failed password'");
    assert_eq!(attempts.stdout.trim(), "1", "a wrong password is tried once");

    environment.write("password", &format!("{PASSWORD}\n"));
    environment.run(&["resume", "box"]).ok();
    assert!(key_lets_in(&environment, &target, "ops", 22));

    environment.write("nowhere.yaml", &good.replace("  box:", "  gone:").replace("port: 22,", "port: 9,"));
    let refused = environment.run(&["up", "nowhere.yaml"]);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(refused.stderr.contains(":9 answers as an SSH server"), "{}", refused.stderr);
    assert_eq!(environment.run(&["status", "gone"]).code, 2, "nothing is recorded of it");
}
