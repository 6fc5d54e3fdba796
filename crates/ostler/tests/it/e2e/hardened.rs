//! A server with every module and a Swarm behind Traefik, on a kernel of its own: it serves, it is hardened, it keeps what it promises, and
//! a boot changes none of that.

use super::support::{EVERYTHING, destroy_and_check, environment, on_server, spec, status, wait_until};
use ostler_testkit::traefik;
use std::{
    fs::File,
    net::TcpListener,
    process::{Command, Stdio},
};

/// The least hardening index that lynis may find. docs/ssh.md and the modules' pages say what is left out of the rest, and why.
const LYNIS: u32 = 80;

/// A service that answers by its name on Swarm's virtual IP, which only a kernel with IPVS has: another Traefik, of which only the answer
/// to a ping is wanted.
const SHOP: &str = "sudo docker service create --detach --quiet --no-resolve-image --name shop --network web \
    --label traefik.enable=true --label traefik.http.routers.shop.rule='Host(`shop.example.com`)' \
    --label traefik.http.services.shop.loadbalancer.server.port=8080 \
    --label traefik.swarm.lbswarm=true \
    ostler-test/traefik --ping=true --entrypoints.traefik.address=:8080";

/// A published port that the spec says nothing of.
const PUBLISHED: &str = "sudo docker service create --detach --quiet --no-resolve-image --name other --publish 9000:8080 \
    ostler-test/traefik --ping=true --entrypoints.traefik.address=:8080";

#[test]
#[ignore = "boots a real virtual machine; `cargo xtask test` runs it"]
fn every_module_and_a_swarm() {
    let Some(archive) = traefik::archive() else { return };
    let environment = environment();
    let ports = Ports::free();
    let with = |apps: &str| {
        let Ports { http, https, published } = ports;
        let forward = format!("    local: {{ forward: {{ {http}: 80, {https}: 443, {published}: 9000 }} }}\n");
        environment.write("ostler.yaml", &spec("memory: 2GiB, disk: 8GiB", &format!("{EVERYTHING}{apps}{forward}")))
    };
    let up = ["up", "ostler.yaml", "--output", "json"];

    eprintln!("* `up` makes a server with a Swarm");
    with("    apps: [ swarm ]\n    app_params: { docker: { source: debian } }\n");
    let first = environment.run(&up).ok();
    assert_eq!(first.outcome()["created"], true);
    // No registry can be reached from here.
    let import = format!("sudo {}", traefik::IMPORT);
    let mut command = environment.command(&["ssh", "web1", "--", &import]);
    let done = command.stdin(Stdio::from(File::open(archive).expect("the archive"))).output().expect("ostler starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));

    eprintln!("* Traefik joins it, and every promise is kept");
    with(&format!(
        "    apps: [ traefik ]\n    app_params: {{ docker: {{ source: debian }}, traefik: {{ image: {} }} }}\n",
        traefik::IMAGE
    ));
    environment.run(&up).ok();
    let row = status(&environment);
    assert_eq!((&row["phase"], &row["power"]), (&"ready".into(), &"on".into()));
    on_server(&environment, SHOP);
    on_server(&environment, PUBLISHED);
    let serves = || ports.http_code() == "301" && ports.shop() == "OK";
    wait_until(serves);
    let inside = "curl -s --max-time 20 http://127.0.0.1:9000/ping || true";
    wait_until(|| on_server(&environment, inside) == "OK");
    assert_eq!(ports.published(), "", "a port that nothing in the spec opens");

    eprintln!("* it is switched off; the next `up` boots it, and changes nothing");
    environment.run(&["ssh", "web1", "--", "sudo systemctl poweroff"]);
    wait_until(|| status(&environment)["power"] == "off");
    let second = environment.run(&up).ok();
    assert_eq!(second.changes(), Vec::<String>::new());
    assert_eq!(second.outcome()["changed"], 0);
    wait_until(serves);
    wait_until(|| on_server(&environment, inside) == "OK");
    assert_eq!(ports.published(), "", "a port that nothing in the spec opens, after a boot");

    eprintln!("* it is hardened, also after that boot");
    let verified = environment.run(&["verify", "web1"]).ok().stdout;
    eprintln!("{verified}");
    assert!(!verified.contains("BROKEN"), "{verified}");
    let sshd = on_server(&environment, "sudo sshd -T");
    for line in ["permitrootlogin no", "passwordauthentication no", "kbdinteractiveauthentication no"] {
        assert!(sshd.lines().any(|l| l == line), "sshd -T lacks `{line}`");
    }
    let rules = on_server(&environment, "systemctl is-active auditd; sudo auditctl -l");
    assert!(
        rules.starts_with("active\n") && rules.contains("/etc/shadow") && rules.contains("finit_module"),
        "{rules}"
    );
    let log = on_server(&environment, "sudo cat /var/log/ansible.log");
    assert!(log.contains("traefik : ") && log.contains("failed=0"), "{log}");
    let seed = on_server(&environment, "sudo sh -c 'cat /dev/sr0 /dev/vd[b-z] 2>/dev/null | grep -ac PRIVATE' || true");
    assert_eq!(seed.trim(), "0", "the seed still holds the bootstrap host key");

    eprintln!("* lynis looks at it");
    // Left out: what takes minutes under emulation and gives no points (each package, each certificate's end).
    // Its log is off, for it starts `date` for each of 6000 lines; the report has the points.
    let audit = "printf 'skip-test=PKGS-7345\\nskip-test=CRYP-7902\\n' >/tmp/lynis.prf && apt-get -qq update && \
                 DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install lynis && \
                 sed -i s/LOGTEXT=1/LOGTEXT=0/ /usr/share/lynis/include/consts && \
                 mv /tmp/lynis.prf /etc/lynis/custom.prf && lynis audit system --quick --quiet";
    on_server(&environment, &format!("sudo sh -c \"{audit}\" >/dev/null 2>&1 || true"));
    let index = on_server(&environment, "sudo sed -n 's/^hardening_index=//p' /var/log/lynis-report.dat");
    eprintln!("  hardening index {}", index.trim());
    assert!(index.trim().parse::<u32>().expect("an index") >= LYNIS, "lynis finds only {index}");

    eprintln!("* `destroy` leaves nothing");
    destroy_and_check(&environment);
}

/// Ports of this machine that lead to the server.
struct Ports {
    http: u16,
    https: u16,
    published: u16,
}

impl Ports {
    fn free() -> Self {
        let sockets = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a socket"));
        let [http, https, published] = sockets.map(|socket| socket.local_addr().expect("an address").port());
        Self { http, https, published }
    }

    /// What port 80 answers.
    fn http_code(&self) -> String {
        curl(&["--output", "/dev/null", "--write-out", "%{http_code}", &format!("http://127.0.0.1:{}/", self.http)])
    }

    /// What the shop answers by its name.
    fn shop(&self) -> String {
        let name = format!("shop.example.com:{}", self.https);
        curl(&["--insecure", "--resolve", &format!("{name}:127.0.0.1"), &format!("https://{name}/ping")])
    }

    /// What answers on the port that Docker publishes.
    fn published(&self) -> String {
        curl(&[&format!("http://127.0.0.1:{}/ping", self.published)])
    }
}

fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl").args(["--silent", "--max-time", "20"]).args(arguments).output();
    String::from_utf8_lossy(&output.expect("curl runs").stdout).into_owned()
}
