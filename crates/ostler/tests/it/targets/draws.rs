//! Servers by chance, changes by chance, and the guard killed at a moment by chance: each is reachable again, as it was.
//!
//! `OSTLER_DRAWS` says how many (20), `OSTLER_SEED` which (1); a draw that fails names the seed that repeats it alone. The guard is driven
//! directly, by the scripts in the source tree, so a draw takes seconds; runs of Ostler itself are killed in `lockout.rs`.

use super::{
    server_draw::{Death, Draw},
    support::{environment, key_lets_in, prepared},
};
use ostler_testkit::{
    environment::TestEnvironment,
    targets::{Lab, Target, TargetOptions},
};
use std::{
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What the guard's clock is set to once Ostler is silent, in seconds.
const CLOCK: u64 = 1;
/// What it may take in all until the old settings hold again, on a machine that does other things too.
const BACK_WITHIN: Duration = Duration::from_secs(CLOCK + 90);
/// How many servers at once.
const WORKERS: usize = 4;
/// Draws of one lab, which has a few more addresses.
const LAB: usize = 200;

/// Draws that found a fault once, played each time: a power cut, and a watch that was killed before it had put anything back.
const FOUND_A_FAULT: [u64; 3] = [26, 48, 1095];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn servers_by_chance_stay_reachable() {
    let (draws, seed) = (number("OSTLER_DRAWS", 20), number("OSTLER_SEED", 1));
    eprintln!("{draws} draws from seed {seed}");
    let environment = environment();
    let failed = Mutex::new(Vec::new());
    let seeds: Vec<u64> = FOUND_A_FAULT.into_iter().filter(|_| draws > 1).chain(seed..seed + draws).collect();
    for seeds in seeds.chunks(LAB) {
        let Some(lab) = Lab::start() else { return };
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let draw = Draw::new(*seed);
                        let begun = Instant::now();
                        let tried =
                            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(&lab, &environment, &draw)));
                        let verdict = match tried {
                            Ok(Ok(back)) => format!("back after {:.1} s", back.as_secs_f64()),
                            Ok(Err(why)) => format!("FAILED: {why}"),
                            Err(_) => "FAILED: panicked".to_owned(),
                        };
                        eprintln!("  {draw:?}: {verdict} ({:.0} s in all)", begun.elapsed().as_secs_f64());
                        if verdict.starts_with("FAILED") {
                            failed.lock().expect("no panic while held").push(format!("{draw:?}\n{verdict}"));
                        }
                    }
                });
            }
        });
    }
    let failed = failed.into_inner().expect("no panic while held");
    assert!(failed.is_empty(), "{} of {draws} draws failed:\n{}", failed.len(), failed.join("\n"));
}

/// How long it took from the guard's last clock until the old settings held; or what is wrong.
fn play(lab: &Lab, environment: &TestEnvironment, draw: &Draw) -> Result<Duration, String> {
    let key = fs::read_to_string(environment.path().join("id_ed25519.pub")).expect("the key");
    let mut options = TargetOptions::new(&format!("draw{}", draw.seed)).port(draw.port).key(&key);
    if draw.needs_small_disk() {
        options = options.disk(96 << 20);
    }
    let target = lab.boot_one(prepared(options));
    let run = |what: &str, script: &str| {
        let finished = target.exec(&format!("exec 2>&1\n{script}"));
        if finished.code == 0 { Ok(finished.stdout) } else { Err(format!("{what}: {}", finished.stdout)) }
    };
    install(&target);
    run("the server can't be set up", &draw.server(&target.address().to_string()))?;
    if !lets_in(environment, &target, draw.port) {
        return Err(format!("the draw itself is not reachable: {}", target.exec("sshd -T; ss -Hltnp").stdout));
    }
    run("the pending settings can't be written", draw.pending())?;
    let sums = run("the files can't be read", SUMS)?;
    let arm = format!("arm 600 {} {} {} root", lab.host(), target.address(), draw.port);
    run("a shim", &shim(draw.death))?;
    if let Death::WhileArming(_) = draw.death {
        let _ = target.exec(&shimmed(&arm));
        if !lets_in(environment, &target, draw.port) {
            return Err("it is not reachable since it was armed".to_owned());
        }
    }
    run("it can't be armed", &format!("{CALL} {arm} && systemctl start ostler-rollback.service"))?;
    let _ = target.exec(draw.change());
    if draw.death == Death::FullDisk {
        target.fill_disk();
    }
    let armed = Instant::now();
    match draw.death {
        Death::Silence | Death::WhileArming(_) | Death::OfTheWatch(_) | Death::FullDisk => {
            run("the clock can't be set", &format!("{CALL} extend {CLOCK}"))?;
        }
        Death::OfNow(_) => drop(target.exec(&shimmed("now"))),
        Death::PowerCut => {
            target.kill();
            target.start();
        }
        Death::PowerCutWhileRestoring(_) => {
            let _ = target.exec(&shimmed("now"));
            target.kill();
            target.start();
        }
    }
    // Asked past SSH: refused logins would be penalised.
    while target.exec(UNDONE).code == 0 {
        if armed.elapsed() > BACK_WITHIN {
            return Err(format!("it is not done: {}", target.exec(STATE).stdout));
        }
        thread::sleep(Duration::from_millis(200)); // awaits the condition above
    }
    let back = armed.elapsed();
    if !lets_in(environment, &target, draw.port) {
        return Err(format!("nobody gets in: {}", target.exec(STATE).stdout));
    }
    let after = run("the files can't be read", SUMS)?;
    if after != sums {
        return Err(format!("files differ:\n{sums}\n{after}\n{}", target.exec(STATE).stdout));
    }
    if draw.needs_small_disk() {
        target.free_disk();
    }
    run("the next run can't be armed", &format!("{CALL} {arm} && {CALL} disarm"))?;
    Ok(back)
}

/// Ostler 0.1 armed it and was killed; this version finds it so, armed or in the middle of its roll-back.
#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn a_server_that_the_version_before_armed() {
    let Some(lab) = Lab::start() else { return };
    let environment = environment();
    let key = fs::read_to_string(environment.path().join("id_ed25519.pub")).expect("the key");
    let options = |name: &str| prepared(TargetOptions::new(name).key(&key));
    for (target, state) in lab.boot([options("armed"), options("restoring")]).iter().zip(["armed", "restoring"]) {
        target.exec("install -d -m 0700 /var/lib/ostler/rollback; ufw allow 22/tcp; ufw --force enable").ok();
        target.write("/var/lib/ostler/rollback/rollback", include_str!("before/rollback-0.1.sh"));
        target.write("/etc/systemd/system/ostler-rollback.service", include_str!("before/rollback-0.1.service"));
        let sums = target.exec(SUMS).stdout;
        target.exec(&format!("{CALL} arm 600 {}; systemctl start ostler-rollback", lab.host())).ok();
        let moved =
            "echo Port 2200 >/etc/ssh/sshd_config.d/00-ostler.conf; ufw delete allow 22/tcp; systemctl reload ssh";
        target.exec(moved).ok();
        if state == "restoring" {
            target.exec("systemctl stop ostler-rollback; cd /var/lib/ostler/rollback; mv armed restoring; rm /etc/ssh/sshd_config").ok();
        }
        install(target);
        target.exec("systemctl daemon-reload; systemctl restart ostler-rollback").ok();
        // What is half put back is finished first, and only then saved anew.
        let arm = format!("{CALL} arm {CLOCK} {} {} 22 root", lab.host(), target.address());
        target.exec(&format!("{arm}; systemctl start ostler-rollback")).ok();
        let begun = Instant::now();
        while target.exec(UNDONE).code == 0 {
            assert!(begun.elapsed() < BACK_WITHIN, "{}", target.exec(STATE).stdout);
            thread::sleep(Duration::from_millis(100)); // awaits the condition above
        }
        assert!(lets_in(&environment, target, 22), "{}", target.exec(STATE).stdout);
        assert_eq!(target.exec(SUMS).stdout, sums, "{state}");
    }
}

const CALL: &str = "sh /var/lib/ostler/rollback/rollback";

/// Whether the clock runs, or a roll-back.
const UNDONE: &str = "cd /var/lib/ostler/rollback; test -e armed -o -e restoring";

/// Everything that says who gets in; whatever was only staged would be among it.
const SUMS: &str = "find -L /etc/ssh /etc/ostler-iptables /etc/ufw/*.rules /etc/ufw/ufw.conf /etc/default/ufw /etc/security/access.conf /opt/sshd* /etc/sysctl.d \
    -type f ! -name 'ssh_host_*' -exec sha256sum {} + 2>/dev/null | sort -k2; test -s /etc/ssh/sshd_config";

const STATE: &str = "cd /var/lib/ostler/rollback; ls; cat log; cat saved/ssh/reached; ss -Hltnp; iptables -S INPUT; \
    systemctl --no-pager status ssh.service ssh.socket ostler-rollback ostler-sshd | tail -n 60; ls -la /etc/ssh /etc/ssh/sshd_config.d";

/// A refused login is tried once more: sshd may just be reading its files.
fn lets_in(environment: &TestEnvironment, target: &Target, port: u16) -> bool {
    (0..3).any(|_| key_lets_in(environment, target, "root", port))
}

fn install(target: &Target) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ostler-core/src/converge/scripts/guard");
    let folder = "/var/lib/ostler/rollback";
    target.exec(&format!("install -d -m 0700 /var/lib/ostler {folder} {folder}/guard.d")).ok();
    for (name, path) in [
        ("driver.sh", "rollback"),
        ("files.sh", "files"),
        ("fail2ban.sh", "guard.d/fail2ban"),
        ("iptables.sh", "guard.d/iptables"),
        ("ssh.sh", "guard.d/ssh"),
        ("sysctl.sh", "guard.d/sysctl"),
        ("ufw.sh", "guard.d/ufw"),
    ] {
        target.write(&format!("{folder}/{path}"), &fs::read_to_string(source.join(name)).expect("a script"));
    }
    let unit = fs::read_to_string(source.join("rollback.service")).expect("the unit");
    target.write("/etc/systemd/system/ostler-rollback.service", &unit);
    target.exec("systemctl -q enable ostler-rollback.service").ok();
}

/// Commands of the guard, counted: after so many of them its whole process group is killed, or its machine stops for it.
fn shim(death: Death) -> String {
    let Some(limit) = death.after() else { return String::new() };
    let end = match death {
        Death::PowerCutWhileRestoring(_) => ": >/run/shim/reached; sleep 600",
        _ => "kill -9 0",
    };
    let unit = match death {
        Death::OfTheWatch(_) => {
            "d=/run/systemd/system/ostler-rollback.service.d; mkdir -p $d; \
             printf '[Service]\\nEnvironment=PATH=/run/shim:/usr/sbin:/usr/bin\\n' >$d/shim.conf; systemctl daemon-reload"
        }
        _ => "",
    };
    format!(
        "mkdir -p /run/shim; echo 0 >/run/shim.count
        for tool in mv cp ln rm mkdir sync cat cmp find readlink stat systemctl ufw iptables iptables-restore ip6tables ip6tables-restore \
            ss awk sed grep timeout systemd-run; do
        cat >/run/shim/$tool <<'SHIM'
#!/bin/sh
read -r n </run/shim.count; n=$((n + 1)); echo $n >/run/shim.count
PATH=/usr/sbin:/usr/bin
\"${{0##*/}}\" \"$@\"
status=$?
if [ $n = {limit} ]; then {end}; fi
exit $status
SHIM
        chmod +x /run/shim/$tool; done
        {unit}"
    )
}

/// Runs the guard with its commands counted, to its end or to where the count ends.
fn shimmed(call: &str) -> String {
    format!(
        "PATH=/run/shim:$PATH setsid {CALL} {call} >/dev/null 2>&1 & \
         while kill -0 $! 2>/dev/null && [ ! -e /run/shim/reached ]; do sleep 0.1; done"
    )
}
