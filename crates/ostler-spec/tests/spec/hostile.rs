//! Texts that nobody would write by hand: whatever comes, it is answered and not crashed on.

use crate::fixture::{check, good, read};
use ostler_spec::ReadError;
use proptest::prelude::*;

const SAMPLE: &str = include_str!("../../../../examples/ostler.yaml");

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC*") {
        let _ = read(&text);
    }

    #[test]
    fn any_yaml_like_text_is_answered(text in "[-a-z0-9:{}\\[\\],&*!|>'\"#?%@ \\n\\t~]{0,200}") {
        let _ = read(&text);
    }

    #[test]
    fn a_damaged_sample_is_answered(at in 0..SAMPLE.len(), length in 0..40_usize, insert in "[-:{}\\[\\]&*'\"\\n a1]{0,4}") {
        let cut = |index: usize| (0..=index.min(SAMPLE.len())).rev().find(|i| SAMPLE.is_char_boundary(*i)).unwrap();
        let text = format!("{}{insert}{}", &SAMPLE[..cut(at)], &SAMPLE[cut(at + length)..]);
        assert_answered(&text);
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        assert_answered(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_good_spec_with_one_value_replaced_is_answered(line in 0..GOOD.lines().count(), value in hostile_value()) {
        let replaced = GOOD.lines().enumerate().map(|(number, text)| match text.split_once(": ") {
            Some((key, _)) if number == line => format!("{key}: {value}\n"),
            _ => format!("{text}\n"),
        });
        assert_answered(&replaced.collect::<String>());
    }

    #[test]
    fn a_good_spec_with_lines_moved_and_repeated_is_answered(
        order in proptest::collection::vec((0..GOOD.lines().count(), 0..6_usize), 0..40)
    ) {
        let lines: Vec<_> = GOOD.lines().collect();
        assert_answered(&order.iter().map(|(line, indent)| format!("{}{}\n", " ".repeat(*indent), lines[*line])).collect::<String>());
    }
}

/// What there is nothing to say against. Each line with a value is one that can be replaced.
const GOOD: &str = "\
servers:
  web1:
    provider: local
    image: debian-13
    size: { cpus: 2, memory: 2GiB, disk: 10GiB }
    network: { address: 192.168.1.20/24, gateway: 192.168.1.1, dns: [ 9.9.9.9 ] }
    user: ops
    password: { env: NAME }
    authorized_keys: [ keys/ann.pub ]
    ssh:
      auth: key-only
      root_login: no
      port: 22
    modules:
      ufw: { preset: web, allow: [ 8080/tcp ] }
      fail2ban: true
    apps: [ nginx ]
    app_params: { nginx: { worker_connections: 1024 } }
    ansible: { strategy: linear }
    local: { forward: { auto: 80 } }
";

const HOSTILE: &[&str] = &[
    "",
    "~",
    "[]",
    "{}",
    "[[]]",
    "{ a: { b: c } }",
    "-1",
    "0",
    "1e400",
    ".nan",
    "-.inf",
    "0x7fffffffffffffffff",
    "18446744073709551616",
    "true",
    "2GiB",
    "-2GiB",
    "99999999999999999999TiB",
    "!!binary aGk=",
    "!!set { a }",
    "!x y",
    "&a x",
    "*a",
    "\"\\0\"",
    "\"\\ud800\"",
    "\"\\e[2J\"",
    "|",
    ">-",
    "? x",
    "- x",
    "<<",
    "{ <<: {} }",
    "{ <<: [ {}, 1 ] }",
    "{ <<: *a }",
    "{ <<: { <<: { user: ann } }, << : 1 }",
    "022",
    "!!str <<",
    "/",
    "..",
    "::/0",
    "0.0.0.0/33",
    "{ env: \"\" }",
    "{ file: \"\" }",
    "a: b",
    "\u{202e}",
];

fn hostile_value() -> impl Strategy<Value = String> {
    prop_oneof![proptest::sample::select(HOSTILE).prop_map(str::to_owned), "\\PC{0,80}", "[0-9]{1,40}[KMGT]?i?B?"]
}

/// It is read, or every fault has a place in the text and says something.
#[track_caller]
fn assert_answered(text: &str) {
    let Err(error) = read(text) else { return };
    let ReadError::Faults(faults) = error else { panic!("the fixture's modules are at fault: {error}") };
    assert!(!faults.faults.is_empty(), "refused without a reason: {text:?}");
    // YAML's line breaks; a fault of what is missing at the end stands behind the last line.
    let lines = text.replace("\r\n", "\n").matches(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() + 1;
    for fault in &faults.faults {
        assert!((1..=lines + 1).contains(&fault.line) && fault.column >= 1, "no such place: {fault:?} in {text:?}");
        assert!(!fault.message.trim().is_empty(), "{fault:?} in {text:?}");
    }
    assert!(faults.faults.is_sorted_by_key(|fault| (fault.line, fault.column)), "not in order: {faults:?}");
}

#[test]
fn what_is_damaged_above_is_good() {
    good(GOOD);
}

#[test]
fn depth_is_bounded() {
    check(&"[".repeat(200), "ostler.yaml:1:32: nested more than 32 levels deep");
    check(&"- ".repeat(10_000), "ostler.yaml:1:63: nested more than 32 levels deep");
    check("a: &x [ *x ]\n", "ostler.yaml:1:9: a: an alias inside the value that it stands for");
}

#[test]
fn aliases_cannot_multiply_without_end() {
    let mut text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", before.trim_end_matches(", ")));
    }
    let message = read(&text).unwrap_err().to_string();
    assert!(message.contains("the file holds too many values"), "{message}");
}

#[test]
fn a_huge_file_is_refused() {
    check(&"#".repeat(2 << 20), "ostler.yaml:1:1: the file is larger than 1 MiB");
}

#[test]
fn terminal_sequences_of_the_file_do_not_reach_the_terminal() {
    let message = read("\"\\e[31mred\\u202e\": 1\n").unwrap_err().to_string();
    assert!(!message.contains('\u{1b}') && !message.contains('\u{202e}'), "{message:?}");
}
