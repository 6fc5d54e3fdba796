//! A bare server to a verified Swarm behind Traefik, Ostler against a plain shell script over one SSH session: the same packages on the same
//! kind of throw-away server, one after the other. `cargo xtask bench` runs it; it needs root, as the servers do.
//!
//! `vps OSTLER ROUNDS` prints a line of JSON for each round: seconds of the script, of Ostler's first and second run, and of a bare login.

use ostler_testkit::{
    environment::TestEnvironment,
    targets::{Lab, Target, TargetOptions},
    traefik,
};
use serde_json::json;
use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
    time::Instant,
};

const PASSWORD: &str = "correct horse battery staple";
const SCRIPT: &str = include_str!("vps.sh");

/// What does not touch the kernel that these servers share.
const WANTED: &str = "    modules:\n      iptables: { preset: web }\n      fail2ban: true\n      unattended_upgrades: { scope: security }\n      \
                      time_sync: true\n    apps: [ traefik ]\n    app_params: { docker: { source: debian }, traefik: { image: IMAGE } }\n";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(ostler), Some(Ok(rounds))) = (arguments.next(), arguments.next().map(|rounds| rounds.parse::<usize>()))
    else {
        panic!("usage: vps OSTLER ROUNDS")
    };
    // It is started in a folder of its own.
    let ostler = fs::canonicalize(&ostler).expect("the binary to measure");
    let ostler = ostler.to_str().expect("a path in UTF-8");
    for _ in 0..rounds {
        let script = Vps::boot(ostler).script();
        let vps = Vps::boot(ostler);
        let (first, again) = vps.ostler();
        let login = vps.login();
        println!("{}", json!({ "script": script, "first": first, "again": again, "login": login }));
    }
}

/// A bare server, where Docker finds the image of Traefik when it first starts: no registry can be reached from it.
struct Vps {
    environment: TestEnvironment,
    target: Target,
    _lab: Lab,
}

impl Vps {
    fn boot(ostler: &str) -> Self {
        let lab = Lab::start().expect("a server to measure on");
        let target = lab.boot_one(TargetOptions::new("web1").password(PASSWORD).docker());
        let archive = traefik::archive().expect("Traefik's program");
        fs::copy(archive, target.root().join("root/image.tar")).expect("the image");
        target.exec("mkdir -p /etc/systemd/system/docker.service.d").ok();
        let import = format!(
            "docker image inspect {} >/dev/null 2>&1 || {} </root/image.tar\n",
            traefik::IMAGE,
            traefik::IMPORT
        );
        target.write("/root/image.sh", &import);
        target.write(
            "/etc/systemd/system/docker.service.d/image.conf",
            "[Service]\nExecStartPost=/bin/sh /root/image.sh\n",
        );
        let environment = TestEnvironment::new(ostler).with_ansible();
        environment.make_key();
        environment.write("password", PASSWORD);
        environment.write(
            "ostler.yaml",
            &format!(
                "servers:\n  web1:\n    provider: existing\n    existing: {{ address: {}, password: {{ file: password }} }}\n    \
                 authorized_keys: [ id_ed25519.pub ]\n{}",
                target.address(),
                WANTED.replace("IMAGE", traefik::IMAGE)
            ),
        );
        Self { environment, target, _lab: lab }
    }

    /// Of the first and the second run.
    fn ostler(&self) -> (f64, f64) {
        let up = || {
            let begun = Instant::now();
            let arguments = ["up", "ostler.yaml", "--accept-new-host-keys", "--output", "quiet"];
            self.environment.run(&arguments).ok();
            begun.elapsed().as_secs_f64()
        };
        let times = (up(), up());
        self.environment.run(&["verify", "web1"]).ok();
        times
    }

    fn login(&self) -> f64 {
        let key = self.environment.path().join("id_ed25519");
        let begun = Instant::now();
        let status = self.ssh("ops", &["-i", &key.to_string_lossy()]).arg("true").status().expect("ssh runs");
        assert!(status.success(), "a login");
        begun.elapsed().as_secs_f64()
    }

    /// ssh over the host key that the server has.
    fn ssh(&self, user: &str, options: &[&str]) -> Command {
        let known = self.environment.write("known_hosts", &format!("web1 {}\n", self.target.host_key()));
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-o", "HostKeyAlias=web1", "-o"]);
        command.arg(format!("UserKnownHostsFile={}", known.display()));
        command.args(options).arg(format!("{user}@{}", self.target.address()));
        command
    }

    fn script(&self) -> f64 {
        let asked = self.environment.write("asked", &format!("#!/bin/sh\necho '{PASSWORD}'\n"));
        let mut permissions = fs::metadata(&asked).expect("the file").permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o700);
        fs::set_permissions(&asked, permissions).expect("a program");
        let key = fs::read_to_string(self.environment.path().join("id_ed25519.pub")).expect("the key");
        let begun = Instant::now();
        let mut child = self
            .ssh("root", &[])
            .env("SSH_ASKPASS", asked)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .arg(format!("KEY='{}' IMAGE={} sh -s", key.trim(), traefik::IMAGE))
            .stdin(Stdio::piped())
            .spawn()
            .expect("ssh starts");
        child.stdin.take().expect("a pipe").write_all(SCRIPT.as_bytes()).expect("the script is taken");
        assert!(child.wait().expect("it ends").success(), "the script fails");
        begun.elapsed().as_secs_f64()
    }
}
