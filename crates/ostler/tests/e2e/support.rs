//! What both tests need: an image, a spec, and looks at the server from inside and outside.

use crate::runs::runs;
use ostler_core::{server::create, spec::ProviderKind};
use ostler_testkit::environment::{TestEnvironment, marked_processes};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// The server of these tests, on a machine of its own with this many bytes of disk.
pub fn spec(disk: &str) -> String {
    format!(
        r#"servers:
  web1:
    provider: local
    image: debian-13
    size: {{ cpus: 2, memory: 1GiB, disk: {disk} }}
    user: ops
    authorized_keys: [ id_ed25519.pub ]
    modules:
      baseline_tools: true
      unattended_upgrades: {{ scope: security, auto_reboot: false }}
      ufw: {{ preset: web }}
      fail2ban: true
      qemu_guest_agent: true
      sysctl_hardening: true
      time_sync: true
      accounts: true
      audit: true
    apps: [ nginx ]
    app_params: {{ nginx: {{ worker_connections: 1024 }} }}
    local: {{ forward: {{ auto: 80 }} }}
"#
    )
}

/// A fresh environment with an image, a key and the spec in `ostler.yaml`.
pub fn environment() -> TestEnvironment {
    let environment = TestEnvironment::with_images(env!("CARGO_BIN_EXE_ostler"), &images());
    environment.make_key();
    environment.write("ostler.yaml", &spec("6GiB"));
    environment
}

/// Where results of one test are kept for the other, and the image for the next time.
pub fn scratch() -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/e2e");
    fs::create_dir_all(&dir).expect("a folder");
    dir.canonicalize().expect("a folder")
}

/// The images, built from packages at the first time.
fn images() -> PathBuf {
    let state = scratch().join("state");
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
         systemctl is-active ssh ufw fail2ban nginx unattended-upgrades; \
         sshd -T | sort; ufw status verbose; id ops; visudo -c; \
         cd /etc && find ssh/sshd_config.d ufw fail2ban/jail.d sysctl.d apt/apt.conf.d sudoers.d nginx -type f \
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
pub fn kill_at_each_step(environment: &TestEnvironment, provider: ProviderKind) {
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
    let all = create::steps(provider).into_iter().map(|step| step.name.to_owned());
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

/// The page that a web server shows, with its headers.
pub fn http_get(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    write!(stream, "GET / HTTP/1.1\r\nHost: web1\r\nConnection: close\r\n\r\n").expect("a request");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("an answer");
    page
}
