//! A server's life when all goes well, and what Ostler notices when something was changed behind its back.

use super::support::{LITTLE, destroy_and_check, on_server, processes_of, snapshot, spec, status, wait_until};
use ostler_testkit::environment::TestEnvironment;
use std::{collections::BTreeSet, process::Command};

/// Lives it; returns what the server was like once it was made.
pub fn live(environment: &TestEnvironment) -> String {
    let up = ["up", "ostler.yaml", "--output", "json"];

    eprintln!("* calm: `plan` says what `up` would do, and touches nothing");
    let plan = environment.run(&["plan", "ostler.yaml"]).ok().stdout;
    assert!(plan.contains("create a machine"), "{plan}");
    assert_eq!(processes_of(environment), Vec::<String>::new());

    eprintln!("* calm: `up` makes a server");
    assert_eq!(environment.run(&up).ok().outcome()["created"], true);
    let made = snapshot(environment);

    eprintln!("* calm: a changed file and a stopped service are repaired, named, and nothing else");
    on_server(
        environment,
        "sudo sh -c 'echo net.ipv4.ip_forward=1 >> /etc/sysctl.d/90-ostler.conf; systemctl stop fail2ban'",
    );
    let log_size = on_server(environment, "sudo stat -c %s /var/log/ansible.log");
    let plan = ["plan", "ostler.yaml", "--exit-code", "--output", "json"];
    let seen = environment.run(&plan);
    assert_eq!(seen.code, 10, "{} {}", seen.stdout, seen.stderr);
    let check = &seen.json_lines()[0][0]["check"];
    let found = check["changes"].as_array().unwrap_or_else(|| panic!("no changes in {check}"));
    let roles: Vec<_> = found.iter().map(|change| &change["role"]).collect();
    assert_eq!(roles, ["sysctl_hardening", "fail2ban"], "{check}");
    assert_eq!(found[0]["handlers"][0], "Load the kernel settings");
    let before = found[0]["diff"][0]["before"].as_str().expect("the file as it is");
    assert!(before.contains("ip_forward=1"), "{before}");
    let now = on_server(environment, "systemctl is-active fail2ban; sudo stat -c %s /var/log/ansible.log");
    assert_eq!(now, format!("inactive\n{log_size}"), "a plan touches nothing");
    let repaired = environment.run(&up).ok().changes();
    assert!(repaired.iter().any(|task| task.starts_with("sysctl_hardening")), "{repaired:?}");
    assert!(repaired.iter().any(|task| task.starts_with("fail2ban")), "{repaired:?}");
    let roles: BTreeSet<_> = repaired.iter().map(|task| task.split(" : ").next()).collect();
    assert_eq!(roles.len(), 2, "{repaired:?}");
    assert_eq!(environment.run(&up).ok().changes(), Vec::<String>::new());
    let seen = environment.run(&plan);
    assert_eq!(seen.code, 0, "{} {}", seen.stdout, seen.stderr);

    eprintln!("* calm: another host key is refused, with both fingerprints");
    on_server(
        environment,
        "sudo sh -c 'cd /etc/ssh && cp -p ssh_host_ed25519_key /root/key && rm ssh_host_ed25519_key && \
         ssh-keygen -q -t ed25519 -N \"\" -f ssh_host_ed25519_key && systemctl reload ssh'",
    );
    let refused = environment.run(&["up", "ostler.yaml"]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    assert_eq!(refused.stderr.matches("SHA256:").count(), 2, "{}", refused.stderr);
    // On the disk, for the machine is about to die.
    trusting(environment, "sudo sh -c 'cp -p /root/key /etc/ssh/ssh_host_ed25519_key && sync && systemctl reload ssh'");
    wait_until(|| environment.run(&["ssh", "web1", "--", "true"]).code == 0);

    eprintln!("* calm: a machine that died is seen, started again and grown");
    let pid = status(environment)["detail"].as_str().and_then(pid_of).expect("a process id");
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("a signal");
    wait_until(|| status(environment)["power"] == "off");
    environment.write("ostler.yaml", &spec("memory: 1GiB, disk: 7GiB", LITTLE));
    let plan = environment.run(&["plan", "ostler.yaml"]).ok().stdout;
    assert!(plan.contains("disk"), "{plan}");
    assert_eq!(environment.run(&up).ok().changes(), Vec::<String>::new());
    let root = on_server(environment, "df --output=size -B1M / | tail -n 1");
    assert!(root.trim().parse::<u32>().expect("a size") > 6400, "/ has {root} MiB");

    eprintln!("* calm: `destroy` leaves nothing");
    destroy_and_check(environment);
    made
}

/// `qemu pid 1234, ...`
fn pid_of(detail: &str) -> Option<i32> {
    detail.split("pid ").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Runs a command on the server with plain ssh, whatever host key it has.
fn trusting(environment: &TestEnvironment, command: &str) {
    let detail = status(environment)["detail"].as_str().expect("a detail").to_owned();
    let port = detail.split(" -> 22").next().and_then(|text| text.rsplit(':').next()).expect("a forwarded port");
    let output = Command::new("ssh")
        .args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args(["-i", "id_ed25519", "-p", port, "ops@127.0.0.1", command])
        .current_dir(environment.path())
        .output()
        .expect("ssh starts");
    assert!(output.status.success(), "{port}: {}", String::from_utf8_lossy(&output.stderr));
}
