//! Catalogs as a user of the command line meets them.

use ostler_testkit::{
    environment::{Finished, TestEnvironment},
    git_site::{GitRepository, GitSite},
    sshd::Sshd,
};
use std::{os::unix::fs::PermissionsExt, path::Path, process::Stdio};

fn environment() -> TestEnvironment {
    TestEnvironment::new(env!("CARGO_BIN_EXE_ostler"))
}

/// Runs the binary without any other program at hand, least of all `git`, while the site answers.
async fn without_programs(environment: &TestEnvironment, arguments: &[&str]) -> Finished {
    let mut command = environment.command(arguments);
    command.env("PATH", "/nowhere");
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("a thread").expect("ostler starts");
    Finished {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What `catalog new` makes, published.
fn published(environment: &TestEnvironment) -> GitRepository {
    let repository = GitRepository::new();
    let work = repository.work();
    environment.run(&["catalog", "new", work.to_str().expect("a plain path")]).ok();
    repository.publish();
    repository
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKpVxHT3DzIDVFIUmNCGDPfuGnZGUCTWvXAbxgUW5a test\n";

fn write_spec(environment: &TestEnvironment, url: &str, server: &str) {
    environment.write("key.pub", KEY);
    environment.write(
        "ostler.yaml",
        &format!("catalog: {{ url: '{url}' }}\nservers:\n  web1:\n    authorized_keys: [ key.pub ]\n    {server}\n"),
    );
}

#[tokio::test]
async fn a_spec_is_read_with_the_apps_of_its_own_catalog() {
    let environment = environment();
    let repository = published(&environment);
    let site = GitSite::start(repository.root()).await.expect("a site");
    write_spec(&environment, &site.url(), "apps: [ example ]\n    app_params: { example: { greeting: Moin } }");
    let plan = without_programs(&environment, &["plan", "ostler.yaml"]).await;
    // Without QEMU no server can be made, but the spec is good.
    assert_eq!((plan.code, plan.stderr.as_str()), (4, ""), "{}", plan.stdout);

    write_spec(&environment, &site.url(), "apps: [ exampel ]\n    app_params: { example: { greeting: 1 } }");
    let refused = without_programs(&environment, &["plan", "ostler.yaml"]).await;
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    for part in ["ostler.yaml:5:13", "did you mean `example`?", "ostler.yaml:6:40"] {
        assert!(refused.stderr.contains(part), "nothing says `{part}`: {}", refused.stderr);
    }

    write_spec(&environment, &site.url(), "apps: [ example ]");
    drop(site);
    let schema = without_programs(&environment, &["schema", "--catalog", "ostler.yaml", "--offline"]).await.ok();
    assert!(schema.stdout.contains("greeting") && !schema.stdout.contains("worker_connections"), "{}", schema.stdout);
    let plan = without_programs(&environment, &["plan", "ostler.yaml"]).await;
    assert_eq!(plan.code, 4, "{}{}", plan.stdout, plan.stderr);
    assert!(plan.stderr.contains("warning: the catalog could not be refreshed"), "{}", plan.stderr);
}

#[tokio::test]
async fn a_sync_that_is_killed_halfway_hinders_nobody() {
    let environment = environment();
    let repository = published(&environment);
    let site = GitSite::start(repository.root()).await.expect("a site");
    let url = site.url();
    let sync = ["catalog", "sync", "--url", &url, "--output", "json"];
    for known in [false, true] {
        if known {
            repository.write("roles/apps/example/files/new", "new");
            repository.publish();
        }
        site.stall_after(60);
        let mut killed =
            environment.command(&sync).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("ostler starts");
        site.stalled().await;
        killed.kill().expect("a signal");
        killed.wait().expect("an end");
        let synced = without_programs(&environment, &sync).await.ok();
        let result = &synced.json_lines()[0];
        assert_eq!(result["commit"], repository.git(&["rev-parse", "HEAD"]));
        assert_eq!(result["apps"][0], "example");
        let trees = Path::new(result["tree"].as_str().expect("a path")).parent().expect("a folder");
        let leftovers: Vec<_> =
            std::fs::read_dir(trees).expect("trees").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(leftovers.len(), 2, "one tree and its lock: {leftovers:?}");
    }
}

/// By the system's `ssh`, with what its user has set up: here, in a file that a script in front of it names.
#[test]
fn a_catalog_is_fetched_by_ssh() {
    let environment = environment();
    environment.make_key();
    let key = std::fs::read_to_string(environment.path().join("id_ed25519.pub")).expect("a key");
    let Some(sshd) = Sshd::start(&[key.trim()]) else { return };
    let repository = published(&environment);
    let (folder, address) = (environment.path().display(), sshd.address());
    environment.write("known_hosts", &format!("[{}]:{} {}\n", address.ip(), address.port(), sshd.host_key()));
    environment.write(
        "ssh_config",
        &format!("UserKnownHostsFile {folder}/known_hosts\nIdentityFile {folder}/id_ed25519\nIdentityAgent none\n"),
    );
    let script = environment.write("ssh", &format!("#!/bin/sh\nexec /usr/bin/ssh -F {folder}/ssh_config \"$@\"\n"));
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("it may be run");
    let path = repository.root().join("catalog.git");
    let url = format!("ssh://{}@{address}{}", sshd.user(), path.display());
    let sync = |url: &str| {
        let mut command = environment.command(&["catalog", "sync", "--url", url, "--output", "json"]);
        command.env("PATH", format!("{folder}:/usr/bin:/bin"));
        let output = command.output().expect("ostler starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Finished {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    };
    let first = sync(&url).ok();
    assert_eq!(first.json_lines()[0]["commit"], repository.git(&["rev-parse", "HEAD"]));
    repository.write("roles/apps/example/files/new", "new");
    let newer = repository.publish();
    assert_eq!(sync(&url).ok().json_lines()[0]["commit"], newer);

    let nowhere = sync(&url.replace("catalog.git", "nowhere.git"));
    assert_eq!(nowhere.code, 4, "{}", nowhere.stderr);
    sshd.authorize(&[]);
    std::fs::remove_dir_all(environment.state_dir()).expect("nothing is at hand any more");
    let refused = sync(&url);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("check that `ssh` to this host works without asking anything"),
        "{}",
        refused.stderr
    );
}

#[test]
fn apps_are_listed_and_shown() {
    let environment = environment();
    let list = environment.run(&["catalog", "list"]).ok().stdout;
    assert!(list.starts_with("APP"), "{list}");
    assert!(list.lines().any(|line| line.starts_with("nginx") && line.contains("80/tcp")), "{list}");
    let json = environment.run(&["catalog", "list", "--output", "json"]).ok().json_lines();
    assert!(json[0].as_array().expect("apps").iter().any(|app| app["name"] == "nginx"));
    let show = environment.run(&["catalog", "show", "nginx"]).ok().stdout;
    let row = show.lines().find(|line| line.starts_with("worker_connections")).expect("a parameter");
    assert!(row.contains("64 to 65535") && row.contains("1024"), "{show}");
    let unknown = environment.run(&["catalog", "show", "ngnix"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("nginx"), "{}", unknown.stderr);
    assert!(!environment.state_dir().exists(), "the state directory was made");
}

#[test]
fn a_catalog_is_begun_and_checked() {
    let environment = environment();
    environment.run(&["catalog", "new", "mine"]).ok();
    assert_eq!(environment.run(&["catalog", "check", "mine"]).ok().stdout, "mine  good: 1 app\n");
    assert!(environment.run(&["catalog", "list", "mine"]).ok().stdout.contains("8080/tcp (lan)"));
    assert_eq!(environment.run(&["catalog", "new", "mine"]).code, 2);
    environment.write("mine/roles/apps/example/tasks/main.yml", "- name: [\n");
    let checked = environment.run(&["catalog", "check", "mine"]);
    assert_eq!(checked.code, 3);
    assert!(
        checked.stdout.contains("mine/roles/apps/example/tasks/main.yml:2:1: not valid YAML"),
        "{}",
        checked.stdout
    );
}

#[test]
fn what_can_not_be_fetched_says_why() {
    let environment = environment();
    let secret = environment.run(&["catalog", "sync", "--url", "https://ann:hunter2@example.org/c.git"]);
    assert_eq!(secret.code, 2);
    assert!(secret.stderr.contains("--url: the URL holds a user or password"), "{}", secret.stderr);
    assert!(!secret.stderr.contains("hunter2"), "{}", secret.stderr);
    // Nothing listens on port 9.
    let away = environment.run(&["catalog", "sync", "--url", "http://127.0.0.1:9/c.git"]);
    assert_eq!(away.code, 4, "{}", away.stderr);
    assert!(away.stderr.contains("can't be fetched") && away.stderr.contains("hint:"), "{}", away.stderr);
    let nothing = environment.run(&["catalog", "sync"]);
    assert_eq!(nothing.code, 2);
}
