//! Many servers in one `up`.

use super::support::{bare, environment, key_lets_in, server, spec};
use ostler_testkit::targets::Lab;

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn eight_servers_one_of_them_out_of_reach() {
    let Some(lab) = Lab::start() else { return };
    let environment = environment();
    let targets = lab.boot((1..=8).map(|number| bare(&format!("web{number}"), 22)));
    let modules = "    modules: { ufw: { preset: web }, fail2ban: true }\n";
    environment.write("ostler.yaml", &spec(&targets.iter().map(|target| server(target, modules)).collect::<Vec<_>>()));
    let lost = targets.last().expect("there are eight");
    lost.cut();
    let first = environment.run(&["up", "ostler.yaml"]);
    assert_eq!(first.code, 4, "{}\n{}", first.stdout, first.stderr);
    assert!(first.stderr.contains("answers as an SSH server"), "{}", first.stderr);
    for target in &targets[..7] {
        assert!(key_lets_in(&environment, target, "ops", 22), "{} is ready", target.name());
        assert!(target.exec("ufw status").stdout.contains("Status: active"), "{} is provisioned", target.name());
        assert!(first.stdout.contains(target.name()), "the table names {}: {}", target.name(), first.stdout);
    }
    lost.heal();
    environment.run(&["up", "ostler.yaml"]).ok();
    assert!(key_lets_in(&environment, lost, "ops", 22));
    assert_eq!(environment.run(&["up", "ostler.yaml", "--output", "json"]).ok().changes(), [""; 0]);
}
