//! Provider `local` with a real Debian guest. Needs an image (`OSTLER_TEST_IMAGE`) and, under emulation, minutes; so it runs on request:
//! `OSTLER_TEST_IMAGE=/path/debian-13.qcow2 cargo test -p ostler-providers --test local_guest -- --ignored --nocapture`

use crate::support::{Lab, MIB};
use ostler_core::{
    model::{MachineOrder, Power, Seed, mac_address},
    ports::{Consoles, Lifecycle, Reshaping},
    spec::{Address, Size},
};
use std::{
    env, fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

#[tokio::test]
#[ignore = "boots a real guest: minutes"]
async fn a_guest_takes_its_seed_keeps_its_identity_and_grows() {
    let image = env::var_os("OSTLER_TEST_IMAGE").expect("OSTLER_TEST_IMAGE names an image");
    let mut lab = Lab::new();
    let keys = lab.state().join("keys");
    fs::create_dir_all(&keys).unwrap();
    for name in ["host", "client"] {
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(keys.join(name)));
    }
    let mut order = lab.order_of("web1", image.into());
    order.size = Size { cpus: 2, memory: 1024 * MIB, disk: 4096 * MIB };
    order.networks[0].address = Address::Static("10.77.0.9/24".parse().unwrap());
    order.networks[0].gateway = Some("10.77.0.1".parse().unwrap());
    order.seed = seed(&order, &keys);

    let began = Instant::now();
    let machine = lab.create(&order).await;
    println!("created after {:?}", began.elapsed());
    lab.start(&machine).await;
    println!("started after {:?}: {:?}", began.elapsed(), lab.log.notices());
    let guest = Guest { ssh: lab.observe(&machine).await.ssh.unwrap(), keys };
    guest.wait(began);
    println!("{}", lab.observe(&machine).await.detail);
    guest.sh("cloud-init status --wait >/dev/null; cloud-init status --long");
    println!("cloud-init done after {:?}", began.elapsed());
    assert!(guest.sh("ip -br -4 address").contains("10.77.0.9/24"));
    assert!(guest.sh("ip route").contains("default via 10.77.0.1"));
    let before = guest.identity();
    let runs = guest.first_boot_runs();

    lab.provider.scrub_seed(&machine).await.unwrap();
    let on_medium = guest.sh("mount -o ro /dev/sr0 /mnt && cat /mnt/user-data && umount /mnt");
    assert_eq!(on_medium.trim(), "#cloud-config\n{}");

    let rebooting = Instant::now();
    guest.try_sh("systemctl reboot");
    while guest.try_sh("true").is_some() {}
    guest.wait(rebooting);
    guest.sh("cloud-init status --wait");
    assert_eq!(guest.identity(), before, "the same instance after a restart of the guest");
    assert_eq!(guest.first_boot_runs(), runs, "nothing of the first boot ran again");
    assert!(guest.sh("ip -br -4 address").contains("10.77.0.9/24"));
    let told = guest.sh("cat /var/lib/cloud/instance/user-data.txt");
    assert_eq!(told.trim(), "#cloud-config\n{}", "cloud-init read the scrubbed seed");

    let stopping = Instant::now();
    lab.provider.stop(&machine, Duration::from_secs(90)).await.unwrap();
    println!("stopped after {:?}", stopping.elapsed());
    assert!(stopping.elapsed() < Duration::from_secs(60), "the guest heard the power button");
    assert_eq!(lab.observe(&machine).await.power, Power::Off);

    let bigger = Size { disk: 8192 * MIB, ..order.size };
    lab.provider.reshape(&machine, bigger, &order.options).await.unwrap();
    let again = Instant::now();
    lab.start(&machine).await;
    guest.wait(again);
    guest.sh("cloud-init status --wait");
    assert_eq!(guest.identity(), before, "the same instance after a new start");
    let root: u64 = guest.sh("df --output=size -B1M / | tail -1").trim().parse().unwrap();
    assert!(root > 6000, "/ has {root} MiB");
    assert!(
        guest.sh("last -x 2>/dev/null; journalctl -q -b -1 -n 200").contains("ower"),
        "the last stop was a clean one"
    );
    println!("{:?}", lab.provider.console_tail(&machine, 3).await.unwrap());
    println!("notices: {:?}", lab.log.notices());
}

/// sshd shuts out for minutes who tries in vain too often (`PerSourcePenalties`), and there is nothing here to await.
fn back_off() {
    std::thread::sleep(Duration::from_secs(10));
}

struct Guest {
    ssh: SocketAddr,
    keys: std::path::PathBuf,
}

impl Guest {
    /// Output of a command as root; `None` if there is no connection or it failed. The host key is pinned.
    fn try_sh(&self, script: &str) -> Option<String> {
        let known = self.keys.join("known_hosts");
        let public = fs::read_to_string(self.keys.join("host.pub")).unwrap();
        fs::write(&known, format!("[{}]:{} {public}", self.ssh.ip(), self.ssh.port())).unwrap();
        let output = Command::new("ssh")
            .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=5"])
            .args(["-o", "ServerAliveInterval=5", "-o", "IdentitiesOnly=yes"])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", known.display()))
            .arg("-i")
            .arg(self.keys.join("client"))
            .args(["-p", &self.ssh.port().to_string(), &format!("ops@{}", self.ssh.ip()), "sudo", "sh", "-c"])
            .arg(format!("'{}'", script.replace('\'', "'\\''")))
            .output()
            .unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    fn sh(&self, script: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            if let Some(output) = self.try_sh(script) {
                return output;
            }
            back_off();
            assert!(Instant::now() < deadline, "`{script}` failed for two minutes");
        }
    }

    fn wait(&self, since: Instant) {
        let deadline = Instant::now() + Duration::from_secs(400);
        while self.try_sh("true").is_none() {
            back_off();
            assert!(Instant::now() < deadline, "no SSH");
        }
        println!("ssh after {:?}", since.elapsed());
    }

    fn identity(&self) -> String {
        self.sh("cat /etc/ssh/ssh_host_*_key.pub /etc/machine-id /etc/hostname /home/ops/.ssh/authorized_keys; id ops; hostname -f; cat /var/lib/cloud/data/instance-id")
    }

    /// When each module that runs once per instance ran.
    fn first_boot_runs(&self) -> String {
        self.sh("cd /var/lib/cloud/instance/sem && stat -c \"%n %Y\" config_*")
    }
}

fn seed(order: &MachineOrder, keys: &Path) -> Seed {
    let text = |name: &str| fs::read_to_string(keys.join(name)).unwrap();
    let user_data = serde_json::json!({
        "hostname": "web1",
        "manage_etc_hosts": true,
        "users": [{
            "name": "ops", "groups": ["sudo"], "shell": "/bin/bash", "sudo": "ALL=(ALL:ALL) NOPASSWD:ALL",
            "lock_passwd": true, "ssh_authorized_keys": [text("client.pub").trim()],
        }],
        "disable_root": true,
        "ssh_pwauth": false,
        "ssh_deletekeys": true,
        "ssh_keys": { "ed25519_private": text("host"), "ed25519_public": text("host.pub") },
        "ssh": { "emit_keys_to_console": false },
        "no_ssh_fingerprints": true,
    });
    let network = serde_json::json!({
        "version": 2,
        "ethernets": { "net0": {
            "match": { "macaddress": mac_address(order.owner, "web1", 0) },
            "addresses": ["10.77.0.9/24"],
            "routes": [{ "to": "0.0.0.0/0", "via": "10.77.0.1" }],
        } },
    });
    Seed {
        meta_data: "{\"instance-id\": \"ostler-1\", \"local-hostname\": \"web1\"}\n".into(),
        user_data: format!("#cloud-config\n{user_data:#}\n"),
        network_config: format!("{network:#}\n"),
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}
