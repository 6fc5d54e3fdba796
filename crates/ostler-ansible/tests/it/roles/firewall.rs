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

/// What somebody has of iptables and nftables. One of them is drawn where the module `iptables` comes.
const OWN: [&str; 5] = [
    "true",
    "iptables -A INPUT -p tcp --dport 9000 -j ACCEPT; iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN",
    "iptables -A INPUT -p tcp --dport 22 -j ACCEPT; iptables -P INPUT DROP; ip6tables -P FORWARD DROP",
    "iptables -N f2b-sshd; iptables -A f2b-sshd -s 203.0.113.66 -j REJECT; iptables -A f2b-sshd -j RETURN; iptables -I INPUT -p tcp --dport 22 -j f2b-sshd",
    "iptables -A INPUT -m limit --limit 5/min -j LOG; ip6tables -A INPUT -p tcp --dport 25 -j REJECT",
];

/// What happened to the rules of the module `iptables` since.
const DAMAGE_OF_IPTABLES: [&str; 12] = [
    "true",
    "iptables -P INPUT ACCEPT; iptables -F; iptables -X",
    "ip6tables -F INPUT",
    "iptables -F ostler-input; iptables -F ostler-docker-in",
    "iptables -I ostler-input -p tcp --dport 9001 -j ACCEPT",
    "ip6tables -D INPUT -j ostler-input",
    "iptables -D DOCKER-USER -j ostler-docker",
    "systemctl mask ostler-iptables",
    "systemctl disable --now ostler-iptables; iptables -P INPUT DROP",
    "rm -r /etc/ostler-iptables",
    "rm /var/lib/ostler/iptables.json; sed -i s/443/444/ /etc/ostler-iptables/rules",
    "rm /etc/systemd/system/ostler-iptables.service; /etc/ostler-iptables/load stop",
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

    /// A server for the module `iptables`; whether that was there before.
    fn server_of_iptables(&mut self, managed: bool) -> String {
        if managed {
            [self.pick(&DAMAGE_OF_IPTABLES), self.pick(&DAMAGE_OF_IPTABLES)].join("\n")
        } else {
            self.pick(&OWN).to_owned()
        }
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
    // The first four have ufw. The others have iptables first, and then either.
    let mut firewalls = [0, 0, 0, 0, 1, 1].map(|index: usize| FIREWALLS[index]);
    // The first one is what a user had: IPv6 left out of ufw, and so closed in the kernel.
    let mut drawn =
        vec!["sed -i s/^IPV6=.*/IPV6=no/ /etc/default/ufw; ufw allow 22/tcp; ufw --force enable".to_owned()];
    for round in 0..2 {
        drawn.resize_with(4, || dice.server());
        drawn.resize_with(all.len(), || dice.server_of_iptables(round == 1));
        if round == 1 {
            firewalls[4..].fill_with(|| if dice.pick(&FIREWALLS) == "ufw" { "ufw" } else { "iptables" });
        }
        let wanted: Vec<_> =
            all.iter().zip(firewalls).map(|(target, name)| (*target, json!({ name: { "preset": "web" } }))).collect();
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
        let first = bench.run_each(&wanted, json!({}), false);
        let cases: Vec<_> = all.iter().zip(firewalls).zip(&drawn).collect();
        for (ran, ((target, firewall), script)) in first.into_iter().zip(&cases) {
            assert!(ran.result.is_ok(), "round {round}, {firewall}, {script}\n{:?}", ran.result);
            target.exec("iptables -D INPUT -p tcp --dport 22 -j ACCEPT");
            holds(target, firewall, script);
        }
        for (ran, (what, script)) in bench.run_each(&wanted, json!({}), false).into_iter().zip(&cases) {
            assert_eq!(ran.well(), [""; 0], "a second run changes something: {} {script}", what.1);
        }
        if round == 1 {
            for ((target, firewall), script) in [&cases[0], &cases[4]] {
                target.reboot();
                holds(target, firewall, &format!("{script}\nreboot"));
            }
        }
        drawn.clear();
    }
}

/// SSH and the web are open to everybody, and no other port is; by what is in force, and by what the next boot reads.
#[track_caller]
fn holds(target: &Target, firewall: &str, script: &str) {
    let (rules, verdicts) =
        (target.exec("iptables -S; ip6tables -S").stdout, [22, 443, 9001].map(|port| reached(target, port)));
    assert_eq!(verdicts, [EVERYBODY, EVERYBODY, NOBODY], "{firewall}, {script}\n{rules}");
    let (is_on, other) = match firewall {
        "ufw" => (
            "ufw status | grep -q '^Status: active' && systemctl is-enabled ufw && grep ^ENABLED=yes /etc/ufw/ufw.conf",
            "-j ostler-input",
        ),
        // ufw leaves its chains, and they are empty.
        _ => ("systemctl is-enabled ostler-iptables && systemctl is-active ostler-iptables", "-A ufw"),
    };
    target.exec(is_on).ok();
    assert!(!rules.contains(other), "{firewall}, {script}\n{rules}");
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

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn iptables_comes_beside_rules_of_others_and_goes_without_a_trace() {
    let Some(bench) = Bench::start() else { return };
    let packages = ["iptables-persistent", "fail2ban", "nftables", "python3-systemd"];
    let target = bench.boot(packages.into_iter().fold(TargetOptions::new("beside"), TargetOptions::package));
    let modules = json!({ "iptables": { "preset": "web" } });
    // His own rules, which a service loads at boot, and a fail2ban that bans by iptables.
    target.write(
        "/etc/fail2ban/jail.local",
        "[sshd]\nenabled = true\nbackend = systemd\nbanaction = iptables-multiport\n",
    );
    target
        .exec(
            "iptables -P FORWARD DROP; iptables -A INPUT -p tcp --dport 9000 -j ACCEPT; netfilter-persistent save; \
             systemctl enable netfilter-persistent; systemctl restart fail2ban; \
             until fail2ban-client ping; do sleep 0.2; done; fail2ban-client set sshd banip 198.51.100.66",
        )
        .ok();
    let his = || {
        let saved = target.exec("iptables-save; ip6tables-save").ok().stdout;
        let lines = saved.lines().filter(|line| !line.starts_with('#') && !line.contains("ostler"));
        lines.map(|line| line.split(" [").next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let before = his();
    let banned = Source::Internet("198.51.100.66".parse().unwrap());

    // Loading fails for IPv6 when IPv4 has its rules: both are as before.
    let tool = "/usr/sbin/ip6tables-restore";
    target
        .exec(&format!(
            "mv {tool} {tool}.real; printf '#!/bin/sh\\ncat >/dev/null\\ncase $* in *--test*) exit 0 ;; esac; echo no licence for this >&2; exit 1\\n' >{tool}; \
             chmod 755 {tool}"
        ))
        .ok();
    let fault = bench.run_on(&[&target], modules.clone(), json!({}), false).remove(0).fault();
    assert!(fault.contains("no licence for this") && fault.contains("is as it was before"), "{fault}");
    assert_eq!(target.exec("iptables-save | grep -c ostler; ls /etc/ostler-iptables").stdout, "0\n");
    target.exec(&format!("mv {tool}.real {tool}")).ok();

    bench.apply(&target, modules.clone(), json!({}));
    let see = |when: &str| {
        // fail2ban bans anew when it starts.
        target.exec("for i in $(seq 100); do iptables -S INPUT | grep -q f2b && break; sleep 0.2; done");
        let rules = target.exec("iptables -S; ip6tables -S").stdout;
        let ports = [22, 443, 9000, 9001].map(|port| reached(&target, port));
        assert_eq!(ports, [EVERYBODY, EVERYBODY, [true, false, true, false], NOBODY], "{when}\n{rules}");
        assert_eq!(target.probe(banned, 22), Refused, "{when}: a ban of fail2ban holds\n{rules}");
    };
    see("after the first run");
    assert_eq!(bench.apply(&target, modules.clone(), json!({})), [""; 0], "a second run changes something");
    target.exec("systemctl restart netfilter-persistent fail2ban").ok();
    see("after his rules were loaded anew");
    target.reboot();
    see("after a reboot");
    assert_eq!(bench.apply(&target, modules.clone(), json!({})), [""; 0], "a run after a reboot changes something");

    // A ruleset that flushes all of it, and one that closes more.
    let ruleset = "flush ruleset\ntable inet filter {\n chain input {\n  type filter hook input priority filter; policy drop;\n  \
                   iif lo accept; ct state established,related accept; meta l4proto ipv6-icmp accept; tcp dport { 22, 9001 } accept\n }\n}\n";
    target.write("/etc/nftables.conf", ruleset);
    target.exec("systemctl enable --now nftables; systemctl restart nftables").ok();
    let ran = bench.run_on(&[&target], modules.clone(), json!({}), true).remove(0);
    assert!(
        ran.warned("chain `input` of nftables' table `inet filter` (from /etc/nftables.conf)"),
        "{:?}",
        ran.warnings
    );
    assert_eq!(ran.well(), [""; 0], "the rules are loaded again by themselves");
    assert_eq!([22, 443, 9001].map(|port| reached(&target, port)), [EVERYBODY, NOBODY, NOBODY]);
    target.exec("systemctl disable --now nftables; systemctl restart netfilter-persistent fail2ban").ok();
    target.exec("until iptables -S INPUT | grep -q f2b; do sleep 0.2; done").ok();

    bench.apply(&target, json!({ "iptables": false }), json!({}));
    let left = target.exec("iptables-save; ip6tables-save; ls /etc /etc/systemd/system /var/lib/ostler").ok().stdout;
    assert!(!left.contains("ostler-") && !left.contains("iptables.json"), "{left}");
    assert_eq!(his(), before, "his rules are as they were");
    assert_eq!(bench.apply(&target, json!({ "iptables": false }), json!({})), [""; 0]);
}
