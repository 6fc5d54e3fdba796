//! Apps on a server where somebody else has the port, the cluster, the page, the file or the repository already: named before anything
//! is written, and nothing of theirs is lost.

use super::*;

/// With the ports of the shipped index.
fn apps(names: &[&str], mut params: Value) -> Value {
    let index = ostler_ansible::catalog_index().unwrap();
    let chosen = || index.apps.iter().filter(|app| names.contains(&app.name.as_str()));
    let port = |app: &ostler_core::spec::AppMeta| {
        let name_and_packages = json!({ "app": app.name, "packages": app.packages });
        let mut ports = json!(app.ports);
        for port in ports.as_array_mut().unwrap() {
            port.as_object_mut().unwrap().extend(name_and_packages.as_object().unwrap().clone());
        }
        ports.as_array().unwrap().clone()
    };
    params["apps"] = json!(chosen().map(|app| &app.role).collect::<Vec<_>>());
    params["ostler_app_ports"] = json!(chosen().flat_map(port).collect::<Vec<_>>());
    params
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn what_others_have_is_named_and_kept() {
    let Some(bench) = Bench::start() else { return };
    let target = bench.boot(TargetOptions::new("crowded").docker());
    let install =
        "apt-get update -qq && apt-get install -qq -y --no-install-recommends apache2 postgresql samba >/dev/null 2>&1";
    target.exec(install).ok();
    let run = |names: &[&str], params: Value, check: bool| {
        bench.run_on(&[&target], json!({}), apps(names, params), check).remove(0)
    };

    // Ports: all that are taken are named at once, in check mode too, before a package is installed.
    target.exec("echo '<h1>my shop</h1>' >/var/www/html/index.html").ok();
    target.write(
        "/etc/systemd/system/prometheus.service",
        "[Service]\nExecStart=/usr/local/bin/prometheus -m http.server 9090\n",
    );
    target.exec("cp $(readlink -f /usr/bin/python3) /usr/local/bin/prometheus && systemctl start prometheus").ok();
    target.exec("for i in $(seq 100); do ss -Hltn sport = :9090 | grep -q . && exit; sleep 0.1; done; exit 1").ok();
    for check in [true, false] {
        let fault = run(&["nginx", "node_exporter", "prometheus"], json!({}), check).fault();
        for words in [
            "port 80 is held by apache2 (pid ",
            "apache2.service, package apache2-bin), and the app nginx needs it",
            "port 9090 is held by prometheus (pid ",
            "prometheus.service, /usr/local/bin/prometheus), and the app prometheus needs it",
            "`systemctl disable --now apache2.service`",
        ] {
            assert!(fault.contains(words), "{words}\n{fault}");
        }
    }
    assert_ne!(target.exec("command -v nginx").code, 0, "a package was installed");
    assert_eq!(target.read("/var/www/html/index.html"), "<h1>my shop</h1>\n");
    let ssh = json!({ "ssh": { "enabled": true, "auth": "key-only", "root_login": "prohibit-password", "port": 80 } });
    let fault = bench.run_on(&[&target], json!({}), ssh, false).remove(0).fault();
    assert!(fault.contains("port 80 is held by apache2") && fault.contains("`ssh.port`"), "{fault}");
    target.exec("systemctl disable -q --now apache2; systemctl stop prometheus; rm /etc/systemd/system/prometheus.service; systemctl daemon-reload").ok();

    // Pages and sites that somebody serves stay, and so does nginx's own process on the port.
    run(&["nginx"], json!({}), false).well();
    assert_eq!(target.read("/var/www/html/index.html"), "<h1>my shop</h1>\n");
    assert_eq!(target.exec("ls -A /var/www/html").stdout, "index.html\nindex.nginx-debian.html\n");
    assert!(
        target.read("/etc/nginx/sites-available/default").contains("Managed by Ostler"),
        "the package's own gives way"
    );
    let again = run(&["nginx"], json!({}), false);
    assert_eq!(again.warnings, [""; 0]);
    assert_eq!(again.well(), [""; 0]);
    let site = target.read("/etc/nginx/sites-available/default").replace("server_name _", "server_name shop.example");
    target.write("/etc/nginx/sites-available/default", &site);
    target.exec("sed -i 's/keepalive_timeout.*/keepalive_timeout 7;/' /etc/nginx/nginx.conf").ok();
    let kept = run(&["nginx"], json!({ "nginx_worker_connections": 512 }), false);
    assert!(
        kept.warned("/etc/nginx/sites-available/default is somebody's own: it stays as it is"),
        "{:?}",
        kept.warnings
    );
    assert!(
        kept.warned("/etc/nginx/nginx.conf is somebody's own: it is kept as /etc/nginx/nginx.conf.before-ostler"),
        "{:?}",
        kept.warnings
    );
    kept.well();
    assert_eq!(target.read("/etc/nginx/sites-available/default"), site);
    assert!(target.read("/etc/nginx/nginx.conf.before-ostler").contains("keepalive_timeout 7;"));

    // Two clusters: the app's users and databases are in the cluster whose settings it writes.
    let clusters = "pg_dropcluster --stop 17 main; pg_createcluster 17 legacy -p 5432 --start && pg_createcluster 17 main -p 5433 --start";
    target.exec(clusters).ok();
    let shop = json!({ "postgresql_databases": [{ "name": "shop", "owner": "shop" }], "postgresql_users": ["shop"], "postgresql_max_connections": 33 });
    let ran = run(&["postgresql"], shop.clone(), false);
    assert!(
        ran.warned("the cluster 17/legacy has port 5432") && ran.warned("17/main, at port 5433"),
        "{:?}",
        ran.warnings
    );
    ran.well();
    let ask = |port: u16| {
        let ask = "SELECT count(*) FROM pg_database WHERE datname = 'shop' UNION ALL SELECT setting::int FROM pg_settings WHERE name = 'max_connections'";
        target.exec(&format!("runuser -u postgres -- psql -p {port} -AtXc \"{ask}\"")).ok().stdout
    };
    assert_eq!((ask(5432), ask(5433)), ("0\n100\n".to_owned(), "1\n33\n".to_owned()));
    assert_eq!(run(&["postgresql"], shop.clone(), false).well(), [""; 0]);
    target.exec("pg_dropcluster --stop 17 main").ok();
    let fault = run(&["postgresql"], shop, false).fault();
    assert!(fault.contains("no cluster 17/main") && fault.contains("17/legacy (port 5432)"), "{fault}");

    // Shares: what becomes of them is said before it happens; a configuration that is refused leaves nothing.
    target.exec("mkdir -p /srv/photos; printf '[photos]\\n path = /srv/photos\\n' >>/etc/samba/smb.conf").ok();
    let files = || target.exec("cd /etc/samba && md5sum * && ls -A").stdout;
    let before = files();
    let refused = run(
        &["samba"],
        json!({ "samba_shares": [{ "name": "films", "path": "/srv/x", "users": ["ada\n include = /etc/shadow\n nonsense"] }], "samba_workgroup": "A\n[b" }),
        false,
    );
    let foretold = run(&["samba"], json!({}), true);
    for ran in [&refused, &foretold] {
        assert!(
            ran.warned("/etc/samba/smb.conf is somebody's own: it is kept as /etc/samba/smb.conf.before-ostler"),
            "{:?}",
            ran.warnings
        );
        assert!(ran.warned("photos: they are no longer shared"), "{:?}", ran.warnings);
    }
    foretold.well();
    assert_eq!(files(), before, "{:?}", refused.result.map_err(|failed| failed.msg));
    run(&["samba"], json!({}), false).well();
    assert!(target.read("/etc/samba/smb.conf.before-ostler").contains("[photos]"));
    let again = run(&["samba"], json!({ "samba_workgroup": "HOME" }), false);
    assert_eq!(again.warnings, [""; 0]);
    again.well();
    assert_eq!(target.exec("ls /etc/samba | grep -c before-ostler").stdout, "1\n");

    // JSON that others wrote.
    target.exec("mkdir -p /etc/docker").ok();
    for (content, words) in [
        (r#"{"debug": false,}\n"#, "/etc/docker/daemon.json is not valid JSON: "),
        (r"[]", "/etc/docker/daemon.json holds a list"),
        (r#"{"labels": ["f\374r"]}\n"#, "/etc/docker/daemon.json, line 1: this is not UTF-8"),
    ] {
        target.exec(&format!("printf '{content}' >/etc/docker/daemon.json; md5sum /etc/docker/* >/root/sums")).ok();
        let fault = run(&["docker"], json!({}), false).fault();
        assert!(fault.contains(words) && fault.contains("Ostler left it as it is"), "{fault}");
        target.exec("md5sum --check --status /root/sums && ! ls /etc/docker/*ostler* /etc/apt/sources.list.d/*docker* 2>/dev/null").ok();
    }
    // A mark of the byte order, and nothing at all, are JSON enough.
    for (content, kept) in [(r#"\357\273\277{"debug": false}"#, r#""debug": false"#), ("", "log-driver")] {
        target.exec(&format!("printf '{content}' >/etc/docker/daemon.json")).ok();
        run(&["docker"], json!({ "docker_source": "debian" }), false).well();
        let written = target.read("/etc/docker/daemon.json");
        assert!(written.contains(kept) && written.contains("max-size"), "{written}");
    }
    target.exec("docker info").ok();
}
