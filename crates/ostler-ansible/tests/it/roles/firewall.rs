//! The firewall on servers where it is in any state at all: as it was set up, as somebody left it, as a failure left it.

use super::*;

/// How somebody set ufw up. One of each is drawn, then up to two pieces of [`DAMAGE`].
const SETTINGS: [&[&str]; 5] = [
    &["IPV6=yes", "IPV6=no", "IPV6=no"],
    &[
        "true",
        "ufw allow 22/tcp",
        "ufw allow 22/tcp; ufw limit 8080/tcp; ufw allow 80/tcp",
        "ufw allow 22; ufw deny 9000/tcp",
    ],
    &["ufw logging off", "ufw logging low", "ufw logging full"],
    &["true", "ufw default allow incoming", "ufw default reject outgoing; ufw allow out to any"],
    &["ufw --force enable", "ufw --force enable", "ufw --force enable", "true"],
];

/// What happened to it since.
const DAMAGE: [&str; 16] = [
    "iptables -P INPUT ACCEPT; iptables -F",
    "ip6tables -F",
    "ip6tables -F; ip6tables -X",
    "iptables -P INPUT ACCEPT; iptables -F; iptables -X; iptables -P OUTPUT ACCEPT",
    "/usr/lib/ufw/ufw-init force-stop",
    "sed -i s/^ENABLED=.*/ENABLED=no/ /etc/ufw/ufw.conf",
    "sed -i s/^ENABLED=.*/ENABLED=yes/ /etc/ufw/ufw.conf",
    "sed -i s/^IPV6=.*/IPV6=yes/ /etc/default/ufw",
    "sed -i s/^IPV6=.*/IPV6=no/ /etc/default/ufw",
    "systemctl disable ufw.service",
    "systemctl mask ufw.service",
    "systemctl stop ufw.service",
    "ip6tables -F ufw6-user-input",
    "iptables -F ufw-before-logging-input; iptables -F ufw-user-logging-input",
    "rm /etc/ufw/user6.rules",
    // As `ufw enable` leaves it when it fails halfway.
    "sed -i s/^ENABLED=.*/ENABLED=no/ /etc/ufw/ufw.conf; ip6tables -F; ip6tables -X; for c in INPUT FORWARD OUTPUT; do ip6tables -P $c DROP; done",
];

/// splitmix64, so that a seed is all that it takes to see a fault again.
struct Dice(u64);

impl Dice {
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        from[usize::try_from((mixed ^ (mixed >> 31)) % from.len() as u64).unwrap()]
    }

    fn server(&mut self) -> String {
        let mut script: Vec<&str> = SETTINGS.iter().map(|choices| self.pick(choices)).collect();
        let ipv6 = format!("sed -i s/^IPV6=.*/{}/ /etc/default/ufw", script[0]);
        script[0] = &ipv6;
        script.extend([self.pick(&DAMAGE), self.pick(&DAMAGE)]);
        script.join("\n")
    }
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn whatever_state_it_is_in_it_ends_up_on_for_both_ip_versions() {
    let Some(bench) = Bench::start() else { return };
    let seed = std::env::var("OSTLER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("OSTLER_SEED={seed} draws the same servers again");
    let mut dice = Dice(seed);
    let targets = bench.boot_all(
        ["drawn1", "drawn2", "drawn3", "drawn4", "drawn5", "drawn6"]
            .map(|name| TargetOptions::new(name).package("ufw")),
    );
    let all: Vec<&Target> = targets.iter().collect();
    let modules = json!({ "ufw": { "preset": "web" } });
    // The first one is what a user had: IPv6 left out of ufw, and so closed in the kernel.
    let mut drawn =
        vec!["sed -i s/^IPV6=.*/IPV6=no/ /etc/default/ufw; ufw allow 22/tcp; ufw --force enable".to_owned()];
    for round in 0..2 {
        drawn.resize_with(all.len(), || dice.server());
        for (target, script) in all.iter().zip(&drawn) {
            target.exec(script);
            // Whoever draws an unreachable server could not call Ostler either.
            let reachable = target.probe(Source::Lan, 22) == Open;
            target.exec(if reachable {
                "true"
            } else {
                "iptables -P INPUT ACCEPT; iptables -P OUTPUT ACCEPT; iptables -I INPUT -p tcp --dport 22 -j ACCEPT"
            });
        }
        let first = bench.run_on(&all, modules.clone(), json!({}), false);
        for ((ran, target), script) in first.into_iter().zip(&all).zip(&drawn) {
            assert!(ran.result.is_ok(), "round {round}, {script}\n{:?}", ran.result);
            target.exec("iptables -D INPUT -p tcp --dport 22 -j ACCEPT");
            holds(target, script);
        }
        for (ran, script) in bench.run_on(&all, modules.clone(), json!({}), false).into_iter().zip(&drawn) {
            assert_eq!(ran.well(), [""; 0], "a second run changes something: {script}");
        }
        if round == 1 {
            for (target, script) in all.iter().zip(&drawn).take(1) {
                target.reboot();
                holds(target, &format!("{script}\nreboot"));
            }
        }
        drawn.clear();
    }
}

/// SSH and the web are open to everybody, and no other port is; by what is in force, and by what the next boot reads.
#[track_caller]
fn holds(target: &Target, script: &str) {
    let (rules, verdicts) =
        (target.exec("iptables -S; ip6tables -S").stdout, [22, 443, 9001].map(|port| reached(target, port)));
    assert_eq!(verdicts, [EVERYBODY, EVERYBODY, NOBODY], "{script}\n{rules}");
    target
        .exec(
            "ufw status | grep -q '^Status: active' && systemctl is-enabled ufw && grep ^ENABLED=yes /etc/ufw/ufw.conf",
        )
        .ok();
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn what_fails_leaves_the_firewall_as_it_was_and_others_that_filter_are_named() {
    let Some(bench) = Bench::start() else { return };
    let target = bench.boot(TargetOptions::new("walled").package("ufw"));
    let all = [&target];
    let modules = json!({ "ufw": { "preset": "web" } });
    let state = "cat /etc/ufw/ufw.conf /etc/default/ufw /etc/ufw/user*.rules; systemctl is-enabled ufw; systemctl is-active ufw; \
                 iptables-save -t filter | grep -v '^[#:]'; ip6tables-save -t filter | grep -v '^#' | sed 's/ \\[.*//'";
    target
        .exec("sed -i s/^IPV6=.*/IPV6=no/ /etc/default/ufw; ufw allow 22/tcp; ufw allow 9000/tcp; ufw --force enable")
        .ok();

    // One of his files is broken: that is known before anything is touched.
    target.exec("cp -a /etc/ufw/before6.rules /root; sed -i 's/^COMMIT/-A ufw6-before-input --nonsense\\nCOMMIT/' /etc/ufw/before6.rules").ok();
    let before = target.exec(state).stdout;
    let fault = bench.run_on(&all, modules.clone(), json!({}), true).remove(0).fault();
    assert!(fault.contains("/etc/ufw/before6.rules") && fault.contains("--nonsense"), "{fault}");
    let fault = bench.run_on(&all, modules.clone(), json!({}), false).remove(0).fault();
    assert!(fault.contains("/etc/ufw/before6.rules") && fault.contains("--nonsense"), "{fault}");
    assert_eq!(target.exec(state).stdout, before);
    target.exec("mv /root/before6.rules /etc/ufw").ok();

    // It fails only while ufw works: everything is put back, in the kernel too.
    target.write("/etc/ufw/before.init", "#!/bin/sh\n[ \"$1\" != start ] || { echo 'no licence for this'; exit 1; }\n");
    target.exec("chmod 755 /etc/ufw/before.init").ok();
    let before = target.exec(state).stdout;
    let fault = bench.run_on(&all, modules.clone(), json!({}), false).remove(0).fault();
    assert!(fault.contains("before.init start' exited with error") && fault.contains("is as it was before"), "{fault}");
    assert_eq!(target.exec(state).stdout, before);
    assert_eq!(reached(&target, 9000), [true, false, true, false], "IPv4 as he had it");
    target.exec("rm /etc/ufw/before.init").ok();

    // Files in another encoding: ufw itself can't read one, and the other keeps its bytes.
    target.exec("printf '#!/bin/sh\\n# f\\374r alle\\n' >/etc/ufw/after.init; printf '# f\\374r alle\\n' >>/etc/default/ufw").ok();
    let fault = bench.run_on(&all, modules.clone(), json!({}), false).remove(0).fault();
    assert!(fault.contains("/etc/default/ufw, line ") && fault.contains("is not UTF-8"), "{fault}");
    target.exec("sed -i '$d' /etc/default/ufw").ok();
    let install = "apt-get update -qq; apt-get install -qq -y --no-install-recommends nftables >/dev/null 2>&1; systemctl is-enabled nftables";
    target.exec(install);
    let ruleset = "#!/usr/sbin/nft -f\n\nflush ruleset\ntable inet filter {\n chain input {\n  type filter hook input priority filter; policy drop;\n  \
                   iif lo accept; ct state established,related accept; meta l4proto ipv6-icmp accept; tcp dport 22 accept\n }\n}\n";
    target.write("/etc/nftables.conf", ruleset);
    target.exec("systemctl enable --now nftables").ok();
    for check in [false, true] {
        let ran = bench.run_on(&all, modules.clone(), json!({}), check).remove(0);
        assert!(ran.warned("/etc/nftables.conf, and its line 3, `flush ruleset`"), "{:?}", ran.warnings);
        assert!(
            ran.warned("chain `input` of nftables' table `inet filter` (from /etc/nftables.conf)"),
            "{:?}",
            ran.warnings
        );
        ran.well();
    }
    // Stopping that service flushes everything, ufw's rules too.
    target.exec("systemctl disable --now nftables; mv /etc/nftables.conf /root").ok();
    bench.run_on(&all, modules.clone(), json!({}), false).remove(0).well();
    target.exec("iptables -I INPUT -j REJECT; iptables -I INPUT -p tcp --dport 22 -j ACCEPT").ok();
    let ran = bench.run_on(&all, modules.clone(), json!({}), true).remove(0);
    assert!(ran.warned("iptables has a rule before ufw's, `-A INPUT -j REJECT"), "{:?}", ran.warnings);
    target.exec("iptables -D INPUT -j REJECT; iptables -D INPUT -p tcp --dport 22 -j ACCEPT").ok();
    let ran = bench.run_on(&all, modules, json!({}), false).remove(0);
    assert_eq!(ran.warnings, [""; 0]);
    ran.well();
    holds_with(&target, 9000);
    assert_eq!(target.exec("LC_ALL=C grep -ac $(printf 'f\\374r') /etc/ufw/after.init").stdout, "1\n");
}

#[track_caller]
fn holds_with(target: &Target, his: u16) {
    assert_eq!([22, 443, 9001].map(|port| reached(target, port)), [EVERYBODY, EVERYBODY, NOBODY]);
    assert_eq!(reached(target, his), [true, false, true, false], "his rule is for IPv4, as he wrote it");
}
