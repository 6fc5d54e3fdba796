//! The refusals that the other files do not speak of, one line each: what stands there, and all that is said of it.

use crate::fixture::{KEY, check, check_server, read, server};
use ostler_spec::{AppMeta, check_app, error::Classify, hint::Next, read_index};
use serde_json::json;

#[test]
fn single_values_of_a_server() {
    for (line, expected) in [
        (
            "user: systemd-web",
            "3:11: user: `systemd-web` is an account or group of the system itself\n  hint: choose a name of its own, such as `ops`",
        ),
        (
            "user: ''",
            "3:11: user: `` is not a user name\n  hint: 1 to 32 of a-z, A-Z, 0-9, `_`, `.` and `-`, not beginning with `-`",
        ),
        ("size: { cpus: -1 }", "3:19: size.cpus: -1 is out of range: 1 to 256"),
        (
            "size: { cpus: '4' }",
            "3:19: size.cpus: expected a whole number, found a text\n  hint: without the quotes it is one: `4`",
        ),
        (
            "apps: { nginx: true }",
            "3:11: apps: expected a list, found a mapping\n  hint: a list goes in brackets: `[ … ]`",
        ),
        (
            "existing: 10.0.0.7",
            "3:15: existing: expected a mapping, found a text\n  hint: write `{ address: … }`\n3:15: existing: this server has another provider\n  hint: write `provider: existing`, or take this out",
        ),
        ("size: { cpus: two }", "3:19: size.cpus: expected a whole number, found a text"),
        (
            "size: { memory: }",
            "3:13: size.memory: expected a size such as `2GiB`, found nothing\n  hint: give it a value, or leave it out",
        ),
        (
            "size: { memory: -2GiB }",
            "3:21: size.memory: `-2GiB` is not a size\n  hint: a whole number and B, KiB, MiB, GiB or TiB, such as `2GiB`",
        ),
        (
            "network: { address: 192.168.1.20/33 }",
            "3:25: network.address: `192.168.1.20/33` is neither `dhcp` nor an address with its prefix\n  hint: for example `192.168.1.20/24`",
        ),
        (
            "network: { address: 10.0.0.1/0 }",
            "3:25: network.address: `10.0.0.1/0` is not an address that a network card can have",
        ),
        (
            "network: { address: 224.0.0.1/4 }",
            "3:25: network.address: `224.0.0.1/4` is not an address that a network card can have",
        ),
        ("network: { dns: [ 224.0.0.1 ] }", "3:23: network.dns[0]: `224.0.0.1` is not an address of one machine"),
        ("network: { dns: [ '::' ] }", "3:23: network.dns[0]: `::` is not an address of one machine"),
        (
            "network: { address: 192.168.1.20/24, gateway: 192.168.1.0 }",
            "3:51: network.gateway: `192.168.1.0` is the address of the network 192.168.1.0/24 itself",
        ),
        (
            "network: { address: 'fd00::5/64', gateway: 10.0.0.1 }",
            "3:48: network.gateway: `10.0.0.1` can't be the gateway of an IPv6 address",
        ),
        (
            "network: { address6: 10.0.0.5/24 }",
            "3:26: network.address6: `10.0.0.5/24` is an IPv4 address\n  hint: it belongs to `address`\n3:26: network.address6: provider `local` gives a card one address\n  hint: take it out, or give it to a card of its own",
        ),
        (
            "network: { vlan: 0 }",
            "3:22: network.vlan: 0 is out of range: 1 to 4094\n3:22: network.vlan: only Proxmox VE has bridges to plug a card into\n  hint: take it out",
        ),
        (
            "network: [ {}, { bridge: vmbr1 } ]",
            "3:30: network[1].bridge: only Proxmox VE has bridges to plug a card into\n  hint: take it out",
        ),
        ("image: images/none.qcow2", "3:12: image: there is no file `images/none.qcow2`"),
        ("image: \"a/\\0b\"", "3:12: image: `a/\\u{0}b` is not a path"),
        (
            "image: { url: 'https://', checksum: 'sha256:00' }",
            "3:19: image.url: `https://` is not a URL\n  hint: it starts with `https://` or `http://`\n3:41: image.checksum: `sha256:00` is not a checksum\n  hint: `sha256:` and 64 hexadecimal digits, or `sha512:` and 128",
        ),
        (
            "local: { forward: { '+80': 80 } }",
            "3:25: local.forward.+80: not a port of this machine\n  hint: 1 to 65535, or `auto` for any that is free",
        ),
        ("ssh: { port: 65536 }", "3:18: ssh.port: 65536 is out of range: 1 to 65535"),
        (
            "ssh: { root_login: 3 }",
            "3:24: ssh.root_login: expected one of `no`, `prohibit-password`, `yes`, found a whole number",
        ),
        (
            "password: { vault: a }",
            "3:15: password: expected one of `secret`, `env` and `file`\n  hint: write `{ env: NAME }`, `{ file: PATH }` or `{ secret: NAME }`",
        ),
        ("password: { env: '' }", "3:22: password.env: expected a name or path on one line"),
        (
            "password: { secret: 7 }",
            "3:25: password.secret: expected a name or path, found a whole number\n  hint: put text that looks like a number or a truth value in quotes",
        ),
        ("user: !!int ops", "3:11: user: the value is not of the type that its tag says"),
        (
            "apps: [ 7 ]",
            "3:13: apps[0]: expected the name of an app, found a whole number\n  hint: put text that looks like a number or a truth value in quotes",
        ),
        (
            "modules: [ ufw ]",
            "3:14: modules: expected a mapping, found a list\n  hint: a mapping has names and values: `ufw: …`",
        ),
        (
            "provider: hetzner",
            "3:15: provider: which project of Hetzner Cloud is meant?\n  hint: describe it under `providers`, such as `providers: { hc: { kind: hetzner, token: { secret: hetzner } } }`, and name it here: `provider: hc`",
        ),
        ("provider: exiting", "3:15: provider: there is no provider `exiting`\n  hint: did you mean `existing`?"),
        ("authorized_keys: { exclusive: true }", "3:22: authorized_keys.keys: missing\n  hint: The keys"),
        ("authorized_keys: [ '' ]", "3:24: authorized_keys[0]: expected a public key or the path of one"),
    ] {
        check_server(line, &places(expected, "servers.web1."));
    }
}

#[test]
fn the_way_into_a_server_that_is_there() {
    for (line, expected) in [
        (
            "address: '[fd00::7]:2222'",
            "4:26: address: the address holds a port\n  hint: write `address: fd00::7, port: 2222`",
        ),
        ("address: 239.1.1.1", "4:26: address: `239.1.1.1` is not an address of one machine"),
        (
            "address: -box",
            "4:26: address: `-box` is neither an IP address nor a host name\n  hint: for example `10.0.0.7` or `box.example.org`",
        ),
        (
            "address: ''",
            "4:26: address: `` is neither an IP address nor a host name\n  hint: for example `10.0.0.7` or `box.example.org`",
        ),
        ("address: box, key: keys/shut", "4:36: key: `/etc/specs/keys/shut` is no key for ssh\n  hint: make one"),
    ] {
        let lines = format!("provider: existing\nexisting: {{ {line} }}");
        check_server(&lines, &places(expected, "servers.web1.existing.").replace("/etc/specs/", ""));
    }
    check_server(
        "provider: existing\nexisting: { address: box }\nnetwork: {}\nlocal: {}",
        "
ostler.yaml:5:14: servers.web1.network: an existing server has its own
  hint: take it out
ostler.yaml:6:12: servers.web1.local: an existing server has its own
  hint: take it out
",
    );
}

#[test]
fn a_name_that_every_machine_has() {
    check(
        "servers: { localhost: { authorized_keys: [ keys/ann.pub ] } }",
        "ostler.yaml:1:12: servers.localhost: `localhost` is every machine's name for itself",
    );
}

#[test]
fn a_key_that_was_cut_off_among_several_says_which_line() {
    let two = format!("authorized_keys:\n  - |\n    {KEY}\n    ssh-ed25519 AAAAC3Nza\n");
    check_server(
        &two,
        "
ostler.yaml:5:9: servers.web1.authorized_keys[0]: line 2 is not a whole public key
  hint: it may have been cut off when it was copied
",
    );
    let private = read(&server("authorized_keys:\n  - |\n    -----BEGIN OPENSSH PRIVATE KEY-----\n")).unwrap_err();
    let expected = "this is a PRIVATE key, and it is in the spec\n  \
                    hint: take it out, make a new key pair with `ssh-keygen -t ed25519`, and name its public half";
    assert!(private.to_string().ends_with(expected), "{private}");
}

#[test]
fn sources_of_a_catalog() {
    for (url, expected) in [
        ("https://host", "`https://host` is not the URL of a Git repository\n  hint: it names a host and a path"),
        (
            "https://host/a b",
            "`https://host/a b` is not the URL of a Git repository\n  hint: it names a host and a path",
        ),
        ("ssh://-oProxyCommand=x/c", "`ssh://-oProxyCommand=x/c` names no host"),
        (
            "ssh://ann:pw@host/c",
            "the URL holds a user or password\n  hint: this file is no place for secrets: use a repository that anyone may read, or `ssh://git@HOST/PATH` with a key",
        ),
        (
            "/srv/catalog.git",
            "not the URL of a Git repository that Ostler can fetch\n  hint: for example `https://git.example.org/catalog.git`, or `file:///srv/catalog.git` for a folder",
        ),
    ] {
        let text = format!("catalog: {{ url: '{url}' }}\nservers: {{ a: {{ authorized_keys: [ keys/ann.pub ] }} }}\n");
        check(&text, &format!("ostler.yaml:1:17: catalog.url: {expected}"));
    }
}

#[test]
fn numbers_of_parameters_that_are_none() {
    for (value, expected) in [
        (".inf", "expected a finite number"),
        (".nan", "expected a finite number"),
        ("half", "expected a number, found a text"),
    ] {
        check_server(
            &format!("apps: [ nginx ]\napp_params: {{ nginx: {{ ratio: {value} }} }}"),
            &format!("ostler.yaml:4:35: servers.web1.app_params.nginx.ratio: {expected}"),
        );
    }
}

#[test]
fn a_form_is_shown_by_an_example_where_there_is_one() {
    check_server(
        "apps: [ mail ]\napp_params: { mail: { domain: a, relay: b } }",
        "
ostler.yaml:4:45: servers.web1.app_params.mail.relay: `b` does not have the right form
  hint: Where it goes, such as relay:25
",
    );
}

#[test]
fn indexes_of_catalogs() {
    let app = |rest: &str| format!(r#"{{"apps":[{{"name":"a","role":"a",{rest}}}]}}"#);
    let port = r#"{"port":80,"proto":"tcp","scope":"public"}"#;
    for (text, expected) in [
        ("{}".to_owned(), "1:1: apps: missing (`\"apps\": []` is a catalog without any)"),
        (r#"{"apps":{}}"#.to_owned(), "1:9: apps: expected a list, found a mapping"),
        (
            app(r#""version":2"#),
            "1:43: apps[0].version: expected a version in quotes, found a whole number (put text that looks like a number or a truth value in quotes)",
        ),
        (
            app(r#""ports":[{"port":80,"proto":"tcp"}]"#),
            "1:42: apps[0].ports[0].scope: missing (who may reach it: `public`, `lan` or `local`)",
        ),
        (app(&format!(r#""ports":[{port},{port}]"#)), "1:85: apps[0].ports[1]: port 80/tcp is named twice"),
        (app(r#""depends":["b"]"#), "1:44: apps[0].depends[0]: the catalog has no app `b`"),
        (app(r#""depends":["a"]"#), "1:44: apps[0].depends[0]: apps depend on one another in a circle: a -> a"),
        (app(r#""strategy":"free""#), "1:44: apps[0].strategy: expected one of `mitogen`, `linear`, found `free`"),
        (
            app(r#""params":{"type":"string"}"#),
            "1:42: apps[0].params: `a`: unsupported in a schema of parameters: `type`",
        ),
        (
            app(r#""params":{"properties":{"B":{}}}"#),
            "1:57: apps[0].params.properties.B: not a name for a variable (a-z, 0-9 and `_`, beginning with a letter)",
        ),
        (
            r#"{"apps":[{"name":"app","role":"a","params":{"properties":{"ports":{}}}}]}"#.to_owned(),
            "1:59: apps[0].params.properties.ports: this variable is Ostler's own",
        ),
        (
            r#"{"apps":[{"name":"a.b","role":"a"}]}"#.to_owned(),
            "1:18: apps[0].name: `a.b` is not a name for an app (1 to 40 of a-z, 0-9, `_` and `-`, beginning with a letter)",
        ),
    ] {
        let faults = read_index(&text).faults;
        let said = faults.first().map(|fault| {
            let hint: String =
                fault.hints.iter().map(|hint| format!(" ({})", hint.in_words(Next::to_string))).collect();
            format!("{}:{}: {}: {}{hint}", fault.line, fault.column, fault.key_path, fault.message)
        });
        assert!(said.as_ref().is_some_and(|said| said.starts_with(expected)), "\n{text}\n{said:?}\n{expected}");
    }
}

#[test]
fn schemas_of_parameters() {
    let said = |params| {
        let meta: AppMeta = serde_json::from_value(json!({ "name": "x", "role": "x", "params": params })).unwrap();
        let error = check_app(&meta).expect_err("a schema that is refused");
        format!("{error}{}", if error.hints().is_empty() { "" } else { " (hint)" })
    };
    for (params, expected) in [
        (json!(true), "`x`: unsupported in a schema of parameters: `a schema that is not an object` (hint)"),
        (
            json!({ "type": "object", "required": ["a"] }),
            "`x`: unsupported in a schema of parameters: `required` (hint)",
        ),
        (json!({ "type": "object", "required": "a" }), "`x`: unsupported in a schema of parameters: `required` (hint)"),
        (
            json!({ "type": "object", "properties": [] }),
            "`x`: unsupported in a schema of parameters: `properties` (hint)",
        ),
        (
            json!({ "type": "object", "properties": { "a": { "enum": [[]] } } }),
            "`x.a`: unsupported in a schema of parameters: `enum` (hint)",
        ),
        (
            json!({ "type": "object", "properties": { "a": { "type": ["string"] } } }),
            "`x.a`: unsupported in a schema of parameters: `type` (hint)",
        ),
        (
            json!({ "type": "object", "properties": { "a": { "type": "integer", "default": "b" } } }),
            "`x.a`: bad default: expected a whole number, found a text",
        ),
    ] {
        assert_eq!(said(params), expected);
    }
}

/// `LINE:COLUMN: KEY: ...` with the file's name before each place, and `path` before each key.
fn places(faults: &str, path: &str) -> String {
    let line = |line: &str| match line.splitn(3, ": ").collect::<Vec<_>>()[..] {
        [place, key, message] if !line.starts_with(' ') => format!("ostler.yaml:{place}: {path}{key}: {message}\n"),
        _ => format!("{line}\n"),
    };
    faults.lines().map(line).collect()
}
