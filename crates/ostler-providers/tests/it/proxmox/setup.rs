//! What `ostler proxmox setup` asks `pveum` for.

use ostler_providers::proxmox::{Host, Setup};
use ostler_testkit::pve::{ALL_GRANTS, FakeNode, TOKEN_ID};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// A host whose `pveum` writes down what it is called with, and answers as `have` says.
fn host(dir: &Path, version: &str, have: &str, certificate: &str) -> Host {
    let script = |name: &str, text: &str| {
        fs::write(dir.join(name), format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("pveversion", &format!("echo 'pve-manager/{version}/abcdef0123 (running kernel: 6.17.2-1-pve)'"));
    script(
        "pveum",
        &format!(
            "echo \"$@\" >> {dir}/calls\ncase \"$1 $2 $3\" in\n\
             'user token add') echo '{{\"full-tokenid\":\"{TOKEN_ID}\",\"value\":\"the-value\"}}' ;;\n\
             'user token list') echo '{have}' ;;\n'role list '*|'user list '*) echo '{have}' ;;\nesac",
            dir = dir.display()
        ),
    );
    fs::create_dir_all(dir.join("pve/nodes/pve1")).unwrap();
    fs::write(dir.join("pve/nodes/pve1/pve-ssl.pem"), certificate).unwrap();
    std::os::unix::fs::symlink("nodes/pve1", dir.join("pve/local")).unwrap();
    Host::with_cluster_files(dir.join("pve"), format!("{}:/usr/bin:/bin", dir.display()))
}

fn setup() -> Setup {
    Setup { storage: "local-lvm".into(), images: "local".into(), bridges: vec!["vmbr0".into()] }
}

fn calls(dir: &Path) -> Vec<String> {
    let calls = fs::read_to_string(dir.join("calls")).unwrap();
    calls.lines().filter(|call| !call.contains(" list ")).map(str::to_owned).collect()
}

#[tokio::test]
async fn roles_user_and_token_are_made_with_the_least_privileges() {
    let dir = tempfile::tempdir().unwrap();
    let node = FakeNode::start().await.unwrap();
    let made = setup().run(&host(dir.path(), "9.1.3", "[]", node.authority())).await.unwrap();
    assert_eq!((made.node.as_str(), made.token.expose()), ("pve1", "ostler@pve!ostler=the-value"));
    assert_eq!(made.fingerprint.len(), 95);
    let calls = calls(dir.path());
    assert_eq!(calls[0], "user add ostler@pve --comment Ostler");
    assert_eq!(calls.last().unwrap(), "user token add ostler@pve ostler --privsep 0 --output-format json");
    // Exactly what the node of the other tests grants, which everything else is proved with.
    for (path, privileges) in ALL_GRANTS {
        let grant = calls.iter().find(|call| call.starts_with(&format!("acl modify {path} --users ostler@pve")));
        let role = grant.and_then(|call| call.rsplit(' ').next()).unwrap_or_else(|| panic!("nothing on {path}"));
        let role = calls.iter().find(|call| call.starts_with(&format!("role add {role} --privs "))).unwrap();
        let mut given: Vec<&str> = role.rsplit(' ').next().unwrap().split(',').collect();
        let mut wanted = privileges.to_vec();
        given.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(given, wanted, "{path}");
    }
    assert_eq!(calls.iter().filter(|call| call.starts_with("acl ")).count(), ALL_GRANTS.len());
}

#[tokio::test]
async fn what_is_there_is_changed_and_the_token_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let node = FakeNode::start().await.unwrap();
    let have = r#"[{"roleid":"OstlerVM","userid":"ostler@pve","tokenid":"ostler"}]"#;
    setup().run(&host(dir.path(), "8.4.1", have, node.authority())).await.unwrap();
    let calls = calls(dir.path());
    let role = calls.iter().find(|call| call.starts_with("role modify OstlerVM")).unwrap();
    assert!(role.contains("VM.Monitor") && !role.contains("GuestAgent"), "{role}");
    assert!(!calls.iter().any(|call| call.starts_with("user add")));
    let ends =
        ["user token remove ostler@pve ostler", "user token add ostler@pve ostler --privsep 0 --output-format json"];
    assert_eq!(calls[calls.len() - 2..], ends);
}

#[tokio::test]
async fn anywhere_else_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let failure = setup().run(&Host::with_cluster_files(dir.path().join("pve"), "/usr/bin")).await.unwrap_err();
    assert_eq!(failure.to_string(), "this machine is not a Proxmox VE host");
}
