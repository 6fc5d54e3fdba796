//! Docker, Swarm and Traefik on a real server: a service with labels answers by its name, and whatever is promised is kept.

use super::server::{Played, Server};
use crate::catalog_index;
use ostler_core::spec::{AppMeta, Proto};
use ostler_testkit::{
    targets::Source,
    traefik::{self, IMAGE, IMPORT},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::IpAddr,
    process::Command,
    time::{Duration, Instant},
};

const APPS: [&str; 3] = ["docker", "swarm", "traefik"];

/// A service whose labels say what it answers to: another Traefik, of which only the answer to a ping is wanted.
const SHOP: &str = "docker service create --detach --quiet --no-resolve-image --name shop --network web --endpoint-mode dnsrr \
    --label traefik.enable=true --label 'traefik.http.routers.shop.rule=Host(`shop.example.com`)' \
    --label traefik.http.services.shop.loadbalancer.server.port=8080 \
    ostler-test/traefik --ping=true --entrypoints.traefik.address=:8080";

fn metas() -> impl Iterator<Item = AppMeta> {
    catalog_index().unwrap().apps.into_iter().filter(|app| APPS.contains(&app.name.as_str()))
}

/// What Ostler tells of the apps' ports, so that whoever holds them is looked at as in a real run.
fn vars(more: Value) -> Value {
    let ports = metas().flat_map(|app| {
        app.ports.into_iter().map(move |port| {
            json!({ "app": app.name, "packages": app.packages, "port": port.port, "proto": port.proto, "scope": port.scope })
        })
    });
    let mut vars = json!({ "docker_source": "debian", "ostler_app_ports": ports.collect::<Vec<_>>() });
    vars.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    vars
}

/// Every promise of the three apps, tried as it is on a user's server.
fn all_promises_are_kept(server: &Server) {
    for (app, promise) in
        metas().flat_map(|app| app.promises.into_iter().map(move |promise| (app.name.clone(), promise)))
    {
        let tried = server.target.exec(&promise.check);
        assert_eq!(tried.code, 0, "{app}: {}: {} {}", promise.says, tried.stdout, tried.stderr);
    }
}

/// What the shop answers over HTTPS to somebody outside.
fn shop(server: &Server) -> String {
    let to = format!("shop.example.com:443:{}", server.target.address());
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--insecure", "--max-time", "10", "--resolve", &to, "https://shop.example.com/ping"]);
    String::from_utf8_lossy(&curl.output().unwrap().stdout).into_owned()
}

#[track_caller]
fn await_shop(server: &Server) {
    let begun = Instant::now();
    let mut answer = shop(server);
    while answer != "OK" {
        let log = || {
            server
                .target
                .exec("docker service ps --no-trunc traefik shop; docker service logs traefik 2>&1 | tail")
                .stdout
        };
        assert!(begun.elapsed() < Duration::from_secs(90), "the shop answers {answer:?}\n{}", log());
        std::thread::sleep(Duration::from_millis(200)); // awaits the condition above
        answer = shop(server);
    }
}

/// What port 80 answers to somebody on the internet.
fn answer_on_port_80(server: &Server, source: Source, to: IpAddr) -> String {
    let mut stream = server.lab.connect(source, (to, 80).into(), Duration::from_secs(10)).unwrap();
    stream.write_all(b"GET /ping HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
async fn a_service_with_labels_answers_through_traefik() {
    let Some(archive) = traefik::archive() else { return };
    let Some(server) = Server::start("swarm", None) else { return };
    let foretold = server.play(&APPS, vars(json!({})), true).await.well();
    assert!(foretold.changes().contains(&"swarm : Be a node of the swarm".to_owned()), "{:?}", foretold.changes());
    assert_ne!(server.target.exec("command -v dockerd haproxy").code, 0, "check mode installed something");

    let first = server.play(&APPS[..2], vars(json!({ "swarm_advertise": "192.0.2.77" })), false).await;
    assert!(first.failures()[0].contains("this server has no address 192.0.2.77"), "{:?}", first.failures());
    server.play(&APPS[..2], vars(json!({})), false).await.well();
    assert!(server.tell("docker info").contains(&format!("Node Address: {}\n", server.target.address())));
    fs::copy(archive, server.target.root().join("root/image.tar")).unwrap();
    server.tell(&format!("{IMPORT} </root/image.tar && rm /root/image.tar"));
    // No registry is asked for what is there: none can be reached.
    let ours = vars(json!({ "traefik_image": IMAGE }));
    server.play(&APPS, ours.clone(), false).await.well();
    let version = server.tell(&format!("docker run --rm {IMAGE} version"));
    let table = include_str!("../../../../../ansible/catalog/versions.yml");
    let tested = table.lines().find_map(|line| line.strip_prefix("  version: ")).unwrap();
    assert!(version.contains(&format!("Version:      {tested}\n")), "{version}: the table says {tested}");

    server.tell(SHOP);
    await_shop(&server);
    all_promises_are_kept(&server);
    let addresses: [(Source, IpAddr); 2] =
        [(Source::PublicV4, server.target.address().into()), (Source::PublicV6, server.target.public_v6().into())];
    for (source, to) in addresses {
        let answer = answer_on_port_80(&server, source, to);
        assert!(answer.starts_with("HTTP/1.1 301 "), "{answer}");
        assert!(answer.contains("Location: https://shop.example.com/ping\r\n"), "{answer}");
    }
    for port in metas().flat_map(|app| app.ports).filter(|port| port.proto == Proto::Tcp) {
        assert!(
            !server.tell(&format!("ss -Hltn sport = :{}", port.port)).is_empty(),
            "nobody listens on {}",
            port.port
        );
    }
    assert_eq!(server.target.exec("systemctl is-active haproxy").stdout, "inactive\n", "an idle haproxy runs");
    let second = server.play(&APPS, ours.clone(), false).await.well();
    assert_eq!(second.changes(), [""; 0]);
    assert_eq!(server.play(&APPS, ours.clone(), true).await.well().changes(), [""; 0]);

    server.tell("systemctl restart docker");
    await_shop(&server);

    broken_image_is_rolled_back(&server).await;
    assert_eq!(server.play(&APPS, ours.clone(), false).await.well().changes(), [""; 0]);
    all_promises_are_kept(&server);

    // A swarm of somebody else is not touched.
    server.tell("rm /var/lib/ostler/swarm");
    let refused = server.play(&APPS, ours, false).await;
    assert!(refused.failures()[0].contains("which Ostler did not make"), "{:?}", refused.failures());
}

/// Such an update is called failed, and what ran before still answers.
async fn broken_image_is_rolled_back(server: &Server) {
    server.tell("tar -c -C /etc hostname | docker import --change 'ENTRYPOINT [\"/nothing\"]' - broken");
    let failed: Played = server.play(&APPS, vars(json!({ "traefik_image": "broken" })), false).await;
    assert_ne!(failed.status, 0, "a rolled back update is called a success");
    assert!(failed.said.contains("the update of Traefik failed (rollback_completed)"), "{:?}", failed.failures());
    await_shop(server);
}

/// Stands for Docker's repository, which tests can't reach: packages with a `docker` that only says its version, and what runs.
const REPOSITORY: &str = r#"
set -e
mkdir -p /srv/docker-ce/linux/debian && cd /srv/docker-ce/linux/debian
package() {
    mkdir -p build/DEBIAN build/usr/bin build/usr/share/$1
    echo "$2" >build/usr/share/$1/version
    printf 'Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: nobody\nDescription: stand-in\n' "$1" "$2" >build/DEBIAN/control
    case $1 in
    docker-ce)
        mkdir -p build/usr/lib/systemd/system
        printf '[Service]\nExecStart=/usr/bin/dockerd\nExecReload=/bin/true\n[Install]\nWantedBy=multi-user.target\n' >build/usr/lib/systemd/system/docker.service
        printf '#!/bin/sh\ncase "$1" in\n--validate) ! grep -q firewall-backend /etc/docker/daemon.json || [ %s -ge 29 ] ;;\n*) exec sleep infinity ;;\nesac\n' "${3}" >build/usr/bin/dockerd
        printf '#!/bin/sh\ncase "$1" in\nversion) echo %s ;;\nps) cat /srv/running 2>/dev/null ;;\nexec) cat /srv/traefik ;;\ninfo) echo {} ;;\nesac\n' "${2#*:}" >build/usr/bin/docker
        chmod +x build/usr/bin/* ;;
    esac
    dpkg-deb --root-owner-group --build build . >/dev/null
    rm -r build
}
for version in 28.5.1 28.5.2 29.0.3 29.4.1 30.0.0; do package docker-ce 5:$version ${version%%.*}; package docker-ce-cli 5:$version 0; done
for name in containerd.io docker-buildx-plugin docker-compose-plugin; do package $name 2.1.0 0; done
mkdir -p dists/trixie/stable/binary-amd64
for file in *.deb; do
    dpkg-deb --field $file
    printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' $file $(stat -c %s $file) $(sha256sum $file | cut -d' ' -f1)
done >dists/trixie/stable/binary-amd64/Packages
printf 'Suite: trixie\nCodename: trixie\nComponents: stable\nArchitectures: amd64\nSHA256:\n %s %s stable/binary-amd64/Packages\n' \
    $(sha256sum dists/trixie/stable/binary-amd64/Packages | cut -d' ' -f1) $(stat -c %s dists/trixie/stable/binary-amd64/Packages) \
    >dists/trixie/Release
echo 'deb [trusted=yes] file:/srv/docker-ce/linux/debian trixie stable' >/etc/apt/sources.list.d/stand-in.list
apt-get update -qq
apt-get install -qq -y docker-ce=5:28.5.1 docker-ce-cli=5:28.5.1 containerd.io
"#;

#[tokio::test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
async fn docker_moves_within_its_major_version_and_further_only_when_told() {
    let Some(server) = Server::start("moves", None) else { return };
    server.tell(REPOSITORY);
    let version = || server.tell("dpkg-query --show --showformat='${Version}' docker-ce");
    let daemon = || server.target.read("/etc/docker/daemon.json");

    server.play(&["docker"], json!({}), false).await.well();
    assert_eq!(version(), "5:28.5.2", "it keeps its major version");
    assert!(!daemon().contains("firewall-backend"), "{}", daemon());
    assert_eq!(server.play(&["docker"], json!({}), false).await.well().changes(), [""; 0]);

    let leap = server.play(&["docker"], json!({ "docker_major": 30 }), false).await;
    assert!(leap.failures()[0].contains("one major version at a time"), "{:?}", leap.failures());
    // A Traefik that the next one would not answer.
    server.target.write("/srv/running", "abc traefik:v3.5 \"/entrypoint.sh trae\"\n");
    server.target.write("/srv/traefik", "Version:      3.5.4\nCodename:     cheddar\n");
    let old = server.play(&["docker"], json!({ "docker_major": 29 }), false).await;
    assert!(
        old.failures()[0].contains("Traefik 3.5.4 runs on this server, and can't speak to Docker 29"),
        "{:?}",
        old.failures()
    );
    assert_eq!(version(), "5:28.5.2");
    server.target.write("/srv/traefik", "Version:      3.6.1\nCodename:     ramequin\n");
    let foretold = server.play(&["docker"], json!({ "docker_major": 29 }), true).await.well();
    assert!(!foretold.changes().is_empty());
    server.play(&["docker"], json!({ "docker_major": 29 }), false).await.well();
    assert_eq!(version(), "5:29.4.1");
    assert!(daemon().contains("\"firewall-backend\": \"iptables\""), "{}", daemon());
    // Told or not, that is its major version now.
    assert_eq!(server.play(&["docker"], json!({}), false).await.well().changes(), [""; 0]);
}
