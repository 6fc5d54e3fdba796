//! Whatever a change of sshd or firewall does to a server, it stays reachable.

use super::support::{bare, environment, prepared, server, spec};
use ostler_testkit::{
    environment::TestEnvironment,
    targets::{Lab, Source, Target, Verdict},
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Time after which a server that heard nothing puts its old settings back, in seconds.
const ROLLBACK_AFTER: u64 = 20;
/// What it may take in all until the old settings hold again: the time, and the work on a busy machine.
const BACK_WITHIN: Duration = Duration::from_secs(ROLLBACK_AFTER + 30);

/// A server that is managed already, on port 22, and its spec with sshd on another port and a firewall.
fn managed(lab: &Lab) -> (TestEnvironment, Target) {
    let environment = environment();
    let target = lab.boot_one(prepared(bare("box", 22)));
    environment.write("ostler.yaml", &spec(&[server(&target, "")]));
    environment.run(&["up", "ostler.yaml"]).ok();
    let moved = server(&target, "    ssh: { port: 2200 }\n    modules: { ufw: { preset: server-minimal } }\n");
    environment.write("ostler.yaml", &spec(&[moved]));
    (environment, target)
}

fn up(environment: &TestEnvironment) -> ostler_testkit::environment::Finished {
    environment.run(&["up", "ostler.yaml", "--rollback-after", &ROLLBACK_AFTER.to_string()])
}

/// Packets to this port are lost on their way, whatever the server's own firewall says.
fn lose(target: &Target, port: u16) {
    target
        .exec(&format!(
            "nft 'add table inet way; add chain inet way in {{ type filter hook prerouting priority -400; }}; \
             add rule inet way in tcp dport {port} drop'"
        ))
        .ok();
}

fn find_again(target: &Target) {
    target.exec("nft delete table inet way").ok();
}

fn is_open(target: &Target, port: u16) -> bool {
    target.probe(Source::Lan, port) == Verdict::Open
}

#[track_caller]
fn comes_back(target: &Target, port: u16) {
    let begun = Instant::now();
    while !is_open(target, port) {
        assert!(
            begun.elapsed() < BACK_WITHIN,
            "port {port} is not back; {}",
            target.exec("cat /var/lib/ostler/rollback/log").stdout
        );
        thread::sleep(Duration::from_millis(100)); // awaits the condition above
    }
    eprintln!("  back after {:.1} s", begun.elapsed().as_secs_f64());
}

/// The new settings hold once the cause is gone.
fn resumes(environment: &TestEnvironment, target: &Target) {
    environment.run(&["resume", "box", "--rollback-after", &ROLLBACK_AFTER.to_string()]).ok();
    assert!(is_open(target, 2200));
    assert!(!is_open(target, 22));
    environment.run(&["ssh", "box", "--", "true"]).ok();
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn a_port_that_nothing_reaches() {
    let Some(lab) = Lab::start() else { return };
    let (environment, target) = managed(&lab);
    lose(&target, 2200);
    let failed = up(&environment);
    assert_eq!(failed.code, 5, "{}", failed.stderr);
    assert!(failed.stderr.contains("restored its old SSH and firewall settings"), "{}", failed.stderr);
    assert!(is_open(&target, 22), "it is back when Ostler says so");
    assert!(target.exec("ufw status").stdout.contains("inactive"), "the firewall is as it was: off");
    environment.run(&["ssh", "box", "--", "true"]).ok();
    find_again(&target);
    resumes(&environment, &target);
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn a_firewall_that_drops_us() {
    let Some(lab) = Lab::start() else { return };
    let (environment, target) = managed(&lab);
    // Somebody's own rules, which come to life when ufw is switched on.
    target
        .exec("sed -i 's/^# End required lines/&\\n-A ufw-before-input -p tcp --syn -j DROP/' /etc/ufw/before.rules")
        .ok();
    let failed = up(&environment);
    assert_eq!(failed.code, 5, "{}", failed.stderr);
    assert!(is_open(&target, 22));
    target.exec("sed -i '/--syn -j DROP/d' /etc/ufw/before.rules").ok();
    resumes(&environment, &target);
}

/// From ufw to an iptables that drops us; and back to ufw by itself, at no moment without rules.
#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn a_change_of_firewall_that_drops_us() {
    let Some(lab) = Lab::start() else { return };
    let (environment, target) = managed(&lab);
    up(&environment).ok();
    let modules = "    ssh: { port: 2200 }\n    modules: { iptables: { preset: server-minimal } }\n";
    environment.write("ostler.yaml", &spec(&[server(&target, modules)]));
    // Comes to life when Ostler starts the unit.
    let broken = "/etc/systemd/system/ostler-iptables.service.d";
    target.exec(&format!("mkdir {broken}; systemd-run -q --unit=web python3 -m http.server 9000")).ok();
    target.write(
        &format!("{broken}/broken.conf"),
        "[Service]\nExecStartPost=/usr/sbin/iptables -I ostler-input -p tcp --syn -j DROP\n",
    );
    let failed = never_answering(&lab, &target, 9000, || up(&environment));
    assert_eq!(failed.code, 5, "{}", failed.stderr);
    assert!(failed.stderr.contains("restored its old SSH and firewall settings"), "{}", failed.stderr);
    assert!(is_open(&target, 2200));
    let rules = target.exec("ufw status; iptables-save; ls /etc").ok().stdout;
    assert!(rules.contains("Status: active") && !rules.contains("ostler-i"), "{rules}");
    target.exec(&format!("rm -r {broken}")).ok();
    resumes(&environment, &target);
    assert!(target.exec("ufw status; iptables -S INPUT").ok().stdout.starts_with("Status: inactive"));
    assert_eq!(target.probe(Source::Lan, 9000), Verdict::Dropped);

    let modules = "    ssh: { port: 2200 }\n    modules: { ufw: { preset: server-minimal }, iptables: false }\n";
    environment.write("ostler.yaml", &spec(&[server(&target, modules)]));
    never_answering(&lab, &target, 9000, || up(&environment).ok());
    let rules = target.exec("ufw status; iptables-save; ls /etc /etc/systemd/system").ok().stdout;
    assert!(rules.contains("Status: active") && !rules.contains("ostler-i"), "{rules}");
    assert_eq!(target.probe(Source::Lan, 9000), Verdict::Dropped);
}

/// Connects to a port while the work goes on, which must not answer at any moment.
fn never_answering<T>(lab: &Lab, target: &Target, port: u16, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let prober = scope.spawn(|| {
            let (to, mut answers) = ((target.address(), port).into(), 0);
            while !done.load(Ordering::Relaxed) {
                answers += usize::from(lab.connect(Source::Lan, to, Duration::from_millis(50)).is_ok());
            }
            answers
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        assert_eq!(prober.join().expect("the prober does not panic"), 0, "a closed port answered");
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn an_sshd_that_does_not_start() {
    let Some(lab) = Lab::start() else { return };
    let (environment, target) = managed(&lab);
    // It can't listen where another listens, and ends.
    target.exec("systemd-run -q --unit=squatter python3 -m http.server 2200").ok();
    let failed = up(&environment);
    assert_eq!(failed.code, 5, "{}", failed.stderr);
    comes_back(&target, 22);
    environment.run(&["ssh", "box", "--", "true"]).ok();
    target.exec("systemctl stop squatter").ok();
    resumes(&environment, &target);
}

/// Runs `up` until sshd has moved to a port that nothing reaches.
fn until_moved(environment: &TestEnvironment, target: &Target) -> ostler_testkit::environment::Running {
    lose(target, 2200);
    // Long: what happens in between is this test's doing.
    let running = environment.start(&["up", "ostler.yaml", "--rollback-after", "60"]);
    let begun = Instant::now();
    while target.exec("ss -Hltn sport = :2200").stdout.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(120), "sshd does not move");
        thread::sleep(Duration::from_millis(100)); // awaits the condition above
    }
    running
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn a_reboot_before_the_new_settings_are_proved() {
    let Some(lab) = Lab::start() else { return };
    let (environment, target) = managed(&lab);
    let running = until_moved(&environment, &target);
    running.kill();
    assert_eq!(target.exec("test -e /var/lib/ostler/rollback/armed").code, 0, "it is not confirmed");
    target.reboot();
    assert!(is_open(&target, 22), "the old settings hold since the boot");
    resumes(&environment, &target);
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn ostler_killed_before_the_new_settings_are_proved() {
    let Some(lab) = Lab::start() else { return };
    let (environment, target) = managed(&lab);
    let running = until_moved(&environment, &target);
    running.kill();
    // The clock was set to 60 s at most 15 s ago.
    let begun = Instant::now();
    while !is_open(&target, 22) {
        assert!(begun.elapsed() < Duration::from_secs(90), "port 22 is not back");
        thread::sleep(Duration::from_millis(100)); // awaits the condition above
    }
    eprintln!("  back after {:.1} s", begun.elapsed().as_secs_f64());
    find_again(&target);
    resumes(&environment, &target);
}

/// What stands in `20-pending.conf`, and what is said of it.
const PENDING: &[(&str, &str)] = &[
    ("AllowUsers alice", "is not among AllowUsers"),
    ("ListenAddress 127.0.0.1", "sshd would no longer listen at "),
    ("AuthorizedKeysFile /etc/ssh/nobodys", "would look for the keys of ops where ours is not"),
    ("NoSuchKeyword yes", "Bad configuration option: NoSuchKeyword"),
];
/// All that a run might have touched before it was refused.
const TOUCHED: &str = "command -v sudo; getent passwd; ls /var/lib/ostler/rollback; find /etc/ssh /etc/sudoers.d -type f -exec sha256sum {} +";

/// Written after sshd has read its files, as its dates show.
fn write_pending(target: &Target, line: &str) {
    let read = "systemctl show --timestamp=unix -P ActiveEnterTimestamp ssh | tr -d @";
    target
        .exec(&format!(
            "until [ $(date +%s) -gt $({read}) ]; do sleep 0.1; done; echo '{line}' >/etc/ssh/sshd_config.d/20-pending.conf"
        ))
        .ok();
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn settings_on_the_disk_that_are_not_in_force() {
    let Some(lab) = Lab::start() else { return };
    let environment = environment();
    let targets = lab.boot([bare("box", 22), bare("fresh", 22)]);
    let [target, fresh] = &targets[..] else { panic!("two targets") };
    environment.write("ostler.yaml", &spec(&[server(target, "")]));
    environment.run(&["up", "ostler.yaml"]).ok();
    environment.write("fresh.yaml", &spec(&[server(fresh, "    user: ops\n")]));
    let refused = |target: &Target, arguments: &[&str], words: &str| {
        let before = target.exec(TOUCHED).stdout;
        let finished = environment.run(arguments);
        let said = finished.stdout + &finished.stderr;
        assert!(
            said.contains(words) && said.contains("/etc/ssh/sshd_config.d/20-pending.conf"),
            "{arguments:?}: {said}"
        );
        assert_eq!(target.exec(TOUCHED).stdout, before, "nothing is touched");
        finished.code
    };
    for (line, words) in PENDING {
        write_pending(target, line);
        assert_eq!(refused(target, &["up", "ostler.yaml"], words), 5);
        refused(target, &["plan", "ostler.yaml"], words);
    }
    // An account that is yet to be made counts too.
    write_pending(fresh, "AllowUsers root");
    assert_eq!(refused(fresh, &["up", "fresh.yaml"], "ops is not among AllowUsers"), 5);
    target.exec("rm /etc/ssh/sshd_config.d/20-pending.conf").ok();
    environment.run(&["up", "ostler.yaml"]).ok();
}

/// While Ostler sets up a server, somebody writes a typing error, and a role masks the socket by which sshd listens. Then Ostler dies.
#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn ostler_killed_once_the_clock_runs() {
    let Some(lab) = Lab::start() else { return };
    let environment = environment();
    let targets = lab.boot([bare("typo", 22), bare("masked", 22)]);
    targets[1].exec("systemctl -q disable ssh.service; systemctl -q enable ssh.socket; systemctl stop ssh.service; systemctl start ssh.socket").ok();
    environment.write("ostler.yaml", &spec(&[server(&targets[0], ""), server(&targets[1], "")]));
    let running = environment.start(&["up", "ostler.yaml", "--rollback-after", "10"]);
    let begun = Instant::now();
    for target in &targets {
        while target.exec("test -e /var/lib/ostler/rollback/armed").code != 0 {
            assert!(begun.elapsed() < Duration::from_secs(400), "{} is not armed", target.name());
            thread::sleep(Duration::from_millis(100)); // awaits the condition above
        }
    }
    targets[0].exec("echo NoSuchKeyword yes >/etc/ssh/sshd_config.d/20-typo.conf").ok();
    targets[1].exec("systemctl -q mask ssh.socket; systemctl stop ssh.socket ssh.service").ok();
    running.kill();
    let begun = Instant::now();
    for target in &targets {
        while target.exec("test -e /var/lib/ostler/rollback/rolled-back").code != 0 {
            assert!(begun.elapsed() < BACK_WITHIN, "{}", target.exec("cat /var/lib/ostler/rollback/log").stdout);
            thread::sleep(Duration::from_millis(100)); // awaits the condition above
        }
        assert!(is_open(target, 22));
        environment.run(&["ssh", target.name(), "--", "true"]).ok();
    }
    assert!(targets[1].exec("systemctl is-enabled ssh.socket").stdout.starts_with("enabled"));
}
