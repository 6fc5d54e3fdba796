//! Eight servers at once, Ostler against stock `ansible-playbook`: the same ansible-core and the same roles, on the same kind of
//! throw-away servers, one after the other. `cargo xtask bench` runs it; it needs root, as the servers do.
//!
//! `fleet OSTLER ROUNDS` prints a line of JSON for each round: seconds of the first and the second run of each.

use ostler_testkit::{
    environment::TestEnvironment,
    targets::{Lab, Target, TargetOptions},
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

const SERVERS: usize = 8;
const PASSWORD: &str = "correct horse battery staple";

/// What does not touch the kernel that all these servers share.
const MODULES: &str = "    modules:\n      baseline_tools: true\n      unattended_upgrades: true\n      ufw: { preset: web }\n      \
                       fail2ban: true\n    apps: [ nginx ]\n";

/// What does: the hypervisor's port, and settings of the kernel.
const LEFT_OUT: [&str; 2] = ["qemu_guest_agent", "sysctl_hardening"];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(ostler), Some(Ok(rounds))) = (arguments.next(), arguments.next().map(|rounds| rounds.parse::<usize>()))
    else {
        panic!("usage: fleet OSTLER ROUNDS")
    };
    // It is started in a folder of its own.
    let ostler = fs::canonicalize(&ostler).expect("the binary to measure");
    let ostler = ostler.to_str().expect("a path in UTF-8");
    for _ in 0..rounds {
        let (stock_first, stock_again) = Fleet::boot(ostler).stock();
        let (ostler_first, ostler_again) = Fleet::boot(ostler).ostler();
        println!("{}", json!({ "first": [stock_first, ostler_first], "again": [stock_again, ostler_again] }));
    }
}

/// Servers that have had nothing but their user set up.
struct Fleet {
    environment: TestEnvironment,
    targets: Vec<Target>,
    _lab: Lab,
}

impl Fleet {
    fn boot(ostler: &str) -> Self {
        let lab = Lab::start().expect("servers to measure on");
        let names = (1..=SERVERS).map(|number| format!("web{number}"));
        let targets = lab.boot(names.map(|name| TargetOptions::new(&name).password(PASSWORD)));
        let environment = TestEnvironment::new(ostler);
        environment.make_key();
        environment.write("password", PASSWORD);
        let spec = |modules: &str| {
            let server = |target: &Target| {
                format!(
                    "  {}:\n    provider: existing\n    existing: {{ address: {}, password: {{ file: password }} }}\n    \
                     authorized_keys: [ id_ed25519.pub ]\n{modules}",
                    target.name(),
                    target.address()
                )
            };
            format!("servers:\n{}", targets.iter().map(server).collect::<String>())
        };
        environment.write("access.yaml", &spec(""));
        environment.write("full.yaml", &spec(MODULES));
        environment.run(&["up", "access.yaml", "--accept-new-host-keys"]).ok();
        Self { environment, targets, _lab: lab }
    }

    fn ostler(&self) -> (f64, f64) {
        let up = || {
            let begun = Instant::now();
            self.environment.run(&["up", "full.yaml", "--output", "quiet"]).ok();
            begun.elapsed().as_secs_f64()
        };
        (up(), up())
    }

    fn stock(&self) -> (f64, f64) {
        let inventory = self.environment.write("stock.json", &self.inventory().to_string());
        (self.play(&inventory), self.play(&inventory))
    }

    fn play(&self, inventory: &Path) -> f64 {
        let content = self.unpacked("content");
        let roles = ["roles/modules", "roles/system", "catalog/roles/apps"].map(|dir| content.join(dir));
        let roles: Vec<_> = roles.iter().map(|dir| dir.to_string_lossy()).collect();
        let left_out = |line: &&str| !LEFT_OUT.iter().any(|role| line.ends_with(role));
        let playbook: String = include_str!("../../../xtask/src/bench/stock.yml")
            .lines()
            .filter(left_out)
            .map(|line| format!("{line}\n"))
            .collect();
        let begun = Instant::now();
        let output = Command::new(self.unpacked("ansible").join("bin/python3.11"))
            .args(["-I", "-m", "ansible", "playbook", "-i"])
            .arg(inventory)
            .arg(self.environment.write("stock.yml", &playbook))
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("HOME", self.environment.path().join("home"))
            .env("ANSIBLE_ROLES_PATH", roles.join(":"))
            .env("ANSIBLE_ACTION_PLUGINS", content.join("action_plugins"))
            .env("ANSIBLE_LIBRARY", content.join("library"))
            .env("ANSIBLE_FILTER_PLUGINS", content.join("filter_plugins"))
            .stdin(Stdio::null())
            .output()
            .expect("Ansible starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        begun.elapsed().as_secs_f64()
    }

    fn inventory(&self) -> Value {
        let key = self.environment.path().join("id_ed25519");
        let public = fs::read_to_string(key.with_extension("pub")).expect("the key is made");
        let hosts = self.targets.iter().map(|target| {
            let known = self.environment.state_dir().join("servers").join(target.name()).join("known_hosts");
            let args = format!("-F none -o UserKnownHostsFile={} -o HostKeyAlias={}", known.display(), target.name());
            let own = json!({
                "ansible_host": target.address(), "ansible_user": "ops", "ansible_ssh_private_key_file": key,
                "ansible_python_interpreter": "/usr/bin/python3", "ansible_ssh_common_args": args,
            });
            (target.name().to_owned(), own)
        });
        let hosts: serde_json::Map<String, Value> = hosts.collect();
        let mut vars: Value = serde_json::from_str(include_str!("../../../xtask/src/bench/vars.json")).expect("JSON");
        for module in LEFT_OUT {
            vars["modules"].as_object_mut().expect("a mapping").remove(module);
        }
        vars["ostler_authorized_keys"] = json!([public.trim()]);
        json!({ "all": { "hosts": hosts, "vars": vars } })
    }

    /// The folder of what Ostler unpacked.
    fn unpacked(&self, what: &str) -> PathBuf {
        let folder = fs::read_dir(self.environment.state_dir().join(what)).expect("Ostler unpacked it");
        folder.flatten().map(|entry| entry.path()).find(|path| path.is_dir()).expect("a folder")
    }
}
