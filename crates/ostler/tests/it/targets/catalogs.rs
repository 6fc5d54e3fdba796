//! Apps of a catalog in Git, on a real server.

use super::support::{bare, environment, server, spec};
use ostler_testkit::{
    environment::{Finished, TestEnvironment},
    git_site::{GitRepository, GitSite},
    targets::{Lab, Source, Target, Verdict},
};

/// `front` serves a page to everybody, and needs the app that each new catalog has, which serves one to neighbours.
fn write_front(repository: &GitRepository, greeting: &str) {
    let example = std::fs::read_to_string(repository.work().join("index.json")).expect("an index");
    let mut index: serde_json::Value = serde_json::from_str(&example).expect("an index");
    let apps = index["apps"].as_array_mut().expect("apps");
    apps.retain(|app| app["name"] != "front");
    apps.push(serde_json::json!({
        "name": "front", "role": "front", "packages": ["python3"], "depends": ["example"],
        "ports": [{ "port": 8090, "proto": "tcp", "scope": "public" }],
    }));
    repository.write("index.json", &index.to_string());
    repository.write(
        "roles/apps/front/tasks/main.yml",
        &format!(
            "- name: Write the page\n  ansible.builtin.copy:\n    content: {greeting}\n    dest: /srv/front.txt\n    \
             mode: \"0644\"\n\n\
             - name: Write the service\n  ansible.builtin.copy:\n    content: |\n      [Service]\n      \
             ExecStart=/usr/bin/python3 -m http.server 8090 --directory /srv\n\n      [Install]\n      \
             WantedBy=multi-user.target\n    dest: /etc/systemd/system/front.service\n    mode: \"0644\"\n\n\
             - name: Start the service\n  ansible.builtin.systemd_service:\n    name: front\n    enabled: true\n    \
             state: started\n    daemon_reload: true\n"
        ),
    );
}

fn write_spec(environment: &TestEnvironment, target: &Target, url: &str, apps: &str) {
    let work = format!("    modules: {{ ufw: {{ preset: server-minimal }} }}\n    apps: [ {apps} ]\n");
    environment.write("ostler.yaml", &format!("catalog: {{ url: '{url}' }}\n{}", spec(&[server(target, &work)])));
}

fn up(environment: &TestEnvironment) -> Finished {
    environment.run(&["up", "ostler.yaml", "--output", "json"]).ok()
}

#[tokio::test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
async fn a_server_follows_its_catalog() {
    let repository = GitRepository::new();
    let site = GitSite::start(repository.root()).await.expect("a site");
    // The site answers on this thread.
    tokio::task::spawn_blocking(move || follow(&repository, site)).await.expect("no panic");
}

fn follow(repository: &GitRepository, site: GitSite) {
    let Some(lab) = Lab::start() else { return };
    let environment = environment();
    let target = lab.boot_one(bare("web", 22));
    environment.run(&["catalog", "new", repository.work().to_str().expect("a plain path")]).ok();
    write_front(repository, "Hello");
    let first = repository.publish();
    write_spec(&environment, &target, &site.url(), "front");
    let made = up(&environment);
    assert!(made.stdout.contains(&first), "the commit stands in the events");
    assert_eq!(target.read("/srv/front.txt"), "Hello");
    assert_eq!(target.probe(Source::PublicV4, 8090), Verdict::Open);
    assert_eq!(target.probe(Source::Lan, 8080), Verdict::Open, "what it depends on came along");
    assert_eq!(target.probe(Source::PublicV4, 8080), Verdict::Dropped, "and is for neighbours only");

    write_front(repository, "Moin");
    repository.publish();
    assert_eq!(up(&environment).changes(), ["front : Write the page"], "a new commit changes just that");
    assert_eq!(target.read("/srv/front.txt"), "Moin");

    let index = std::fs::read_to_string(repository.work().join("index.json")).expect("an index");
    repository.write("index.json", "{");
    repository.publish();
    let kept = up(&environment);
    assert!(kept.stderr.contains("not valid JSON") && kept.stderr.contains("using commit"), "{}", kept.stderr);
    assert_eq!(kept.changes(), [""; 0]);
    repository.write("index.json", &index);
    repository.publish();

    write_spec(&environment, &target, &site.url(), "example");
    up(&environment);
    assert_eq!(target.exec("systemctl is-active front").stdout, "active\n", "it is left alone");
    assert_eq!(target.probe(Source::PublicV4, 8090), Verdict::Dropped, "but its port is closed");
    assert_eq!(target.probe(Source::Lan, 8080), Verdict::Open);

    drop(site);
    let away = up(&environment);
    let age = |text: &str| text.contains("using commit") && text.contains(" ago");
    assert!(away.stderr.contains("can't be fetched") && age(&away.stderr), "{}", away.stderr);
    assert_eq!(away.changes(), [""; 0]);
}
