//! Logins that a server refuses, counts or bans: the cause is named at once, and limits are waited out.

use super::support::{PASSWORD, bare, environment, key_lets_in, server, spec};
use ostler_testkit::targets::{Lab, Target, TargetOptions};
use std::time::{Duration, Instant};

/// What a refused login may take until its cause is named, on a busy machine; today's tries went on for two minutes.
const SOON: Duration = Duration::from_secs(30);

/// Something that keeps `ops` out, how it is undone, and what must be said of it: the cause, and the hint.
struct Refusal {
    name: &'static str,
    does: &'static str,
    undo: &'static str,
    cause: &'static str,
    hint: &'static str,
}

const fn by_sshd(name: &'static str, does: &'static str, cause: &'static str, hint: &'static str) -> Refusal {
    Refusal { name, does, undo: "rm /etc/ssh/sshd_config.d/10-test.conf", cause, hint }
}

const REFUSALS: [Refusal; 17] = [
    by_sshd(
        "allow-users",
        "printf 'AllowUsers root alice\n' >/etc/ssh/sshd_config.d/10-test.conf",
        "AllowUsers of sshd does not name ops, but root alice (/etc/ssh/sshd_config.d/10-test.conf:1)",
        "add ops to that line",
    ),
    by_sshd(
        "deny-users",
        "printf '# no\nDenyUsers o*\n' >/etc/ssh/sshd_config.d/10-test.conf",
        "DenyUsers of sshd names o* (/etc/ssh/sshd_config.d/10-test.conf:2)",
        "take it out",
    ),
    by_sshd(
        "allow-groups",
        "printf 'AllowGroups wheel root\n' >/etc/ssh/sshd_config.d/10-test.conf",
        "ops is in none of the groups that AllowGroups of sshd names: wheel root",
        "`usermod -aG wheel ops`",
    ),
    by_sshd(
        "deny-groups",
        "printf 'DenyGroups sudo\n' >/etc/ssh/sshd_config.d/10-test.conf",
        "ops is in group sudo, which DenyGroups of sshd names",
        "take",
    ),
    by_sshd(
        "keys-elsewhere",
        "printf 'AuthorizedKeysFile /etc/ssh/keys/%%u\n' >/etc/ssh/sshd_config.d/10-test.conf",
        "sshd looks for the keys of ops in /etc/ssh/keys/ops, and Ostler's is in /home/ops/.ssh/authorized_keys",
        "AuthorizedKeysFile",
    ),
    by_sshd(
        "methods",
        "printf 'Match User ops\n AuthenticationMethods publickey,password\n' >/etc/ssh/sshd_config.d/10-test.conf",
        "sshd asks for more than a key: AuthenticationMethods publickey,password",
        "let `publickey` suffice",
    ),
    by_sshd(
        "no-keys",
        "printf 'Match User ops\n PubkeyAuthentication no\n' >/etc/ssh/sshd_config.d/10-test.conf",
        "sshd accepts no keys: PubkeyAuthentication is no",
        "make it yes",
    ),
    by_sshd(
        "algorithms",
        "printf 'PubkeyAcceptedAlgorithms rsa-sha2-512\n' >/etc/ssh/sshd_config.d/10-test.conf",
        "sshd accepts no ed25519 keys",
        "`ssh-ed25519`",
    ),
    by_sshd(
        "forced-command",
        "printf 'Match User ops\n ForceCommand echo go away\n' >/etc/ssh/sshd_config.d/10-test.conf",
        "sshd runs `echo go away` in place of every command",
        "make an exception for ops",
    ),
    by_sshd(
        "refused-connection",
        "printf 'Match User ops\n RefuseConnection yes\n' >/etc/ssh/sshd_config.d/10-test.conf",
        "sshd refuses every connection: RefuseConnection is yes",
        "take it out",
    ),
    Refusal {
        name: "home-of-another",
        does: "chown 4242 /home/ops",
        undo: "chown ops /home/ops",
        cause: "/home/ops belongs to user 4242, and sshd does not trust keys that lie there",
        hint: "`chown ops: /home/ops`",
    },
    Refusal {
        name: "open-keys",
        does: "chmod 777 /home/ops/.ssh",
        undo: "chmod 700 /home/ops/.ssh",
        cause: "/home/ops/.ssh can be written by others (mode 0777)",
        hint: "`chmod go-w /home/ops/.ssh`",
    },
    Refusal {
        name: "expired",
        does: "chage -E 2020-01-01 ops",
        undo: "chage -E -1 ops",
        cause: "the account ops has expired on 2020-01-01",
        hint: "`chage -E -1 ops`",
    },
    Refusal {
        name: "password-expired",
        does: "chage -d 0 ops",
        undo: "chage -d 2026-01-01 ops",
        cause: "the password of ops must be changed at the next login",
        hint: "`chage -d ",
    },
    Refusal {
        name: "nologin-shell",
        does: "usermod -s /usr/sbin/nologin ops",
        undo: "usermod -s /bin/bash ops",
        cause: "the shell of ops is /usr/sbin/nologin",
        hint: "`usermod -s /bin/bash ops`",
    },
    Refusal {
        name: "nologin",
        does: "echo 'closed for repairs' >/etc/nologin",
        undo: "rm /etc/nologin",
        cause: "/etc/nologin keeps everybody but root out: closed for repairs",
        hint: "`rm /etc/nologin`",
    },
    Refusal {
        name: "pam-access",
        does: "sed -i '/pam_access/s/^# *//' /etc/pam.d/sshd; echo '-:ALL EXCEPT root:ALL' >>/etc/security/access.conf",
        undo: "sed -i '/pam_access/s/^/# /' /etc/pam.d/sshd; sed -i '$d' /etc/security/access.conf",
        cause: "pam_access keeps ops out (/etc/security/access.conf:",
        hint: "let ops in",
    },
];

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn a_login_that_is_refused_after_access_was_set_up_says_why_and_is_tried_once() {
    let Some(lab) = Lab::start() else { return };
    let environment = environment();
    let target = lab.boot_one(bare("box", 22).package("nftables"));
    let counter = Connections::count(&target, 22);
    environment.write("ostler.yaml", &spec(&[server(&target, "")]));
    for (number, Refusal { name, does, undo, cause, hint }) in REFUSALS.iter().enumerate() {
        let set = |script: &str| target.exec(&format!("{script}; sshd -t && systemctl reload ssh")).ok();
        set(does);
        let before = counter.seen();
        let begun = Instant::now();
        // From the second on, only the proof is left to be done.
        let arguments: &[&str] = if number == 0 { &["up", "ostler.yaml"] } else { &["resume", "box"] };
        let failed = environment.run(arguments);
        let took = begun.elapsed();
        eprintln!("  {name}: {:.1} s: {}", took.as_secs_f64(), failed.stderr.trim());
        assert_eq!(failed.code, 5, "{name}: {}", failed.stderr);
        for words in [*cause, *hint, "`ostler resume box`"] {
            assert!(failed.stderr.contains(words), "{name}: nothing says `{words}`: {}", failed.stderr);
        }
        if number > 0 {
            assert!(took < SOON, "{name}: {took:?}");
            assert!(counter.seen() - before <= 2, "{name}: {} connections", counter.seen() - before);
        }
        set(undo);
    }
    environment.run(&["resume", "box"]).ok();
    assert!(key_lets_in(&environment, &target, "ops", 22));
}

/// New connections to a port of a target, counted before its own firewall: those by IPv4, for limits count each address for itself.
struct Connections<'a>(&'a Target);

impl<'a> Connections<'a> {
    fn count(target: &'a Target, port: u16) -> Self {
        let rules = format!(
            "add table inet counted; add counter inet counted new; \
             add chain inet counted in {{ type filter hook prerouting priority -150; }}; \
             add rule inet counted in meta nfproto ipv4 iif != lo tcp dport {port} tcp flags & (syn|ack) == syn counter name new"
        );
        target.exec(&format!("nft '{rules}'")).ok();
        Self(target)
    }

    fn seen(&self) -> u64 {
        let said = self.0.exec("nft list counter inet counted new").ok().stdout;
        let mut words = said.split_whitespace().skip_while(|word| *word != "packets").skip(1);
        words.next().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count: {said}"))
    }
}

/// What limits connections, as people have it.
const LIMITS: [(&str, &str); 3] = [
    ("ufw", "ufw limit 22/tcp && ufw --force enable"),
    (
        "sshd",
        "printf 'MaxStartups 1\nPerSourcePenalties noauth:3s authfail:30s min:2s\n' \
         >/etc/ssh/sshd_config.d/10-limits.conf && systemctl reload ssh",
    ),
    (
        "fail2ban",
        "printf '[sshd]\nenabled = true\nbackend = systemd\nmaxretry = 2\nfindtime = 60\n' \
         >/etc/fail2ban/jail.d/test.conf && systemctl restart fail2ban",
    ),
];

/// A rule of somebody's own: a new connection each 30 s from each address.
const STRICT: &str = "nft 'add table inet strict; add set inet strict seen { type ipv4_addr; flags dynamic; }; \
    add chain inet strict in { type filter hook input priority -10; }; \
    add rule inet strict in tcp dport 22 ct state new update @seen { ip saddr limit rate over 2/minute burst 1 packets } reject'";

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn a_server_that_limits_connections_is_taken_over_and_converged_with_few_of_them() {
    let Some(lab) = Lab::start() else { return };
    let environment = environment();
    let target =
        |name| TargetOptions::new(name).password(PASSWORD).package("nftables").package("ufw").package("fail2ban");
    let targets = lab.boot(LIMITS.map(|(name, _)| target(name)));
    let counters: Vec<_> = targets.iter().map(|target| Connections::count(target, 22)).collect();
    for (target, (_, limit)) in targets.iter().zip(LIMITS) {
        target.exec(limit).ok();
    }
    let servers = |rest| spec(&targets.iter().map(|target| server(target, rest)).collect::<Vec<_>>());

    // The way to the first login: is it there, what is its key, and the login.
    environment.write("password", "not this one\n");
    environment.write("ostler.yaml", &spec(&[server(&targets[0], "")]));
    assert_eq!(environment.run(&["up", "ostler.yaml"]).code, 3);
    assert_eq!(counters[0].seen(), 3);
    environment.write("password", &format!("{PASSWORD}\n"));

    environment.write("ostler.yaml", &servers(""));
    let before = counters[0].seen();
    let first = environment.run(&["up", "ostler.yaml"]).ok();
    // The login, the target user's proof, that of the new settings, and one that asks what root is offered; the rest goes over these.
    // One of them may meet the limit, and is tried again once its window is over.
    assert!(counters[0].seen() - before <= 5, "{}: {}", counters[0].seen() - before, first.stdout);
    assert!(first.stdout.contains("sshd says `Not allowed at this time`"), "{}", first.stdout);

    // The proof of new settings meets a limit on the last one: that is no reason to put the old ones back.
    targets[2].exec(STRICT).ok();
    environment.write("ostler.yaml", &servers("    modules: { ufw: { preset: server-minimal }, fail2ban: true }\n"));
    let before: Vec<_> = counters.iter().map(Connections::seen).collect();
    let second = environment.run(&["up", "ostler.yaml", "--rollback-after", "20"]).ok();
    assert!(second.stdout.contains("fail2ban no longer answers"), "{}", second.stdout);
    for ((target, counter), before) in targets.iter().zip(&counters).zip(before).take(2) {
        // One for the run, one for the proof, and, as the firewall has changed, one that asks what root is offered. Where sshd lets one
        // at a time begin, it may meet the server's own probe.
        let new = counter.seen() - before;
        assert!((3..=4).contains(&new), "{}: {new}", target.name());
    }
    targets[2].exec("nft delete table inet strict").ok();
    for target in &targets {
        assert!(target.read("/etc/fail2ban/jail.d/ostler.local").contains("maxretry"), "{}", target.name());
        assert!(key_lets_in(&environment, target, "ops", 22), "{}", target.name());
    }
}
