//! A tunnel in place of the open SSH port: a real server, a fake Cloudflare, and a stand-in for `cloudflared` at both ends that really carries
//! the connections.

use super::support::{bare, environment, key_lets_in, prepared, server, spec};
use ostler_testkit::{
    cloudflare::{ACCOUNT, FakeCloudflare, STAND_IN, TOKEN},
    environment::TestEnvironment,
    targets::{Lab, Source, Target, Verdict},
};

const HOSTNAME: &str = "ssh-web.example.com";
/// What the spec opens to all, and holds the SSH port, which is closed nevertheless.
const RANGE: &str = "\"2190:2210/tcp\"";

struct Bench {
    environment: TestEnvironment,
    fake: FakeCloudflare,
    target: Target,
}

impl Bench {
    fn start(lab: &Lab) -> Self {
        let environment = environment();
        let fake = FakeCloudflare::on_a_thread(lab.host().into()).expect("the fake starts");
        fake.install_stand_in(&environment.programs()).expect("the stand-in");
        environment.write("token", TOKEN);
        let target = lab.boot_one(prepared(bare("web", 22)));
        target.write("/usr/bin/cloudflared", STAND_IN);
        target.exec("chmod 755 /usr/bin/cloudflared").ok();
        Self { environment, fake, target }
    }

    fn write_spec(&self, tunnel: &str) {
        let head = format!(
            "tunnels:\n  edge: {{ kind: cloudflare, account: {ACCOUNT}, token: {{ file: token }}, endpoint: '{}' }}\n",
            self.fake.url()
        );
        let rest = format!(
            "{tunnel}    ssh: {{ port: 2200 }}\n    modules: {{ ufw: {{ preset: web, allow: [ {RANGE} ] }} }}\n"
        );
        self.environment.write("ostler.yaml", &format!("{head}{}", spec(&[server(&self.target, &rest)])));
    }

    /// What becomes of connections to the SSH port from everywhere.
    fn verdicts(&self) -> Vec<Verdict> {
        [Source::PublicV4, Source::PublicV6, Source::Lan].map(|source| self.target.probe(source, 2200)).to_vec()
    }

    fn assert_closed(&self) {
        assert!(!self.verdicts().contains(&Verdict::Open), "SSH is open: {:?}", self.verdicts());
    }
}

fn tunnel(close_ssh: bool) -> String {
    format!("    tunnel: {{ via: edge, hostname: {HOSTNAME}, close_ssh: {close_ssh} }}\n")
}

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn ssh_is_closed_behind_a_proved_tunnel_and_open_again_when_it_goes() {
    let Some(lab) = Lab::start() else { return };
    let bench = Bench::start(&lab);
    let Bench { environment, fake, target } = &bench;
    bench.write_spec(&tunnel(true));

    let plan = environment.run(&["plan", "ostler.yaml"]).ok().stdout;
    let changes = "make a tunnel, make a service token, make an Access application, set an ingress rule, make a DNS record, \
                   close SSH to all but the tunnel";
    assert!(plan.contains(&format!("web  tunnel {HOSTNAME}: {changes}\n")), "{plan}");
    assert!(fake.resources("tunnels").is_empty(), "a plan makes nothing");
    environment.run(&["up", "ostler.yaml"]).ok();
    bench.assert_closed();
    assert_eq!(target.probe(Source::PublicV4, 22), Verdict::Dropped, "the port that it had before is closed, too");
    assert_eq!(environment.run(&["ssh", "web", "--", "id", "-un"]).ok().stdout.trim(), "ops");
    let token = target.exec("stat -c '%a %U' /etc/cloudflared/ostler-token").stdout;
    assert_eq!(token.trim(), "600 root");
    let arguments = target.exec("tr '\\0' ' ' </proc/$(systemctl show -P MainPID ostler-cloudflared)/cmdline").stdout;
    assert!(arguments.contains("--token-file") && !arguments.contains("eyJ"), "{arguments}");
    assert_eq!(target.exec("systemctl list-timers --all | grep -c cloudflared").stdout.trim(), "0");

    fake.add_foreign();
    let again = environment.run(&["up", "ostler.yaml", "--output", "json"]).ok();
    assert_eq!(again.changes(), [""; 0]);
    assert_eq!(again.outcome()["changed"], 0);
    assert_eq!(fake.names()[0], ["www.example.com", HOSTNAME, "*"]);
    let output = again.stdout + &again.stderr;
    let secret = fake.client_secrets();
    assert!(!secret.is_empty() && secret.iter().all(|secret| !output.contains(secret.as_str())), "a secret is told");

    // What a tunnel promises is tried, and what is wrong with it is told.
    target.exec("chmod 644 /etc/cloudflared/ostler-token && systemctl -q disable ostler-cloudflared").ok();
    let broken = environment.run(&["verify", "web"]);
    assert_eq!(broken.code, 5, "{}{}", broken.stdout, broken.stderr);
    for why in ["/etc/cloudflared/ostler-token is -rw-r--r-- root", "ostler-cloudflared.service is not enabled"] {
        assert!(broken.stdout.contains(why), "{}", broken.stdout);
    }
    assert!(broken.stdout.contains("2200/tcp is closed\n"), "{}", broken.stdout);

    // The tunnel dies.
    fake.let_connectors_in(false);
    let dead = environment.run(&["rescue", "web", "--timeout", "6"]);
    assert_eq!(dead.code, 5, "{}", dead.stderr);
    assert!(dead.stderr.contains("ufw allow 2200/tcp"), "{}", dead.stderr);
    bench.assert_closed();
    let typed = dead.stderr.lines().find_map(|line| line.split_once("ufw allow 2200/tcp"));
    target.exec(&format!("ufw allow 2200/tcp{}", typed.expect("what to type").1)).ok();
    environment.run(&["rescue", "web", "--timeout", "6"]).ok();
    environment.run(&["ssh", "web", "--", "true"]).ok();
    let down = environment.run(&["up", "ostler.yaml", "--timeout", "10"]);
    assert_eq!(down.code, 5, "{}", down.stderr);
    assert!(down.stderr.contains("SSH of web stays open"), "{}", down.stderr);
    assert_eq!(target.probe(Source::PublicV4, 2200), Verdict::Open);
    fake.let_connectors_in(true);
    environment.run(&["resume", "web"]).ok();
    bench.assert_closed();

    environment.run(&["destroy", "web", "--yes"]).ok();
    assert_eq!(bench.verdicts(), [Verdict::Open; 3]);
    assert!(key_lets_in(environment, target, "ops", 2200), "whoever had a key gets in");
    assert_ne!(target.exec("systemctl is-active ostler-cloudflared").stdout.trim(), "active");
    assert_ne!(target.exec("test -e /etc/cloudflared/ostler-token").code, 0);
    let [ingress, apps, passes, records] = fake.names();
    assert_eq!((ingress, apps), (vec!["www.example.com".to_owned(), "*".to_owned()], vec!["theirs".to_owned()]));
    assert_eq!((passes, records), (Vec::new(), vec!["www.example.com".to_owned()]));
}
