//! Throw-away targets: what tests that stand on them rely on.

use super::{Footprint, Lab, Source, Target, TargetOptions, Verdict};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::IpAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Real ssh, for which the host key is pinned; `credentials` are options and an environment.
fn ssh(dir: &Path, target: &Target, credentials: &[&str], command: &str) -> Result<String, String> {
    let known_hosts = dir.join(format!("{}.known_hosts", target.name()));
    let (address, port) = (target.address(), target.ssh().port());
    fs::write(&known_hosts, format!("[{address}]:{port} {}\n{address} {0}\n", target.host_key())).unwrap();
    let output = Command::new("ssh")
        .args([
            "-F",
            "none",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "LogLevel=ERROR",
            "-o",
            "NumberOfPasswordPrompts=1",
        ])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
        .args(credentials)
        .args(["-p", &port.to_string(), &format!("{}@{address}", target.account()), command])
        .env("SSH_ASKPASS", dir.join("askpass"))
        .env("SSH_ASKPASS_REQUIRE", "force")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()).ok_or(stderr)
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn eight_answer_within_seconds_and_let_in_whom_they_should() {
    let Some(lab) = Lab::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    assert!(
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap().success()
    );
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    fs::write(dir.path().join("askpass"), "#!/bin/sh\necho 'correct horse'\n").unwrap();
    fs::set_permissions(dir.path().join("askpass"), fs::Permissions::from_mode(0o700)).unwrap();
    let options = |number: usize| {
        let options = TargetOptions::new(&format!("t{number}"));
        match number {
            0 => options.password("correct horse").port(2222),
            1 => options.sudo_user("admin").password("correct horse"),
            2 => options.sudo_user("admin").passwordless_sudo().key(&public),
            _ => options.key(&public),
        }
    };
    // The roots are made once for all runs.
    drop(lab.boot([options(0), options(1)]));
    let begun = Instant::now();
    let targets = lab.boot((0..8).map(options));
    eprintln!("8 targets answer SSH after {:.1} s", begun.elapsed().as_secs_f64());
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(targets[3].exec("ls /sys/class/net").stdout, "host0\nlo\n", "what a target knows of its own network");

    let by_password = ["-o", "PubkeyAuthentication=no"];
    let identity = key.display().to_string();
    let by_key = ["-o", "PasswordAuthentication=no", "-o", "IdentitiesOnly=yes", "-i", &identity];
    let run = |target: usize, credentials: &[&str], command| ssh(dir.path(), &targets[target], credentials, command);
    assert_eq!(run(0, &by_password, "id -un; hostname").unwrap(), "root\nt0\n");
    assert!(run(0, &by_key, "true").unwrap_err().contains("Permission denied"));
    assert_eq!(run(1, &by_password, "echo 'correct horse' | sudo -S -p '' id -un").unwrap(), "root\n");
    assert!(run(1, &by_password, "sudo -n true").unwrap_err().contains("password is required"));
    assert_eq!(run(2, &by_key, "id -un; sudo -n id -un").unwrap(), "admin\nroot\n");
    assert_eq!(run(7, &by_key, "id -un; hostname").unwrap(), "root\nt7\n");
    assert!(run(7, &by_password, "true").unwrap_err().contains("Permission denied"));

    let bare = &targets[7];
    assert_eq!(bare.exec("command -v python3 sudo").stdout, "", "a bare target has them");
    assert_eq!(bare.exec("systemctl is-system-running --wait").stdout, "running\n");
    // A service of one must not be another's.
    targets[6].exec("systemctl stop ssh").ok();
    assert!(run(7, &by_key, "systemctl is-active ssh").is_ok());
    bare.write("/etc/motd", "hello\n");
    assert_eq!(bare.read("/etc/motd"), "hello\n");
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn probes_tell_open_refused_and_dropped_from_everywhere() {
    let Some(lab) = Lab::start() else { return };
    let target = lab.boot_one(TargetOptions::new("probed"));
    for source in Source::ALL {
        assert_eq!(target.probe(source, 22), Verdict::Open, "{source:?}");
        assert_eq!(target.probe(source, 81), Verdict::Refused, "{source:?}");
        let address = source.address(&lab);
        target.exec(&format!("ip route add blackhole {address}")).ok();
        assert_eq!(target.probe(source, 22), Verdict::Dropped, "{source:?}");
        target.exec(&format!("ip route del blackhole {address}")).ok();
    }
    // The target sees the address that was asked for, and the connection can be used.
    for address in ["198.51.100.99", "2001:db8:ffff:1::99"] {
        let source = Source::Internet(address.parse().unwrap());
        let to: IpAddr = if address.contains(':') { target.public_v6().into() } else { target.address().into() };
        let mut connection = lab.connect(source, (to, 22).into(), Duration::from_secs(5)).unwrap();
        let mut banner = [0; 8];
        connection.read_exact(&mut banner).unwrap();
        assert_eq!(&banner, b"SSH-2.0-");
        let peers = target.exec("ss --no-header --tcp --numeric state established").ok().stdout;
        assert!(peers.contains(address), "{peers}");
    }
    let own = target.exec("ss --no-header --tcp --numeric --listening").ok().stdout;
    assert!(!own.contains("198.51.100"), "{own}");
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn faults_come_and_go() {
    let Some(lab) = Lab::start() else { return };
    let small = TargetOptions::new("small").disk(256 << 20).docker();
    let [target, other] = lab.boot([small, TargetOptions::new("other")]).try_into().unwrap();

    target.cut();
    assert_eq!(target.probe(Source::Lan, 22), Verdict::Dropped);
    assert_eq!(target.probe(Source::PublicV6, 22), Verdict::Dropped);
    assert_eq!(other.probe(Source::Lan, 22), Verdict::Open);
    assert!(target.exec("ip link show host0").ok().stdout.contains("LOWER_UP"), "it was told");
    target.heal();
    // Those who tried meanwhile have to find each other anew.
    let begun = Instant::now();
    while target.probe(Source::Lan, 22) != Verdict::Open {
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", target.probe(Source::Lan, 22));
        std::thread::sleep(Duration::from_millis(50)); // awaits the condition above
    }

    let update = "apt-get update -o APT::Update::Error-Mode=any -o Acquire::Retries=0";
    target.break_dns();
    assert_ne!(target.exec(update).code, 0, "it updates without DNS");
    target.mend_dns();
    target.exec(update).ok();

    target.fill_disk();
    assert_ne!(target.exec("echo text >/var/tmp/file && cat /var/tmp/file").stdout, "text\n");
    assert_eq!(other.exec("echo text >/var/tmp/file && cat /var/tmp/file").ok().stdout, "text\n");
    target.exec("dd if=/dev/zero of=/var/lib/docker/image bs=1M count=1").ok();
    target.free_disk();
    target.exec("echo text >/var/tmp/file").ok();

    let boot = |target: &Target| target.read("/proc/sys/kernel/random/boot_id");
    target.exec("ip route add blackhole 198.51.100.7").ok();
    assert_eq!(target.probe(Source::PublicV4, 22), Verdict::Dropped);
    let before = boot(&target);
    target.reboot();
    assert_ne!(boot(&target), before, "it did not reboot");
    // A route would drop it for good; while a server comes up, its sshd may begin twice.
    let begun = Instant::now();
    while target.probe(Source::PublicV4, 22) != Verdict::Open {
        assert!(begun.elapsed() < Duration::from_secs(30), "a reboot forgets the state of the network");
        thread::sleep(Duration::from_millis(100)); // awaits the condition above
    }
    assert_eq!(target.read("/var/tmp/file"), "text\n");

    target.kill();
    assert_eq!(target.probe(Source::Lan, 22), Verdict::Dropped);
    target.start();
    assert_eq!(target.read("/var/tmp/file"), "text\n");
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn nothing_is_left() {
    let Some(lab) = Lab::start() else { return };
    let target = lab.boot_one(TargetOptions::new("dropped"));
    let footprint = lab.footprint();
    assert!(footprint.left().len() >= 5, "{:?}", footprint.left());
    drop((target, lab));
    assert_eq!(footprint.left(), [""; 0]);

    // The same of a test process that is killed.
    let (child, footprint) = start_child();
    kill(child);
    let begun = Instant::now();
    while !footprint.left().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", footprint.left());
        thread::sleep(Duration::from_millis(20)); // awaits the condition above
    }

    // If the keeper is killed too, the next lab sweeps up.
    let (child, footprint) = start_child();
    assert!(Command::new("kill").args(["-KILL", &footprint.keeper.to_string()]).status().unwrap().success());
    kill(child);
    assert!(!footprint.left().is_empty());
    let _next = Lab::start().unwrap();
    assert_eq!(footprint.left(), [""; 0]);
}

/// This test program with a lab of its own.
fn start_child() -> (Child, Footprint) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "targets::tests::is_killed", "--ignored", "--nocapture"]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let footprint: Footprint = lines.find_map(|line| serde_json::from_str(line.trim()).ok()).unwrap();
    assert!(footprint.left().len() >= 5, "{:?}", footprint.left());
    (child, footprint)
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
#[ignore = "run and killed by nothing_is_left"]
fn is_killed() {
    let Some(lab) = Lab::start() else { return };
    let _targets = lab.boot([TargetOptions::new("first"), TargetOptions::new("second")]);
    println!("\n{}", serde_json::to_string(&lab.footprint()).unwrap());
    thread::sleep(Duration::from_secs(60)); // awaits its end
}
