//! Servers that are there already.

use crate::fixture::{check_server, good, server};
use ostler_spec::{ExistingOptions, ProviderKind, SecretRef, ServerSpec};

fn read(lines: &str) -> ServerSpec {
    good(&server(lines)).servers.remove(0)
}

#[test]
fn the_way_in_has_its_defaults() {
    let existing = |text: &str| {
        let server = read(&format!("provider: existing\nexisting: {text}"));
        assert_eq!(server.provider.kind(), ProviderKind::Existing);
        server.provider.way_in().unwrap().clone()
    };
    let plain = ExistingOptions {
        address: "10.0.0.7".into(),
        port: 22,
        user: "root".into(),
        password: None,
        key: None,
        host_key: None,
    };
    assert_eq!(existing("{ address: 10.0.0.7 }"), plain);
    let password = Some(SecretRef::Secret("box1".into()));
    let fingerprint = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU";
    assert_eq!(
        existing(&format!(
            "{{ address: 'fd00::7', port: 2222, user: admin, password: {{ secret: box1 }}, host_key: '{fingerprint}' }}"
        )),
        ExistingOptions {
            address: "fd00::7".into(),
            port: 2222,
            user: "admin".into(),
            password,
            host_key: Some(fingerprint.into()),
            ..plain
        }
    );
    assert_eq!(existing("{ address: box.example.org }").address, "box.example.org");
}

#[test]
fn what_makes_no_server_is_refused_with_its_place() {
    check_server(
        "provider: existing",
        "
ostler.yaml:3:15: servers.web1.provider: provider `existing` needs the server's address
  hint: write `existing: { address: 10.0.0.7, user: root }`
",
    );
    check_server(
        "existing: { address: 10.0.0.7 }",
        "
ostler.yaml:3:15: servers.web1.existing: this server has another provider
  hint: write `provider: existing`, or take this out
",
    );
    check_server(
        "provider: existing\nexisting: { address: 10.0.0.7 }\nsize: { cpus: 4 }\nimage: debian-13",
        "
ostler.yaml:5:11: servers.web1.size: an existing server has its own
  hint: take it out
ostler.yaml:6:12: servers.web1.image: an existing server has its own
  hint: take it out
",
    );
    check_server(
        "provider: existing\nexisting: { adress: 10.0.0.7, password: hunter2, host_key: 'MD5:aa', port: 0, user: 'a b' }",
        "
ostler.yaml:4:15: servers.web1.existing.address: missing
  hint: IP address or name of the server
ostler.yaml:4:17: servers.web1.existing.adress: unknown key
  hint: did you mean `address`?
ostler.yaml:4:45: servers.web1.existing.password: a secret must not be in this file
  hint: write `{ env: NAME }`, `{ file: PATH }` or `{ secret: NAME }`; the one that was here is exposed: choose another
ostler.yaml:4:64: servers.web1.existing.host_key: `MD5:aa` is not a fingerprint of a host key
  hint: on the server, `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` shows it: `SHA256:` and 43 characters
ostler.yaml:4:80: servers.web1.existing.port: 0 is out of range: 1 to 65535
ostler.yaml:4:89: servers.web1.existing.user: `a b` is not a user name
  hint: 1 to 32 of a-z, A-Z, 0-9, `_`, `.` and `-`, not beginning with `-`
",
    );
    for (address, message) in [
        ("10.0.0.7:2222", "the address holds a port\n  hint: write `address: 10.0.0.7, port: 2222`"),
        ("root@box", "the address holds a user\n  hint: the user goes under `user`"),
        ("0.0.0.0", "`0.0.0.0` is not an address of one machine"),
        (
            "10.0.0",
            "`10.0.0` is neither an IP address nor a host name\n  hint: for example `10.0.0.7` or `box.example.org`",
        ),
    ] {
        check_server(
            &format!("provider: existing\nexisting: {{ address: '{address}' }}"),
            &format!("ostler.yaml:4:26: servers.web1.existing.address: {message}\n"),
        );
    }
}

#[test]
fn a_key_must_be_one_that_ssh_can_use() {
    check_server(
        "provider: existing\nexisting: { address: 10.0.0.7, key: ~/.ssh/none }",
        "
ostler.yaml:4:41: servers.web1.existing.key: `/home/ann/.ssh/none` is no key for ssh
  hint: make one
",
    );
    let key = read("provider: existing\nexisting: { address: 10.0.0.7, key: ~/.ssh/box }")
        .provider
        .way_in()
        .unwrap()
        .key
        .clone();
    assert_eq!(key.as_deref(), Some(std::path::Path::new("/home/ann/.ssh/box")));
}

#[test]
fn keys_can_be_exclusive() {
    assert!(!read("authorized_keys: [ keys/ann.pub ]").exclusive_keys);
    let exclusive = read("authorized_keys: { keys: [ keys/ann.pub ], exclusive: true }");
    assert!(exclusive.exclusive_keys);
    assert_eq!(exclusive.authorized_keys.len(), 1);
}
