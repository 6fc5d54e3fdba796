//! Ostler killed while it provisions, at every step, in the midst of apt and at random: the end is the same as undisturbed.

use super::support::{FULL, bare, environment, server, spec};
use crate::e2e::runs::RunWatch;
use ostler_core::server::apply;
use ostler_testkit::{
    environment::TestEnvironment,
    targets::{Lab, Target},
};
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};

const RESUME: &[&str] = &["resume", "web"];

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn killed_at_every_step_and_at_random() {
    let Some(lab) = Lab::start() else { return };
    let (quiet, undisturbed) = managed(&lab);
    quiet.run(&["up", "full.yaml"]).ok();

    let (environment, target) = managed(&lab);
    let up: &[&str] = &["up", "full.yaml"];
    let watch = RunWatch::start(&environment);
    let mut killed = BTreeSet::new();
    loop {
        let mut running = environment.start(if killed.len() % 2 == 0 { up } else { RESUME });
        let Some(step) = running.wait_for(|event| {
            let step = event["step"].as_str().filter(|_| event["event"] == "step_started")?;
            (!killed.contains(step)).then(|| step.to_owned())
        }) else {
            let finished = running.finish();
            assert_eq!(finished.code, 0, "{}", finished.stderr);
            break;
        };
        running.kill();
        killed.insert(step);
        assert!(killed.len() <= 20, "it does not come to an end: {killed:?}");
    }
    assert_eq!(killed, apply::steps().into_iter().map(|step| step.name.to_owned()).collect(), "killed at every step");

    target.exec("apt-get -qq -y purge nginx nginx-common fail2ban >/dev/null 2>&1").ok();
    for pause in [0, 300, 2_000] {
        let mut running = environment.start(up);
        let packages = |event: &Value| {
            (event["report"] == "task_started" && event["module"] == "ostler_packages").then(String::new)
        };
        running.wait_for(packages).expect("packages are installed");
        std::thread::sleep(Duration::from_millis(pause)); // a random moment is the point
        running.kill();
    }
    environment.run(RESUME).ok();
    for pause in [150, 900, 2_500, 5_000] {
        let running = environment.start(up);
        std::thread::sleep(Duration::from_millis(pause));
        running.kill();
    }
    environment.run(up).ok();
    assert_eq!(environment.run(&["up", "full.yaml", "--output", "json"]).ok().changes(), [""; 0]);
    assert_eq!(watch.most_at_once(), 1, "one Ansible was seen, and never two Ansibles on one server");
    let (disturbed, calm) = (snapshot(&target), snapshot(&undisturbed));
    let differs: Vec<_> = calm.lines().zip(disturbed.lines()).filter(|(calm, other)| calm != other).collect();
    assert_eq!(differs, [], "the end is the same as of an undisturbed life");
    assert_eq!(calm.lines().count(), disturbed.lines().count());
}

/// A server with nothing but its user set up, and in `full.yaml` what it is to become.
fn managed(lab: &Lab) -> (TestEnvironment, Target) {
    let environment = environment();
    let target = lab.boot_one(bare("web", 22));
    environment.write("ostler.yaml", &spec(&[server(&target, "")]));
    environment.run(&["up", "ostler.yaml"]).ok();
    environment.write("full.yaml", &spec(&[server(&target, FULL)]));
    (environment, target)
}

/// Everything that provisioning decides and that two servers of one spec have in common.
fn snapshot(target: &Target) -> String {
    let script = "dpkg-query -W -f '${db:Status-Abbrev}${Package}\\n'; \
         systemctl list-unit-files --state=enabled --no-legend | sort; \
         systemctl is-active ssh ufw fail2ban nginx unattended-upgrades; sshd -T | sort; ufw status verbose; id ops; \
         cd /etc && find ssh/sshd_config.d ufw fail2ban/jail.d apt/apt.conf.d sudoers.d nginx -type f ! -name '*~' \
         -exec sha256sum {} + | sort -k2; ls /var/lib/ostler/rollback/armed 2>/dev/null";
    // `is-active` fails where one is not, which the text says too.
    target.exec(script).stdout
}
