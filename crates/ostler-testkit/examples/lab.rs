//! Throw-away servers to try things on by hand, as root: `cargo run -p ostler-testkit --example lab -- DIR 3` boots three, writes
//! `DIR/ostler.yaml` with a spec of them, their password and a key, and takes them away when its standard input ends or at Ctrl-C.

use ostler_testkit::targets::{Lab, TargetOptions};
use std::{fs, path::Path, process::Command};

const PASSWORD: &str = "correct horse battery staple";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), Some(Ok(servers))) = (arguments.next(), arguments.next().map(|count| count.parse::<usize>()))
    else {
        panic!("usage: lab DIR SERVERS")
    };
    let dir = Path::new(&dir);
    fs::create_dir_all(dir).expect("the folder is made");
    let key = dir.join("id_ed25519");
    if !key.exists() {
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
        assert!(made.is_ok_and(|status| status.success()), "ssh-keygen makes a key");
    }
    let Some(lab) = Lab::start() else { return };
    let names = (1..=servers).map(|number| format!("web{number}"));
    let targets = lab.boot(names.map(|name| TargetOptions::new(&name).password(PASSWORD)));
    let mut spec = String::from("servers:\n");
    for target in &targets {
        spec.push_str(&format!(
            "  {}:\n    provider: existing\n    existing: {{ address: {}, password: {{ file: password }} }}\n    \
             authorized_keys: [ id_ed25519.pub ]\n    modules: {{ baseline_tools: true, ufw: {{ preset: web }} }}\n    \
             apps: [ nginx ]\n",
            target.name(),
            target.address()
        ));
    }
    fs::write(dir.join("password"), PASSWORD).expect("the password is written");
    fs::write(dir.join("ostler.yaml"), spec).expect("the spec is written");
    println!("{} is ready; its servers go when this ends", dir.join("ostler.yaml").display());
    let _ = std::io::stdin().read_line(&mut String::new());
}
