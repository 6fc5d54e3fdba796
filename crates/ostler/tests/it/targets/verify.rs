//! What a spec promises is tried on the server and from outside, by `up` and at any time.

use super::support::{bare, environment, prepared, server, spec};
use ostler_testkit::{environment::Finished, targets::Lab};

const MODULES: &str = "    modules:\n      ufw: { preset: web }\n      fail2ban: true\n    apps: [ nginx ]\n";

/// Whether a row of the table has these words, whatever the widths of its columns.
fn has_row(finished: &Finished, words: &str) -> bool {
    finished.stdout.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").contains(words))
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn each_promise_is_tried_and_a_broken_one_is_named() {
    let Some(lab) = Lab::start() else { return };
    let environment = environment();
    let target = lab.boot_one(prepared(bare("box", 22)));
    environment.write("ostler.yaml", &spec(&[server(&target, MODULES)]));
    let up = environment.run(&["up", "ostler.yaml"]).ok();
    assert!(up.stdout.contains("verified: "), "{}", up.stdout);

    let verified = environment.run(&["verify", "box"]).ok();
    for row in [
        "kept ssh ops gets in with a key and nothing else; root does not",
        "kept sudo ops becomes root without a password",
        "kept ports 80/tcp is open",
        "kept fail2ban fail2ban watches the logins over SSH",
        "kept nginx nginx is active",
    ] {
        assert!(has_row(&verified, row), "no row `{row}`:\n{}", verified.stdout);
    }
    assert!(!verified.stdout.contains("BROKEN"), "{}", verified.stdout);
    let shown = environment.run(&["status"]).ok().stdout;
    assert!(shown.contains(" kept") && shown.contains(" ago"), "{shown}");

    eprintln!("* a dead service, an sshd that asks for passwords, and a port that somebody opened");
    target.exec("systemctl stop nginx").ok();
    target.exec("echo 'PasswordAuthentication yes' >/etc/ssh/sshd_config.d/00-mine.conf && systemctl reload ssh").ok();
    target.exec("systemd-run --unit=mine python3 -m http.server 3306 && ufw allow 3306/tcp").ok();
    target.exec("until ss -Htln sport = 3306 | grep -q .; do sleep 0.1; done").ok();
    let broken = environment.run(&["verify"]);
    assert_eq!(broken.code, 5, "{}{}", broken.stdout, broken.stderr);
    for row in [
        "BROKEN nginx nginx is active: inactive",
        "BROKEN ports 80/tcp is open: nothing listens at",
        "BROKEN ports 3306/tcp is closed: it is open at",
        "sshd offers ops a login by password",
    ] {
        assert!(has_row(&broken, row), "no row `{row}`:\n{}", broken.stdout);
    }
    let shown = environment.run(&["status", "box"]).ok().stdout;
    assert!(shown.contains("5 broken") && shown.contains("nginx: nginx is active: inactive"), "{shown}");

    eprintln!("* `up` mends what is the spec's, and names what is somebody else's");
    let mended = environment.run(&["up", "ostler.yaml"]).ok();
    let said = format!("{}{}", mended.stdout, mended.stderr);
    assert!(said.contains("not so: 3306/tcp is closed (it is open at"), "{said}");
    target.exec("systemctl stop mine").ok();
    environment.run(&["verify", "box"]).ok();

    eprintln!("* a server that does not answer is not called verified");
    target.kill();
    let dead = environment.run(&["verify", "box", "--timeout", "3"]);
    assert_eq!(dead.code, 5, "{}{}", dead.stdout, dead.stderr);
    assert!(dead.stdout.contains("not verified"), "{}", dead.stdout);
}
