//! Secrets in every input there is, and a search for them everywhere that something is left or can be seen: outputs, arguments and
//! environments of all processes, the state, the folder of a run, and the servers.

use super::support::{bare, fingerprint, server};
use ostler_testkit::{
    environment::{Finished, TestEnvironment},
    git_site::GitRepository,
    leaks::{Planted, Watch},
    targets::{Lab, Target, TargetOptions},
};
use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

const LOGIN: &str = "login-Qm4xZt8VbN";
const USER: &str = "user-Wc6rJx2HdY";
const TOKEN: &str = "token-Ln9pFs5GyB";
const LATER_TOKEN: &str = "later-Xe1uKv4MzT";
const NASTY: &str = "nasty-Pk7 \"it's\" \\w\\ $HOME `5€` ümläut/\nand its second line Tr3KqWv8Zs";
// These three are also in the role's encrypted files.
const VAULT: &str = "vault-Ue5oZr9TfP";
const VAULTED: &str = "vaulted-Jb7yWm3KxQ";
const IN_FILE: &str = "whole-Hd2vGs6NkR";

const INDEX: &str = r#"{"apps": [{"name": "leaky", "role": "leaky", "params": {
  "type": "object", "additionalProperties": false, "required": ["token", "nasty"],
  "properties": {
    "token": {"type": "string", "writeOnly": true},
    "nasty": {"type": "string", "writeOnly": true},
    "fail": {"type": "boolean", "default": false}
  }
}}]}"#;

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn no_secret_is_anywhere_but_in_the_files_that_a_role_declares() {
    let Some(lab) = Lab::start() else { return };
    let begun = SystemTime::now();
    let bench = Bench::new(&lab);
    let planted = bench.planted();
    let watch = bench.watch(&planted);
    let mut said = Vec::new();

    // What can't be had is found before anything is touched.
    bench.write_spec(true, "fail: false");
    let early = bench.run(&["up", "ostler.yaml", "web"]);
    assert_eq!(early.code, 3, "{}", early.stderr);
    assert!(early.stderr.contains("`ostler secret set token` stores it"), "{}", early.stderr);
    assert_eq!(bench.run(&["status", "web"]).code, 2, "nothing is recorded of it");
    said.push(early);

    // What goes well.
    bench.store_token(TOKEN);
    said.push(bench.run(&["plan", "ostler.yaml"]).ok());
    let first = bench.run(&["up", "ostler.yaml", "--output", "json"]).ok();
    for task in ["leaky : Print each in every form", "leaky : Write them by a template", "leaky : Write each"] {
        assert!(first.changes().iter().any(|change| change == task), "{:?}", first.changes());
    }
    assert!(first.stdout.contains("********"), "its events are shown, masked");
    assert_eq!(bench.web.read("/etc/leaky/token"), TOKEN, "the role got the secrets themselves");
    assert_eq!(bench.web.read("/etc/leaky/nasty"), NASTY);
    assert_eq!(
        bench.web.read("/etc/leaky/vaulted") + &bench.web.read("/etc/leaky/in_file"),
        [VAULTED, IN_FILE].concat()
    );
    said.push(first);

    // The old one is on the server still, and only there.
    bench.store_token(LATER_TOKEN);
    let plan = bench.run(&["plan", "ostler.yaml", "web", "--exit-code"]);
    assert_eq!(plan.code, 10, "{}", plan.stderr);
    assert!(
        plan.stdout.contains("+token = ********") || plan.stdout.contains("(what differs is masked)"),
        "{}",
        plan.stdout
    );
    said.push(plan);

    // What fails, under the other strategy.
    bench.write_spec(true, "fail: true");
    let failed = bench.run(&["up", "ostler.yaml", "web"]);
    assert_eq!(failed.code, 5, "{}", failed.stderr);
    assert!(
        failed.stdout.contains("other parameters leaky.fail")
            || failed.stderr.contains("leaky : Fail with them in the message")
    );
    said.push(failed);
    said.push(bench.run(&["resume", "web", "--output", "quiet"]));
    for arguments in [
        &["logs", "web", "--all"][..],
        &["logs", "web", "--all", "--output", "json"],
        &["status", "web"],
        &["status", "--output", "json"],
        &["secret", "list"],
        &["catalog", "show", "leaky", "ostler.yaml"],
    ] {
        said.push(bench.run(arguments).ok());
    }

    // A password that does not open what is encrypted, and none.
    bench.environment.write("vault", "another\n");
    bench.write_spec(true, "fail: false");
    let locked = bench.run(&["up", "ostler.yaml", "web"]);
    assert_eq!(locked.code, 3, "{}", locked.stderr);
    assert!(locked.stderr.contains("the catalog's vault password does not open this"), "{}", locked.stderr);
    assert!(locked.stderr.contains("hint: it is what `catalog.vault_password` of the spec names"), "{}", locked.stderr);
    said.push(locked);
    bench.write_spec(false, "fail: false");
    let missing = bench.run(&["up", "ostler.yaml", "web"]);
    assert_eq!(missing.code, 3, "{}", missing.stderr);
    assert!(
        missing.stderr.contains("catalog.vault_password: missing: roles/apps/leaky/defaults/main.yml"),
        "{}",
        missing.stderr
    );
    said.push(missing);

    bench.environment.write("vault", VAULT);
    bench.write_spec(true, "fail: false");
    said.push(bench.run(&["up", "ostler.yaml", "--output", "quiet"]).ok());
    assert_eq!(bench.web.read("/etc/leaky/token"), LATER_TOKEN);

    let seen = watch.finish();
    for part in ["launch.py", "ssh ", "sudo"] {
        assert!(
            seen.commands.iter().any(|command| command.contains(part)),
            "no `{part}` was seen: {:?}",
            seen.commands
        );
    }
    assert_eq!(seen.leaks, Default::default(), "seen in processes, or in the folder of a run");
    for finished in &said {
        let found = planted.in_bytes(format!("{}{}", finished.stdout, finished.stderr).as_bytes());
        assert_eq!(found, BTreeSet::new(), "said:\n{}\n{}", finished.stdout, finished.stderr);
    }
    bench.search_here(&planted, begun);
    bench.search_servers(&planted, begun);
}

/// A server that is entered by a password, which sudo wants as well, with the app; and one that is entered by a key.
struct Bench {
    environment: TestEnvironment,
    catalog: GitRepository,
    web: Target,
    keyed: Target,
}

impl Bench {
    fn new(lab: &Lab) -> Self {
        let environment = TestEnvironment::new(env!("CARGO_BIN_EXE_ostler"));
        environment.make_key();
        for (name, text) in [("password", LOGIN), ("nasty", NASTY), ("vault", VAULT)] {
            environment.write(name, &format!("{text}\n"));
        }
        let catalog = GitRepository::new();
        catalog.write("index.json", INDEX);
        let role = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/targets/leaky");
        let copied = Command::new("cp").arg("-r").arg(role).arg(catalog.work().join("roles-apps-leaky")).status();
        assert!(copied.is_ok_and(|status| status.success()), "the role is copied");
        fs::create_dir_all(catalog.work().join("roles/apps")).expect("a folder");
        fs::rename(catalog.work().join("roles-apps-leaky"), catalog.work().join("roles/apps/leaky")).expect("a folder");
        catalog.publish();
        let public = fs::read_to_string(environment.path().join("id_ed25519.pub")).expect("a key");
        let options = [bare("web", 22).password(LOGIN).sudo_user("admin"), TargetOptions::new("keyed").key(&public)];
        let mut targets = lab.boot(options).into_iter();
        let mut next = || targets.next().expect("a target");
        Self { environment, catalog, web: next(), keyed: next() }
    }

    fn planted(&self) -> Arc<Planted> {
        let key = fs::read_to_string(self.environment.path().join("id_ed25519")).expect("a key");
        // Of what else is in the file, much is in every such file, and the rest in the public key.
        let seed = key.lines().nth(4).expect("the line that holds the private half");
        Arc::new(Planted::new(&[
            ("password of the login", LOGIN),
            ("password of the user", USER),
            ("parameter", TOKEN),
            ("parameter's new value", LATER_TOKEN),
            ("parameter from a file", NASTY),
            ("password of the vault", VAULT),
            ("encrypted value", VAULTED),
            ("value in an encrypted file", IN_FILE),
            ("private key", seed),
        ]))
    }

    fn watch(&self, planted: &Arc<Planted>) -> Watch {
        let ostler = PathBuf::from(env!("CARGO_BIN_EXE_ostler"));
        Watch::start(planted, self.environment.state_dir().join("run"), (ostler, "password of the user"))
    }

    /// With the password of the vault, or without; and a further parameter of the app.
    fn write_spec(&self, vault: bool, param: &str) {
        let vault = if vault { ", vault_password: { file: vault }" } else { "" };
        let url = self.catalog.file_url();
        let strategy = if param == "fail: true" { "linear" } else { "mitogen" };
        let rest = format!(
            "    password: {{ env: OPS_PASSWORD }}\n    apps: [ leaky ]\n    ansible: {{ strategy: {strategy} }}\n    \
             app_params: {{ leaky: {{ token: {{ secret: token }}, nasty: {{ file: nasty }}, {param} }} }}\n"
        );
        let (web, keyed) = (server(&self.web, &rest), &self.keyed);
        let keyed = format!(
            "  keyed:\n    provider: existing\n    existing: {{ address: {}, key: id_ed25519, host_key: '{}' }}\n    \
             authorized_keys: [ id_ed25519.pub ]\n",
            keyed.address(),
            fingerprint(keyed)
        );
        self.environment.write("ostler.yaml", &format!("catalog: {{ url: '{url}'{vault} }}\nservers:\n{web}{keyed}"));
    }

    fn store_token(&self, token: &str) {
        let mut command = self.environment.command(&["secret", "set", "token"]);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("ostler starts");
        child.stdin.take().expect("a pipe").write_all(token.as_bytes()).expect("it listens");
        assert!(child.wait().expect("an end").success());
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        let output = self.environment.command(arguments).env("OPS_PASSWORD", USER).output().expect("ostler starts");
        Finished {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// On this machine.
    #[track_caller]
    fn search_here(&self, planted: &Planted, begun: SystemTime) {
        let state = self.environment.state_dir();
        for folder in [&state, &self.environment.path().join("home")] {
            assert_eq!(planted.in_files(folder, UNIX_EPOCH), [], "in {}", folder.display());
        }
        assert_eq!(planted.in_files(Path::new("/dev/shm"), begun), [], "what Ansible kept in memory is gone");
        // Ostler's own keys.
        let keys = Planted::new(&[("private key of Ostler's", "PRIVATE KEY-----")]);
        for entry in fs::read_dir(&state).expect("the state").flatten() {
            let name = entry.file_name();
            // The programs that are unpacked there know of such keys.
            if entry.path().is_dir() && name != "ansible" && name != "content" {
                assert_eq!(keys.in_files(&entry.path(), UNIX_EPOCH), [], "in {}", entry.path().display());
            } else if entry.path().is_file() {
                assert_eq!(keys.in_bytes(&fs::read(entry.path()).expect("a file")), BTreeSet::new(), "{name:?}");
            }
        }
    }

    /// On the servers, whatever was written there since.
    #[track_caller]
    fn search_servers(&self, planted: &Planted, begun: SystemTime) {
        let declared = ["in_file", "nasty", "template", "token", "vaulted"].map(|name| format!("etc/leaky/{name}"));
        let found = planted.in_files(&self.web.root(), begun);
        let places: BTreeSet<_> = found.iter().map(|leak| (leak.path.display().to_string(), leak.mode)).collect();
        assert_eq!(places, declared.into_iter().map(|path| (path, 0o600)).collect(), "{found:?}");
        assert_eq!(planted.in_files(&self.keyed.root(), begun), []);
        for target in [&self.web, &self.keyed] {
            // Its files may be compressed.
            let journal = target.exec("journalctl --no-pager --all -o export").ok().stdout;
            assert!(journal.contains("sshd"), "the journal is read");
            assert_eq!(planted.in_bytes(journal.as_bytes()), BTreeSet::new(), "in the journal of {}", target.name());
        }
    }
}
