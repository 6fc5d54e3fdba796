//! Hetzner Cloud from a token to hardened servers and back: its API is a fake, and the servers are real, with real cloud-init and a real
//! firewall in front of them.

use super::support::environment;
use ostler_testkit::{
    cloudflare::{self, FakeCloudflare},
    environment::TestEnvironment,
    hcloud::{FakeCloud, Fault, TOKEN, TargetMachines},
    targets::{Source, Verdict},
    traefik,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

const REBUILD: &str = "POST /servers/{id}/actions/rebuild";
/// What a server listens on that nobody has let in.
const HIDDEN: u16 = 8080;

/// Somebody with a project, in which something is already.
struct Customer {
    environment: TestEnvironment,
    /// What the spec says of tunnels.
    tunnels: String,
    /// What it says of load balancers, with the comma before.
    balancers: &'static str,
    cloud: FakeCloud,
    machines: Arc<TargetMachines>,
}

impl Customer {
    fn of(machines: Arc<TargetMachines>) -> Self {
        let cloud = FakeCloud::on_a_thread(Arc::clone(&machines) as _).expect("a cloud");
        let environment = environment();
        environment.write("token", &format!("{TOKEN}\n"));
        Self { environment, tunnels: String::new(), balancers: "", cloud, machines }
    }

    /// A spec of servers with their modules.
    fn writes(&self, servers: &[(&str, &str)]) {
        self.writes_with("", servers);
    }

    /// The same with further options of Hetzner's.
    fn writes_with(&self, more: &str, servers: &[(&str, &str)]) {
        let server = |(name, rest): &(&str, &str)| {
            format!(
                "  {name}:\n    provider: hc\n    hetzner: {{ type: [ cx23, cax11 ], location: [ fsn1, nbg1 ]{more} }}\n    user: ops\n    \
                 authorized_keys: [ id_ed25519.pub ]\n{rest}"
            )
        };
        let servers: String = servers.iter().map(server).collect();
        let (tunnels, balancers, endpoint) = (&self.tunnels, self.balancers, self.cloud.url());
        self.environment.write(
            "ostler.yaml",
            &format!(
                "{tunnels}providers:\n  hc: {{ kind: hetzner, endpoint: \"{endpoint}\", token: {{ file: token }}{balancers} }}\nservers:\n{servers}"
            ),
        );
    }

    /// Debian's command line client.
    #[track_caller]
    fn hcloud(&self, line: &str) {
        let mut hcloud = Command::new("hcloud");
        hcloud.args(line.split_whitespace()).current_dir(self.environment.path()).env_clear();
        hcloud.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.environment.path());
        hcloud.env("HCLOUD_ENDPOINT", self.cloud.url()).env("HCLOUD_TOKEN", TOKEN).stdin(Stdio::null());
        let output = hcloud.output().expect("hcloud runs");
        assert!(output.status.success(), "hcloud {line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A rebuild is carried out, and Ostler killed before it hears of that.
    #[track_caller]
    fn killed_while_rebuilding(&self, name: &str) {
        self.cloud.fail(REBUILD, Fault::ActAndStall);
        let running = self.environment.start(&["rebuild", name, "--yes"]);
        let begun = Instant::now();
        while self.cloud.requests_for(REBUILD).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60), "no rebuild is asked for");
            thread::sleep(Duration::from_millis(20)); // awaits the condition above
        }
        running.kill();
    }

    /// Ids of all that the project holds.
    fn holds(&self) -> BTreeMap<&str, Vec<u64>> {
        FakeCloud::FAMILIES
            .into_iter()
            .map(|family| (family, self.cloud.resources(family).into_keys().collect()))
            .collect()
    }

    /// Names of the servers that get traffic from the load balancer that Ostler makes.
    fn balanced(&self) -> Vec<String> {
        let balancers = self.cloud.resources("load_balancers");
        let front = balancers.values().find(|balancer| balancer["name"] == "front");
        let targets = front.and_then(|front| front["targets"].as_array()).cloned().unwrap_or_default();
        let servers = self.cloud.resources("servers");
        let name =
            |target: &serde_json::Value| servers[&target["server"]["id"].as_u64()?]["name"].as_str().map(str::to_owned);
        targets.iter().filter_map(name).collect()
    }

    /// Ports that the firewall lets in, as the vendor was told.
    fn let_in(&self) -> Vec<String> {
        let firewalls = self.cloud.resources("firewalls");
        let rules = firewalls.values().flat_map(|firewall| firewall["rules"].as_array().into_iter().flatten());
        rules.filter_map(|rule| rule["port"].as_str().map(str::to_owned)).collect()
    }

    /// The addresses of a server, IPv4 first.
    #[track_caller]
    fn addresses(&self, name: &str) -> [IpAddr; 2] {
        let servers = self.cloud.resources("servers");
        let net = servers.values().find(|server| server["name"] == name).expect("the server")["public_net"].clone();
        let ipv4 = net["ipv4"]["ip"].as_str().and_then(|ip| ip.parse().ok()).expect("an address");
        let network = net["ipv6"]["ip"].as_str().and_then(|ip| ip.strip_suffix("/64")).expect("a network");
        [ipv4, format!("{network}1").parse().expect("an address")]
    }

    /// What becomes of connections to a port of a server, from the internet by IPv4 and IPv6.
    #[track_caller]
    fn seen(&self, name: &str, port: u16) -> [Verdict; 2] {
        let [ipv4, ipv6] = self.addresses(name);
        let lab = self.machines.lab();
        // At the same time, for no answer takes a while.
        thread::scope(|scope| {
            let tries = [(Source::PublicV4, ipv4), (Source::PublicV6, ipv6)]
                .map(|(source, to)| scope.spawn(move || lab.probe(source, SocketAddr::new(to, port))));
            tries.map(|one| one.join().expect("no panic"))
        })
    }
}

/// `web1`, which is what its spec says, is made anew: killed in the middle and gone on with.
fn is_rebuilt_in_its_place(customer: &Customer) {
    let ostler = &customer.environment;
    let inside = |script: &str| customer.machines.exec("web1", script).ok().stdout.trim().to_owned();
    let seed_key = || {
        let user_data = inside("curl -sSf http://169.254.169.254/hetzner/v1/userdata");
        let json = user_data.strip_prefix("#cloud-config\n").expect("a cloud-config");
        let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
        json["ssh_keys"]["ed25519_public"].as_str().expect("a public key").to_owned()
    };
    let own_key = || inside("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub");
    let shown = || {
        let server = customer.cloud.resources("servers").into_iter().find(|(_, server)| server["name"] == "web1");
        let (id, server) = server.expect("the server");
        (id, server["public_net"].clone(), server["server_type"].clone(), server["location"].clone())
    };
    let (before, keys) = (shown(), [seed_key(), own_key()]);
    inside("touch /root/mine /var/tmp/mine");

    customer.killed_while_rebuilding("web1");
    assert_eq!(customer.balanced(), [""; 0], "nobody is sent to a server that is made anew");
    let refused = ostler.run(&["up", "ostler.yaml"]);
    assert_eq!(refused.code, 2, "{}{}", refused.stdout, refused.stderr);
    let says = "web1 is being rebuilt, and that has not come to its end";
    assert!(refused.stderr.contains(says) && refused.stderr.contains("`ostler resume web1`"), "{}", refused.stderr);
    ostler.run(&["resume", "web1"]).ok();

    assert_eq!((shown(), customer.balanced()), (before, vec!["web1".to_owned()]), "address and price stay");
    assert_eq!(inside("ls /root/mine /var/tmp/mine 2>/dev/null || true"), "");
    let (seed, own) = (seed_key(), own_key());
    assert!(!keys.contains(&seed) && !keys.contains(&own) && own != seed, "{keys:?}, then {seed} and {own}");
    let pinned = ostler.state_dir().join("servers/web1/known_hosts");
    assert_eq!(ostler.run(&["ssh", "web1", "--", "hostname; id -un"]).ok().stdout, "web1\nops\n");
    let pinned = std::fs::read_to_string(&pinned).expect("pinned keys");
    assert!(pinned.contains(&own) && !pinned.contains(&seed) && pinned.matches("ssh-ed25519").count() == 1, "{pinned}");
    // Every request brought user data, and the later ones the same: whichever was carried out, its key is known.
    let sent: Vec<String> = customer.cloud.requests_for(REBUILD).iter().map(|seen| seen.body.to_string()).collect();
    assert!(sent.len() == 2 && sent.iter().all(|body| body.contains(&seed)), "{sent:?}");
    assert_eq!(
        [22, 443, HIDDEN].map(|port| customer.seen("web1", port)),
        [[Verdict::Open; 2], [Verdict::Refused; 2], [Verdict::Dropped; 2]]
    );
    let again = ostler.run(&["up", "ostler.yaml", "--output", "json"]).ok();
    assert_eq!((again.changes(), &again.outcome()["changed"]), (Vec::new(), &0.into()));
}

/// What the specs of docs have, with an image that no registry has to be asked for.
fn swarm() -> String {
    format!(
        "    modules: {{ iptables: {{ preset: web }}, fail2ban: true, unattended_upgrades: true, time_sync: true }}\n    \
         apps: [ traefik ]\n    app_params: {{ docker: {{ source: debian }}, traefik: {{ image: {} }} }}\n",
        traefik::IMAGE
    )
}

/// `web1`, which one `up` has made, is a Swarm behind Traefik: it serves, and nothing else is open.
fn serves_and_is_closed(customer: &Customer) {
    let ostler = &customer.environment;
    let inside = |script: &str| customer.machines.exec("web1", script);
    let verified = ostler.run(&["verify", "web1"]).ok().stdout;
    let rows = rows(&verified);
    assert!(rows.iter().all(|row| !row.starts_with("web1 BROKEN") && !row.starts_with("web1 unknown")), "{verified}");
    for row in [
        "ports 80/tcp is open",
        "ports 443/tcp is open",
        "iptables Containers can't reach the cloud's metadata service",
    ] {
        assert!(rows.contains(&format!("web1 kept {row}")), "no row `{row}`: {verified}");
    }
    assert_eq!(customer.let_in(), ["22", "80", "443", "443"]);

    // Traefik itself answers: it sends everybody to HTTPS, and knows no site there.
    for address in customer.addresses("web1") {
        let answer = |scheme: &str| {
            let mut curl = Command::new("curl");
            curl.args([
                "--silent",
                "--insecure",
                "--max-time",
                "10",
                "--output",
                "/dev/null",
                "--write-out",
                "%{http_code}",
            ]);
            let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
            let output = curl.args(["--noproxy", "*"]).arg(format!("{scheme}://{host}/")).output().expect("curl runs");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert_eq!(["http", "https"].map(answer), ["301", "404"], "{address}");
    }
    // Whatever listens on the server, and what members of a swarm would open, is closed but for what the spec says.
    let listens = inside("ss -Htln | awk '{ print $4 }' | grep -Ev '^(127\\.|\\[::1\\])' | sed 's/.*://'").ok().stdout;
    let ports: BTreeSet<u16> =
        listens.lines().map(|port| port.parse().expect("a port")).chain([2377, 7946, 8082, HIDDEN]).collect();
    assert!([22, 80, 443].iter().all(|port| ports.contains(port)), "{ports:?}");
    thread::scope(|scope| {
        for port in ports {
            let expected = if [22, 80, 443].contains(&port) { Verdict::Open } else { Verdict::Dropped };
            scope.spawn(move || assert_eq!(customer.seen("web1", port), [expected; 2], "port {port}"));
        }
    });

    // The server gets its metadata, and a container does not, but for the rule.
    let metadata =
        "curl --silent --show-error --fail --noproxy '*' --max-time 3 http://169.254.169.254/hetzner/v1/userdata";
    let task = "$(docker inspect --format '{{.State.Pid}}' $(docker ps --quiet --filter name=traefik))";
    let from_container = format!("nsenter --net --target {task} {metadata}");
    assert!(inside(metadata).ok().stdout.starts_with("#cloud-config"));
    let refused = inside(&from_container);
    assert_eq!((refused.code, refused.stdout.as_str()), (28, ""), "{}", refused.stderr);
    let rule = "-d 169.254.169.254 -j DROP";
    inside(&format!("iptables -w -D ostler-docker {rule}")).ok();
    assert!(
        inside(&from_container).ok().stdout.starts_with("#cloud-config"),
        "the test proves nothing: there is no way"
    );
    inside(&format!("iptables -w -I ostler-docker {rule}")).ok();
}

/// Rows of a table, with one space between columns.
fn rows(table: &str) -> Vec<String> {
    table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn from_a_token_to_hardened_servers_and_back() {
    if Command::new("hcloud").arg("version").output().is_err() {
        let required = std::env::var_os("OSTLER_REQUIRE_HCLOUD").is_some_and(|value| value == "1");
        assert!(!required, "hcloud is not there, and OSTLER_REQUIRE_HCLOUD is 1");
        return eprintln!("skipped: hcloud is not there (Debian: hcloud-cli)");
    }
    let Some(machines) = TargetMachines::start() else { return };
    let mut customer = Customer::of(machines);
    customer.balancers = ", load_balancers: { front: { location: nbg1, services: [ { listen: 443 } ] } }";
    let ostler = &customer.environment;
    customer.hcloud("load-balancer create --name mine --type lb11 --location fsn1");
    customer.hcloud("ssh-key create --name mine --public-key-from-file id_ed25519.pub");
    customer.hcloud("firewall create --name mine");
    customer.hcloud("network create --name mine --ip-range 10.9.0.0/16");
    let before = (customer.holds(), customer.machines.traces());

    // The first choice is sold out.
    customer.cloud.sell_out("cx23", "fsn1");
    let modules = "    modules: { time_sync: true, ufw: { preset: web } }\n";
    let behind = ", load_balancer: front";
    customer.writes_with(behind, &[("web1", modules)]);
    let made = ostler.run(&["up", "ostler.yaml"]).ok();
    assert!(made.stdout.contains("web1 is behind the load balancer front ("), "{}{}", made.stdout, made.stderr);
    assert_eq!(customer.balanced(), ["web1"]);
    assert_eq!(ostler.run(&["ssh", "web1", "--", "hostname; id -un"]).ok().stdout, "web1\nops\n");
    let server = customer.cloud.resources("servers").into_values().next().expect("a server");
    assert_eq!((&server["name"], &server["server_type"]["name"]), (&"web1".into(), &"cx23".into()));
    assert_eq!(server["location"]["name"], "nbg1");

    // Whoever reads the user data learns no host key that is in use.
    let inside = |script: &str| customer.machines.exec("web1", script).ok().stdout;
    let user_data = inside("curl -sSf http://169.254.169.254/hetzner/v1/userdata");
    let host_key = inside("cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub");
    assert!(user_data.contains("ssh-ed25519 ") && !user_data.contains(host_key.trim()), "{user_data}");

    // What is not let in is closed before it reaches the server.
    inside(&format!(
        "systemd-run --quiet python3 -m http.server --bind $(hostname -I | tr ' ' '\\n' | grep ^2001) {HIDDEN}; \
         until ss -Htln sport = {HIDDEN} | grep -q .; do sleep 0.1; done"
    ));
    assert_eq!(customer.seen("web1", 22), [Verdict::Open; 2]);
    assert_eq!(customer.seen("web1", HIDDEN), [Verdict::Dropped; 2]);
    let again = ostler.run(&["up", "ostler.yaml", "--output", "json"]).ok();
    assert_eq!((again.changes(), &again.outcome()["changed"]), (Vec::new(), &0.into()));

    // A hole in the server's own firewall is closed by the vendor's; one in both is found, on the one family where it is.
    inside(&format!("ufw allow {HIDDEN}/tcp >/dev/null"));
    let says = format!("{HIDDEN}/tcp is closed");
    let kept = ostler.run(&["verify", "web1"]).ok().stdout;
    assert!(rows(&kept).contains(&format!("web1 kept ports {says}")), "{kept}");
    let firewalls = customer.cloud.resources("firewalls");
    let ours = firewalls.values().find(|firewall| firewall["name"] != "mine").expect("the server's firewall");
    let ours = ours["name"].as_str().expect("a name");
    customer.hcloud(&format!("firewall remove-from-resource {ours} --type server --server web1"));
    assert_eq!(customer.seen("web1", HIDDEN), [Verdict::Refused, Verdict::Open]);
    let broken = ostler.run(&["verify", "web1"]);
    assert_eq!(broken.code, 5, "{}{}", broken.stdout, broken.stderr);
    let row = format!("web1 BROKEN ports {says}: it is open at 2001:db8:");
    assert!(rows(&broken.stdout).iter().any(|found| found.starts_with(&row)), "{}", broken.stdout);
    ostler.run(&["up", "ostler.yaml"]).ok();
    assert_eq!(customer.seen("web1", HIDDEN), [Verdict::Dropped; 2]);

    is_rebuilt_in_its_place(&customer);

    // Killed while the server is made, and the answer is lost: it is found again, and there is one.
    customer.writes_with(behind, &[("web1", modules), ("web2", "")]);
    let requests = customer.cloud.requests_for("POST /servers").len();
    customer.cloud.fail("POST /servers", Fault::ActAndStall);
    let running = ostler.start(&["up", "ostler.yaml", "web2"]);
    let begun = Instant::now();
    while customer.cloud.requests_for("POST /servers").len() == requests {
        assert!(begun.elapsed() < Duration::from_secs(60), "no server is asked for");
        thread::sleep(Duration::from_millis(20)); // awaits the condition above
    }
    running.kill();
    ostler.run(&["up", "ostler.yaml", "web2"]).ok();
    assert_eq!(ostler.run(&["ssh", "web2", "--", "hostname"]).ok().stdout, "web2\n");
    assert_eq!(customer.holds()["servers"].len(), 2, "{:?}", customer.holds());
    assert_eq!(customer.balanced(), ["web1", "web2"]);

    ostler.run(&["destroy", "web1", "web2", "--yes"]).ok();
    assert_eq!(customer.holds(), before.0);
    let begun = Instant::now();
    while customer.machines.traces() != before.1 {
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", customer.machines.traces());
        thread::sleep(Duration::from_millis(50)); // awaits the condition above: the kernel removes namespaces in its own time
    }
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn ssh_is_closed_in_both_firewalls_behind_a_tunnel_and_opened_when_that_is_dead() {
    let Some(machines) = TargetMachines::start() else { return };
    let edge = FakeCloudflare::on_a_thread(machines.lab().host().into()).expect("an edge");
    machines.add_program("/usr/bin/cloudflared", cloudflare::STAND_IN);
    let mut customer = Customer::of(machines);
    edge.install_stand_in(&customer.environment.programs()).expect("the stand-in");
    customer.environment.write("cloudflare", cloudflare::TOKEN);
    customer.tunnels = format!(
        "tunnels:\n  edge: {{ kind: cloudflare, account: {}, token: {{ file: cloudflare }}, endpoint: '{}' }}\n",
        cloudflare::ACCOUNT,
        edge.url(),
    );
    let ostler = &customer.environment;
    let before = customer.holds();
    let inside = |script: &str| customer.machines.exec("web1", script).ok().stdout;
    let through = || assert_eq!(ostler.run(&["ssh", "web1", "--", "id", "-un"]).ok().stdout, "ops\n");

    customer.writes(&[(
        "web1",
        "    modules: { iptables: { preset: web } }\n    tunnel: { via: edge, hostname: ssh-web1.example.com, close_ssh: true }\n",
    )]);
    ostler.run(&["up", "ostler.yaml"]).ok();
    assert_eq!(customer.seen("web1", 22), [Verdict::Dropped; 2]);
    assert_eq!(customer.let_in(), ["80", "443", "443"], "the vendor was told to close it");
    through();
    edge.add_foreign();
    let again = ostler.run(&["up", "ostler.yaml", "--output", "json"]).ok();
    assert_eq!((again.changes(), &again.outcome()["changed"]), (Vec::new(), &0.into()));
    let kept = ostler.run(&["verify", "web1"]).ok().stdout;
    for row in [
        "ports 22/tcp is closed",
        "tunnel ops logs in through ssh-web1.example.com",
        "tunnel ostler-cloudflared is active, and is started at the next boot",
        "tunnel The tunnel's token is for root alone, and in no process's arguments or environment",
    ] {
        assert!(rows(&kept).contains(&format!("web1 kept {row}")), "{kept}");
    }

    // The tunnel dies. The vendor's firewall opens, and nothing leads to the server's own.
    inside("systemctl stop ostler-cloudflared");
    let dead = ostler.run(&["rescue", "web1", "--timeout", "4"]);
    assert_eq!(dead.code, 5, "{}", dead.stderr);
    assert_eq!(customer.let_in(), ["22", "80", "443", "443"]);
    assert_eq!(
        customer.seen("web1", 22),
        [Verdict::Dropped; 2],
        "the server's own firewall closes it on both families"
    );
    let shown = dead.stderr.lines().filter(|line| line.contains("tables -F"));
    let typed: Vec<&str> = shown.map(|line| line.trim_start_matches([' ', '|'])).collect();
    inside(&typed.join("\n"));
    assert_eq!(customer.seen("web1", 22), [Verdict::Open; 2]);
    ostler.run(&["rescue", "web1"]).ok();
    through();
    assert_eq!(customer.seen("web1", 22), [Verdict::Open; 2]);

    // The next run mends the tunnel and closes it again; what was typed is gone, and the vendor's firewall does its part.
    ostler.run(&["up", "ostler.yaml"]).ok();
    through();
    assert_eq!(customer.let_in(), ["80", "443", "443"]);
    assert_eq!(customer.seen("web1", 22), [Verdict::Dropped; 2]);
    let rules = inside("iptables -S; ip6tables -S");
    assert!(!rules.contains("--dport 22 -j ACCEPT"), "{rules}");
    inside(&typed.join("\n"));
    assert_eq!(customer.seen("web1", 22), [Verdict::Dropped; 2], "the vendor's firewall closes it on both families");

    // A fresh system has no end of the tunnel: the vendor's firewall opens before the disk is given up, and closes when the tunnel is back.
    inside("touch /root/mine");
    customer.killed_while_rebuilding("web1");
    assert_eq!(customer.let_in(), ["22", "80", "443", "443"]);
    ostler.run(&["resume", "web1"]).ok();
    assert_eq!(inside("ls /root"), "");
    through();
    assert_eq!(customer.let_in(), ["80", "443", "443"]);
    assert_eq!(customer.seen("web1", 22), [Verdict::Dropped; 2]);
    let ours = [1, 2, 3].map(|family: usize| edge.names()[family].len());
    assert_eq!(ours, [2, 1, 2], "application, service token and host name are those of before");

    ostler.run(&["destroy", "web1", "--yes"]).ok();
    assert_eq!(customer.holds(), before);
    let theirs = || vec!["www.example.com".to_owned()];
    let ingress = vec!["www.example.com".to_owned(), "*".to_owned()];
    assert_eq!(edge.names(), [ingress, vec!["theirs".to_owned()], Vec::new(), theirs()]);
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn volumes_are_formatted_once_and_kept_and_the_next_server_is_a_swarm_that_serves() {
    let Some(archive) = traefik::archive() else { return };
    let Some(machines) = TargetMachines::start() else { return };
    let customer = Customer::of(machines);
    let ostler = &customer.environment;
    let before = customer.machines.traces();
    let web = [("web1", "")];
    let inside = |script: &str| customer.machines.exec("web1", script).ok().stdout;
    let volumes = || {
        let all = customer.cloud.resources("volumes").into_values();
        let all = all.map(|it| {
            (it["name"].as_str().unwrap_or_default().to_owned(), it["size"].as_u64(), !it["server"].is_null())
        });
        all.collect::<Vec<_>>()
    };
    let volume = |name: &str, size: u64, on: bool| (name.to_owned(), Some(size), on);
    let device = |name: &str| {
        let all = customer.cloud.resources("volumes");
        let (id, _) = all.iter().find(|(_, it)| it["name"] == name).expect("the volume");
        format!("/dev/disk/by-id/scsi-0HC_Volume_{id}")
    };

    customer.writes_with(
        ", volumes: [ { name: data, format: xfs, mount: /srv/data }, { name: web, mount: /srv/web }, raw ]",
        &web,
    );
    ostler.run(&["up", "ostler.yaml"]).ok();
    assert_eq!(inside("findmnt -rno FSTYPE /srv/data; findmnt -rno FSTYPE /srv/web"), "xfs\next4\n");
    assert_eq!(inside(&format!("wipefs --noheadings {}", device("raw"))), "", "one without a place is left alone");
    let kept = ostler.run(&["verify", "web1"]).ok().stdout;
    assert!(rows(&kept).contains(&"web1 kept volumes data is mounted at /srv/data".to_owned()), "{kept}");
    let again = ostler.run(&["up", "ostler.yaml", "--output", "json"]).ok();
    assert_eq!((again.changes(), &again.outcome()["changed"]), (Vec::new(), &0.into()));
    inside(&format!("echo precious >/srv/data/file; mkswap {}", device("raw")));
    inside("umount /srv/data");
    let broken = ostler.run(&["verify", "web1"]);
    assert!(broken.stdout.contains("nothing is mounted there"), "{}", broken.stdout);

    // One grows (ext4 takes a right for that which this machine may lack); the other holds something, and whoever wants to mount it is told so.
    let grown = ", volumes: [ { name: data, size: 12, format: xfs, mount: /srv/data }, { name: web, mount: /srv/web }, { name: raw, mount: /srv/raw } ]";
    customer.writes_with(grown, &web);
    let plan = ostler.run(&["plan", "ostler.yaml"]).stdout;
    assert!(plan.contains("web1  change while it runs: volume data 10 GB -> 12 GB"), "{plan}");
    let refused = ostler.run(&["up", "ostler.yaml"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("the volume raw holds swap, not ext4"), "{}", refused.stderr);
    assert!(
        inside(&format!("wipefs --noheadings {}", device("raw"))).contains("swap"),
        "nothing is formatted that holds something"
    );
    let size: u64 = inside("findmnt -brno SIZE --mountpoint /srv/data").trim().parse().expect("bytes");
    assert!(size > 11_000_000_000, "{size}");

    // One moves to another place, one goes, and somebody works in there.
    customer.writes_with(", backups: true, protect: true, volumes: [ { name: data, format: xfs, mount: /srv/www }, { name: web, mount: /srv/web } ]", &web);
    inside("systemd-run --quiet --unit=busy --property=WorkingDirectory=/srv/data sleep infinity");
    let refused = ostler.run(&["up", "ostler.yaml"]);
    assert!(refused.stderr.contains("the volume data can't be unmounted from /srv/data"), "{}", refused.stderr);
    assert_eq!(
        volumes(),
        [volume("data", 12, true), volume("web", 10, true), volume("raw", 10, true)],
        "what may be in use is not detached"
    );
    inside("systemctl stop busy");
    ostler.run(&["up", "ostler.yaml"]).ok();
    assert_eq!(volumes(), [volume("data", 12, true), volume("web", 10, true), volume("raw", 10, false)]);
    assert_eq!(inside("cat /srv/www/file; ls -A /srv/data; grep -c x-ostler.volume /etc/fstab"), "precious\n2\n");
    let server = customer.cloud.resources("servers").into_values().next().expect("a server");
    assert_eq!((server["backup_window"].is_string(), &server["protection"]["delete"]), (true, &true.into()));

    // What outlives the server is said, and the next one has it.
    let destroyed = ostler.run(&["destroy", "web1", "--yes"]).ok();
    assert!(
        destroyed.stdout.contains("data at Hetzner (12 GB), 0.63 EUR a month"),
        "{}{}",
        destroyed.stdout,
        destroyed.stderr
    );
    assert_eq!(volumes(), [volume("data", 12, false), volume("web", 10, false), volume("raw", 10, false)]);
    customer.machines.add_docker_image(traefik::IMAGE, &archive, traefik::IMPORT);
    customer.writes_with(", volumes: [ { name: data, format: xfs, mount: /srv/data } ]", &[("web1", &swarm())]);
    let made = ostler.run(&["up", "ostler.yaml"]).ok();
    assert!(made.stdout.contains("verified: ") && !made.stdout.contains("not so: "), "{}{}", made.stdout, made.stderr);
    assert_eq!(inside("cat /srv/data/file"), "precious\n");
    let again = ostler.run(&["up", "ostler.yaml", "--output", "json"]).ok();
    assert_eq!((again.changes(), &again.outcome()["changed"]), (Vec::new(), &0.into()));
    serves_and_is_closed(&customer);
    ostler.run(&["destroy", "web1", "--volumes", "--yes"]).ok();
    assert_eq!(volumes(), [volume("web", 10, false), volume("raw", 10, false)], "what this one did not have stays");
    customer.hcloud("volume delete web");
    customer.hcloud("volume delete raw");
    let begun = Instant::now();
    while customer.machines.traces() != before {
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", customer.machines.traces());
        thread::sleep(Duration::from_millis(50)); // awaits the condition above: the kernel removes namespaces in its own time
    }
}
