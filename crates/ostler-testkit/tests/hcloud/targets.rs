//! Servers that are real machines: what happens to them when the vendor's client asks for it, seen by ssh and from outside.

use ostler_testkit::{
    hcloud::{FakeCloud, TOKEN, TargetMachines},
    targets::{Source, Verdict},
};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// How long a boot with cloud-init may take, on a machine that does other things too.
const BOOT: Duration = Duration::from_secs(120);

struct Project {
    cloud: FakeCloud,
    machines: Arc<TargetMachines>,
    dir: tempfile::TempDir,
}

impl Project {
    /// `None` where there can be none.
    fn start() -> Option<Self> {
        let library = library();
        if !library.exists() {
            let required = std::env::var_os("OSTLER_REQUIRE_HCLOUD").is_some_and(|value| value == "1");
            assert!(!required, "{} is not there, and OSTLER_REQUIRE_HCLOUD is 1", library.display());
            eprintln!("skipped: PyPI's hcloud is not there (target/tools/hcloud)");
            return None;
        }
        let machines = TargetMachines::start()?;
        let cloud = FakeCloud::on_a_thread(Arc::clone(&machines) as _).expect("a cloud");
        let project = Self { cloud, machines, dir: tempfile::tempdir().expect("a folder") };
        for key in ["key", "host"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(project.file(key));
            assert!(keygen.status().is_ok_and(|status| status.success()), "ssh-keygen makes a key");
        }
        Some(project)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).expect("a file that can be read")
    }

    /// Runs a script with PyPI's client; what it prints.
    #[track_caller]
    fn python(&self, script: &str) -> String {
        let names = "import hcloud\nfrom hcloud.firewalls.domain import FirewallRule, FirewallResource\nfrom hcloud.images.domain import Image\n\
                     from hcloud.locations.domain import Location\nfrom hcloud.networks.domain import NetworkSubnet\n\
                     from hcloud.server_types.domain import ServerType";
        let client = format!(
            "client = hcloud.Client({TOKEN:?}, api_endpoint={:?}, poll_interval=0.02)\n\
             def wait(actions):\n    for action in actions: action.wait_until_finished()\n\
             def create(name, **options):\n    \
                 made = client.servers.create(name, ServerType(name='cx23'), Image(name='debian-13'), location=Location(name='fsn1'), **options)\n    \
                 wait([made.action, *made.next_actions])\n    return made\n\
             def server(name): return client.servers.get_by_name(name)\n",
            self.cloud.url()
        );
        let mut command = Command::new("python3");
        command.arg("-c").arg(format!("{names}\n{client}{script}")).env("PYTHONPATH", library());
        succeeded(&command.output().expect("python3 runs"))
    }

    /// Address of a server: of the first family, or in its network of the second.
    fn address(&self, name: &str, ipv6: bool) -> IpAddr {
        let servers = self.cloud.resources("servers");
        let server = servers.values().find(|server| server["name"] == name).expect("a server of this name");
        let net = &server["public_net"][if ipv6 { "ipv6" } else { "ipv4" }]["ip"];
        let net = net.as_str().expect("an address");
        net.strip_suffix("/64")
            .map_or_else(|| net.to_owned(), |prefix| format!("{prefix}1"))
            .parse()
            .expect("an address")
    }

    fn status(&self, name: &str) -> String {
        let servers = self.cloud.resources("servers");
        let server = servers.values().find(|server| server["name"] == name).expect("a server of this name");
        server["status"].as_str().unwrap_or_default().to_owned()
    }

    /// Logs in with `credentials`, and with the host key of the user data pinned.
    fn ssh(&self, name: &str, credentials: &[&str], command: &str) -> Output {
        let address = self.address(name, false);
        fs::write(self.file("known_hosts"), format!("{address} {}", self.read("host.pub"))).expect("a written file");
        let mut ssh = Command::new("ssh");
        for option in ["StrictHostKeyChecking=yes", "LogLevel=ERROR", "NumberOfPasswordPrompts=1", "ConnectTimeout=2"] {
            ssh.args(["-o", option]);
        }
        ssh.args(["-F", "none", "-o"]).arg(format!("UserKnownHostsFile={}", self.file("known_hosts").display()));
        ssh.args(credentials).args([&format!("root@{address}"), command]);
        ssh.env("SSH_ASKPASS", self.file("askpass")).env("SSH_ASKPASS_REQUIRE", "force").stdin(Stdio::null());
        ssh.output().expect("ssh runs")
    }

    fn by_key(&self, name: &str, command: &str) -> Output {
        self.ssh(name, &["-o", "IdentitiesOnly=yes", "-i", &self.file("key").display().to_string()], command)
    }

    /// Runs a command on a server once cloud-init has finished, however long it boots.
    #[track_caller]
    fn run(&self, name: &str, command: &str) -> String {
        let begun = Instant::now();
        loop {
            let output = self.by_key(
                name,
                &format!("[ -e /run/cloud-init/result.json ] || cloud-init status --wait >/dev/null; {command}"),
            );
            if output.status.success() {
                return String::from_utf8_lossy(&output.stdout).into_owned();
            }
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(begun.elapsed() < BOOT, "{said}\nthe console says:\n{}", self.machines.console_of(name));
            thread::sleep(Duration::from_millis(100)); // awaits the condition above
        }
    }

    #[track_caller]
    fn await_status(&self, name: &str, status: &str) {
        let begun = Instant::now();
        while self.status(name) != status {
            assert!(begun.elapsed() < BOOT, "{name} is {}, and not {status}", self.status(name));
            thread::sleep(Duration::from_millis(50)); // awaits the condition above
        }
    }

    /// User data with the host key, and what else there is.
    fn user_data(&self, more: &str) -> String {
        let indented = self.read("host").lines().map(|line| format!("    {line}\n")).collect::<String>();
        let public = self.read("host.pub");
        format!("#cloud-config\nssh_keys:\n  ed25519_private: |\n{indented}  ed25519_public: {public}{more}")
    }

    #[track_caller]
    fn probe(&self, name: &str, source: Source, port: u16) -> Verdict {
        let to = self.address(name, source.address(self.machines.lab()).is_ipv6());
        self.machines.lab().probe(source, SocketAddr::new(to, port))
    }
}

fn library() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/hcloud")
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// A container's network, as Docker makes it: a bridge, addresses of its own, and masquerading.
const CONTAINER: &str = "set -e
    ip netns add box; ip link add outer type veth peer name inner netns box; ip address add 172.17.0.1/16 dev outer; ip link set outer up
    ip -n box address add 172.17.0.2/16 dev inner; ip -n box link set inner up; ip -n box route add default via 172.17.0.1
    echo 1 >/proc/sys/net/ipv4/ip_forward
    nft 'table ip box { chain out { type nat hook postrouting priority srcnat; ip saddr 172.17.0.0/16 oifname eth0 masquerade; }; }'
    ip netns exec box curl --silent --show-error --fail --max-time 5 http://169.254.169.254/hetzner/v1/metadata/instance-id";

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn a_server_lives_as_it_is_told() {
    let Some(project) = Project::start() else { return };
    let before = project.machines.traces();
    let user_data = project.user_data("write_files:\n- { path: /etc/motd, content: \"hello\\n\" }\n");
    let id = project.python(&format!(
        "key = client.ssh_keys.create('key', {:?})\nprint(create('web1', ssh_keys=[key], user_data={user_data:?}).server.id)",
        project.read("key.pub").trim(),
    ));
    let (ipv4, ipv6) = (project.address("web1", false), project.address("web1", true));
    let facts = "hostname; cat /etc/motd; ip -brief address show eth0; cut -d. -f1 /etc/debian_version";
    let said = project.run("web1", facts);
    let facts: Vec<&str> = said.split_whitespace().collect();
    assert_eq!((&facts[..2], facts.last()), (&["web1", "hello"][..], Some(&"13")), "{said}");
    assert!(said.contains(&format!(" {ipv4}/32 ")) && said.contains(&format!(" {ipv6}/64 ")), "{said}");
    assert_eq!(project.run("web1", "cloud-init query platform; getent passwd debian || true"), "nocloud\n");
    assert_eq!(project.run("web1", "passwd --status root | cut -d' ' -f2"), "L\n");

    // The metadata service knows who asks, also from within a container.
    let metadata = |path: &str| project.run("web1", &format!("curl -sSf http://169.254.169.254/hetzner/v1/{path}"));
    assert_eq!(metadata("metadata/instance-id"), id.trim());
    assert_eq!(metadata("userdata"), user_data);
    assert_eq!(project.machines.exec("web1", CONTAINER).ok().stdout, id.trim());

    let boot = || project.run("web1", "cat /proc/sys/kernel/random/boot_id");
    let boots = [
        boot(),
        {
            project.python("server('web1').reset().wait_until_finished()");
            boot()
        },
        {
            project.run("web1", "touch /root/kept");
            project.python("server('web1').shutdown().wait_until_finished()");
            project.await_status("web1", "off");
            assert!(!project.by_key("web1", "true").status.success());
            project.python("server('web1').change_type(ServerType(name='cx33'), False).wait_until_finished()");
            assert_eq!(project.run("web1", "ls /root"), "kept\n");
            boot()
        },
    ];
    assert!(boots[0] != boots[1] && boots[1] != boots[2], "{boots:?}");

    // Without new user data the old is served again: the host key stays what it was.
    project.python("server('web1').rebuild(Image(name='debian-13')).action.wait_until_finished()");
    assert_eq!(project.run("web1", "ls /root; cat /etc/motd"), "hello\n");

    project.python("server('web1').delete().wait_until_finished()");
    let begun = Instant::now();
    while project.machines.traces() != before {
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", project.machines.traces());
        thread::sleep(Duration::from_millis(50)); // awaits the condition above: the kernel removes namespaces in its own time
    }
    assert!(project.cloud.resources("primary_ips").is_empty());
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn firewalls_close_the_public_network_and_no_other() {
    let Some(project) = Project::start() else { return };
    let serve = "runcmd:\n- [ systemd-run, python3, -m, http.server, --bind, \"::\", 8080 ]\n";
    project.python(&format!(
        "key = client.ssh_keys.create('key', {:?})\n\
         subnet = NetworkSubnet(type='cloud', network_zone='eu-central', ip_range='10.0.1.0/24')\n\
         net = client.networks.create('net', '10.0.0.0/16', subnets=[subnet])\n\
         for name in ['web1', 'db1']: create(name, ssh_keys=[key], networks=[net], user_data={:?})",
        project.read("key.pub").trim(),
        project.user_data(serve),
    ));
    for name in ["web1", "db1"] {
        project.run(
            name,
            "until curl --silent --fail --head --output /dev/null http://localhost:8080; do sleep 0.1; done",
        );
    }
    let both = [Source::PublicV4, Source::PublicV6];
    let seen = |port| both.map(|source| project.probe("web1", source, port));
    let ping = || {
        [false, true].map(|ipv6| {
            let to = project.address("web1", ipv6);
            project.machines.exec("db1", &format!("ping -q -c 1 -W 1 {to}")).code == 0
        })
    };
    assert_eq!(
        (seen(22), seen(8080), seen(81), ping()),
        ([Verdict::Open; 2], [Verdict::Open; 2], [Verdict::Refused; 2], [true; 2])
    );

    // A firewall without rules lets nothing in; what is established passes, and what the server itself begins.
    let to = SocketAddr::new(project.address("web1", false), 8080);
    let mut established =
        project.machines.lab().connect(Source::PublicV4, to, Duration::from_secs(5)).expect("a connection");
    project.python(
        "wait(client.firewalls.create('fw', rules=[], resources=[FirewallResource('server', server=server('web1'))]).actions)",
    );
    assert_eq!((seen(22), seen(8080), ping()), ([Verdict::Dropped; 2], [Verdict::Dropped; 2], [false; 2]));
    established.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("it is open");
    let mut answer = [0; 8];
    established.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.0");
    let fetch = |from: &str, url: &str| {
        project.machines.exec(from, &format!("curl --silent --fail --head --output /dev/null --max-time 2 {url}")).code
            == 0
    };
    let public = |name: &str, ipv6| SocketAddr::new(project.address(name, ipv6), 8080);
    assert!(
        fetch("web1", &format!("http://{}", public("db1", false)))
            && fetch("web1", &format!("http://{}", public("db1", true)))
    );
    assert!(!fetch("db1", &format!("http://{}", public("web1", false))));
    // The test process is outside, too.
    let here = |port| {
        [false, true].map(|ipv6| {
            let to = SocketAddr::new(project.address("web1", ipv6), port);
            TcpStream::connect_timeout(&to, Duration::from_millis(1500)).is_ok()
        })
    };
    assert_eq!(here(8080), [false; 2]);
    // Private networks are not filtered.
    assert!(fetch("db1", "http://10.0.1.1:8080"));

    // Rules let in from where they say, until they go.
    project.python(
        "rules = [FirewallRule('in', 'tcp', ['198.51.100.7/32', '2001:db8:ffff::/48'], port='22'),\n\
                  FirewallRule('in', 'tcp', ['::/0'], port='8000-8100'), FirewallRule('in', 'icmp', ['0.0.0.0/0', '::/0'])]\n\
         wait(client.firewalls.get_by_name('fw').set_rules(rules))",
    );
    assert_eq!((seen(22), seen(8080), ping()), ([Verdict::Open; 2], [Verdict::Dropped, Verdict::Open], [true; 2]));
    let other = Source::Internet("198.51.100.8".parse().expect("an address"));
    assert_eq!(project.probe("web1", other, 22), Verdict::Dropped);
    project.python("wait(client.firewalls.get_by_name('fw').remove_from_resources([FirewallResource('server', server=server('web1'))]))");
    assert_eq!((seen(8080), here(8080)), ([Verdict::Open; 2], [true; 2]));
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn without_a_key_root_has_a_password_to_change_and_some_never_boot() {
    let Some(project) = Project::start() else { return };
    project.machines.never_boots("dead");
    let password = project.python(&format!(
        "key = client.ssh_keys.create('key', {:?})\ncreate('dead', ssh_keys=[key])\nprint(create('open', user_data={:?}).root_password)",
        project.read("key.pub").trim(),
        project.user_data(""),
    ));
    fs::write(project.file("askpass"), format!("#!/bin/sh\necho {password}")).expect("a written file");
    fs::set_permissions(project.file("askpass"), fs::Permissions::from_mode(0o700)).expect("it can be run");
    let begun = Instant::now();
    loop {
        let output = project.ssh("open", &["-o", "PubkeyAuthentication=no"], "true");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "the password need not be changed");
        if said.contains("password has expired") || said.contains("Password change required") {
            break;
        }
        assert!(begun.elapsed() < BOOT, "{said}\nthe console says:\n{}", project.machines.console_of("open"));
        thread::sleep(Duration::from_millis(200)); // awaits the condition above
    }
    // By now the other one would have booted.
    assert_eq!(
        (project.status("dead").as_str(), project.probe("dead", Source::PublicV4, 22)),
        ("running", Verdict::Dropped)
    );
}
