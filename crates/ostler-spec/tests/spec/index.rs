//! A catalog: where it comes from, and what its index says.

use crate::fixture::{KEY, check, read_source};
use ostler_spec::{CatalogSource, Fault, SecretRef, app_parameters, check_source, hint::Next, read_index};
use proptest::prelude::*;

/// Faults as people see them, then warnings.
fn said(text: &str) -> String {
    let line = |fault: &Fault| {
        let hint: String =
            fault.hints.iter().map(|hint| format!("\n  hint: {}", hint.in_words(Next::to_string))).collect();
        format!("{}:{}: {}: {}{hint}\n", fault.line, fault.column, fault.key_path, fault.message)
    };
    let reading = read_index(text);
    assert_eq!(reading.index.is_some(), reading.faults.is_empty());
    let mut said: String = reading.faults.iter().map(line).collect();
    said.extend(reading.warnings.iter().map(|warning| format!("warning: {}", line(warning))));
    said
}

#[test]
fn the_index_that_ships_is_good() {
    let text = include_str!("../../../../ansible/catalog/index.json");
    // Web servers of their own kind: a spec that names both is refused.
    let said = said(text);
    let warned = said.contains(": port 80/tcp is also that of app `nginx`\n  hint: ") && said.lines().count() == 2;
    assert!(said.starts_with("warning: ") && warned, "{said}");
    let index = read_index(text).index.expect("an index");
    let nginx = index.apps.iter().find(|app| app.name == "nginx").expect("nginx");
    let parameters = app_parameters(nginx).expect("a good schema");
    let workers = parameters.iter().find(|parameter| parameter.name == "worker_connections").expect("a parameter");
    assert_eq!((workers.value.as_str(), workers.default.as_str()), ("64 to 65535", "1024"));
}

#[test]
fn every_fault_has_its_place() {
    let text = r#"{
  "apps": [
    {"name": "web", "role": "web", "ports": [{"port": 80, "proto": "tcp", "scope": "public"}], "dependz": []},
    {"name": "Web 2", "role": "../etc", "ports": [{"port": 0, "proto": "sctp", "scope": "public"}]},
    {"role": "nameless", "packages": ["a b"]}
  ],
  "version": 1
}"#;
    assert_eq!(
        said(text),
        "\
3:96: apps[0].dependz: unknown key
  hint: did you mean `depends`?
4:14: apps[1].name: `Web 2` is not a name for an app
  hint: 1 to 40 of a-z, 0-9, `_` and `-`, beginning with a letter
4:31: apps[1].role: `../etc` is not a name for a role
  hint: a folder's: 1 to 40 of a-z, 0-9, `_` and `-`, beginning with a letter; or a collection's: `NAMESPACE.COLLECTION.ROLE`
4:60: apps[1].ports[0].port: 0 is out of range: 1 to 65535
4:72: apps[1].ports[0].proto: expected one of `tcp`, `udp`, found `sctp`
  hint: did you mean `tcp`?
5:5: apps[2].name: missing
  hint: what specs call it
5:39: apps[2].packages[0]: `a b` is not the name of a Debian package
7:3: version: unknown key
  hint: known here: `apps`
"
    );
}

#[test]
fn a_role_may_be_one_of_a_collection() {
    let index = |role: &str| format!(r#"{{"apps": [{{"name": "a", "role": "{role}"}}]}}"#);
    assert_eq!(said(&index("community.zabbix.zabbix_agent")), "");
    for bad in ["community.zabbix", "a.b.c.d", "a..c", "a.b-c.d", "a.b.", "../a.b.c", "A.b.c"] {
        assert!(said(&index(bad)).contains("is not a name for a role"), "{bad} is taken");
    }
}

#[test]
fn apps_that_do_not_get_along() {
    let port = |port| format!(r#"[{{"port": {port}, "proto": "tcp", "scope": "public"}}]"#);
    let text = format!(
        r#"{{"apps": [
{{"name": "hen", "role": "hen", "depends": ["egg"]}},
{{"name": "egg", "role": "egg", "depends": ["hen", "gone"]}},
{{"name": "hen", "role": "other"}},
{{"name": "sftp", "role": "hen", "ports": {ssh}}},
{{"name": "nginx", "role": "nginx", "ports": {web}}},
{{"name": "apache", "role": "apache", "ports": {web}}},
{{"name": "php", "role": "php", "ports": {web}, "depends": ["apache"]}},
{{"name": "ansible", "role": "tower"}}
]}}"#,
        ssh = port(22),
        web = port(80),
    );
    assert_eq!(
        said(&text),
        "\
2:44: apps[0].depends[0]: apps depend on one another in a circle: hen -> egg -> hen
3:51: apps[1].depends[1]: the catalog has no app `gone`
  hint: known here: `ansible`, `apache`, `hen`, `nginx`, `php`, `sftp`
4:10: apps[2].name: there is an app `hen` already
  hint: it begins in line 2; `-` and `_` count as the same
5:26: apps[3].role: role `hen` belongs to another app already
  hint: that one begins in line 2
5:43: apps[3].ports[0]: port 22/tcp is the SSH server's
  hint: no server could have this app
8:42: apps[6].ports[0]: port 80/tcp is also that of app `apache`, and one of them needs the other
  hint: no server could have them both
9:10: apps[7].name: variables that begin like this belong to Ansible and Ostler
  hint: an app's parameters become variables that begin with its name: choose another
warning: 7:48: apps[5].ports[0]: port 80/tcp is also that of app `nginx`
  hint: one server can have only one of them
warning: 8:42: apps[6].ports[0]: port 80/tcp is also that of app `nginx`
  hint: one server can have only one of them
"
    );
}

#[test]
fn every_fault_of_a_schema_stands_at_its_parameter() {
    let text = r#"{"apps": [{"name": "a", "role": "a", "params": {
  "type": "object",
  "properties": {
    "size": {"type": "integer", "maximum": 5, "default": 6},
    "Name": {"type": "string"},
    "word": {"type": "string", "minLength": 3},
    "form": {"type": "string", "pattern": "("}
  }
}}]}"#;
    let said = said(text);
    let expected = [
        "4:5: apps[0].params.properties.size: `a.size`: bad default: 6 is out of range: at most 5\n",
        "5:5: apps[0].params.properties.Name: not a name for a variable\n",
        "6:5: apps[0].params.properties.word: `a.word`: unsupported in a schema of parameters: `minLength`\n",
        "7:5: apps[0].params.properties.form: `a.form`: bad pattern: ",
    ];
    for part in expected {
        assert!(said.contains(part), "nothing says {part}\n{said}");
    }
}

#[test]
fn what_is_not_json_is_said_with_its_place() {
    assert_eq!(said("{\n  \"apps\": [,]\n}"), "2:12: : not valid JSON: expected value\n");
    assert_eq!(said("apps: []\n"), "1:1: : not valid JSON: expected value\n");
    assert_eq!(said("{\"apps\": [], \"apps\": []}").lines().next(), Some("1:14: apps: duplicate key"));
    assert_eq!(said(""), "1:1: : not valid JSON: EOF while parsing a value\n");
    assert_eq!(said("{\n\t\"apps\":[\n\t]\n}"), "", "tabs are fine in JSON");
    assert_eq!(said(r#"{"apps":[{"name":"a","role":"a","description":"\ud83d\ude00 \/ \u00e4"}]}"#), "");
}

#[test]
fn a_catalog_that_can_be_fetched() {
    let source =
        |lines: &str| read_source(&format!("catalog: {lines}\nservers: {{ a: {{ authorized_keys: [ '{KEY}' ] }} }}\n"));
    let good = |url: &str| source(&format!("{{ url: '{url}' }}")).map(|source| source.expect("a source"));
    for url in [
        "https://git.example.org/c.git",
        "http://[::1]:8080/c",
        "ssh://git@host:2222/~/c",
        "ssh://host/c",
        "file:///srv/c.git",
    ] {
        let expected = CatalogSource { url: url.into(), branch: "stable".into(), commit: None, vault_password: None };
        assert_eq!(good(url).map_err(|error| error.to_string()), Ok(expected));
    }
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let pinned = source(&format!("{{ url: 'https://host/c', branch: release/1.x, commit: '{commit}' }}"));
    let expected = CatalogSource {
        url: "https://host/c".into(),
        branch: "release/1.x".into(),
        commit: Some(commit.into()),
        vault_password: None,
    };
    assert_eq!(pinned.map_err(|error| error.to_string()), Ok(Some(expected)));
    let vaulted = source("{ url: 'https://host/c', vault_password: { file: vault.txt } }");
    let vaulted = vaulted.map_err(|error| error.to_string()).expect("a good source").expect("a source");
    assert_eq!(vaulted.vault_password, Some(SecretRef::File("/etc/specs/vault.txt".into())));
    assert_eq!(source("null").map_err(|error| error.to_string()), Ok(None));
    // Which apps there are is not known yet.
    let unknown = "catalog: { url: 'https://host/c' }\nservers: { a: { authorized_keys: [ keys/ann.pub ], apps: [ x ], app_params: { x: { y: 1 } } } }\n";
    assert!(read_source(unknown).is_ok_and(|source| source.is_some()));
}

#[test]
fn a_catalog_that_cannot() {
    let bad = |lines: &str, expected: &str| {
        let text = format!("catalog: {lines}\nservers: {{ a: {{ authorized_keys: [ keys/ann.pub ] }} }}\n");
        check(&text, expected);
        assert!(read_source(&text).is_err(), "it would be fetched");
    };
    bad(
        "{ url: 'https://ann:hunter2@host/c' }",
        "
ostler.yaml:1:17: catalog.url: the URL holds a user or password
  hint: this file is no place for secrets: use a repository that anyone may read, or `ssh://git@HOST/PATH` with a key",
    );
    bad(
        "{ url: 'git@host:c.git' }",
        "
ostler.yaml:1:17: catalog.url: not the URL of a Git repository that Ostler can fetch
  hint: `ssh://USER@HOST/PATH` says the same",
    );
    bad(
        "{ url: 'git://host/c.git' }",
        "
ostler.yaml:1:17: catalog.url: not the URL of a Git repository that Ostler can fetch
  hint: Ostler fetches `https://`, `http://`, `ssh://` and `file://`",
    );
    bad(
        "{ url: 'file://srv/c.git' }",
        "
ostler.yaml:1:17: catalog.url: `file://srv/c.git` is not the URL of a Git repository
  hint: `file://` and an absolute path: `file:///srv/catalog.git`",
    );
    bad(
        "{ branch: stable }",
        "ostler.yaml:1:10: catalog.url: missing\n  hint: Git repository of the catalog: `https://`, `http://`, `ssh://` or `file://`",
    );
    bad(
        "{ url: 'https://host/c', branch: 'a..b', commit: 'HEAD' }",
        "
ostler.yaml:1:43: catalog.branch: `a..b` is not the name of a branch
ostler.yaml:1:59: catalog.commit: `HEAD` is not the id of a commit
  hint: all 40 hexadecimal digits, in quotes; `git rev-parse HEAD` prints them",
    );
    bad(
        "{ url: 'https://host/c', vault_password: hunter2 }",
        "
ostler.yaml:1:51: catalog.vault_password: a secret must not be in this file
  hint: write `{ env: NAME }`, `{ file: PATH }` or `{ secret: NAME }`; the one that was here is exposed: choose another",
    );
    for url in ["ssh://-oProxyCommand=x/c", "ssh://ann:pw@host/c", "https://host", "https://host/a b"] {
        let source = CatalogSource { url: url.into(), branch: "stable".into(), commit: None, vault_password: None };
        assert!(check_source(&source).is_err(), "{url}");
    }
}

#[test]
fn a_spec_at_fault_is_no_reason_to_fetch() {
    let text = "catalog: { url: 'https://host/c' }\nservers: { a: { authorized_keys: [ keys/ann.pub ], size: { cpus: 0 } } }\n";
    let error = read_source(text).expect_err("a fault").to_string();
    assert!(error.ends_with("servers.a.size.cpus: 0 is out of range: 1 to 256"), "{error}");
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC*") {
        read_index(&text);
    }

    #[test]
    fn any_json_is_answered(json in any_json()) {
        read_index(&json.to_string());
        read_index(&serde_json::json!({ "apps": json }).to_string());
        read_index(&serde_json::json!({ "apps": [{ "name": "a", "role": "a", "params": json, "ports": json, "depends": json }] }).to_string());
    }

    #[test]
    fn any_dependencies_are_answered(edges in proptest::collection::vec((0..8_usize, 0..9_usize), 0..24)) {
        let depends = |app| edges.iter().filter(|(from, _)| *from == app).map(|(_, to)| format!("a{to}")).collect::<Vec<_>>();
        let apps: Vec<_> = (0..8).map(|app| serde_json::json!({ "name": format!("a{app}"), "role": format!("a{app}"), "depends": depends(app) })).collect();
        let reading = read_index(&serde_json::json!({ "apps": apps }).to_string());
        // Kahn's algorithm as an oracle: good is what can be put in an order, and names nothing that is not there.
        let mut left: Vec<usize> = (0..8).collect();
        while let Some(free) = left.iter().position(|app| edges.iter().all(|(from, to)| from != app || !left.contains(to))) {
            left.remove(free);
        }
        let good = left.is_empty() && edges.iter().all(|(_, to)| *to < 8);
        prop_assert_eq!(reading.faults.is_empty(), good, "{:?}", reading.faults);
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "\\PC{0,8}".prop_map(Into::into),
        Just("object".into()),
    ];
    let key = prop_oneof![
        Just("type".to_owned()),
        Just("properties".to_owned()),
        Just("default".to_owned()),
        Just("enum".to_owned()),
        Just("items".to_owned()),
        Just("required".to_owned()),
        Just("minimum".to_owned()),
        "[a-zA-Z$ ]{0,6}",
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            proptest::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}
