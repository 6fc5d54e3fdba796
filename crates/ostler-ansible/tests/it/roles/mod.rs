//! The roles on real servers: what a module promises, seen from outside. Where there can be no targets, or this build carries no
//! Ansible, the tests say so and pass.

use async_trait::async_trait;
use ostler_ansible::{AnsibleEngine, has_bundle, module_catalog};
use ostler_core::{
    Result,
    event::{AnsibleReport, TaskOutcome, TaskResult},
    ids::RunId,
    ports::{Engine, Playbook, RunHost, RunObserver, RunRequest, RunSummary, Transport},
    spec::Strategy,
};
use ostler_testkit::targets::{Lab, Source, Target, TargetOptions, Verdict};
use serde_json::{Value, json};
use std::{
    fs, io,
    net::{IpAddr, SocketAddr, TcpListener},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use Verdict::{Dropped, Open, Refused};

mod firewall;
mod owners;

/// A lab, a key that its targets accept, and the engine.
struct Bench {
    lab: Lab,
    dir: tempfile::TempDir,
    engine: AnsibleEngine,
}

impl Bench {
    fn start() -> Option<Self> {
        if !has_bundle() {
            eprintln!("skipped: this build carries no Ansible; run `cargo xtask bundle` first");
            return None;
        }
        let lab = Lab::start()?;
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap();
        assert!(made.success());
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp/ostler-ansible");
        let engine = AnsibleEngine::new(&root, dir.path());
        Some(Self { lab, dir, engine })
    }

    fn boot(&self, options: TargetOptions) -> Target {
        self.boot_all([options]).remove(0)
    }

    fn boot_all(&self, options: impl IntoIterator<Item = TargetOptions>) -> Vec<Target> {
        let key = fs::read_to_string(self.dir.path().join("key.pub")).unwrap();
        self.lab.boot(options.into_iter().map(|options| options.key(key.trim()).package("python3").package("sudo")))
    }

    /// Runs the playbook with these modules (`true`, `false` or settings) and other variables; the tasks that changed something.
    fn apply(&self, target: &Target, modules: Value, others: Value) -> Vec<String> {
        self.run(target, modules, others).unwrap_or_else(|failed| {
            panic!("{}: {:?} {:?}", failed.task, failed.msg, failed.stderr);
        })
    }

    fn run(&self, target: &Target, modules: Value, others: Value) -> Result<Vec<String>, Box<TaskResult>> {
        self.run_on(&[target], modules, others, false).pop().expect("one host").result
    }

    /// One run for all these servers, in check mode or not; what came of it, for each.
    fn run_on(&self, targets: &[&Target], modules: Value, others: Value, check: bool) -> Vec<Ran> {
        let each: Vec<_> = targets.iter().map(|target| (*target, modules.clone())).collect();
        self.run_each(&each, others, check)
    }

    /// The same where each server has modules of its own.
    fn run_each(&self, servers: &[(&Target, Value)], others: Value, check: bool) -> Vec<Ran> {
        let hosts =
            servers.iter().map(|(target, modules)| self.host(target, host_vars(modules.clone(), others.clone())));
        let request = RunRequest {
            playbook: Playbook::Site,
            catalog: None,
            run: RunId::new(),
            hosts: hosts.collect(),
            strategy: Strategy::Mitogen,
            check,
        };
        let observer = Observer::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let summary = runtime.block_on(self.engine.run(request, &observer)).unwrap();
        let reports = observer.0.into_inner().unwrap();
        servers.iter().map(|(target, _)| Ran::new(target.name(), &reports, &summary)).collect()
    }

    fn host(&self, target: &Target, vars: Value) -> RunHost {
        let known_hosts = self.dir.path().join(target.name());
        fs::write(&known_hosts, format!("{} {}\n", target.name(), target.host_key())).unwrap();
        let key = self.dir.path().join("key");
        let options = [
            format!("UserKnownHostsFile={}", known_hosts.display()),
            format!("IdentityFile={}", key.display()),
            format!("HostKeyAlias={}", target.name()),
            "IdentitiesOnly=yes".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
        ];
        let ssh_args = ["-F", "none"].map(str::to_owned).into_iter();
        RunHost {
            name: serde_json::from_value(json!(target.name())).unwrap(),
            transport: Transport {
                address: target.ssh(),
                user: target.account().to_owned(),
                ssh_args: ssh_args.chain(options.into_iter().flat_map(|option| ["-o".to_owned(), option])).collect(),
                agent_socket: self.dir.path().join("no-agent"),
            },
            vars: serde_json::from_value(vars).unwrap(),
            secrets: Default::default(),
            secret_vars: Default::default(),
        }
    }
}

/// What came of a run for one server.
struct Ran {
    /// The tasks that changed something, or the one that failed.
    result: Result<Vec<String>, Box<TaskResult>>,
    warnings: Vec<String>,
}

impl Ran {
    fn new(host: &str, reports: &[AnsibleReport], summary: &RunSummary) -> Self {
        let mut results = Vec::new();
        let mut warnings = Vec::new();
        for report in reports {
            match report {
                AnsibleReport::TaskResult(result) if result.host == host => results.push((**result).clone()),
                AnsibleReport::Warning { host: Some(of), message } if of == host => warnings.push(message.clone()),
                _ => {}
            }
        }
        let over = [TaskOutcome::Failed, TaskOutcome::Unreachable];
        let failed = results.iter().find(|result| over.contains(&result.result) && !result.ignored).cloned();
        assert!(failed.is_some() || !results.is_empty() && summary.hosts[host].failures == 0, "{summary:?}");
        let changed = results.into_iter().filter(|result| result.result == TaskOutcome::Changed);
        let result =
            failed.map_or_else(|| Ok(changed.map(|result| result.task).collect()), |failed| Err(Box::new(failed)));
        Self { result, warnings }
    }

    /// The tasks that changed something.
    #[track_caller]
    fn well(self) -> Vec<String> {
        self.result.unwrap_or_else(|failed| panic!("{}: {:?} {:?}", failed.task, failed.msg, failed.stderr))
    }

    /// The words of the task that failed.
    #[track_caller]
    fn fault(self) -> String {
        let failed = self.result.expect_err("a task fails");
        format!("{}: {}", failed.task, failed.msg.unwrap_or_default())
    }

    fn warned(&self, words: &str) -> bool {
        self.warnings.iter().any(|warning| warning.contains(words))
    }
}

/// In the shape that the roles read, with the defaults of what is not named.
fn host_vars(modules: Value, mut vars: Value) -> Value {
    let mut switches = json!({});
    let mut packages = Vec::new();
    for meta in module_catalog().unwrap() {
        let Some(wanted) = modules.get(&meta.name) else { continue };
        switches[&meta.name] = json!(wanted != false);
        if wanted != false {
            packages.extend(meta.packages);
            let mut settings = json!({});
            for (name, setting) in &meta.settings {
                settings[name] = wanted.get(name).cloned().unwrap_or_else(|| json!(setting.default));
            }
            vars[&meta.name] = settings;
        }
    }
    vars["modules"] = switches;
    vars["ostler_packages"] = json!(packages);
    vars
}

#[derive(Default)]
struct Observer(Mutex<Vec<AnsibleReport>>);

#[async_trait]
impl RunObserver for Observer {
    async fn child_started(&self, _: u32, _: u64, _: String) -> Result<()> {
        Ok(())
    }

    async fn report(&self, report: AnsibleReport) {
        self.0.lock().unwrap().push(report);
    }
}

/// Who gets through to this port: the internet by IPv4 and IPv6, the LAN by IPv4 and by unique local IPv6.
fn reached(target: &Target, port: u16) -> [bool; 4] {
    verdicts(target, port).map(|verdict| verdict != Dropped)
}

/// What becomes of a connection from each source, all at once.
fn verdicts(target: &Target, port: u16) -> [Verdict; 4] {
    thread::scope(|scope| {
        let probes = Source::ALL.map(|source| scope.spawn(move || target.probe(source, port)));
        probes.map(|probe| probe.join().expect("a probe does not panic"))
    })
}

/// The modules that are firewalls.
const FIREWALLS: [&str; 2] = ["ufw", "iptables"];
const EVERYBODY: [bool; 4] = [true; 4];
const NOBODY: [bool; 4] = [false; 4];
const LAN: [bool; 4] = [false, false, true, true];

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn each_preset_of_the_firewall_lets_in_whom_its_table_says() {
    let Some(bench) = Bench::start() else { return };
    let targets = bench.boot_all(FIREWALLS.map(TargetOptions::new));
    let port = |port: u16, scope: &str| json!({ "app": "shop", "port": port, "proto": "tcp", "scope": scope });
    let apps = json!({ "ostler_app_ports": [port(8001, "public"), port(8002, "lan"), port(8003, "local")] });
    let run = |settings: Value, others: &Value, check: bool| -> Vec<Vec<String>> {
        let each: Vec<_> =
            targets.iter().zip(FIREWALLS).map(|(target, name)| (target, json!({ name: settings.clone() }))).collect();
        bench.run_each(&each, others.clone(), check).into_iter().map(Ran::well).collect()
    };
    let see = |ports: [u16; 7], expected: [[bool; 4]; 7], when: &str| {
        thread::scope(|scope| {
            let looks: Vec<_> =
                targets.iter().map(|target| scope.spawn(move || ports.map(|port| reached(target, port)))).collect();
            for (look, name) in looks.into_iter().zip(FIREWALLS) {
                assert_eq!(look.join().expect("a look does not panic"), expected, "{name}: {when}");
            }
        });
    };
    for changes in run(json!({}), &apps, true) {
        let task = "Keep the firewall on, with exactly the wanted rules";
        assert!(changes.iter().any(|change| change == task), "a bare server can be looked at: {changes:?}");
    }
    // SSH, 80, another port, those of an app (public, lan, local), and one of a rule.
    let ports = [22, 80, 9000, 8001, 8002, 8003, 7000];
    let table = [
        ("server-minimal", [EVERYBODY, NOBODY, NOBODY, EVERYBODY, LAN, NOBODY, EVERYBODY]),
        ("web", [EVERYBODY, EVERYBODY, NOBODY, EVERYBODY, LAN, NOBODY, EVERYBODY]),
        ("custom", [EVERYBODY, NOBODY, NOBODY, NOBODY, NOBODY, NOBODY, EVERYBODY]),
        ("lan-only", [LAN, LAN, LAN, LAN, LAN, LAN, EVERYBODY]),
    ];
    for (preset, expected) in table {
        let settings = json!({ "preset": preset, "allow": ["7000/tcp"] });
        run(settings.clone(), &apps, false);
        see(ports, expected, preset);
        assert_eq!(run(settings, &apps, false), [[""; 0]; 2], "a second run changes something: {preset}");
    }
    for (target, name) in targets.iter().zip(FIREWALLS) {
        let meta = module_catalog().unwrap().into_iter().find(|meta| meta.name == name).unwrap();
        assert!(!meta.promises.is_empty());
        for promise in meta.promises {
            target.exec(&promise.check).ok();
        }
    }
    // The port of an app that is gone is closed. SSH is closed whatever else lets it in, and the server itself gets in.
    for target in &targets {
        target.exec("iptables -I INPUT -p tcp --dport 22 -j ACCEPT").ok();
    }
    let settings = json!({ "allow": ["22/tcp", "any from lan"] });
    run(settings, &json!({ "ostler_ssh_open": false }), false);
    see(ports, [NOBODY, LAN, LAN, LAN, LAN, LAN, LAN], "SSH is closed");
    for target in &targets {
        let greeting = target.exec("bash -c 'exec 3<>/dev/tcp/127.0.0.1/22; head -c 8 <&3'").ok().stdout;
        assert_eq!(greeting, "SSH-2.0-", "{}", target.name());
    }
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn switched_off_gives_back_what_was_there() {
    let Some(bench) = Bench::start() else { return };
    let target = bench.boot(TargetOptions::new("before").package("ufw"));
    let off = json!({
        "accounts": false, "audit": false, "baseline_tools": false, "fail2ban": false, "iptables": false, "qemu_guest_agent": false,
        "sysctl_hardening": false, "time_sync": false, "ufw": false, "unattended_upgrades": false,
    });
    assert!(bench.apply(&target, off.clone(), json!({})).is_empty(), "where nothing was on, something changes");

    let look = "sysctl net.ipv4.tcp_rfc1337 net.ipv4.conf.all.send_redirects; cd /etc; ls sysctl.d fail2ban ufw 2>/dev/null; \
                iptables -S INPUT 2>/dev/null | head -1";
    let before = target.exec("sysctl net.ipv4.tcp_rfc1337 net.ipv4.conf.all.send_redirects").stdout;
    let texts = "cat /etc/issue /etc/issue.net /etc/login.defs /etc/pam.d/common-password /etc/ufw/sysctl.conf";
    let texts_before = target.exec(texts).ok().stdout;
    // A firewall that somebody has set up by hand.
    target.exec("ufw limit 22/tcp && ufw allow 9000/tcp && ufw deny 80/tcp && ufw --force enable").ok();
    let sums = "md5sum /etc/ufw/user.rules /etc/ufw/user6.rules /etc/default/ufw /etc/ufw/after.init";
    let his = target.exec(sums).ok().stdout;

    let on = json!({
        "accounts": true, "audit": true, "fail2ban": true, "time_sync": true, "ufw": { "preset": "web" },
        "sysctl_hardening": { "extra": ["net.ipv4.tcp_fin_timeout = 17"] }, "unattended_upgrades": true,
    });
    bench.apply(&target, on.clone(), json!({}));
    assert!(bench.apply(&target, on, json!({})).is_empty(), "a second run changes something");
    let state = target.exec(&format!("{look}; systemctl is-active fail2ban; sysctl net.ipv4.tcp_fin_timeout")).stdout;
    assert!(state.contains("90-ostler.conf") && state.contains("\nactive\n") && state.contains("= 17"), "{state}");
    // A weak password is refused, and what changed in /etc is named.
    let state = target
        .exec(
            "useradd ann; echo ann:Blue-Tractor-17 | chpasswd; su ann -c \"printf 'Blue-Tractor-17\nred5\nred5\n' | passwd\" 2>&1; \
             grep -c Authorized /etc/issue; sysctl net.ipv4.conf.all.log_martians; \
             systemctl start ostler-aide; touch /etc/dropped; systemctl start ostler-aide; \
             journalctl -o cat -u ostler-aide | grep /etc/dropped; systemctl is-active ostler-aide.timer",
        )
        .stdout;
    assert!(state.contains("BAD PASSWORD") && state.contains("1\nnet.ipv4.conf.all.log_martians = 1\n"), "{state}");
    assert!(state.contains("/etc/dropped\n") && state.ends_with("\nactive\n"), "{state}");
    assert_eq!([22, 9000, 443, 80].map(|port| reached(&target, port)), [EVERYBODY, EVERYBODY, EVERYBODY, NOBODY]);

    bench.apply(&target, off.clone(), json!({}));
    assert_eq!(target.exec(sums).ok().stdout, his, "his firewall is not as he left it");
    assert_eq!([22, 9000, 443, 80].map(|port| reached(&target, port)), [EVERYBODY, EVERYBODY, NOBODY, NOBODY]);
    assert_eq!(target.exec("sysctl net.ipv4.tcp_rfc1337 net.ipv4.conf.all.send_redirects").stdout, before);
    assert_eq!(target.exec(texts).ok().stdout, texts_before);
    let left = target
        .exec(
            "grep -rl 'Managed by Ostler' /etc; systemctl is-active fail2ban; cat /etc/apt/apt.conf.d/20auto-upgrades",
        )
        .stdout;
    assert!(left.starts_with("inactive\n") && left.contains("Unattended-Upgrade \"0\""), "{left}");
    assert!(bench.apply(&target, off, json!({})).is_empty(), "switching off again changes something");
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn attackers_are_banned_on_the_real_port_and_nobody_else() {
    let Some(bench) = Bench::start() else { return };
    let target = bench.boot(TargetOptions::new("besieged").port(2222));
    let modules = json!({ "fail2ban": { "max_retry": 3 } });
    let ssh =
        json!({ "ssh": { "enabled": true, "auth": "key-only", "root_login": "prohibit-password", "port": 2222 } });
    bench.apply(&target, modules.clone(), ssh.clone());
    for address in ["198.51.100.66", "2001:db8:ffff::66"] {
        let attacker = Source::Internet(address.parse().unwrap());
        let to = if address.contains(':') { target.public_v6().into() } else { target.address().into() };
        for _ in 0..3 {
            fail_to_log_in(&bench.lab, attacker, SocketAddr::new(to, 2222));
        }
        let begun = Instant::now();
        while target.probe(attacker, 2222) == Open {
            assert!(begun.elapsed() < Duration::from_secs(30), "{address} is not banned");
            thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(target.probe(attacker, 80), Refused, "more than SSH is closed");
    }
    assert_eq!(Source::ALL.map(|source| target.probe(source, 2222)), [Open; 4], "others are banned too");
    assert!(bench.apply(&target, modules, ssh).is_empty(), "a second run changes something");
}

/// One real login that fails: OpenSSH talks to the target as if it came from `source`.
fn fail_to_log_in(lab: &Lab, source: Source, to: SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut ssh = Command::new("ssh")
        .args(["-F", "none", "-p", &port, "-o", "BatchMode=yes", "-o", "PubkeyAuthentication=no"])
        .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "nobody-here@127.0.0.1", "true"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut inner, _) = listener.accept().unwrap();
    let mut outer = lab.connect(source, to, Duration::from_secs(10)).unwrap();
    let (mut from_ssh, mut to_target) = (inner.try_clone().unwrap(), outer.try_clone().unwrap());
    let sender = thread::spawn(move || io::copy(&mut from_ssh, &mut to_target));
    // Ends when sshd has said no, and ssh goes.
    let _ = io::copy(&mut outer, &mut inner);
    drop(inner);
    assert!(!ssh.wait().unwrap().success());
    let _ = outer.shutdown(std::net::Shutdown::Both);
    let _ = sender.join().unwrap();
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn sshd_obeys_whatever_is_configured_already() {
    let Some(bench) = Bench::start() else { return };
    let target = bench.boot(TargetOptions::new("configured"));
    let his = "Port 22\nPort 2200\nPermitRootLogin yes\nListenAddress 0.0.0.0:22\nListenAddress [::]:22\nUsePAM yes\n\
               Include /etc/ssh/sshd_config.d/*.conf\nPasswordAuthentication yes\n";
    target.write("/etc/ssh/sshd_config", his);
    target.write("/etc/ssh/sshd_config.d/00-his.conf", "PasswordAuthentication yes\nMaxAuthTries 4\n");
    let ssh = |port: u16| json!({ "ssh": { "enabled": true, "auth": "key-only", "root_login": "prohibit-password", "port": port } });
    bench.apply(&target, json!({}), ssh(22));
    let settings = target
        .exec("sshd -T | grep -E '^(port|permitrootlogin|passwordauthentication|maxauthtries) ' | sort")
        .ok()
        .stdout;
    assert_eq!(settings, "maxauthtries 4\npasswordauthentication no\npermitrootlogin without-password\nport 22\n");
    assert!(bench.apply(&target, json!({}), ssh(22)).is_empty(), "a second run changes something");

    // `Match all` is everybody, and gives way; another block stays. sshd judges nobody without a port where there is `LocalPort`.
    target.write(
        "/etc/ssh/sshd_config.d/80-his.conf",
        "Match LocalPort 22 User ann\n  X11Forwarding yes\nMatch all\n  PasswordAuthentication yes\n",
    );
    let mut known = ssh(22);
    known["ostler_host_keys"] = json!(["ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY="]);
    bench.apply(&target, json!({}), known.clone());
    let judged = "sshd -T -C user=ann,host=x,addr=192.0.2.7,laddr=192.0.2.8,lport=22 | \
                  grep -E '^(passwordauthentication|x11forwarding|hostkeyalgorithms) ' | sort";
    let judged = target.exec(judged).ok().stdout;
    assert!(
        judged.contains(",rsa-sha2-256,ecdsa-sha2-nistp256\npasswordauthentication no\nx11forwarding yes"),
        "{judged}"
    );
    assert!(bench.apply(&target, json!({}), known).is_empty(), "a second run changes something");
    target.exec("rm /etc/ssh/sshd_config.d/80-his.conf").ok();

    // What sshd would not start with is refused, and nothing is written.
    target.write("/etc/ssh/sshd_config.d/90-his.conf", "Nonsense yes\n");
    let before = target.read("/etc/ssh/sshd_config.d/00-ostler.conf");
    let failed = bench.run(&target, json!({}), ssh(2022)).unwrap_err();
    assert!(failed.msg.as_deref().unwrap_or_default().contains("/etc/ssh/sshd_config.d/90-his.conf"), "{failed:?}");
    assert_eq!(target.read("/etc/ssh/sshd_config.d/00-ostler.conf"), before);
    target.exec("rm /etc/ssh/sshd_config.d/90-his.conf").ok();

    // The port moves under a firewall that takes over from another, from a socket of systemd's.
    bench.apply(&target, json!({ "ufw": true }), ssh(22));
    target.exec("systemctl disable --now ssh.service; systemctl enable --now ssh.socket").ok();
    let changed = bench.apply(&target, json!({ "iptables": true }), ssh(2022));
    let verdicts = [22, 2022].map(|port| Source::ALL.map(|source| target.probe(source, port)));
    let listening = target.exec("ss -Hltnp").stdout;
    assert_eq!(verdicts, [[Dropped; 4], [Open; 4]], "{changed:?}\n{listening}");
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn published_ports_of_containers_obey_the_firewall() {
    let Some(bench) = Bench::start() else { return };
    let packages = ["docker.io", "docker-cli", "busybox-static"];
    let options = packages.into_iter().fold(TargetOptions::new("docked").docker(), TargetOptions::package);
    let target = bench.boot(options);
    target.write(
        "/etc/docker/daemon.json",
        r#"{"ipv6": true, "fixed-cidr-v6": "fd00:d0c::/64", "ip6tables": true, "experimental": true}"#,
    );
    let start = "systemctl restart docker && mkdir -p /tmp/image/bin && cp /usr/bin/busybox /tmp/image/bin && \
                 tar -C /tmp/image -c . | docker import - tiny:1 && \
                 for port in 8080 8081 443; do docker run -d --restart=always -p $port:80 tiny:1 /bin/busybox httpd -f -p 80; done && \
                 iptables -I DOCKER-USER -s 203.0.113.66 -j DROP";
    target.exec(start).ok();
    let see = |expected: [[bool; 4]; 3], when: &str| {
        let table = || [8080, 8081, 443].map(|port| verdicts(&target, port).map(|verdict| verdict == Open));
        let open = |table: [[bool; 4]; 3]| {
            table.iter().flatten().zip(expected.iter().flatten()).all(|(open, expected)| *open || !expected)
        };
        // A container answers once its program listens and its IPv6 address has been checked for duplicates.
        let begun = Instant::now();
        while !open(table()) && begun.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(table(), expected, "{when}");
    };
    see([EVERYBODY; 3], "Docker opens them");
    // A metadata service, one hop away.
    let cloud = "ip netns add cloud && ip link add cloud0 type veth peer name eth0 netns cloud && \
                 ip addr add 169.254.169.1/24 dev cloud0 && ip link set cloud0 up && \
                 ip -n cloud addr add 169.254.169.254/24 dev eth0 && ip -n cloud link set eth0 up && \
                 ip -n cloud route add default via 169.254.169.1 && ip netns exec cloud busybox httpd -p 80";
    target.exec(cloud).ok();
    let metadata = || {
        let ask = "wget -T 3 -q -O /dev/null http://169.254.169.254/ 2>&1 | grep -q 404";
        target.exec(&format!("busybox {ask}")).ok();
        target
            .exec(&format!(
                "docker exec $(docker ps -q | head -1) /bin/busybox sh -c '/bin/busybox {}'",
                ask.replace("grep", "/bin/busybox grep")
            ))
            .code
            == 0
    };
    assert!(metadata(), "nothing holds it back yet");

    // A port that a container publishes is taken, unless an earlier run gave it to that app.
    let front = json!({ "app": "front", "packages": ["nginx"], "port": 8080, "proto": "tcp", "scope": "public" });
    let front = json!({ "ostler_app_ports": [front] });
    let fault = bench.run_on(&[&target], json!({}), front.clone(), true).remove(0).fault();
    assert!(fault.contains("port 8080 is held by the container `") && fault.contains("(docker-proxy, pid "), "{fault}");
    target.exec(r#"mkdir -p /var/lib/ostler; echo '{"8080/tcp": "front"}' >/var/lib/ostler/ports.json"#).ok();
    bench.run_on(&[&target], json!({}), front, true).remove(0).well();

    let modules = json!({ "ufw": { "preset": "web", "allow": ["8080/tcp from lan"] } });
    let expected = [LAN, NOBODY, EVERYBODY];
    bench.apply(&target, modules.clone(), json!({}));
    see(expected, "after the first run");
    assert!(bench.apply(&target, modules, json!({})).is_empty(), "a second run changes something");
    let outbound = format!(
        "docker exec $(docker ps -q | head -1) /bin/busybox sh -c 'echo | /bin/busybox nc -w 3 {} 22 | head -c 8'",
        target.address()
    );
    assert_eq!(target.exec(&outbound).ok().stdout, "SSH-2.0-", "what a container sends is held up");
    assert!(!metadata(), "a container reaches the metadata service");
    target.exec("ufw reload && systemctl restart docker").ok();
    see(expected, "after a reload and a restart");
    assert!(target.exec("iptables -S DOCKER-USER").ok().stdout.contains("203.0.113.66"), "a rule of the user is gone");
    target.reboot();
    see(expected, "after a reboot");

    // In place of ufw, at no moment without rules.
    target.exec(&format!("{cloud}; iptables -A DOCKER-USER -s 203.0.113.66 -j DROP")).ok();
    let modules = json!({ "ufw": false, "iptables": { "preset": "web", "allow": ["8080/tcp from lan"] } });
    while_closed(&bench, &target, &[8081, 9000], || {
        bench.apply(&target, modules.clone(), json!({}));
        see(expected, "by iptables");
        target.exec("systemctl restart docker").ok();
        see(expected, "by iptables, after a restart of Docker");
    });
    assert!(target.exec("ufw status").ok().stdout.contains("inactive"), "ufw is off");
    let rules = target.exec("iptables -S").ok().stdout;
    assert!(rules.contains("203.0.113.66") && !rules.contains("-A ufw"), "{rules}");
    assert!(bench.apply(&target, modules, json!({})).is_empty(), "a second run of iptables changes something");
    assert!(!metadata(), "a container reaches the metadata service past iptables");
    target.reboot();
    see(expected, "by iptables, after a reboot");
    target.write("/etc/docker/daemon.json", r#"{"firewall-backend": "nftables"}"#);
    let fault = bench.run_on(&[&target], json!({ "iptables": true }), json!({}), false).remove(0).fault();
    assert!(fault.contains(r#"set `"firewall-backend": "iptables"` in /etc/docker/daemon.json"#), "{fault}");
    bench.apply(&target, json!({ "iptables": false }), json!({}));
    see([EVERYBODY; 3], "switched off");
    let left = target.exec("iptables-save; ip6tables-save").ok().stdout;
    assert!(!left.contains("ostler"), "{left}");
}

/// Connects to these ports from outside, again and again, until the work is done; none of them may answer at any moment.
fn while_closed(bench: &Bench, target: &Target, ports: &[u16], work: impl FnOnce()) {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (done, answers) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let addresses: [IpAddr; 2] = [target.address().into(), target.public_v6().into()];
    thread::scope(|scope| {
        for (source, address) in [Source::PublicV4, Source::PublicV6].into_iter().zip(addresses) {
            // Several at a time, for each waits for its answer.
            for port in ports.repeat(4) {
                let (done, answers) = (&done, &answers);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        let tried =
                            bench.lab.connect(source, SocketAddr::new(address, port), Duration::from_millis(200));
                        if !tried.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                            answers.lock().unwrap().push((source, port, tried.map(drop)));
                        }
                    }
                });
            }
        }
        let _stop = Stop(&done);
        work();
    });
    let answers = answers.into_inner().unwrap();
    assert!(answers.is_empty(), "{answers:?}");
}
