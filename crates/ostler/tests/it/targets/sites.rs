//! A site on a real server: real Docker, Swarm and Traefik, deployed under load.

use super::support::{PASSWORD, environment, prepared, server};
use ostler_testkit::{
    environment::{Finished, TestEnvironment},
    nameserver::{self, Nameserver},
    pebble::Pebble,
    targets::{Lab, Target, TargetOptions},
    traefik::{self, IMAGE, IMPORT},
};
use std::{
    fs,
    process::{Child, Command, Stdio},
};

/// What Docker's part of the server is made of, so that images can be there before Ostler is.
const PACKAGES: [&str; 7] =
    ["docker.io", "docker-cli", "iptables", "haproxy", "python3-docker", "python3-jsondiff", "busybox-static"];

/// Images of a few files: a web server of busybox that answers with its own name. `two` ignores SIGTERM, `deaf` has no page for the
/// check of its health, and `ends` is over at once.
const IMAGES: &str = r#"
set -e
make() {
    name=$1; shift
    rm -rf /srv/image; mkdir -p /srv/image/www
    cp /bin/busybox /srv/image/
    echo "$name" >/srv/image/www/index.html
    [ "$name" = deaf ] || echo up >/srv/image/www/up
    tar -c -C /srv/image . | docker import --change "ENTRYPOINT $1" - "shop:$name" >/dev/null
}
serve='"/busybox", "httpd", "-f", "-p", "8000", "-h", "/www"'
make base "[$serve]"
make deaf "[$serve]"
make ends '["/busybox", "sh", "-c", "echo no such table: $(/busybox cat /run/secrets/APP_KEY); exit 3"]'
make two '["/busybox", "sh", "-c", "trap \"\" TERM; exec /busybox httpd -f -p 8000 -h /www"]'
"#;

/// Asks for the site again and again, by connections that last and by new ones, until its standard input ends; then says how often, what
/// went wrong, and who answered.
const LOAD: &str = r#"
import http.client, json, socket, ssl, sys, threading, time
address, host = sys.argv[1:]
stop, lock, count, wrong, seen = threading.Event(), threading.Lock(), [0], [], set()
context = ssl._create_unverified_context()
def work(each):
    while not stop.is_set():
        site = http.client.HTTPSConnection(host, timeout=20, context=context)
        site._create_connection = lambda *_: socket.create_connection((address, 443), 20)
        try:
            for _ in range(each):
                site.request("GET", "/")
                answer = site.getresponse()
                text = answer.read().decode().strip()
                with lock:
                    count[0] += 1
                    seen.add(text)
                    if answer.status != 200: wrong.append([answer.status, text])
                if stop.is_set(): break
                time.sleep(0.005)
        except Exception as error:
            with lock: wrong.append(repr(error))
        site.close()
threads = [threading.Thread(target=work, args=(each,)) for each in (1, 50, 50, 50)]
for thread in threads: thread.start()
sys.stdin.read()
stop.set()
for thread in threads: thread.join()
json.dump({"count": count[0], "wrong": wrong[:20], "seen": sorted(seen)}, sys.stdout)
"#;

const KEY: &str = "base64:c2hvcC1rZXktb25l";
const OTHER_KEY: &str = "base64:c2hvcC1rZXktdHdv";

fn spec(target: &Target, names: &Nameserver, authority: &str, replicas: u32) -> String {
    let rest = format!(
        "    modules: {{ ufw: {{ preset: web }} }}\n    apps: [ traefik ]\n    \
         app_params: {{ docker: {{ source: debian }}, traefik: {{ image: {IMAGE} }} }}\n"
    );
    let site = format!(
        "sites:\n  shop:\n    server: web1\n    domains: [ shop.example.com, www.shop.example.com, '*.shop.example.org' ]\n    \
         source: {{ build: one }}\n    port: 8000\n    health: {{ path: /up, within: 30 }}\n    replicas: {replicas}\n    \
         env: {{ APP_ENV: production }}\n    secrets: {{ APP_KEY: {{ secret: shop-key }} }}\n    \
         deploy_before: [ /busybox, sh, -c, 'test -s $APP_KEY_FILE' ]\n    \
         certificate: {{ authority: \"{authority}\", root: authority.pem }}\n"
    );
    let at = names.address();
    let dns = format!(
        "dns:\n  example.com: {{ kind: rfc2136, server: \"{at}\", key: {}, secret: {{ secret: tsig }}, nameservers: [ \"{at}\" ] }}\n",
        nameserver::KEY
    );
    format!("{dns}servers:\n{}{site}", server(target, &rest))
}

fn set_key(environment: &TestEnvironment, value: &str) {
    set_secret(environment, "shop-key", value);
}

fn set_secret(environment: &TestEnvironment, name: &str, value: &str) {
    let mut set = environment.command(&["secret", "set", name]);
    let mut child = set.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), value.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// What somebody outside gets: status, where it leads, and the text.
fn get(target: &Target, host: &str, path: &str) -> String {
    let to = format!("{host}:443:{}", target.address());
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--insecure",
        "--max-time",
        "10",
        "--write-out",
        " %{http_code} %{redirect_url}",
        "--resolve",
    ]);
    let output = curl.args([&to, &format!("https://{host}{path}")]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Serial number of the certificate that is served for a name, which is one of the authority's and counts.
#[track_caller]
fn certificate(target: &Target, host: &str, environment: &TestEnvironment) -> String {
    let script = r#"openssl s_client -connect "$1:443" -servername "$2" -verify_hostname "$2" -CAfile "$3" -verify_return_error </dev/null \
        | openssl x509 -noout -serial"#;
    let root = environment.path().join("issued-by.pem");
    let mut shell = Command::new("bash");
    shell.args(["-o", "pipefail", "-c", script, "bash", &target.address().to_string(), host]).arg(root);
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{host}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn begin_load(target: &Target) -> Child {
    let mut python = Command::new("python3");
    python.args(["-c", LOAD, &target.address().to_string(), "shop.example.com"]);
    python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// All that was asked for was answered, and these did.
fn end_load(load: Child, seen: &[&str]) {
    let output = load.wait_with_output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    eprintln!("  {} requests", said["count"]);
    assert_eq!(said["wrong"], serde_json::json!([]), "{said}");
    assert_eq!(said["seen"], serde_json::json!(seen));
    assert!(said["count"].as_u64().unwrap() > 100, "{said}");
}

#[track_caller]
fn failed(finished: &Finished, code: i32, words: &[&str]) {
    assert_eq!(finished.code, code, "{}{}", finished.stdout, finished.stderr);
    for words in words {
        assert!(finished.stderr.contains(words), "no `{words}` in:\n{}", finished.stderr);
    }
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn a_site_is_deployed_under_load_and_a_broken_release_never_serves() {
    let Some(archive) = traefik::archive() else { return };
    let Some(lab) = Lab::start() else { return };
    let Some(names) = Nameserver::start(&["example.com"]) else { return };
    let Some(pebble) = Pebble::start(names.address()) else { return };
    let environment = environment();
    let options = prepared(TargetOptions::new("web1").password(PASSWORD).docker());
    let target = lab.boot_one(PACKAGES.into_iter().fold(options, TargetOptions::package));
    fs::copy(archive, target.root().join("root/image.tar")).unwrap();
    target.exec(&format!("{IMPORT} </root/image.tar && rm /root/image.tar")).ok();
    target.exec(IMAGES).ok();
    set_key(&environment, KEY);
    set_secret(&environment, "tsig", nameserver::SECRET);
    let authority = pebble.authority();
    environment.write("authority.pem", authority.root.as_deref().expect("it has its own"));
    environment.write("issued-by.pem", &pebble.root());
    let spec = |replicas| spec(&target, &names, &authority.url, replicas);
    // No registry is reached, so what is built is built of what is there.
    fs::create_dir(environment.path().join("one")).unwrap();
    environment.write("one/Dockerfile", "FROM shop:base\nCOPY index.html /www/index.html\n");
    environment.write("one/index.html", "one\n");
    environment.write("ostler.yaml", &spec(2));

    eprintln!("* a server and its site by one command");
    let first = environment.run(&["up", "ostler.yaml"]).ok();
    assert!(first.stdout.contains("shop  release 1 serves https://shop.example.com/"), "{}", first.stdout);
    assert_eq!(get(&target, "shop.example.com", "/"), "one 200");
    for other in ["www.shop.example.com", "a.shop.example.org"] {
        assert_eq!(get(&target, other, "/a?b=c"), "Moved Permanently 301 https://shop.example.com/a?b=c");
    }
    let records = environment.run(&["dns", "records", "--output", "json"]).ok().stdout;
    let records: serde_json::Value = serde_json::from_str(&records).unwrap();
    let seen =
        |row: &serde_json::Value| row["seen"] == true && row["origin"] == "made" && row["users"][0] == "site shop";
    assert!(records.as_array().is_some_and(|rows| rows.len() >= 2 && rows.iter().all(seen)), "{records}");
    let serial = certificate(&target, "shop.example.com", &environment);
    assert_eq!(certificate(&target, "www.shop.example.com", &environment), serial);
    let planned = environment.run(&["plan", "ostler.yaml", "--no-check", "--output", "json"]).ok();
    let planned: serde_json::Value = serde_json::from_str(&planned.stdout).unwrap();
    assert_eq!(planned[1], serde_json::json!({ "site": "shop", "server": "web1", "changes": [] }));
    let key = environment.run(&["site", "exec", "shop", "--", "/busybox", "cat", "/run/secrets/APP_KEY"]).ok();
    assert_eq!(key.stdout, KEY);

    eprintln!("* a new release, broken ones, a rollback and another number of copies, all under load");
    let load = begin_load(&target);
    let two = environment.run(&["site", "deploy", "shop", "--image", "shop:two", "--output", "json"]).ok();
    assert_eq!(two.outcome()["release"], 2, "{}", two.stdout);
    assert_eq!(get(&target, "shop.example.com", "/"), "two 200");
    let serves = "release 2 of shop serves as before";
    let broken = spec(2).replace("within: 30", "within: 12");
    environment.write("broken.yaml", &broken);
    let deploy = |image: &str| environment.run(&["site", "deploy", "shop", "broken.yaml", "--image", image]);
    failed(&deploy("shop:deaf"), 5, &["/up is not well after 12 s: it answers with status 404", serves]);
    let ends = deploy("shop:ends");
    failed(&ends, 5, &["its copies end again and again", "exit (3)", "| no such table: ***", serves]);
    let no_table = broken.replace("'test -s $APP_KEY_FILE'", "'echo no such table; exit 7'");
    environment.write("broken.yaml", &no_table);
    failed(&deploy("shop:two"), 5, &["`deploy_before` of shop failed", "exit (7)", "| no such table", serves]);
    failed(&deploy("shop:absent"), 5, &["the image `shop:absent` can't be had", serves]);
    environment.write("broken.yaml", &broken.replace("port: 8000", "port: 9000"));
    failed(&deploy("shop:two"), 5, &["nothing answers on port 9000 of its container", serves]);
    environment.run(&["site", "rollback", "shop"]).ok();
    assert_eq!(get(&target, "shop.example.com", "/"), "one 200");
    environment.write("ostler.yaml", &spec(1));
    environment.run(&["site", "deploy", "shop", "ostler.yaml"]).ok();
    end_load(load, &["one", "two"]);

    eprintln!("* the certificate is renewed, and served");
    let renewed = environment.run(&["cert", "renew", "shop.example.com"]).ok();
    assert_eq!(renewed.stdout, "shop.example.com: renewed\nsite shop: delivered\n");
    assert_ne!(certificate(&target, "shop.example.com", &environment), serial);
    assert_eq!(environment.run(&["cert", "renew", "--due"]).ok().stdout, "shop.example.com: not due\n");

    eprintln!("* another secret and the same image; and a domain that is taken");
    set_key(&environment, OTHER_KEY);
    let changed = environment.run(&["site", "deploy", "shop"]).ok();
    assert!(!changed.stdout.contains("nothing changed"), "{}", changed.stdout);
    let key = environment.run(&["site", "exec", "shop", "--", "/busybox", "cat", "/run/secrets/APP_KEY"]).ok();
    assert_eq!(key.stdout, OTHER_KEY);
    let blog = "sites:\n  blog:\n    server: web1\n    domains: [ www.shop.example.com ]\n    source: { image: shop:two }\n    port: 8000\n";
    environment.write("blog.yaml", blog);
    let taken = environment.run(&["site", "deploy", "blog", "blog.yaml"]);
    failed(&taken, 3, &["www.shop.example.com belongs to the site shop, so blog can't have it"]);

    eprintln!("* secrets are nowhere but where they belong");
    let services = target
        .exec("docker service inspect $(docker service ls --quiet); docker secret inspect $(docker secret ls --quiet)")
        .ok();
    assert_eq!(
        services.stdout.matches("\"ostler.secret\": \"APP_KEY\"").count(),
        2,
        "one for each version that is kept"
    );
    let log = environment.run(&["site", "list", "--output", "json"]).ok();
    for said in [&services.stdout, &log.stdout, &first.stdout, &two.stdout, &ends.stdout, &ends.stderr] {
        assert!(!said.contains(KEY) && !said.contains(OTHER_KEY), "a secret is shown: {said}");
    }
    for key in [KEY, OTHER_KEY] {
        let mut grep = Command::new("grep");
        grep.args(["--recursive", "--files-with-matches", "--text", "--fixed-strings", key]).arg(environment.path());
        assert_eq!(String::from_utf8_lossy(&grep.output().unwrap().stdout), "", "a secret is on this machine's disk");
    }

    eprintln!("* removed, and nothing is left");
    let asked = environment.run(&["site", "remove", "shop"]);
    failed(&asked, 2, &["shop and all its releases and secrets would be removed", "`ostler site remove shop --yes`"]);
    environment.run(&["site", "remove", "shop", "--yes"]).ok();
    assert_eq!(get(&target, "shop.example.com", "/"), "404 page not found 404");
    assert_eq!(
        target.exec("docker service ls --format '{{.Name}}'; docker secret ls --quiet").ok().stdout,
        "traefik\n"
    );
    assert_eq!(environment.run(&["site", "list"]).ok().stdout, "no sites\n");
    assert_eq!(environment.run(&["dns", "records"]).ok().stdout, "no records\n");
    assert_eq!(environment.run(&["cert", "list", "--output", "json"]).ok().stdout.trim(), "[]");
    let left = target.exec("cd /etc/ostler/traefik && find certificates dynamic -name '*shop*'").ok();
    assert_eq!(left.stdout, "");
}
