//! A Docker Swarm of three servers of one spec.

use super::support::{PASSWORD, environment, prepared, server, spec};
use ostler_testkit::targets::{Lab, Source, Target, TargetOptions, Verdict};
use std::{
    process::Command,
    time::{Duration, Instant},
};

/// A web server of a few kilobytes on every node, on a network that spans them.
const EVERYWHERE: &str = "docker network create --driver overlay --attachable span >/dev/null && \
    docker service create --detach --quiet --no-resolve-image --name everywhere --mode global --endpoint-mode dnsrr --network span --stop-grace-period 1s \
    --hostname '{{.Node.Hostname}}' box /busybox httpd -f -p 8000 -h /";

/// The members' public network, less the number of each.
const PUBLIC: &str = "198.19.99.";

/// The rules of a firewall that let in some other members by their public addresses, as docs/swarm.md has them.
fn opened_to(others: impl Iterator<Item = u8>) -> String {
    let rules =
        others.flat_map(|other| ["2377/tcp", "7946", "4789/udp"].map(|port| format!("'{port} from {PUBLIC}{other}'")));
    rules.collect::<Vec<_>>().join(", ")
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn three_servers_of_a_spec_are_one_swarm() {
    let Some(lab) = Lab::start() else { return };
    let environment = environment();
    let node = |name: &str| prepared(TargetOptions::new(name).password(PASSWORD).docker());
    let mut targets = lab.boot(["web1", "web2", "web3"].map(node));
    for (number, target) in (1..).zip(&targets) {
        target.exec(&format!("ip address add {PUBLIC}{number}/24 dev host0")).ok();
    }
    // They are known to one another by public addresses, from which a firewall lets nobody in by itself.
    let swarm = ["", "join: web1, role: worker, ", "join: web1, "];
    // The one that others join comes last, so that they have to wait for it.
    let servers = (1..=3).zip(&targets).zip(swarm).rev().map(|((number, target), swarm)| {
        let allow = opened_to([1, 2, 3].into_iter().filter(|other| *other != number));
        let rest = format!(
            "    modules: {{ ufw: {{ preset: web, allow: [ {allow} ] }} }}\n    apps: [ swarm ]\n    \
             app_params: {{ docker: {{ source: debian }}, swarm: {{ {swarm}advertise: {PUBLIC}{number} }} }}\n"
        );
        server(target, &rest)
    });
    environment.write("ostler.yaml", &spec(&servers.collect::<Vec<_>>()));

    // One that has no swarm keeps nobody waiting, once nobody works on it.
    let alone = environment.run(&["up", "ostler.yaml", "web2"]);
    assert_ne!(alone.code, 0, "{}", alone.stdout);
    assert!(
        alone.stderr.contains("this server can't join the swarm of web1: there is no server `web1`"),
        "{}",
        alone.stderr
    );

    let first = environment.run(&["up", "ostler.yaml"]).ok();
    assert_eq!(nodes(&targets[0]), "web1 Ready Leader\nweb2 Ready \nweb3 Ready Reachable\n");
    begin_everywhere(&targets);
    each_reaches_each(&targets);
    // Nobody else gets that far.
    for target in &targets {
        for port in [2377, 7946] {
            let verdict = lab.probe(Source::PublicV4, (target.address(), port).into());
            assert_eq!(verdict, Verdict::Dropped, "{}, port {port}", target.name());
        }
    }
    let second = environment.run(&["up", "ostler.yaml", "--output", "json"]).ok();
    assert_eq!(second.changes(), [""; 0]);

    // What lets others join is nowhere but in the swarm itself.
    let logs =
        ["web1", "web2", "web3"].map(|name| environment.run(&["logs", name, "--all", "--output", "json"]).ok().stdout);
    for said in [&first.stdout, &first.stderr, &second.stdout].into_iter().chain(&logs) {
        assert!(!said.contains("SWMTKN"), "a token is shown");
    }
    let mut grep = Command::new("grep");
    grep.args(["--recursive", "--files-with-matches", "--text", "SWMTKN"]).arg(environment.path());
    let found = grep.output().expect("grep runs");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "a token is on this machine's disk");

    // One of three managers dies, and the two that stay forget it.
    change_node(&targets[0], "promote web2", "web1 Ready Leader\nweb2 Ready Reachable\nweb3 Ready Reachable\n");
    targets[2].kill();
    let dead = environment.run(&["destroy", "web3", "--yes"]).ok();
    assert!(dead.stdout.contains("it can't leave by itself"), "{}", dead.stdout);
    assert_eq!(nodes(&targets[0]), "web1 Ready Leader\nweb2 Ready Reachable\n");
    drop(targets.remove(2));
    each_reaches_each(&targets);
    // The last manager stays while there is a worker.
    change_node(&targets[0], "demote web2", "web1 Ready Leader\nweb2 Ready \n");
    let refused = environment.run(&["destroy", "web1", "--yes"]);
    let message = "web1 is the last manager of its swarm, and these are still members: web2";
    assert!(refused.stderr.contains(message), "{}", refused.stderr);

    // A member is converged though the one that it joined is gone. The managers count it no more a while before it knows that itself.
    let begun = Instant::now();
    let own = "docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}'";
    while targets[1].exec(own).stdout != "active false\n" {
        assert!(begun.elapsed() < Duration::from_secs(60), "web2 still takes itself for a manager");
        std::thread::sleep(Duration::from_millis(100)); // awaits the condition above
    }
    targets[0].cut();
    environment.run(&["up", "ostler.yaml", "web2"]).ok();
    targets[0].heal();

    change_node(&targets[0], "promote web2", "web1 Ready Leader\nweb2 Ready Reachable\n");
    // Of two managers one goes, and the other one decides alone. It was here before Ostler, so it stays, with what runs on it.
    let both = environment.run(&["destroy", "web1", "web2", "--yes"]).ok();
    assert_eq!(targets[1].exec("docker info --format '{{.Swarm.LocalNodeState}}'").ok().stdout, "inactive\n");
    assert_eq!(nodes(&targets[0]), "web1 Ready Leader\n");
    each_reaches_each(&targets[..1]);
    assert!(!both.stdout.contains("has not all moved"), "{}", both.stdout);
}

/// Changes what a node is, and waits until the managers agree on it; they may just be finding each other again.
fn change_node(manager: &Target, change: &str, expected: &str) {
    let begun = Instant::now();
    let mut said = manager.exec(&format!("docker node {change}"));
    while said.code != 0 || nodes(manager) != expected {
        assert!(begun.elapsed() < Duration::from_secs(60), "after `{change}` ({}): {}", said.stderr, nodes(manager));
        std::thread::sleep(Duration::from_millis(100)); // awaits the condition above
        if said.code != 0 {
            said = manager.exec(&format!("docker node {change}"));
        }
    }
}

/// The members, as a manager says it.
fn nodes(manager: &Target) -> String {
    manager.exec("docker node ls --format '{{.Hostname}} {{.Status}} {{.ManagerStatus}}' | sort").ok().stdout
}

/// A service that runs on every node.
fn begin_everywhere(targets: &[Target]) {
    for target in targets {
        let busybox = "apt-get install -qq -y --no-install-recommends busybox-static >/dev/null 2>&1";
        target.exec(&format!("{busybox}; tar -c -C /bin busybox | docker import - box")).ok();
    }
    targets[0].exec(EVERYWHERE).ok();
}

/// Its tasks on all nodes reach one another through the firewalls.
fn each_reaches_each(targets: &[Target]) {
    let task = "$(docker ps --quiet --filter name=everywhere)";
    let running = format!("for i in $(seq 600); do [ -z \"{task}\" ] || exit 0; sleep 0.1; done; exit 1");
    let addresses = targets.iter().map(|target| {
        target.exec(&running).ok();
        target
            .exec(&format!("docker inspect --format '{{{{.NetworkSettings.Networks.span.IPAddress}}}}' {task}"))
            .ok()
            .stdout
    });
    for (address, of) in addresses.collect::<Vec<_>>().iter().zip(targets) {
        for from in targets {
            let fetch =
                format!("docker exec {task} /busybox wget -T 5 -qO- http://{}:8000/etc/hostname", address.trim());
            let answer = from.exec(&format!("for i in $(seq 50); do {fetch} && exit; sleep 0.1; done; exit 1")).ok();
            assert_eq!(answer.stdout, format!("{}\n", of.name()), "from {}", from.name());
        }
    }
}
