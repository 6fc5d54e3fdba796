//! Names and texts as people have them: an account with a dot, a key from Windows, parts that servers share; and what a fault of the spec
//! is answered with.

use super::support::{PASSWORD, environment, fingerprint, key_lets_in};
use ostler_testkit::targets::{Lab, TargetOptions};
use std::fs;

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn an_account_with_a_dot_a_key_from_windows_and_a_spec_with_shared_parts() {
    let Some(lab) = Lab::start() else { return };
    let environment = environment();
    let target = lab.boot_one(TargetOptions::new("box").password(PASSWORD).sudo_user("ann.smith"));
    let key = fs::read_to_string(environment.path().join("id_ed25519.pub")).expect("a key");
    environment.write("windows.pub", &format!("\u{feff}{}\r\n", key.trim_end()));
    let spec = |modules: &str| {
        format!(
            "x-way: &way\n  provider: existing\n  user: Ann\n  authorized_keys: [ windows.pub ]\nservers:\n  box:\n    <<: *way\n    \
             existing: {{ address: {}, user: ann.smith, password: {{ file: password }}, host_key: '{}' }}\n    modules: {modules}\n",
            target.address(),
            fingerprint(&target),
        )
    };
    environment.write("ostler.yaml", &spec("{ time_sync: { timezone: Europe/Berlin } }"));
    environment.run(&["up", "ostler.yaml"]).ok();
    assert!(key_lets_in(&environment, &target, "Ann", 22));
    assert_eq!(environment.run(&["ssh", "box", "--", "sudo", "-n", "id", "-u"]).ok().stdout.trim(), "0");
    assert_eq!(target.exec("readlink /etc/localtime").stdout.trim(), "/usr/share/zoneinfo/Europe/Berlin");

    // Each name that the check lets pass is one that Debian has.
    let schema = environment.run(&["schema"]).ok().stdout;
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    let server = &schema["properties"]["servers"]["additionalProperties"]["properties"];
    let zones = &server["modules"]["properties"]["time_sync"]["anyOf"][1]["properties"]["timezone"]["enum"];
    let zones: Vec<&str> = zones.as_array().expect("a list").iter().filter_map(|zone| zone.as_str()).collect();
    assert!(zones.len() > 400, "{zones:?}");
    let lacking = format!(
        "cd /usr/share/zoneinfo && for zone in {}; do test -f \"$zone\" || echo \"$zone\"; done",
        zones[1..].join(" ")
    );
    assert_eq!(target.exec(&lacking).ok().stdout, "");

    // `resume` would go on with the plan on record, so the file is named.
    environment.write("my spec.yaml", &spec("{ baseline_tools: { extra: [ no-such-package ] } }"));
    let failed = environment.run(&["up", "my spec.yaml"]);
    assert_eq!(failed.code, 5, "{}", failed.stderr);
    assert!(failed.stderr.contains("no-such-package"), "{}", failed.stderr);
    assert!(failed.stderr.contains("hint: mend the cause, then `ostler up 'my spec.yaml'`"), "{}", failed.stderr);
}
