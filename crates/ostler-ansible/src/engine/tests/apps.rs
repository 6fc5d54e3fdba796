//! The shipped apps, and roles from elsewhere, on real servers.

use super::server::{Server, copy, succeed};
use crate::catalog_index;
use ostler_core::spec::Proto;
use saphyr::{LoadableYamlNode as _, Yaml};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Those that go together on one server, unlike nginx and Traefik.
const APPS: [&str; 7] = ["docker", "mariadb", "nginx", "node_exporter", "postgresql", "prometheus", "samba"];

fn catalog() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ansible/catalog")
}

#[test]
fn every_app_has_a_readme_and_the_defaults_that_its_index_entry_shows() {
    let index = catalog_index().unwrap();
    let names: Vec<_> = index.apps.iter().map(|app| app.name.as_str()).collect();
    assert_eq!(names, [&APPS[..], &["swarm", "traefik"]].concat());
    for app in &index.apps {
        ostler_core::spec::check_app(app).unwrap();
        let role = catalog().join("roles/apps").join(&app.role);
        let readme = fs::read_to_string(role.join("README.md")).unwrap();
        assert!(readme.contains("To remove it:"), "{}: the README does not say how to remove it", app.name);
        let text = fs::read_to_string(role.join("defaults/main.yml")).unwrap();
        let defaults = Yaml::load_from_str(&text).unwrap().remove(0);
        let properties = app.params.as_ref().unwrap()["properties"].as_object().unwrap();
        assert_eq!(defaults.as_mapping().unwrap().len(), properties.len(), "{}", app.name);
        for (name, property) in properties {
            let variable = format!("{}_{name}", app.name);
            // JSON is YAML.
            let default = property["default"].to_string();
            assert_eq!(
                defaults.as_mapping_get(&variable),
                Yaml::load_from_str(&default).unwrap().first(),
                "{variable}"
            );
            assert!(property["description"].is_string(), "{variable} is not described");
        }
    }
}

#[tokio::test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
async fn the_shipped_apps_on_one_server() {
    let Some(server) = Server::start("apps", None) else { return };
    let vars = json!({
        "docker_source": "debian",
        "mariadb_users": ["shop"],
        "mariadb_databases": [{ "name": "shop_1", "owner": "shop" }],
        "postgresql_users": ["shop"],
        "postgresql_databases": [{ "name": "shop", "owner": "shop" }],
        "samba_users": ["ada"],
        "samba_shares": [{ "name": "photos", "path": "/srv/photos" }],
    });

    let foretold = server.play(&APPS, vars.clone(), true).await.well();
    assert!(!foretold.changes().is_empty());
    assert_ne!(server.target.exec("command -v nginx dockerd psql").code, 0, "check mode installed something");

    // What somebody had set before Ostler came.
    server.tell("mkdir /etc/docker && echo '{\"debug\": false}' >/etc/docker/daemon.json");
    let first = server.play(&APPS, vars.clone(), false).await.well();
    let deprecated = first.said.matches(r#"\"event\":\"deprecation\""#).count();
    let by_the_strategy = first.said.matches("Use of strategy plugins not included in ansible.builtin").count();
    assert_eq!(deprecated, by_the_strategy, "{}", first.said);

    for app in catalog_index().unwrap().apps.into_iter().filter(|app| APPS.contains(&app.name.as_str())) {
        for port in app.ports {
            let kind = if port.proto == Proto::Tcp { "--tcp" } else { "--udp" };
            let sockets = server.tell(&format!("ss -Hln {kind} sport = :{}", port.port));
            assert!(!sockets.is_empty(), "{} does not listen on {}", app.name, port.port);
        }
    }
    let page = server.tell("apt-get install -qq -y --no-install-recommends curl >/dev/null 2>&1; curl -s localhost");
    assert!(page.contains("This server is ready"), "{page}");
    assert!(server.tell("docker info").contains("Logging Driver: json-file"));
    assert!(server.tell("cat /etc/docker/daemon.json").contains("\"debug\": false"), "a key of someone's is gone");
    let postgres =
        r#"export PGPASSWORD="$(cat /etc/ostler/passwords/postgresql/shop)"; psql -h localhost -U shop shop -Atc"#;
    server.tell(&format!("{postgres} 'CREATE TABLE kept AS SELECT 1 AS one'"));
    let mariadb =
        r#"export MYSQL_PWD="$(cat /etc/ostler/passwords/mariadb/shop)"; mariadb -h 127.0.0.1 -u shop shop_1 -Ne"#;
    server.tell(&format!("{mariadb} 'CREATE TABLE kept AS SELECT 1 AS one'"));
    let scraped = "curl -s localhost:9090/api/v1/query --data-urlencode 'query=up == 1' | grep -o '127.0.0.1:9100'";
    server.tell(&format!("for i in $(seq 600); do {scraped} && exit; sleep 0.1; done; exit 1"));
    assert_eq!(server.tell("stat -c '%a %U' /etc/ostler/passwords/*/*"), "600 root\n".repeat(3));
    assert_eq!(server.tell("stat -c '%a %G' /srv/photos"), "2770 sambashare\n");
    for password in server.tell("cat /etc/ostler/passwords/*/*").lines() {
        assert!(!first.said.contains(password), "a generated password is in an event");
    }

    let second = server.play(&APPS, vars.clone(), false).await.well();
    assert_eq!(second.changes(), [""; 0]);
    assert_eq!(server.play(&APPS, vars.clone(), true).await.well().changes(), [""; 0]);

    // Other parameters change what they say, and nobody's data or password.
    let passwords = server.tell("cat /etc/ostler/passwords/*/*");
    server.tell(
        "apt-get install -qq -y --no-install-recommends busybox-static >/dev/null 2>&1; touch /srv/photos/kept
         tar -c -C /bin busybox | docker import - box && docker run -d --name kept --network none box /busybox sleep 9999",
    );
    let container = "docker inspect --format '{{.State.Running}} {{.State.StartedAt}}' kept";
    let started = server.tell(container);
    let mut changed = vars;
    for (name, value) in [
        ("docker_log_max_files", json!(5)),
        ("mariadb_max_connections", json!(60)),
        ("postgresql_max_connections", json!(60)),
        ("postgresql_allow", json!(["10.0.0.0/8"])),
        ("samba_workgroup", json!("HOME")),
    ] {
        changed[name] = value;
    }
    server.play(&APPS, changed.clone(), false).await.well();
    assert_eq!(server.tell(&format!("{postgres} 'SHOW max_connections; SELECT one FROM kept'")), "60\n1\n");
    assert_eq!(server.tell(&format!("{mariadb} 'SELECT @@max_connections; SELECT one FROM kept'")), "60\n1\n");
    assert!(server.tell("testparm -s 2>/dev/null; ls /srv/photos").contains("workgroup = HOME"));
    assert_eq!(server.tell("cat /etc/ostler/passwords/*/*"), passwords);
    assert!(started.starts_with("true"), "{started}");
    assert_eq!(server.tell(container), started, "a container was stopped for new settings");
    assert_eq!(server.play(&APPS, changed, false).await.well().changes(), [""; 0]);

    // Docker of another source is left alone, and the run says which app stopped it.
    let refused = server.play(&["docker"], json!({ "docker_source": "docker" }), false).await;
    assert!(refused.failures()[0].starts_with("docker : Leave a Docker of another source alone: docker.io is"));
}

#[tokio::test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
async fn docker_of_its_own_repository() {
    let Some(server) = Server::start("docker-ce", None) else { return };
    // None of these is a source that apt uses for this release.
    let line = |suite: &str| {
        format!("deb [signed-by=/etc/apt/keyrings/his.asc] https://download.docker.com/linux/debian {suite} stable\n")
    };
    server.target.write("/etc/apt/sources.list.d/docker.list", &format!("# {}{}", line("trixie"), line("bookworm")));
    server.target.write("/etc/apt/sources.list.d/docker.list.save", &line("trixie"));
    let switched_off =
        "Enabled: no\nTypes: deb\nURIs: https://download.docker.com/linux/debian\nSuites: trixie\nComponents: stable\n";
    server.target.write("/etc/apt/sources.list.d/docker.sources", switched_off);
    // Whether that site can be reached is not what this test is about.
    server.play(&["docker"], json!({}), false).await;
    let file = server.tell("cat /etc/apt/sources.list.d/ostler-docker.sources");
    let expected = "Types: deb\nURIs: https://download.docker.com/linux/debian\nSuites: trixie\nComponents: stable\n\
                    Signed-By: /etc/apt/keyrings/ostler-docker.asc\n";
    assert!(file.ends_with(expected), "{file}");
    let key = server.tell("apt-get install -qq -y --no-install-recommends gpg >/dev/null 2>&1; gpg --show-keys --with-colons /etc/apt/keyrings/ostler-docker.asc");
    assert!(key.contains("9DC858229FC7DD38854AE2D88D81803C0EBFCD88"), "{key}");
    server
        .tell("apt-get update --print-uris | grep -F https://download.docker.com/linux/debian/dists/trixie/InRelease");

    // With another component of the same release, apt wants the same key for both; with this very one, there is nothing to add.
    server.target.write("/etc/apt/sources.list.d/docker.list", &line("trixie").replace("stable", "test"));
    server.tell("rm /etc/apt/sources.list.d/ostler-docker.sources");
    server.play(&["docker"], json!({}), false).await;
    let file = server.tell("apt-get indextargets >/dev/null && cat /etc/apt/sources.list.d/ostler-docker.sources");
    assert!(file.ends_with("Signed-By: /etc/apt/keyrings/his.asc\n"), "{file}");
    server.tell("rm /etc/apt/sources.list.d/ostler-docker.sources");
    server.target.write("/etc/apt/sources.list.d/docker.list", &line("trixie"));
    server.play(&["docker"], json!({}), false).await;
    server.tell("! test -e /etc/apt/sources.list.d/ostler-docker.sources");
}

#[tokio::test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
async fn roles_that_use_what_ansible_offers() {
    let catalog = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/tests/catalog");
    let Some(server) = Server::start("roles", Some(&catalog)) else { return };
    let apps = ["wrapper", "vaulted", "careless"];

    let locked = server.play_with(&apps, json!({}), false, Some("wrong")).await;
    assert_ne!(locked.status, 0);
    assert!(locked.stderr.contains("the catalog's vault password does not open this"), "{}", locked.stderr);
    assert_eq!(locked.results, [], "something ran before");

    let first = server.play_with(&apps, json!({}), false, Some("correct horse")).await.well();
    let file = |name: &str| server.target.read(&format!("/opt/fixture/{name}"));
    assert_eq!(file("greeting"), "hello from wrapper\n", "by a dependency, with its parameters");
    assert_eq!(file("written"), "included on roles\n", "by a role that is included");
    assert_eq!(file("handlers"), "base\nfirst\nsecond\n", "each handler once, in order, also those of a topic");
    assert_eq!(file("users"), "root nobody\n");
    assert_eq!(file("settings.ini"), "\n[fixture]\nanswer = 42\n", "by a collection of the bundle");
    assert_eq!(file("backwards"), "cba\n", "by a collection of the catalog");
    assert_eq!(file("opened"), "staple-value battery-in-file\n");
    assert_eq!(file("key"), "the key that nobody may see\n");
    assert_eq!(server.target.read("/etc/careless"), "Debian roles");
    server.tell("test -e /run/careless-restarted");
    for secret in ["staple-value", "battery-in-file", "the key that nobody may see", "correct horse"] {
        assert!(!first.said.contains(secret), "`{secret}` is in an event");
    }
    // The handlers of an app run before the next one begins.
    let place =
        |place: &str| first.results.iter().position(|task| task.place() == place).unwrap_or_else(|| panic!("{place}"));
    assert!(place("wrapper : Second listener") < place("vaulted : Write what was encrypted"));
    assert_eq!(
        first.results[place("wrapper > base : Say that the base is there")].top_role.as_deref(),
        Some("wrapper")
    );

    let second = server.play_with(&apps, json!({}), false, Some("correct horse")).await.well();
    assert_eq!(second.changes(), [""; 0]);

    let failed = server.play(&["failing-app", "wrapper"], json!({}), false).await;
    assert_ne!(failed.status, 0);
    assert_eq!(
        failed.failures(),
        ["failing > writer : Write the file: Destination directory /no/such/directory does not exist"]
    );
    assert!(failed.results.iter().all(|task| task.top_role.as_deref() != Some("wrapper")), "the next app ran");
}

/// Well-known roles by others, byte for byte as they are published.
#[tokio::test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
async fn roles_from_elsewhere_run_unmodified() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(catalog) = elsewhere(scratch.path()) else { return };
    let Some(server) = Server::start("elsewhere", Some(&catalog)) else { return };
    let apps = ["memcached", "tinyproxy", "chrony", "zabbix_agent"];
    let vars = json!({
        "chrony_package_name": "chrony",
        "chrony_config_file_location": "/etc/chrony/chrony.conf",
        "chrony_role_action": "config", // "all" waits for a time source
        "zabbix_manage_repo": false,
        "zabbix_agent_version": 7.0,
        "zabbix_agent_version_check": false,
        "zabbix_agent_install_agent_only": true,
        "zabbix_agent_server": "192.0.2.1",
        "zabbix_agent_logfile": "/var/log/zabbix-agent/zabbix_agentd.log",
    });
    server.play(&apps, vars.clone(), false).await.well();
    server.tell("systemctl is-active memcached tinyproxy chrony zabbix-agent");
    for port in [11211, 8888, 10050] {
        assert!(!server.tell(&format!("ss -Hltn sport = :{port}")).is_empty(), "nobody listens on {port}");
    }
    let second = server.play(&apps, vars, false).await.well();
    assert_eq!(second.changes(), [""; 0]);
}

/// A catalog of published packages: DebOps, OpenStack's chrony role, and collections out of the `ansible` package.
fn elsewhere(scratch: &Path) -> Option<PathBuf> {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp/published-roles");
    let wheels = [
        ("debops==3.3.2", "debops-3.3.2-py2.py3-none-any.whl"),
        ("ansible-role-chrony==1.3.0", "ansible_role_chrony-1.3.0-py2.py3-none-any.whl"),
        ("ansible==12.3.0", "ansible-12.3.0-py3-none-any.whl"),
    ];
    for (package, file) in wheels {
        let cached = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bundle/cache").join(file);
        if cached.is_file() && !packages.join(file).exists() {
            fs::create_dir_all(&packages).unwrap();
            copy(&cached, &packages);
        }
        if !packages.join(file).exists() {
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", package, "--dest"]);
            match pip.arg(&packages).output() {
                Ok(output) if output.status.success() => {}
                _ if std::env::var_os("OSTLER_REQUIRE_TARGETS").is_some_and(|value| value == "1") => {
                    panic!("cannot download {package} by pip")
                }
                _ => {
                    eprintln!("skipped: cannot download {package} by pip");
                    return None;
                }
            }
        }
        succeed(
            Command::new("python3").args(["-m", "zipfile", "-e"]).arg(packages.join(file)).arg(scratch.join("wheels")),
        );
    }

    let (wheels, catalog) = (scratch.join("wheels"), scratch.join("catalog"));
    let collections = catalog.join("collections/ansible_collections");
    fs::create_dir_all(catalog.join("roles/apps")).unwrap();
    for collection in
        ["community/zabbix", "community/postgresql", "ansible/windows", "ansible/netcommon", "ansible/utils"]
    {
        fs::create_dir_all(collections.join(collection).parent().unwrap()).unwrap();
        copy(&wheels.join("ansible_collections").join(collection), &collections.join(collection));
    }
    let debops = wheels.join("debops/_data/ansible/collections/ansible_collections/debops");
    copy(&debops, &collections.join("debops"));
    copy(&debops.join("debops/roles/memcached"), &catalog.join("roles/apps/memcached"));
    let chrony = wheels.join("ansible_role_chrony-1.3.0.data/data/share/ansible/roles/chrony");
    copy(&chrony, &catalog.join("roles/apps/chrony"));
    let index = json!({ "apps": [
        { "name": "memcached", "role": "memcached" },
        { "name": "tinyproxy", "role": "debops.debops.tinyproxy" },
        { "name": "chrony", "role": "chrony", "packages": ["chrony"] },
        { "name": "zabbix_agent", "role": "community.zabbix.zabbix_agent" },
    ]});
    fs::write(catalog.join("index.json"), index.to_string()).unwrap();
    Some(catalog)
}
