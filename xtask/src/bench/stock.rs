//! What Ostler is compared with: `ansible-playbook` with its defaults, and the same roles in a plain playbook.

use super::{SCRATCH, machine::Machine};
use crate::shell::ShellError;
use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Stock Ansible with a static inventory.
pub struct Stock {
    bundle: PathBuf,
    content: PathBuf,
    inventory: PathBuf,
    playbook: PathBuf,
}

impl Stock {
    /// Writes inventory and playbook. Bundle and roles are those that Ostler has unpacked.
    pub fn prepare(machine: &Machine) -> Result<Self, Box<dyn std::error::Error>> {
        let dir = fs::canonicalize(SCRATCH)?;
        let mut vars: serde_json::Value = serde_json::from_str(include_str!("vars.json"))?;
        let connection = serde_json::json!({
            "ansible_host": "127.0.0.1",
            "ansible_port": machine.ssh_port()?,
            "ansible_user": "ops",
            "ansible_ssh_private_key_file": dir.join("id_ed25519"),
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_common_args": format!(
                "-F none -o UserKnownHostsFile={} -o HostKeyAlias=web1", machine.known_hosts().display()
            ),
            "ostler_authorized_keys": [fs::read_to_string(dir.join("id_ed25519.pub"))?.trim()],
        });
        if let (Some(vars), Some(connection)) = (vars.as_object_mut(), connection.as_object()) {
            vars.extend(connection.clone());
        }
        let inventory = dir.join("stock.json");
        fs::write(&inventory, serde_json::json!({ "all": { "hosts": { "web1": vars } } }).to_string())?;
        let playbook = dir.join("stock.yml");
        fs::write(&playbook, include_str!("stock.yml"))?;
        Ok(Self { bundle: machine.unpacked("ansible")?, content: machine.unpacked("content")?, inventory, playbook })
    }

    /// Runs the playbook and returns how long it took. Each round has its own home, because a persistent connection would lead
    /// to the machine as it was before the reset.
    pub fn play(&self, round: usize) -> Result<Duration, Box<dyn std::error::Error>> {
        let home = self.inventory.with_file_name(format!("stock-home-{round}"));
        fs::create_dir_all(&home)?;
        let roles = ["roles/modules", "roles/system", "catalog/roles/apps"].map(|dir| self.content.join(dir));
        let roles: Vec<_> = roles.iter().map(|dir| dir.to_string_lossy()).collect();
        let begun = Instant::now();
        let output = Command::new(self.bundle.join("bin/python3.11"))
            .args(["-I", "-m", "ansible", "playbook", "-i"])
            .arg(&self.inventory)
            .arg(&self.playbook)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("HOME", &home)
            .env("ANSIBLE_ROLES_PATH", roles.join(":"))
            .env("ANSIBLE_ACTION_PLUGINS", self.content.join("action_plugins"))
            .env("ANSIBLE_LIBRARY", self.content.join("library"))
            .env("ANSIBLE_FILTER_PLUGINS", self.content.join("filter_plugins"))
            .stdin(Stdio::null())
            .output()?;
        let took = begun.elapsed();
        if output.status.success() {
            return Ok(took);
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Err(ShellError::Unmet(format!("stock ansible-playbook failed: {text}")).into())
    }
}
