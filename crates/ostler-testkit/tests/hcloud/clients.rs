//! The vendor's own clients: PyPI's `hcloud` in a script, and `hcloud-cli` as Debian has it. They work against the fake unchanged.
//!
//! Where one is missing the test says so and does nothing; with `OSTLER_REQUIRE_HCLOUD=1` in the environment, as in continuous
//! integration, that is a failure instead.

use crate::client::SSH_KEY;
use ostler_testkit::hcloud::{FakeCloud, READ_ONLY_TOKEN, Records, TOKEN};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

fn is_missing(what: &str) {
    let required = std::env::var_os("OSTLER_REQUIRE_HCLOUD").is_some_and(|value| value == "1");
    assert!(!required, "{what} is not there, and OSTLER_REQUIRE_HCLOUD is 1");
    eprintln!("skipped: {what} is not there");
}

#[test]
fn the_python_client_leads_a_whole_life() {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/hcloud");
    if !library.exists() {
        return is_missing("PyPI's hcloud (target/tools/hcloud)");
    }
    let records = Arc::new(Records::default());
    let cloud = FakeCloud::on_a_thread(Arc::clone(&records) as _).expect("a cloud");
    let output = Command::new("python3")
        .args(["-W", "error::DeprecationWarning:__main__", "-"])
        .args([&cloud.url(), TOKEN, SSH_KEY])
        .env("PYTHONPATH", &library)
        .stdin(fs::File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hcloud/life.py")).expect("the script"))
        .output()
        .expect("python3 runs");
    succeeded(&output);
    assert!(records.ids().is_empty(), "nothing is left of its server");
    // One an hour, so that none comes back meanwhile.
    cloud.rate_limit(1, 0);
    let script = format!(
        "import hcloud\nclient = hcloud.Client({TOKEN:?}, api_endpoint={:?})\nclient._client._retry_max_retries = 0\n\
         try:\n    client.servers.get_all()\nexcept hcloud.APIException as error:\n    print(error.code)\n",
        cloud.url()
    );
    let output =
        Command::new("python3").args(["-c", &script]).env("PYTHONPATH", &library).output().expect("python3 runs");
    assert_eq!(succeeded(&output), "rate_limit_exceeded\n");
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The command line client with a home of its own.
struct Cli<'a> {
    cloud: &'a FakeCloud,
    home: &'a Path,
}

impl Cli<'_> {
    fn output(&self, token: &str, line: &str) -> Output {
        let mut command = Command::new("hcloud");
        command.args(line.split_whitespace()).args(["--poll-interval", "20ms"]).current_dir(self.home);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.home);
        command.env("HCLOUD_ENDPOINT", self.cloud.url()).env("HCLOUD_TOKEN", token).stdin(Stdio::null());
        command.output().expect("hcloud runs")
    }

    #[track_caller]
    fn run(&self, line: &str) -> String {
        let output = self.output(TOKEN, line);
        assert!(output.status.success(), "hcloud {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.run(&format!("{line} -o json"))).expect("JSON")
    }

    /// What it says of a failure.
    #[track_caller]
    fn fails(&self, line: &str) -> String {
        let output = self.output(TOKEN, line);
        assert!(!output.status.success(), "hcloud {line} is to fail: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

#[test]
fn debians_command_line_client_does_the_common_things() {
    if Command::new("hcloud").arg("version").output().is_err() {
        return is_missing("hcloud (Debian: hcloud-cli)");
    }
    let records = Arc::new(Records::default());
    let cloud = FakeCloud::on_a_thread(Arc::clone(&records) as _).expect("a cloud");
    cloud.pace(Duration::from_millis(5));
    let home = tempfile::tempdir().expect("a folder");
    fs::write(home.path().join("key.pub"), SSH_KEY).expect("a written file");
    fs::write(home.path().join("user-data"), "#cloud-config\n").expect("a written file");
    let rules = r#"[{ "direction": "in", "protocol": "tcp", "port": "22", "source_ips": ["0.0.0.0/0", "::/0"] }]"#;
    fs::write(home.path().join("rules.json"), rules).expect("a written file");
    let cli = Cli { cloud: &cloud, home: home.path() };

    assert!(cli.run("server-type list").contains("cx23") && cli.run("location list").contains("fsn1"));
    assert!(cli.run("image list --type system").contains("debian-13"));
    cli.run("ssh-key create --name key --public-key-from-file key.pub");
    cli.run("network create --name net --ip-range 10.0.0.0/16");
    cli.run("network add-subnet net --type cloud --network-zone eu-central --ip-range 10.0.1.0/24");
    cli.run("firewall create --name fw --rules-file rules.json");
    cli.run("volume create --name data --size 10 --location fsn1 --format ext4");
    cli.run("placement-group create --name apart --type spread");
    cli.run(
        "server create --name web1 --type cx23 --image debian-13 --location fsn1 --ssh-key key --network net --firewall fw \
         --volume data --placement-group apart --user-data-from-file user-data --label env=test",
    );
    let server = cli.json("server describe web1");
    assert_eq!((&server["status"], &server["private_net"][0]["ip"]), (&"running".into(), &"10.0.1.1".into()));
    assert_eq!(records.machine(server["id"].as_u64().unwrap()).unwrap().user_data, "#cloud-config\n");
    let ip = server["public_net"]["ipv4"]["ip"].as_str().unwrap();
    assert_eq!(cli.run("server ip web1").trim(), ip);
    assert!(cli.run("server list --selector env=test").contains("web1"));
    assert!(!cli.run("server list --selector env!=test").contains("web1"));
    cli.run("server add-label web1 role=web");
    cli.run("server shutdown web1");
    assert_eq!(cli.json("server describe web1")["status"], "off");
    cli.run("server change-type web1 cx33 --keep-disk");
    cli.run("server rebuild web1 --image debian-12");
    cli.run("server reboot web1");
    cli.run("server enable-backup web1");
    cli.run("server enable-protection web1 delete rebuild");
    assert!(cli.fails("server delete web1").contains("(protected)"));
    cli.run("server disable-protection web1 delete rebuild");
    cli.run("volume detach data");
    cli.run("volume resize data --size 20");
    // It knows locations of Primary IPs only by their data centers, which are gone.
    assert!(cli.fails("primary-ip create --name ip --type ipv4 --datacenter fsn1-dc14").contains("(invalid_input)"));
    cli.run("load-balancer create --name lb --type lb11 --location fsn1");
    cli.run("load-balancer add-service lb --protocol http");
    cli.run("load-balancer add-target lb --server web1");
    cli.run("load-balancer delete lb");
    let unique = cli.fails("server create --name web1 --type cx23 --image debian-13 --location fsn1");
    assert!(unique.contains("(uniqueness_error)"), "{unique}");
    let read_only = cli.output(READ_ONLY_TOKEN, "server poweroff web1");
    assert!(String::from_utf8_lossy(&read_only.stderr).contains("(token_readonly)"));
    for line in
        ["server delete web1", "volume delete data", "firewall delete fw", "network delete net", "ssh-key delete key"]
    {
        cli.run(line);
    }
    assert!(records.ids().is_empty() && cloud.resources("primary_ips").is_empty());
}
