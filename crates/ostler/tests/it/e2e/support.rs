//! What these tests share: an image, specs, and looks at the server from inside and outside.

use super::runs::runs;
use ostler_core::server::create;
use ostler_testkit::environment::{TestEnvironment, marked_processes};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Every module.
pub const EVERYTHING: &str = "    modules:
      baseline_tools: true
      unattended_upgrades: { scope: security, auto_reboot: false }
      iptables: { preset: web }
      fail2ban: true
      qemu_guest_agent: true
      sysctl_hardening: true
      time_sync: true
      accounts: true
      audit: true
";

/// Two small modules, for tests of something else: packages to install, a service, and files of their own. `hardened` has all modules
/// on a virtual machine, and `roles` has them on targets.
pub const LITTLE: &str = "    modules: { fail2ban: true, sysctl_hardening: true }\n";

/// A server of provider `local` with this much memory and disk; `rest` says what is on it. It has one CPU: an emulated guest takes less time then,
/// for its CPUs need not wait for each other. The test on Proxmox VE has two.
pub fn spec(hardware: &str, rest: &str) -> String {
    format!(
        "servers:\n  web1:\n    provider: local\n    image: debian-13\n    \
         size: {{ cpus: 1, {hardware} }}\n    user: ops\n    authorized_keys: [ id_ed25519.pub ]\n{rest}"
    )
}

/// A fresh environment with an image and a key. The test comes first at the processors from now on: an emulated guest is what all of them wait
/// for in the end.
pub fn environment() -> TestEnvironment {
    let _ = rustix::process::setpriority_process(None, -10);
    let environment = TestEnvironment::with_images(env!("CARGO_BIN_EXE_ostler"), &images()).with_ansible();
    environment.make_key();
    environment
}

/// The images, built from packages at the first time, and again when what they are built by has changed.
fn images() -> PathBuf {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ostler-providers/src/image/build");
    let mut sources: Vec<_> =
        fs::read_dir(recipe).expect("the recipe").map(|file| file.expect("a file").path()).collect();
    sources.sort();
    let mut digest = DefaultHasher::new();
    sources.iter().for_each(|file| fs::read(file).expect("a readable file").hash(&mut digest));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/e2e");
    fs::create_dir_all(&folder).expect("a folder");
    let folder = folder.canonicalize().expect("a folder");
    // Each test is a process, and each wants it at first.
    let lock = File::create(folder.join("lock")).expect("a lock file");
    lock.lock().expect("a lock");
    let state = folder.join(format!("state-{:016x}", digest.finish()));
    let output = Command::new(env!("CARGO_BIN_EXE_ostler"))
        .arg("--state-dir")
        .arg(&state)
        .args(["image", "list", "--output", "json"])
        .output()
        .expect("ostler starts");
    if !String::from_utf8_lossy(&output.stdout).contains("debian-13") {
        let status = Command::new(env!("CARGO_BIN_EXE_ostler"))
            .arg("--state-dir")
            .arg(&state)
            .args(["image", "build", "debian-13"])
            .status()
            .expect("ostler starts");
        assert!(status.success(), "the image is built");
    }
    state.join("images")
}

/// Runs a command on the server through `ostler ssh`, and returns what it printed.
#[track_caller]
pub fn on_server(environment: &TestEnvironment, command: &str) -> String {
    environment.run(&["ssh", "web1", "--", command]).ok().stdout
}

/// The row of `ostler status`.
#[track_caller]
pub fn status(environment: &TestEnvironment) -> Value {
    let finished = environment.run(&["status", "web1", "--output", "json"]).ok();
    finished.json_lines()[0][0].clone()
}

/// Everything that provisioning decides about a server and that two servers of one spec have in common. (cloud-init writes the
/// date into its sudoers file.)
pub fn snapshot(environment: &TestEnvironment) -> String {
    on_server(
        environment,
        "sudo sh -c 'dpkg-query -W -f \"\\${db:Status-Abbrev}\\${Package}\\n\"; \
         systemctl list-unit-files --state=enabled --no-legend | sort; \
         systemctl is-active ssh fail2ban; sshd -T | sort; id ops; visudo -c; \
         cd /etc && find ssh/sshd_config.d fail2ban/jail.d sysctl.d apt/apt.conf.d sudoers.d -type f \
         ! -name 90-cloud-init-users ! -name \"*~\" -exec sha256sum {} + | sort -k2'",
    )
}

/// Makes the server, or goes on making it.
pub const UP: &[&str] = &["up", "ostler.yaml"];
/// The same with the plan that was recorded.
pub const RESUME: &[&str] = &["resume", "web1"];

/// The first step of the application, which the other tests disturb, on servers that are quicker.
const LAST: &str = "power";

/// Makes the server with `up` and `resume` in turn, and kills each as soon as it begins a step that was not killed at before.
#[track_caller]
pub fn kill_at_each_step(environment: &TestEnvironment) {
    let mut killed = BTreeSet::new();
    loop {
        let verb = if killed.len() % 2 == 0 { UP } else { RESUME };
        let mut running = environment.start(verb);
        let new = |event: &Value| {
            let step = event["step"].as_str().filter(|_| event["event"] == "step_started")?;
            (!killed.contains(step)).then(|| step.to_owned())
        };
        let step = running.wait_for(new).expect("the creation comes to its end");
        eprintln!("  killed at {step}");
        running.kill();
        if step == LAST {
            break;
        }
        killed.insert(step);
        assert!(killed.len() <= 20, "it does not come to an end: {killed:?}");
    }
    let all = create::steps().into_iter().map(|step| step.name.to_owned());
    assert_eq!(killed, all.collect(), "killed at every step");
}

/// Command lines of this environment's processes.
pub fn processes_of(environment: &TestEnvironment) -> Vec<String> {
    marked_processes(&environment.markers()).into_iter().map(|(_, cmdline)| cmdline).collect()
}

/// Destroys the server, and checks that nothing of it is left.
#[track_caller]
pub fn destroy_and_check(environment: &TestEnvironment) {
    let markers = environment.markers();
    environment.run(&["destroy", "web1", "--yes"]).ok();
    assert_eq!(marked_processes(&markers), Vec::new(), "no process is left");
    assert_eq!(runs(&environment.state_dir()), BTreeSet::new(), "no Ansible is left");
    let left =
        |name: &str| fs::read_dir(environment.state_dir().join(name)).map(|entries| entries.count()).unwrap_or(0);
    assert_eq!((left("machines"), left("servers"), left("run")), (0, 0, 0), "no machine, known_hosts or run is left");
    let list = environment.run(&["status", "--output", "json"]).ok();
    assert_eq!(list.stdout.trim(), "[]");
}

/// Waits for what takes seconds, also under emulation.
#[track_caller]
pub fn wait_until(condition: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(150), "it did not come to pass within 150 s");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The page that a web server shows, with its headers.
pub fn http_get(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    write!(stream, "GET / HTTP/1.1\r\nHost: web1\r\nConnection: close\r\n\r\n").expect("a request");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("an answer");
    page
}
