//! A server with every module, on a kernel of its own: it serves, it is hardened, and a boot changes neither.

use super::support::{EVERYTHING, destroy_and_check, environment, http_get, on_server, spec, status, wait_until};

/// The least hardening index that lynis may find. docs/ssh.md and the modules' pages say what is left out of the rest, and why.
const LYNIS: u32 = 80;

#[test]
#[ignore = "boots a real virtual machine; `cargo xtask test` runs it"]
fn every_module() {
    let environment = environment();
    environment.write("ostler.yaml", &spec("6GiB", EVERYTHING));
    let up = ["up", "ostler.yaml", "--output", "json"];

    eprintln!("* `up` makes a server that serves");
    let first = environment.run(&up).ok();
    assert_eq!(first.outcome()["created"], true);
    let row = status(&environment);
    assert_eq!((&row["phase"], &row["power"]), (&"ready".into(), &"on".into()));
    let port = row["forwards"][0][0].as_str().expect("a forwarded port").to_owned();
    let page = http_get(&port);
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<html"), "{page}");

    eprintln!("* it is switched off; the next `up` boots it, and changes nothing");
    environment.run(&["ssh", "web1", "--", "sudo systemctl poweroff"]);
    wait_until(|| status(&environment)["power"] == "off");
    let second = environment.run(&up).ok();
    assert_eq!(second.changes(), Vec::<String>::new());
    assert_eq!(second.outcome()["changed"], 0);

    eprintln!("* it is hardened, also after that boot");
    let sshd = on_server(&environment, "sudo sshd -T");
    for line in ["permitrootlogin no", "passwordauthentication no", "kbdinteractiveauthentication no"] {
        assert!(sshd.lines().any(|l| l == line), "sshd -T lacks `{line}`");
    }
    let firewall = on_server(&environment, "sudo ufw status verbose");
    assert!(
        firewall.contains("Status: active") && firewall.contains("deny (incoming), allow (outgoing)"),
        "{firewall}"
    );
    for port in ["22/tcp", "80/tcp", "443/tcp"] {
        assert!(firewall.contains(port), "{firewall}");
    }
    let rules = on_server(&environment, "systemctl is-active auditd; sudo auditctl -l");
    assert!(
        rules.starts_with("active\n") && rules.contains("/etc/shadow") && rules.contains("finit_module"),
        "{rules}"
    );
    let log = on_server(&environment, "sudo cat /var/log/ansible.log");
    assert!(log.contains("nginx : ") && log.contains("failed=0"), "{log}");
    let seed = on_server(&environment, "sudo sh -c 'cat /dev/sr0 /dev/vd[b-z] 2>/dev/null | grep -ac PRIVATE' || true");
    assert_eq!(seed.trim(), "0", "the seed still holds the bootstrap host key");

    eprintln!("* lynis looks at it");
    // Left out: what takes minutes under emulation and gives no points (each package, each certificate's end), and TLS of nginx, which is
    // an app and no module: certificates come with sites. Its log is off, for it starts `date` for each of 6000 lines; the report has the points.
    let audit = "printf 'skip-test=PKGS-7345\\nskip-test=CRYP-7902\\nskip-test=HTTP-6710\\n' >/tmp/lynis.prf && apt-get -qq update && \
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
