//! Conversations with somebody who answers from a script: what comes of going back, of wrong answers, and of metadata that nobody
//! has seen before.

mod script;

use ostler_core::{Blame, secret::Secret, spec::Address};
use ostler_providers::proxmox::Host;
use ostler_testkit::{
    cloudflare::{self, FakeCloudflare},
    hcloud::{self, FakeCloud},
    pve::FakeNode,
};
use script::{
    Act::{self, CtrlC, Enter, Esc},
    Acts, Desk, KEY, give,
};
use serde_json::json;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// A server on this computer, up to the SSH screen, as it is offered.
fn local() -> Acts {
    let mut acts = vec![("Where", give("this computer"))];
    acts.extend(["Name", "Image", "CPUs", "Memory", "Disk", "Port here"].map(|question| (question, Enter)));
    acts
}

fn ssh() -> Acts {
    ["User", "Log in with", "Keys", "root", "Port"].map(|question| (question, Enter)).into()
}

fn nothing_else() -> Acts {
    vec![("take care", give("")), ("apps", give(""))]
}

fn go() -> Acts {
    vec![("This is what", Enter), ("File", Enter)]
}

fn all<const N: usize>(parts: [Acts; N]) -> Acts {
    parts.concat()
}

#[tokio::test]
async fn a_person_who_only_presses_enter_gets_a_hardened_server() {
    let desk = Desk::new();
    let rest = vec![("take care", Enter), ("settings", Enter), ("apps", Enter)];
    let (outcome, _) = desk.outcome(all([local(), ssh(), rest, go()])).await;
    let expected = "\
servers:
  web1:
    provider: local
    image: debian-13
    size: { cpus: 2, memory: 2GiB, disk: 10GiB }
    user: ops
    ssh: { auth: key-only, root_login: no, port: 22 }
    authorized_keys: [ ~/.ssh/id_ed25519.pub ]
    modules:
      baseline_tools: true
      time_sync: true
      sysctl_hardening: true
      accounts: true
      unattended_upgrades: true
      ufw: true
      fail2ban: true
      audit: true
      qemu_guest_agent: true
";
    assert_eq!(outcome.text, expected);
    assert!(outcome.go && outcome.secrets.is_empty() && outcome.setup.is_none());
    assert_eq!(outcome.file, Path::new("ostler.yaml"));
    assert_eq!(desk.server(&outcome).authorized_keys, [KEY]);
}

#[tokio::test]
async fn wrong_answers_are_refused_at_once_in_the_spec_s_own_words() {
    let desk = Desk::new();
    let acts = vec![
        ("Where", give("this computer")),
        ("Name", give("Web_1")),
        ("Name", give("web1")),
        ("Image", Enter),
        ("CPUs", give("four")),
        ("CPUs", give("0")),
        ("CPUs", give("4")),
        ("Memory", give("2GB")),
        ("Memory", give("2GiB")),
        ("Disk", give("1GiB")),
        ("Disk", Enter),
        ("Port here", give("http")),
        ("Port here", give("8080")),
        ("8080", give("80000")),
        ("8080", give("80")),
        ("Port here", give("8080")),
        ("Port here", Enter),
        ("User", give("root")),
        ("User", Enter),
        ("Log in with", Enter),
        ("Keys", give("")),
        ("Keys", Enter),
        ("root", Enter),
        ("Port", give("x")),
        ("Port", give("2222")),
        ("take care", give("ufw")),
        ("settings", give("ufw")),
        ("allow 1", give("80/sctp")),
        ("allow 1", give("80")),
        ("allow 2", Enter),
        ("auto_allow", Enter),
        ("preset", Enter),
        ("apps", give("")),
    ];
    let (outcome, seen) = desk.outcome(all([acts, go()])).await;
    let expected = [
        "not a server name\n  hint: 1 to 63 of a-z, 0-9 and `-`; it can't begin or end with `-`",
        "expected a whole number, found a text",
        "0 is out of range: 1 to 256",
        "`2GB` is not a size\n  hint: did you mean `2GiB`?",
        "`1GiB` is too small: at least 2GiB",
        "not a port of this machine\n  hint: 1 to 65535, or `auto` for any that is free",
        "80000 is out of range: 1 to 65535",
        "it is in the list already",
        "`root` can't be the user that Ostler logs in as\n  hint: name another account, such as `ops`: it becomes \
         root with sudo, which leaves a trace",
        "nobody could log in: `auth` is `key-only`, and there is no key\n  hint: for example `authorized_keys: [ \
         ~/.ssh/id_ed25519.pub ]`",
        "expected a whole number, found a text",
    ];
    assert_eq!(seen.refusals[..expected.len()], expected);
    assert!(seen.refusals[expected.len()].contains("80/sctp"), "{:?}", seen.refusals);
    let server = desk.server(&outcome);
    assert_eq!((server.size.cpus, server.ssh.port, server.provider.forward()[0].guest), (4, 2222, 80));
    assert!(outcome.text.contains("modules:\n      ufw: { allow: [ \"80\" ] }\n"), "{}", outcome.text);
}

#[tokio::test]
async fn who_goes_back_finds_the_answers_and_what_followed_from_others_is_gone() {
    let desk = Desk::new();
    let back = [("Memory", Esc), ("CPUs", Esc), ("Image", Esc), ("Name", Esc)];
    let acts = vec![("Where", give("this computer")), ("Name", give("db1")), ("Image", Enter), ("CPUs", give("8"))];
    let existing = vec![
        ("Where", give("a server that is there")),
        ("Name", Enter),
        ("Address", give("10.0.0.7")),
        ("SSH port", Enter),
        ("Log in as", Esc),
        ("SSH port", Esc),
        ("Address", Esc),
        ("Name", Esc),
    ];
    let again = vec![("Where", give("this computer")), ("Name", Enter), ("Image", Enter), ("CPUs", Enter)];
    let rest = vec![("Memory", Enter), ("Disk", Enter), ("Port here", Enter)];
    let (outcome, seen) =
        desk.outcome(all([acts, back.into(), existing, again, rest, ssh(), nothing_else(), go()])).await;
    let server = desk.server(&outcome);
    assert_eq!((server.name.as_str(), server.size.cpus, server.provider.way_in()), ("db1", 8, None));
    let offered = |question: &str| -> Vec<&str> {
        let asked = seen.asked.iter().filter(|(asked, _)| asked.contains(question));
        asked.map(|(_, offered)| offered.as_str()).collect()
    };
    assert_eq!(offered("Name"), ["web1", "db1", "db1", "db1", "db1"]);
    assert_eq!(offered("CPUs"), ["2", "8", "8"]);
    assert_eq!(offered("Where")[1..], ["this computer", "a server that is there"]);
}

#[tokio::test]
async fn who_leaves_or_breaks_off_gets_nothing() {
    let desk = Desk::new();
    let (left, _) =
        desk.talk(vec![("Where", Esc), ("Leave?", give("go on")), ("Where", Esc), ("Leave?", give("leave"))]).await;
    assert!(left.unwrap().is_none());
    for acts in [vec![("Where", CtrlC)], vec![("Where", Esc), ("Leave?", CtrlC)], all([local(), vec![("User", CtrlC)]])]
    {
        let (broken_off, _) = desk.talk(acts).await;
        let failure = broken_off.unwrap_err();
        assert_eq!((failure.blame, failure.blame.exit_code()), (Blame::Interrupted, 130));
    }
}

#[tokio::test]
async fn metadata_that_nobody_has_seen_has_its_dialog() {
    let mut desk = Desk::new();
    let module = json!({
        "name": "tea", "title": "Tea", "summary": "Makes tea", "order": 1,
        "settings": {
            "cups": { "type": "int", "min": 1, "max": 9, "default": 2, "help": "How many" },
            "kind": { "type": "choice", "choices": ["green", "black"], "default": "black", "help": "green: fresh; black: strong" },
            "milk": { "type": "bool", "default": false, "help": "With milk" },
            "to": { "type": "list", "items": { "type": "string", "pattern": "^[a-z]+$" }, "default": [], "help": "Who drinks" },
            "label": { "type": "string", "pattern": "^[a-z]*$", "default": "", "help": "On the pot, such as mine" },
        },
    });
    desk.modules.push(serde_json::from_value(module).unwrap());
    let app = json!({
        "name": "shop", "role": "shop", "description": "Sells tea",
        "ports": [{ "port": 8443, "proto": "tcp", "scope": "lan" }], "depends": ["nginx"],
        "params": {
            "type": "object", "additionalProperties": false, "required": ["domain", "key"],
            "properties": {
                "domain": { "type": "string", "pattern": "^[a-z.]+$", "description": "Where it is found, such as example.org" },
                "key": { "type": "string", "writeOnly": true, "description": "Of the bank" },
                "goods": {
                    "type": "array", "description": "What is sold",
                    "items": {
                        "type": "object", "additionalProperties": false, "required": ["name"],
                        "properties": { "name": { "type": "string" }, "price": { "type": "number", "minimum": 0 } },
                    },
                },
                "hours": { "type": "object", "additionalProperties": { "type": "integer", "minimum": 0, "maximum": 24 } },
                "open": { "type": "boolean", "default": true },
            },
        },
    });
    desk.catalog.apps.push(serde_json::from_value(app).unwrap());
    let acts = vec![
        ("take care", give("tea,ufw")),
        ("settings", give("tea")),
        ("tea cups", give("10")),
        ("tea cups", give("3")),
        ("tea kind", give("green")),
        ("tea label", Enter),
        ("tea milk", Enter),
        ("tea to 1", give("ann")),
        ("tea to 2", give("Bob")),
        ("tea to 2", give("bob")),
        ("tea to 3", Enter),
        ("apps", give("shop")),
        ("parameters", give("")),
        ("shop domain", give("EXAMPLE")),
        ("shop domain", give("example.org")),
        ("goods 1", give("yes")),
        ("goods 1 name", give("leaves")),
        ("goods 1 price", give("-1")),
        ("goods 1 price", give("2.5")),
        ("goods 2", give("no")),
        ("hours 1", give("monday")),
        ("monday", give("25")),
        ("monday", give("8")),
        ("hours 2", Enter),
        ("shop key", give("s3cret")),
        ("shop open", give("no")),
    ];
    let (outcome, seen) = desk.outcome(all([local(), ssh(), acts, go()])).await;
    let expected = "    modules:
      tea: { cups: 3, kind: green, to: [ ann, bob ] }
      ufw: true
    apps: [ shop ]
    app_params:
      shop: { domain: example.org, goods: [ { name: leaves, price: 2.5 } ], hours: { monday: 8 }, key: { secret: web1-shop-key }, open: false }
";
    assert!(outcome.text.ends_with(expected), "{}", outcome.text);
    assert_eq!(outcome.secrets, [("web1-shop-key".to_owned(), Secret::new("s3cret"))]);
    assert!(!outcome.text.contains("s3cret"));
    assert_eq!(desk.server(&outcome).apps, ["nginx", "shop"]);
    // Each choice is explained, by what the metadata says.
    for (label, help) in [("tea", "Makes tea"), ("shop", "8443/tcp (lan); with nginx; Sells tea"), ("green", "fresh")] {
        assert!(seen.choices.contains(&(label.to_owned(), help.to_owned())), "{label}: {:?}", seen.choices);
    }
    assert_eq!(seen.refusals.len(), 5, "{:?}", seen.refusals);
}

#[tokio::test]
async fn apps_that_want_the_same_port_are_refused_where_they_are_chosen() {
    let mut desk = Desk::new();
    let app =
        json!({ "name": "apache", "role": "apache", "ports": [{ "port": 80, "proto": "tcp", "scope": "public" }] });
    desk.catalog.apps.push(serde_json::from_value(app).unwrap());
    let acts =
        vec![("take care", give("")), ("apps", give("nginx,apache")), ("apps", give("nginx")), ("parameters", Enter)];
    let (outcome, seen) = desk.outcome(all([local(), ssh(), acts, go()])).await;
    assert!(seen.refusals[0].contains("both want port 80/tcp"), "{:?}", seen.refusals);
    assert_eq!(desk.server(&outcome).apps, ["nginx"]);
}

#[tokio::test]
async fn passwords_are_kept_apart_and_only_named() {
    let desk = Desk::new();
    let acts = vec![
        ("User", give("ann")),
        ("Log in with", give("key-and-password")),
        ("Password", give("hunter2hunter2")),
        ("Keys", give("")),
        ("root", Esc),
        ("Keys", Esc),
        // Empty: as before.
        ("Password", Enter),
        ("Keys", give("another")),
        ("Public key", give("nowhere.pub")),
        ("Public key", Enter),
        ("root", Enter),
        ("Port", Enter),
    ];
    let (outcome, seen) = desk.outcome(all([local(), acts, nothing_else(), go()])).await;
    assert!(outcome.text.contains("password: { secret: web1-ann }") && !outcome.text.contains("hunter2"));
    assert_eq!(outcome.secrets, [("web1-ann".to_owned(), Secret::new("hunter2hunter2"))]);
    assert!(seen.refusals[0].starts_with("there is no file"), "{:?}", seen.refusals);
    assert_eq!(desk.server(&outcome).authorized_keys, [""; 0]);
}

#[tokio::test]
async fn who_has_no_key_is_offered_one() {
    let desk = Desk::new();
    let home = desk.dir.path().join("home");
    fs::remove_file(home.join(".ssh/id_ed25519.pub")).unwrap();
    let ssh = |keys: &[(&'static str, Act)]| {
        let before = ["User", "Log in with"].map(|question| (question, Enter));
        [&before[..], keys, &["root", "Port"].map(|question| (question, Enter))].concat()
    };
    let (outcome, seen) = desk.outcome(all([local(), ssh(&[("Keys", Enter)]), nothing_else(), go()])).await;
    assert!(outcome.text.contains("authorized_keys: [ ~/.ssh/id_ed25519.pub ]"), "{}", outcome.text);
    assert_eq!(outcome.key, Some(home.join(".ssh/id_ed25519")));
    assert!(!seen.choices.iter().any(|(label, _)| label == "none"), "nobody could log in: {:?}", seen.choices);

    // One that is typed is no other.
    let typed = [
        ("Keys", give("another")),
        ("Public key", give("~/.ssh/id_rsa.pub")),
        ("Public key", give(KEY)),
        ("Public key", Enter),
    ];
    let (outcome, seen) = desk.outcome(all([local(), ssh(&typed), nothing_else(), go()])).await;
    assert_eq!((outcome.key, &seen.refusals[0][..16]), (None, "there is no file"));

    // A private half that is there is never replaced.
    fs::write(home.join(".ssh/id_ed25519"), "somebody's").unwrap();
    let typed = [("Public key", give("~/.ssh/id_ed25519.pub")), ("Public key", give(KEY)), ("Public key", Enter)];
    let (outcome, seen) = desk.outcome(all([local(), ssh(&typed), nothing_else(), go()])).await;
    assert_eq!((outcome.key, &seen.refusals[0][..16]), (None, "there is no file"));
}

#[tokio::test]
async fn time_zones_are_looked_at_as_they_are_typed() {
    let desk = Desk::new();
    let zone = vec![
        ("take care", give("time_sync")),
        ("settings", give("time_sync")),
        ("servers 1", Enter),
        ("timezone", give("Europe/Berln")),
        ("timezone", give("Europe/Berlin")),
        ("apps", give("")),
    ];
    let (outcome, seen) = desk.outcome(all([local(), ssh(), zone, go()])).await;
    assert_eq!(seen.refusals, ["there is no time zone `Europe/Berln`\n  hint: did you mean `Europe/Berlin`?"]);
    assert!(outcome.text.contains("time_sync: { timezone: Europe/Berlin }"), "{}", outcome.text);
}

#[tokio::test]
async fn a_server_that_is_there_is_asked_for_its_way_in() {
    let desk = Desk::new();
    let acts = vec![
        ("Where", give("a server that is there")),
        ("Name", give("box")),
        ("Address", give("10.0.0.7:22")),
        ("Address", give("10.0.0.7")),
        ("SSH port", Enter),
        ("Log in as", Enter),
        ("How do you", give("a password")),
        ("Password there", give("old")),
    ];
    let modules = vec![("take care", Enter), ("Tunnel", Enter), ("apps", Enter)];
    let (outcome, _) = desk.outcome(all([acts, ssh(), modules, go()])).await;
    let expected = "\
servers:
  box:
    provider: existing
    existing:
      address: 10.0.0.7
      port: 22
      user: root
      password: { secret: box-existing-password }
    user: ops
";
    assert!(outcome.text.starts_with(expected), "{}", outcome.text);
    assert_eq!(outcome.secrets.len(), 1);
    assert!(desk.server(&outcome).modules.is_empty(), "nothing is changed unasked");
}

#[tokio::test]
async fn a_node_elsewhere_offers_what_it_has() {
    let desk = Desk::new();
    let node = FakeNode::start().await.unwrap();
    node.add_vm(100, "somebody's");
    node.storage("local-lvm", |storage| storage.avail = 42 << 30);
    let acts = vec![
        ("Where", give("Proxmox VE elsewhere")),
        ("URL", give("pve1")),
        ("URL", give("https://127.0.0.1:1")),
        ("URL", give(node.url())),
        ("same", give("yes")),
        ("token", give("ostler@pve!ostler=wrong")),
        ("token", give(FakeNode::token())),
        ("Name", Enter),
        ("Image", Enter),
        ("CPUs", Enter),
        ("Memory", Enter),
        ("Disk", Enter),
        ("VMID (the next is 101)", give("100")),
        ("VMID", give("120")),
        ("Storage", Enter),
        ("VLAN", give("5000")),
        ("VLAN", give("20")),
        ("Tag 1", give("Web")),
        ("Tag 1", give("web")),
        ("Tag 2", Enter),
        ("Address", give("fixed")),
        ("Address", give("192.168.1.20")),
        ("Address", give("192.168.1.20/24")),
        ("Gateway", give("10.0.0.1")),
        ("Gateway", give("192.168.1.1")),
        ("IPv6 address", give("192.168.1.21/24")),
        ("IPv6 address", give("2001:db8::20/64")),
        ("IPv6 gateway", give("2001:db8:1::1")),
        ("IPv6 gateway", give("fe80::1")),
        ("Name server 1", Enter),
        ("Name server 2", give("9.9.9.9")),
        ("Name server 3", Enter),
        ("Search domain 1", give("lan")),
        ("Search domain 2", Enter),
        ("Network card 2", Enter),
    ];
    let (outcome, seen) = desk.outcome(all([acts, ssh(), nothing_else(), go()])).await;
    let expected = format!(
        "\
providers:
  pve1:
    kind: proxmox
    url: \"{}\"
    token: {{ secret: pve1 }}
    fingerprint: \"{}\"
servers:
  web1:
    provider: pve1
    image: debian-13
    size: {{ cpus: 2, memory: 2GiB, disk: 10GiB }}
",
        node.url(),
        node.fingerprint()
    );
    assert!(outcome.text.starts_with(&expected), "{}", outcome.text);
    assert_eq!(outcome.secrets, [("pve1".to_owned(), Secret::new(FakeNode::token()))]);
    assert!(!outcome.text.contains("ostler@pve"), "the token stands in the file");
    let options = desk.server(&outcome).provider;
    let options = options.proxmox().unwrap();
    assert_eq!((options.node.as_str(), options.vmid, options.vlan), ("pve1", Some(120), Some(20)));
    assert_eq!(options.tags, ["web"]);
    assert_eq!(
        (options.storage.as_str(), options.images.as_str(), options.bridge.as_str()),
        ("local-lvm", "local", "vmbr0")
    );
    let network = &desk.server(&outcome).networks[0];
    assert_eq!(network.dns.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.168.1.1", "9.9.9.9"]);
    assert_eq!(network.search, ["lan"]);
    assert_eq!(network.fixed_addresses().count(), 2);
    assert_eq!(network.gateway6.unwrap().to_string(), "fe80::1");
    assert!(seen.choices.contains(&("local-lvm".to_owned(), "42 GiB free".to_owned())), "{:?}", seen.choices);
    assert!(seen.texts.iter().any(|line| node.fingerprint().starts_with(line.trim()) && !line.trim().is_empty()));
    let notices = seen.notices.join("\n");
    for words in ["https://127.0.0.1:1 can't be reached", "does not accept the token", "VMID 100 is taken"] {
        assert!(notices.contains(words), "nothing says `{words}`: {notices}");
    }
    let refusals = seen.refusals.join("\n");
    for words in [
        "is not the URL of a Proxmox VE node",
        "5000 is out of range",
        "it must match `^[a-z0-9_]",
        "lacks its prefix",
        "outside of the subnet 192.168.1.0/24",
        "it belongs to `address`",
        "outside of the subnet 2001:db8::/64",
    ] {
        assert!(refusals.contains(words), "nothing says `{words}`: {refusals}");
    }
}

#[tokio::test]
async fn on_the_host_itself_no_token_is_needed_to_look_and_one_is_made_at_the_end() {
    let mut desk = Desk::new();
    let node = FakeNode::start().await.unwrap();
    let dir = desk.dir.path().to_owned();
    let script = r#"#!/bin/sh
case "$*" in
  'get /nodes --output-format json') echo '[{"node":"pve1","status":"online"}]' ;;
  'get /nodes/pve1/storage --output-format json')
    echo '[{"storage":"tank","content":"images","active":1,"avail":107374182400},{"storage":"files","content":"iso,import","active":1,"avail":1}]' ;;
  'get /nodes/pve1/network --type any_bridge --output-format json')
    echo '[{"iface":"vmbr0","cidr":"10.0.0.2/24","gateway":"10.0.0.1"},{"iface":"vmbr1"}]' ;;
  'get /cluster/nextid --output-format json') echo '"104"' ;;
  *) exit 2 ;;
esac
"#;
    fs::write(dir.join("pvesh"), script).unwrap();
    fs::set_permissions(dir.join("pvesh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(dir.join("pve/nodes/pve1")).unwrap();
    fs::write(dir.join("pve/nodes/pve1/pve-ssl.pem"), node.authority()).unwrap();
    std::os::unix::fs::symlink("nodes/pve1", dir.join("pve/local")).unwrap();
    desk.host = Host::with_cluster_files(dir.join("pve"), format!("{}:/usr/bin:/bin", dir.display()));
    let acts = vec![
        ("Where", Enter),
        ("token on this host", Enter),
        ("Name", Enter),
        ("Image", Enter),
        ("CPUs", Enter),
        ("Memory", Enter),
        ("Disk", Enter),
        ("VMID (the next is 104)", Enter),
        ("Storage", Enter),
        ("Bridge", Enter),
        ("VLAN", Enter),
        ("Tag 1", Enter),
        ("Address", give("fixed")),
        ("Address", give("10.0.0.20/24")),
        ("Gateway", Enter),
        ("IPv6 address", Enter),
        ("Name server 1", give("-")),
        ("Search domain 1", Enter),
        ("Network card 2", give("yes")),
        ("Network card 2 bridge", give("vmbr1")),
        ("Network card 2 vlan", give("7")),
        ("Network card 2 address", give("10.0.0.0/8")),
        ("Network card 2 address", give("10.1.0.20/24")),
        ("Network card 2 address6", Enter),
        ("Network card 3", give("yes")),
        ("Network card 3 bridge", give("vmbr0")),
        ("Network card 3 vlan", Esc),
        ("Network card 3 bridge", Esc),
        ("Network card 3", give("no")),
    ];
    let (outcome, seen) = desk.outcome(all([acts, ssh(), nothing_else(), go()])).await;
    let (setup, secret) = outcome.setup.as_ref().expect("a token is to be made");
    assert_eq!((setup.storage.as_str(), setup.images.as_str()), ("tank", "files"));
    assert_eq!(setup.bridges, ["vmbr0", "vmbr1"]);
    assert_eq!(secret, "pve1");
    assert!(outcome.text.contains("url: \"https://pve1:8006\"\n    token: { secret: pve1 }\n"), "{}", outcome.text);
    let server = desk.server(&outcome);
    assert_eq!(server.networks[0].gateway.unwrap().to_string(), "10.0.0.1", "the node's own was offered");
    let options = server.provider.proxmox().unwrap();
    assert_eq!((server.networks[0].dns.len(), options.vmid), (0, None));
    let plugs: Vec<_> = server.networks.iter().map(|card| options.plug(card)).collect();
    assert_eq!(plugs, [("vmbr0", None), ("vmbr1", Some(7))]);
    assert_eq!(server.networks[1].address, Address::Static("10.1.0.20/24".parse().unwrap()));
    assert!(seen.asked.contains(&("Gateway:".to_owned(), "10.0.0.1".to_owned())), "{:?}", seen.asked);
}

#[tokio::test]
async fn a_long_spec_is_read_in_pages_and_one_can_still_change_it() {
    let desk = Desk::new();
    let acts = vec![
        ("take care", give("ufw")),
        ("settings", Enter),
        ("apps", give("")),
        ("This is what", give("back")),
        ("apps", Enter),
        ("This is what", give("save")),
        ("File", give("nowhere/ostler.yaml")),
        ("File", give("other.yaml")),
    ];
    let (outcome, seen) = desk.outcome(all([local(), ssh(), acts])).await;
    assert!(!outcome.go);
    assert_eq!(outcome.file, Path::new("other.yaml"));
    assert!(seen.refusals[0].starts_with("there is no folder"), "{:?}", seen.refusals);
    assert!(seen.texts.iter().any(|line| line == "    provider: local"), "{:?}", seen.texts);
}

#[tokio::test]
async fn a_server_of_hetzner_from_the_projects_own_types_and_prices() {
    let mut desk = Desk::new();
    let (cloud, _) = FakeCloud::start().await.unwrap();
    desk.hetzner = Some(cloud.url());
    cloud.sell_out("cx33", "hel1");
    let acts = vec![
        ("Where", give("Hetzner Cloud")),
        ("API token", give("nobodys-token")),
        ("API token", give(hcloud::TOKEN)),
        ("Name", Enter),
        ("Server type", give("cx33")),
        ("Location", give("nbg1")),
        ("Backups", give("yes")),
        ("Anything else", give("yes")),
        ("Server type", give("cx23")),
        ("Server type", give("")),
        ("Location", give("fsn1")),
        ("Location", give("")),
        ("Private network", give("inner")),
        ("Volume", give("{ name: data, mount: /etc }")),
        ("Volume", give("{ name: data, mount: /srv/data }")),
        ("Volume", give("")),
        ("Placement", give("web")),
        ("Public IPv4", Enter),
        ("Public IPv6", give("kept")),
        ("Protect", give("yes")),
    ];
    let rest = vec![("take care", give("")), ("Tunnel", Enter), ("apps", give(""))];
    let (outcome, seen) = desk.outcome(all([acts, ssh(), rest, go()])).await;
    let expected = format!(
        "\
providers:
  hc:
    kind: hetzner
    token: {{ secret: hetzner }}
    endpoint: \"{}\"
servers:
  web1:
    provider: hc
    image: debian-13
    hetzner:
      type: [ cx33, cx23 ]
      location: [ nbg1, fsn1 ]
      backups: true
      network: inner
      volumes: [ {{ mount: /srv/data, name: data }} ]
      placement: web
      ipv4: true
      ipv6: kept
      protect: true
",
        cloud.url()
    );
    assert!(outcome.text.starts_with(&expected), "{}", outcome.text);
    assert_eq!(outcome.secrets, [("hetzner".to_owned(), Secret::new(hcloud::TOKEN))]);
    assert_eq!(desk.server(&outcome).provider.hetzner().unwrap().types, ["cx33", "cx23"]);
    assert!(seen.refusals.iter().any(|said| said.contains("/etc")), "{:?}", seen.refusals);
    let offered = |label: &str| seen.choices.iter().find(|(name, _)| name == label).map(|(_, help)| help.as_str());
    assert_eq!(offered("cx33"), Some("4 cores, 8 GB, disk 80 GB, x86, 6.53 EUR a month"));
    assert_eq!((offered("nbg1"), offered("hel1")), (Some("Nuremberg, DE; 6.53 EUR a month"), None));
    assert_eq!((offered("cx22"), offered("cpx11").is_some_and(|it| it.ends_with("until 2099-12-31"))), (None, true));
    assert!(seen.notices.join("\n").contains("does not accept the token"), "{:?}", seen.notices);
}

#[tokio::test]
async fn a_tunnel_is_tried_before_its_port_may_be_closed() {
    let mut desk = Desk::new();
    let fake = FakeCloudflare::start().await.unwrap();
    desk.cloudflare = Some(fake.url());
    let existing = vec![
        ("Where", give("a server that is there")),
        ("Name", Enter),
        ("Address", give("192.0.2.7")),
        ("SSH port", Enter),
        ("Log in as", Enter),
        ("How do you", Enter),
    ];
    let lacking = fake.token(&["Zone Read", "Cloudflare Tunnel Write"]);
    let tunnel = vec![
        ("take care", give("iptables")),
        ("settings", Enter),
        ("Tunnel", give("yes")),
        ("Account", give("mine")),
        ("Account", give(cloudflare::ACCOUNT)),
        ("Host name", give("ssh")),
        ("Host name", give("ssh-web1.example.com")),
        ("API token", give(&lacking)),
        ("API token", give(cloudflare::TOKEN)),
        ("Close", give("yes")),
        ("apps", give("")),
    ];
    let (outcome, seen) = desk.outcome(all([existing, ssh(), tunnel, go()])).await;
    let expected = format!(
        "\
    tunnel: {{ via: edge, hostname: ssh-web1.example.com, close_ssh: true }}
tunnels:
  edge:
    kind: cloudflare
    account: {}
    token: {{ secret: cloudflare }}
    endpoint: \"{}\"
",
        cloudflare::ACCOUNT,
        fake.url()
    );
    assert!(outcome.text.ends_with(&expected), "{}", outcome.text);
    assert_eq!(outcome.secrets, [("cloudflare".to_owned(), Secret::new(cloudflare::TOKEN))]);
    assert!(desk.server(&outcome).tunnel.is_some_and(|tunnel| tunnel.close_ssh));
    let notices = seen.notices.join("\n");
    assert!(notices.contains("Access: Service Tokens Write, DNS Write"), "{notices}");
    assert!(seen.refusals.iter().any(|said| said.contains("is not a host name in a zone")), "{:?}", seen.refusals);
    assert!(fake.resources("tunnels").is_empty(), "asking makes nothing");
}
