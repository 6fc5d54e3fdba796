//! Servers whose packages others work on too, whose repositories are partly broken, and whose accounts, shells and sudo are as somebody
//! chose them.

use super::support::{bare, environment, key_lets_in, server, spec};
use ostler_testkit::{
    environment::TestEnvironment,
    targets::{Lab, Target, TargetOptions},
};
use serde_json::Value;

type Scenario = fn(&TestEnvironment, &Target);

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn a_server_is_taken_as_others_left_it() {
    let Some(lab) = Lab::start() else { return };
    let environment = environment();
    let environment = &environment;
    let scenarios: [(TargetOptions, Scenario); 3] = [
        (bare("busy", 22), others_install_all_through),
        (bare("odd", 22), odd_repositories_shells_and_sudo),
        (bare("cloud", 22), accounts_that_run_no_command),
    ];
    let targets = lab.boot(scenarios.clone().map(|(options, _)| options));
    std::thread::scope(|scope| {
        let running: Vec<_> = scenarios
            .iter()
            .zip(&targets)
            .map(|((_, scenario), target)| scope.spawn(move || scenario(environment, target)))
            .collect();
        for thread in running {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

/// Builds packages on a target: `mk NAME VERSION FIELD SCRIPT`, the last two may be empty; the script is the package's postinst.
const MK: &str = r#"
set -e
mk() {
  tree=$(mktemp -d)
  mkdir -p "$tree/DEBIAN" /srv/repo
  printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: none\n' "$1" "$2" >"$tree/DEBIAN/control"
  [ -z "$3" ] || printf '%s\n' "$3" >>"$tree/DEBIAN/control"
  printf '#!/bin/sh\n%s\n' "$4" >"$tree/DEBIAN/postinst"
  chmod 0755 "$tree" "$tree/DEBIAN/postinst"
  deb=/srv/repo/$1_$2_all.deb
  dpkg-deb -b "$tree" "$deb" >/dev/null
  { dpkg-deb -f "$deb"; printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' "./${deb##*/}" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -c 1-64)"; } >>/srv/repo/Packages
}
"#;

/// Other people's work, over and over: apt, and dpkg itself, with scripts that take their time.
const OTHERS: &str = r"
export DEBIAN_FRONTEND=noninteractive
pause() { sleep $(($(od -An -N1 -tu1 /dev/urandom) % 3)).$(($(od -An -N1 -tu1 /dev/urandom) % 10)); }
while :; do
  dpkg -i /srv/repo/slow_1_all.deb && echo done >>/srv/done
  pause
  apt-get -q -y install hello cowsay && echo done >>/srv/done
  pause
  apt-get -q -y purge slow hello cowsay && echo done >>/srv/done
  pause
  [ ! -e /usr/bin/unattended-upgrade ] || unattended-upgrade
  apt-get -q update
done
";

fn others_install_all_through(environment: &TestEnvironment, target: &Target) {
    target.exec("apt-get -qq update").ok();
    target.exec(&format!("{MK} mk slow 1 '' 'sleep 3'")).ok();
    target.write("/srv/others", OTHERS);
    target.exec("systemd-run -q --unit=others sh /srv/others").ok();

    environment.write("busy.yaml", &spec(&[server(target, "    modules: { unattended_upgrades: true }\n")]));
    for _ in 0..2 {
        environment.run(&["up", "busy.yaml"]).ok();
    }

    // Ostler is killed in a run, and beside what is left of that run others go on with theirs.
    environment.write("busy.yaml", &spec(&[server(target, "    modules: { fail2ban: true }\n")]));
    let mut running = environment.start(&["up", "busy.yaml"]);
    let packages =
        |event: &Value| (event["report"] == "task_started" && event["module"] == "ostler_packages").then(String::new);
    running.wait_for(packages).expect("packages are installed");
    let mark =
        target.exec("pgrep -af '^[^ ]*python3[(]mitogen:ostler-' | grep -o 'mitogen:[^)]*' | head -n 1").ok().stdout;
    assert!(mark.trim().ends_with("-busy"), "the interpreters carry the server's mark: {mark}");
    running.kill();
    let interpreter = |unit: &str, wrapper: &str, name: &str| {
        let sleep = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(900)";
        target
            .exec(&format!(
                "systemd-run -q --unit={unit} {wrapper} bash -c 'exec -a \"$0\" python3 -c \"$1\"' '{name}' '{sleep}'"
            ))
            .ok();
    };
    interpreter("ours", "", &format!("/usr/bin/python3({})", mark.trim()));
    interpreter("theirs", "", "/usr/bin/python3(mitogen:ada@laptop:4711)");
    interpreter("contained", "unshare --fork --pid --mount-proc", &format!("/usr/bin/python3({})", mark.trim()));
    target.exec("install -d /srv/.ansible/tmp/ansible-tmp-1 && echo 'import time; time.sleep(900)' >/srv/.ansible/tmp/ansible-tmp-1/AnsiballZ_x.py").ok();
    target.exec("systemd-run -q --unit=module python3 /srv/.ansible/tmp/ansible-tmp-1/AnsiballZ_x.py").ok();
    let resumed = environment.run(&["resume", "busy"]).ok();
    assert!(resumed.stdout.contains("ended what was left of an interrupted run"), "{}", resumed.stdout);
    let alive = |unit: &str| target.exec(&format!("systemctl is-active --quiet {unit}")).code == 0;
    let units = ["ours", "theirs", "contained", "module", "others"];
    assert_eq!(units.map(alive), [false, true, true, true, true], "of {units:?}");
    target.exec("systemctl stop others").ok();
    let done = target.read("/srv/done").lines().count();
    assert!(done >= 5, "the others were seldom at work: {done}");
}

fn odd_repositories_shells_and_sudo(environment: &TestEnvironment, target: &Target) {
    target
        .exec(
            r#"set -e
            apt-get -qq update
            apt-get -qq -y --no-install-recommends install csh python3 sudo
            sed -i '1i deb cdrom:[Debian GNU/Linux 13.1.0 _Trixie_ - Official amd64 NETINST]/ trixie main' /etc/apt/sources.list
            apt-get -qq update || true
            rm -f /var/lib/apt/lists/*_trixie_InRelease /var/cache/apt/*.bin
            sed -i 's#^Filename: pool/main/f/fail2ban/fail2ban_.*#Filename: pool/main/f/fail2ban/fail2ban_0.0.1-1_all.deb#' \
                /var/lib/apt/lists/*trixie_main_binary-amd64_Packages
            touch /var/lib/apt/lists /var/lib/apt/lists/partial
            useradd --create-home --shell /bin/csh --comment 'Ada Ops' ops
            echo 'echo "welcome, ada"' >/home/ops/.cshrc
            sed -i '1i echo "welcome to this server"; echo "mind the gap" >&2' /root/.bashrc
            printf '%%sudo ALL=(ALL:ALL) PASSWD: ALL\nDefaults requiretty, use_pty, timestamp_timeout=0, rootpw\n' >/etc/sudoers.d/99-hardening
            echo 'ops ALL=(ALL:ALL) PASSWD: ALL' >/etc/sudoers.d/zzz-wins
            chmod 0440 /etc/sudoers.d/*
            sed -i '/odd/d' /etc/hosts
            install -D /bin/false /usr/local/bin/python3"#,
        )
        .ok();
    environment.write("odd.yaml", &spec(&[server(target, "    modules: { fail2ban: true }\n")]));

    let refused = environment.run(&["up", "odd.yaml"]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    for words in ["sudo does not let ops on odd become root", "a password is required", "/etc/sudoers.d/zzz-wins"] {
        assert!(refused.stderr.contains(words), "nothing says `{words}`: {}", refused.stderr);
    }
    target.exec("rm /etc/sudoers.d/zzz-wins; cp /etc/sudoers.d/zz-ostler-ops /etc/sudoers.d/90-ostler-ops").ok();
    let up = environment.run(&["up", "odd.yaml"]).ok();
    assert!(up.stdout.contains("cdrom:"), "the repository is named: {}", up.stdout);
    let account = target.exec("getent passwd ops; id -nG ops; ls /etc/sudoers.d").ok().stdout;
    for words in [":Ada Ops:/home/ops:/bin/csh", "sudo", "zz-ostler-ops"] {
        assert!(account.contains(words), "nothing says `{words}`: {account}");
    }
    assert!(!account.contains("90-ostler"), "the old file is gone: {account}");
    assert!(key_lets_in(environment, target, "ops", 22));
    let again = environment.run(&["up", "odd.yaml", "--output", "json"]).ok();
    assert_eq!(again.changes(), [""; 0]);

    target
        .exec(&format!(
            "{MK} mk lib-odd 1 '' ''; mk lib-odd 2 '' ''; mk unattended-upgrades 99 'Depends: lib-odd (>= 2)' ''
            echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list.d/odd.list
            apt-get -qq update || true
            apt-get -qq -y install lib-odd=1 && apt-mark -qq hold lib-odd"
        ))
        .ok();
    let updates = "    modules: { fail2ban: true, unattended_upgrades: true }\n";
    environment.write("odd.yaml", &spec(&[server(target, updates)]));
    let refused = environment.run(&["up", "odd.yaml"]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    for words in ["held packages are in the way: lib-odd", "apt-mark unhold lib-odd"] {
        assert!(refused.stderr.contains(words), "nothing says `{words}`: {}", refused.stderr);
    }
}

fn accounts_that_run_no_command(environment: &TestEnvironment, target: &Target) {
    let login = |key: &str| {
        let shown = server(target, "").replace("password: { file: password }", key);
        environment.write("cloud.yaml", &spec(&[shown]));
        let refused = environment.run(&["up", "cloud.yaml"]);
        assert_eq!(refused.code, 5, "{}", refused.stderr);
        environment.run(&["destroy", "cloud", "--yes"]).ok();
        refused.stderr
    };
    let public = std::fs::read_to_string(environment.path().join("id_ed25519.pub")).expect("a key");
    // As cloud-init writes it.
    let forced = r#"no-port-forwarding,no-agent-forwarding,no-X11-forwarding,command="echo 'Please login as the user \"admin\" rather than the user \"root\".';echo;sleep 3;exit 142" "#;
    target.exec("mkdir -p -m 0700 /root/.ssh").ok();
    target.write("/root/.ssh/authorized_keys", &format!("{forced}{public}"));
    let said = login("key: id_ed25519");
    for words in
        [r#"Please login as the user "admin" rather than the user "root"."#, "user: admin", "servers.cloud.existing"]
    {
        assert!(said.contains(words), "nothing says `{words}`: {said}");
    }
    target.exec("chage -d 0 root").ok();
    let said = login("password: { file: password }");
    for words in ["Your password has expired", "set a new password"] {
        assert!(said.contains(words), "nothing says `{words}`: {said}");
    }
    target.exec("chage -d 20000 root; usermod --shell /usr/sbin/nologin root").ok();
    let said = login("password: { file: password }");
    assert!(said.contains("This account is currently not available"), "{said}");
    assert!(!said.contains("correct horse"), "{said}");
}
