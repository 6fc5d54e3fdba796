use crate::fixture::{KEY, good, server};
use ostler_spec::{Address, Forward, ImageRef, RootLogin, SecretRef, Size, SshPolicy, Strategy, Value};
use std::path::PathBuf;

const GIB: u64 = 1 << 30;

#[test]
fn defaults_fill_a_short_spec() {
    let spec = good("servers: { web1: { authorized_keys: [ ~/.ssh/id_ed25519.pub ] } }");
    let web1 = &spec.servers[0];
    assert_eq!(web1.image, ImageRef::Named("debian-13".into()));
    assert_eq!(web1.size, Size { cpus: 2, memory: 2 * GIB, disk: 10 * GIB });
    assert_eq!(web1.networks.len(), 1);
    assert_eq!(web1.networks[0].address, Address::Dhcp);
    assert_eq!(web1.user, "ops");
    assert_eq!(web1.password, None);
    assert_eq!(web1.authorized_keys, [KEY]);
    let ssh = SshPolicy::default();
    assert_eq!(web1.ssh, ssh);
    assert!(web1.modules.is_empty() && web1.apps.is_empty() && web1.provider.forward().is_empty());
    assert_eq!(web1.ansible.strategy, Strategy::Mitogen);
}

#[test]
fn servers_keep_the_order_of_the_file() {
    let spec = good("servers:\n  zoe: &s { authorized_keys: [ keys/ann.pub ] }\n  ann: *s\n  mia: *s\n");
    let names: Vec<_> = spec.servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["zoe", "ann", "mia"]);
}

#[test]
fn root_login_is_a_word_in_every_dialect_of_yaml() {
    for (word, expected) in [
        ("no", RootLogin::No),
        ("\"no\"", RootLogin::No),
        ("false", RootLogin::No),
        ("yes", RootLogin::Yes),
        ("true", RootLogin::Yes),
        ("prohibit-password", RootLogin::ProhibitPassword),
    ] {
        let spec = good(&server(&format!("ssh: {{ root_login: {word} }}")));
        assert_eq!(spec.servers[0].ssh.root_login, expected, "{word}");
    }
}

#[test]
fn modules_are_on_with_all_settings_or_off_or_absent() {
    let spec = good(&server("modules: { ufw: { preset: web }, fail2ban: true, qemu_guest_agent: false }"));
    let modules = &spec.servers[0].modules;
    let ufw = modules["ufw"].as_ref().unwrap();
    assert_eq!(ufw["preset"], Value::String("web".into()));
    assert_eq!(ufw["auto_allow_app_ports"], Value::Bool(true));
    assert_eq!(modules["fail2ban"].as_ref().unwrap()["max_retry"], Value::Int(5));
    assert_eq!(modules["qemu_guest_agent"], None);

    assert!(good(&server("modules: {}")).servers[0].modules.is_empty());
}

#[test]
fn apps_run_after_what_they_depend_on() {
    let spec = good(&server("apps: [ nginx ]\napp_params: { nginx: { worker_connections: 1024, index: [ a.html ] } }"));
    let web1 = &spec.servers[0];
    assert_eq!(web1.apps, ["base", "certs", "nginx"]);
    assert_eq!(web1.app_params["nginx"]["worker_connections"], Value::Int(1024));
}

#[test]
fn passwords_are_only_referred_to() {
    let secret = |text: &str| good(&server(&format!("password: {text}"))).servers[0].password.clone().unwrap();
    assert_eq!(secret("{ env: OPS }"), SecretRef::Env("OPS".into()));
    assert_eq!(secret("{ secret: ops }"), SecretRef::Secret("ops".into()));
    assert_eq!(secret("{ file: ops.txt }"), SecretRef::File("/etc/specs/ops.txt".into()));
    assert_eq!(secret("{ file: ~/ops.txt }"), SecretRef::File("/home/ann/ops.txt".into()));
}

#[test]
fn a_password_can_stand_in_for_keys() {
    let spec = good(&server("authorized_keys: []\npassword: { env: OPS }\nssh: { auth: key-and-password }"));
    assert!(spec.servers[0].authorized_keys.is_empty());
}

#[test]
fn images_are_names_paths_or_downloads() {
    let image = |text: &str| good(&server(&format!("image: {text}"))).servers[0].image.clone();
    assert_eq!(image("./debian.qcow2"), ImageRef::Path(PathBuf::from("/etc/specs/./debian.qcow2")));
    assert_eq!(image("mine.raw"), ImageRef::Path("/etc/specs/mine.raw".into()));
    assert_eq!(image("~/mine.img"), ImageRef::Path("/home/ann/mine.img".into()));
    let sum = "ab".repeat(32);
    let url = "https://example.org/a.qcow2".to_owned();
    let expected = ImageRef::Url { url: url.clone(), checksum: format!("sha256:{sum}") };
    assert_eq!(image(&format!("{{ url: '{url}', checksum: 'sha256:{}' }}", sum.to_uppercase())), expected);
}

#[test]
fn keys_are_files_or_the_keys_themselves_each_once() {
    let spec = good(&server(&format!("authorized_keys:\n  - keys/two\n  - {KEY}\n  - ~/.ssh/id_ed25519.pub")));
    assert_eq!(spec.servers[0].authorized_keys, [KEY.to_owned(), format!("from=\"10.0.0.0/8, 10.1.0.0/16\" {KEY}")]);
}

#[test]
fn several_networks_and_forwarded_ports() {
    let spec = good(&server(
        "network:\n  - { address: 10.0.0.2/24, gateway: 10.0.0.1, dns: [ 9.9.9.9, 'fd00::53' ], search: [ example.org ] }\n  \
         - {}\n  - { address: 'fd00::2/64', gateway: 'fd00::1' }\n\
         local: { forward: { 8080: 80, \"auto\": 443 } }",
    ));
    let web1 = &spec.servers[0];
    assert_eq!(web1.networks[0].address, Address::Static("10.0.0.2/24".parse().unwrap()));
    assert_eq!(web1.networks[1].address, Address::Dhcp);
    assert_eq!(web1.networks[2].gateway, Some("fd00::1".parse().unwrap()));
    let forward = [Forward { host: Some(8080), guest: 80 }, Forward { host: None, guest: 443 }];
    assert_eq!(web1.provider.forward(), forward);
}
