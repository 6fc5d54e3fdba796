//! What a frontend that asks is told of the keys.

use crate::fixture::{catalog, modules};
use ostler_spec::{QuestionKind, Questions, Value};

fn questions() -> Questions {
    Questions::new(&modules(), &catalog()).unwrap()
}

#[test]
fn a_key_is_found_under_any_name() {
    let memory = questions().at(&["servers", "anything", "size", "memory"]).unwrap();
    assert_eq!(
        (memory.key.as_str(), memory.default, memory.required),
        ("memory", Some(Value::String("2GiB".into())), false)
    );
    assert!(matches!(memory.kind, QuestionKind::Line { number: false, .. }));
    // One card and a list of cards are the same keys.
    assert!(questions().at(&["servers", "web1", "network", "gateway"]).is_some());
    assert!(questions().at(&["servers", "web1", "proxmox", "node"]).unwrap().required);
    assert_eq!(questions().at(&["servers", "web1", "nothing"]), None);
}

#[test]
fn words_have_their_own_help() {
    let auth = questions().at(&["servers", "web1", "ssh", "auth"]).unwrap();
    let QuestionKind::Choice(words) = auth.kind else { panic!("it is a choice") };
    assert_eq!(words[1].value, Value::String("key-and-password".into()));
    assert!(words[1].help.contains("either suffices"));
}

#[test]
fn help_that_explains_every_word_goes_to_the_words() {
    let mut modules = modules();
    let preset = modules[0].settings.get_mut("preset").unwrap();
    preset.help = "server-minimal: SSH; web: also HTTP and HTTPS".into();
    let preset =
        Questions::new(&modules, &catalog()).unwrap().at(&["servers", "web1", "modules", "ufw", "preset"]).unwrap();
    let QuestionKind::Choice(words) = preset.kind else { panic!("it is a choice") };
    let help: Vec<&str> = words.iter().map(|word| word.help.as_str()).collect();
    assert_eq!((help.as_slice(), preset.help.as_str()), (&["SSH", "also HTTP and HTTPS"][..], ""));
    // Else it stays with the key.
    let preset = questions().at(&["servers", "web1", "modules", "ufw", "preset"]).unwrap();
    assert_eq!(preset.help, "Rules");
}

#[test]
fn modules_and_apps_have_fields() {
    let fields = |path: &[&str]| match questions().at(path).unwrap().kind {
        QuestionKind::Fields(fields) => fields,
        kind => panic!("{kind:?}"),
    };
    let ufw = fields(&["servers", "web1", "modules", "ufw"]);
    assert_eq!(
        ufw.iter().map(|field| field.key.as_str()).collect::<Vec<_>>(),
        ["allow", "auto_allow_app_ports", "preset"]
    );
    assert!(matches!(&ufw[0].kind, QuestionKind::List(item) if matches!(**item, QuestionKind::Line { .. })));
    assert_eq!(ufw[1].kind, QuestionKind::Switch);
    assert!(fields(&["servers", "web1", "modules", "qemu_guest_agent"]).is_empty());
    let mail = fields(&["servers", "web1", "app_params", "mail"]);
    let find = |key: &str| mail.iter().find(|field| field.key == key).unwrap();
    assert_eq!(find("password").kind, QuestionKind::Secret);
    assert!(matches!(&find("accounts").kind, QuestionKind::Entries(_, value) if **value == QuestionKind::Secret));
    assert!(find("domain").required);
}

#[test]
fn keys_that_the_answer_chooses_have_their_rule() {
    let forward = questions().at(&["servers", "web1", "local", "forward"]).unwrap();
    let QuestionKind::Entries(rule, _) = forward.kind else { panic!("it has entries") };
    assert!(rule.check("8080").is_ok() && rule.check("auto").is_ok());
    assert_eq!(rule.check("http").unwrap_err().message, "not a port of this machine");
}

#[test]
fn a_line_is_read_as_the_file_would_have_it() {
    let read = |path: &[&str], line: &str| questions().at(path).unwrap().kind.read(line);
    assert_eq!(read(&["servers", "web1", "size", "cpus"], "4"), Value::Int(4));
    assert_eq!(read(&["servers", "web1", "size", "cpus"], "four"), Value::String("four".into()));
    assert_eq!(read(&["servers", "web1", "proxmox", "vmid"], "120"), Value::Int(120));
    assert_eq!(read(&["servers", "web1", "proxmox", "vmid"], "auto"), Value::String("auto".into()));
    // A text stays one.
    assert_eq!(read(&["servers", "web1", "user"], "4"), Value::String("4".into()));
    assert_eq!(read(&["servers", "web1", "app_params", "nginx", "ratio"], "0.5"), Value::Float(0.5));
}
