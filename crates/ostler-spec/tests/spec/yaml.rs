//! What YAML can do beside keys and values: anchors and merge keys, and the traps that other readers of it set.

use crate::fixture::{KEY, check, check_server, good, read, server};
use ostler_spec::{ProviderKind, SecretRef, ServerSpec, decode};

#[test]
fn merge_keys_take_shared_parts_in() {
    let spec = good(
        "
servers:
  web1: &base
    provider: existing
    existing: { address: 192.0.2.11, password: { file: password } }
    authorized_keys: [ keys/ann.pub ]
  web2:
    <<: *base
    existing: { address: 192.0.2.12, password: { file: password } }
",
    );
    let [web1, web2] = spec.servers.as_slice() else { panic!("{spec:?}") };
    assert_eq!((web2.provider.kind(), &web2.authorized_keys), (ProviderKind::Existing, &web1.authorized_keys));
    let address = |server: &ServerSpec| server.provider.way_in().unwrap().address.clone();
    assert_eq!((address(web1), address(web2)), ("192.0.2.11".into(), "192.0.2.12".into()));
}

#[test]
fn shared_parts_have_a_place_of_their_own() {
    let spec = good(
        "
x-keys: &keys [ keys/ann.pub ]
x-small: &small { size: { cpus: 1 }, authorized_keys: *keys, user: ann }
x-web: &web
  <<: *small
  modules: { ufw: { preset: web } }
x-notes: what nobody looks at
servers:
  a: { <<: *web }
  b:
    user: bob
    <<: [ { user: eve, password: { env: B } }, *web ]
  c: *small
",
    );
    let [a, b, c] = spec.servers.as_slice() else { panic!("{spec:?}") };
    assert_eq!((a.size.cpus, a.user.as_str(), a.modules.len()), (1, "ann", 1));
    // Its own keys win wherever they stand, then the first of the list.
    assert_eq!((b.user.as_str(), &b.password), ("bob", &Some(SecretRef::Env("B".into()))));
    assert_eq!((b.size.cpus, b.modules.len(), c.modules.len()), (1, 1, 0));
}

#[test]
fn a_fault_of_a_shared_part_is_said_once_where_it_is_written() {
    check(
        "
x-base: &base
  authorized_keys: [ keys/ann.pub ]
  size: { memroy: 2GiB }
servers:
  a: { <<: *base }
  b: { <<: *base }
  c:
    size: { cpus: 0 }
    <<: *base
  d: *base
",
        "
ostler.yaml:3:11: servers.a.size.memroy: unknown key (likewise `servers.b.size.memroy` and 1 more)
  hint: did you mean `memory`?
ostler.yaml:8:19: servers.c.size.cpus: 0 is out of range: 1 to 256
",
    );
    check(
        "x-a: &a { user: ann, user: bob }\nservers: { web1: { <<: *a, authorized_keys: [ keys/ann.pub ] } }",
        "
ostler.yaml:1:22: servers.web1.user: duplicate key (likewise `x-a.user`)
  hint: it is already in line 1
",
    );
}

#[test]
fn what_cannot_be_taken_in_is_refused_with_its_place() {
    const HINT: &str = "\n  hint: `<<: *NAME` merges the mapping that `&NAME` marks";
    for (text, expected) in [
        (
            "x-a: &a [ 1 ]\nb: { <<: 5 }",
            "2:6: b.<<: expected a mapping to merge, or a list of them, found a whole number",
        ),
        (
            "x-a: &a [ 1 ]\nb:\n  <<: *a",
            "1:11: b.<<: expected a mapping to merge, or a list of them, found a whole number",
        ),
        ("b:\n  <<:", "2:3: b.<<: expected a mapping to merge, or a list of them, found nothing"),
        ("b: { <<: [ {}, [ {} ] ] }", "1:16: b.<<: expected a mapping to merge, or a list of them, found a list"),
    ] {
        check(text, &format!("ostler.yaml:{expected}{HINT}"));
    }
    check(
        "x-a: &a {}\nb: { <<: *a, <<: *a }",
        "ostler.yaml:2:14: b.<<: it appears here twice\n  hint: `<<: [ *a, *b ]` merges several mappings",
    );
    check("a: &a { <<: *a }", "ostler.yaml:1:13: a.<<: an alias inside the value that it stands for");
    check("servers: *base", "ostler.yaml:1:10: not valid YAML: while parsing node, found unknown anchor");
    // In quotes it is a key like any other.
    check(
        "\"<<\": {}\nservers: { a: { authorized_keys: [ keys/ann.pub ] } }",
        "
ostler.yaml:1:1: <<: unknown key
  hint: known here: `catalog`, `providers`, `tunnels`, `dns`, `servers`, `sites`
",
    );
}

#[test]
fn merge_keys_cannot_multiply_without_end() {
    let mut text = "a0: &a0 { k0: 1 }\n".to_owned();
    for level in 1..40 {
        let before = level - 1;
        text.push_str(&format!(
            "a{level}: &a{level} {{ x: *a{before}, y: *a{before}, <<: [ *a{before}, *a{before} ] }}\n"
        ));
    }
    let message = read(&text).unwrap_err().to_string();
    assert!(message.contains("the file holds too many values"), "{message}");
    // Few values, and each of them long.
    let long = format!("x-a: &a \"{}\"\nx-b: [ {} ]\n", "a".repeat(500_000), "*a, ".repeat(90_000));
    check(&long, "ostler.yaml:2:72: aliases make more than 8 MiB of this file");
    // Copies are kept of what is marked, too.
    let marked = format!("x-a: {} {} {}\n", "&a [".repeat(28), "1, ".repeat(90_000), "]".repeat(28));
    assert!(read(&marked).unwrap_err().to_string().contains("the file holds too many values"));
}

#[test]
fn tags_that_mean_nothing_are_refused() {
    for (value, tag) in [
        ("!!binary aGk=", "!!binary"),
        ("!secret ops", "!secret"),
        ("!!timestamp 2026-11-30", "!!timestamp"),
        ("!<tag:example.org,2026:x> a", "tag:example.org,2026:x"),
        ("!!set { ops }", "!!set"),
        ("!!map ops", "!!map"),
    ] {
        check_server(
            &format!("user: {value}"),
            &format!("ostler.yaml:3:11: user: the tag `{tag}` means nothing here")
                .replace("user: the", "servers.web1.user: the"),
        );
    }
    check_server(
        "user: !!int 'ops'",
        "ostler.yaml:3:11: servers.web1.user: the value is not of the type that its tag says",
    );
    assert_eq!(good(&server("user: !!str ops")).servers[0].user, "ops");
}

#[test]
fn numbers_that_readers_of_yaml_do_not_agree_on() {
    check_server(
        "ssh: { port: 022 }",
        "
ostler.yaml:3:18: servers.web1.ssh.port: YAML readers disagree about numbers that begin with a zero
  hint: remove the zero, or put text in quotes
",
    );
    check_server(
        "ssh: { port: 22:22 }",
        "ostler.yaml:3:18: servers.web1.ssh.port: expected a whole number, found a text",
    );
    check_server(
        "ssh: { port: 1_022 }",
        "ostler.yaml:3:18: servers.web1.ssh.port: expected a whole number, found a text",
    );
    assert_eq!(good(&server("ssh: { port: 0o26 }")).servers[0].ssh.port, 22);
}

#[test]
fn words_that_yaml_1_1_took_for_truth_values() {
    check_server(
        "modules: { ufw: on }",
        "
ostler.yaml:3:21: servers.web1.modules.ufw: expected `true` or `false` or a mapping, found a text
  hint: did you mean `true`?
",
    );
    // Norway is a name like any other.
    let names =
        good("servers: { no: { authorized_keys: [ keys/ann.pub ] }, y: { authorized_keys: [ keys/ann.pub ] } }");
    assert_eq!(names.servers.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["no", "y"]);
}

#[test]
fn texts_that_are_no_spec() {
    for (text, expected) in [
        ("", "1:1: the file is empty"),
        ("# only a comment\n", "1:1: the file is empty"),
        ("---\n---\n", "2:1: a second YAML document\n  hint: one file is one spec"),
        (
            "servers:\n\tweb1: {}\n",
            "2:2: not valid YAML: tabs disallowed within this context (block indentation)\n  hint: indent with spaces",
        ),
    ] {
        let faults = read(text).unwrap_err().to_string().replace("/etc/specs/", "");
        assert!(faults.starts_with(&format!("ostler.yaml:{expected}")), "{text:?}\n{faults}");
    }
}

#[test]
fn line_ends_and_byte_order_marks_of_windows_are_taken() {
    let text = server("user: ann\nsize: { cpus: 3 }").replace('\n', "\r\n");
    let utf16 = |unit: fn(u16) -> [u8; 2]| format!("\u{feff}{text}").encode_utf16().flat_map(unit).collect::<Vec<u8>>();
    let utf8 = format!("\u{feff}{text}").into_bytes();
    for bytes in [utf8, utf16(u16::to_le_bytes), utf16(u16::to_be_bytes)] {
        let spec = good(&decode(&bytes).unwrap());
        assert_eq!((spec.servers[0].user.as_str(), spec.servers[0].size.cpus), ("ann", 3));
    }
    check(
        &text.replace("ann", "-"),
        "ostler.yaml:3:11: not valid YAML: block sequence entries are not allowed in this context",
    );
}

#[test]
fn bytes_that_are_no_text_say_where() {
    let said = |bytes: &[u8]| {
        let fault = decode(bytes).unwrap_err();
        format!("{}:{}: {}", fault.line, fault.column, fault.message)
    };
    assert_eq!(said(b"# Gr\xc3\xbc\xc3\x9fe\nuser: j\xf6rg\n"), "2:8: the byte 0xf6 is not valid in UTF-8");
    assert_eq!(said(b"user: a\0b"), "1:8: the byte 0x00 is not valid in UTF-8");
    assert_eq!(said(b"\xff\xfea\0b"), "1:1: the file begins like UTF-16, but is not");
    assert_eq!(said(b"\xff\xfe\0\xd8"), "1:1: the file begins like UTF-16, but is not");
}

#[test]
fn an_alias_is_as_good_as_what_it_stands_for() {
    let spec = good(&format!("x-k: &k {KEY}\nx-n: &n web1\nservers:\n  *n : {{ authorized_keys: [ *k ] }}\n"));
    assert_eq!(
        (spec.servers[0].name.as_str(), spec.servers[0].authorized_keys.as_slice()),
        ("web1", [KEY.to_owned()].as_slice())
    );
}
