//! What a user sees of the command line when nothing is created: refusals, their places and hints, and exit codes.

use ostler_testkit::environment::TestEnvironment;
use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

fn environment() -> TestEnvironment {
    TestEnvironment::new(env!("CARGO_BIN_EXE_ostler"))
}

#[test]
fn a_broken_spec_shows_every_fault_and_touches_nothing() {
    let environment = environment();
    environment.write(
        "ostler.yaml",
        "servers:\n  Web_1:\n    provider: hetzner\n    size: { memroy: 2GiB, disk: 1GiB }\n    \
         network: { address: 192.168.1.20 }\n    password: hunter2hunter2\n    ssh: { port: 0 }\n",
    );
    let finished = environment.run(&["up", "ostler.yaml"]);
    assert_eq!(finished.code, 3, "{}", finished.stderr);
    for (place, words) in [
        ("ostler.yaml:2:3", "Web_1"),
        ("ostler.yaml:3:15", "which project of Hetzner Cloud is meant?"),
        ("ostler.yaml:4:13", "did you mean `memory`?"),
        ("ostler.yaml:5:25", "/24"),
        ("ostler.yaml:6:15", "{ env: NAME }"),
        ("ostler.yaml:7:18", "65535"),
    ] {
        assert!(finished.stderr.contains(place), "no fault at {place}:\n{}", finished.stderr);
        assert!(finished.stderr.contains(words), "nothing says `{words}`:\n{}", finished.stderr);
    }
    assert!(!finished.stderr.contains("hunter2"), "a secret is echoed:\n{}", finished.stderr);
    assert!(!environment.state_dir().exists(), "the state directory was made");
}

#[test]
fn a_private_key_that_ssh_does_not_take_is_a_fault_of_the_spec() {
    let environment = environment();
    environment.make_key();
    let text = std::fs::read_to_string(environment.path().join("id_ed25519")).expect("a key");
    let crlf = environment.write("crlf", &text.replace('\n', "\r\n"));
    let open = environment.write("open", &text);
    for (path, mode) in [(&crlf, 0o600), (&open, 0o644)] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("a mode");
    }
    let server = |key| {
        format!(
            "  {key}:\n    provider: existing\n    existing: {{ address: 192.0.2.1, key: {key} }}\n    \
             authorized_keys: [ id_ed25519.pub ]\n"
        )
    };
    environment.write("ostler.yaml", &format!("servers:\n{}{}", server("crlf"), server("open")));
    for command in ["plan", "up"] {
        let finished = environment.run(&[command, "ostler.yaml"]);
        assert_eq!(finished.code, 3, "{}", finished.stderr);
        for words in [
            "ostler.yaml:4:42: servers.crlf.existing.key: ",
            "crlf` has Windows line endings, which ssh can't read",
            "ostler.yaml:8:42: servers.open.existing.key: ",
            "open` can be read by others (its mode is 0644)",
            &format!("hint: `chmod 600 {}`", open.display()),
        ] {
            assert!(finished.stderr.contains(words), "nothing says `{words}`:\n{}", finished.stderr);
        }
    }
    assert!(!environment.state_dir().exists(), "the state directory was made");
}

#[test]
fn wrong_use_has_its_own_exit_code_and_a_hint() {
    let environment = environment();
    for arguments in [&["resume", "web1"][..], &["destroy", "web1", "--yes"], &["ssh", "web1"], &["status", "web1"]] {
        let finished = environment.run(arguments);
        assert_eq!(finished.code, 2, "{arguments:?}: {}", finished.stderr);
        assert!(finished.stderr.contains("no server `web1`"), "{}", finished.stderr);
        assert!(finished.stderr.contains("hint: `ostler status` lists them"), "{}", finished.stderr);
    }
    assert_eq!(environment.run(&["up"]).code, 2);
    assert_eq!(environment.run(&["logs", "nobody"]).code, 2);
}

#[test]
fn what_the_command_line_can_not_mean_is_said() {
    let environment = environment();
    environment.write("key.pub", KEY);
    environment.write("ostler.yaml", "servers: { web1: { authorized_keys: [ key.pub ] } }\n");
    for (arguments, words) in [
        (&["up", "ostler.yaml", "Web1"][..], "`Web1` is not a host label (1-63 of a-z, 0-9 and -"),
        (&["up", "ostler.yaml", "--timeout", "0"], "0 is not in 1..=86400"),
        (&["up", "ostler.yaml", "--rollback-after", "9"], "9 is not in 10..=3600"),
        (&["plan", "ostler.yaml", "--exit-cod"], "a similar argument exists: '--exit-code'"),
        (&["plan", "ostler.yaml", "--no-check", "--exit-code"], "cannot be used with"),
        (&["status", "--output", "jsn"], "a similar value exists: 'json'"),
        (&["logs", "web1", "--all", "--operation", "7"], "invalid value '7'"),
        (&["frobnicate"], "unrecognized subcommand 'frobnicate'"),
        (&["secret", "rm", "nope"], "there is no secret `nope`\n\nhint: `ostler secret list` names them"),
        (&["image", "pull", "debian-12"], "there is no image `debian-12`\n\nhint: known: debian-13"),
        (
            &["catalog", "sync", "--url", "ftp://x/y"],
            "--url: not the URL of a Git repository that Ostler can fetch\n\nhint: Ostler fetches",
        ),
    ] {
        let finished = environment.run(arguments);
        assert_eq!(finished.code, 2, "{arguments:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(words), "{arguments:?} does not say `{words}`: {}", finished.stderr);
    }
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let environment = environment();
    let alone = Command::new(env!("CARGO_BIN_EXE_ostler")).stdin(Stdio::null()).output().expect("ostler starts");
    let said = String::from_utf8_lossy(&alone.stderr).into_owned();
    assert_eq!(alone.status.code(), Some(2));
    assert!(
        said.contains("Usage: ostler [OPTIONS] <COMMAND>") && said.contains("Create the servers of a spec file"),
        "{said}"
    );
    // Flags without a command are no reason to ask either.
    let flags = environment.run(&[""; 0]);
    assert_eq!(flags.code, 2);
    assert!(flags.stderr.contains("requires a subcommand"), "{}", flags.stderr);
    let asked_for = environment.run(&["wizard"]);
    assert_eq!(asked_for.code, 2);
    assert!(
        asked_for.stderr.contains("nobody is there to answer\n\nhint: run it in a terminal"),
        "{}",
        asked_for.stderr
    );
    assert!(!environment.state_dir().exists(), "the state directory was made");
}

#[test]
fn a_state_directory_that_can_not_be_one_is_refused() {
    let environment = environment();
    let file = environment.write("state", "a file\n");
    let finished = environment.run(&["status"]);
    assert_eq!(finished.code, 2, "{}", finished.stderr);
    let said = format!("error: can't use {}\n  cause: File exists", file.display());
    assert!(finished.stderr.starts_with(&said), "{}", finished.stderr);
    assert!(finished.stderr.contains("\nhint: the state needs a folder of your own"), "{}", finished.stderr);
}

#[test]
fn a_spec_without_its_file_or_server_is_refused() {
    let environment = environment();
    let missing = environment.run(&["plan", "nowhere.yaml"]);
    assert_eq!(missing.code, 3);
    assert!(missing.stderr.contains("nowhere.yaml can't be read"), "{}", missing.stderr);
    environment.write("key.pub", KEY);
    environment.write("ostler.yaml", "servers: { web1: { authorized_keys: [ key.pub ] } }\n");
    let unknown = environment.run(&["plan", "ostler.yaml", "web2"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("it has: web1"), "{}", unknown.stderr);
}

#[test]
fn a_secret_that_is_not_there_is_named_before_anything_is_made() {
    let environment = environment();
    environment.write("key.pub", KEY);
    for (reference, words, hint) in [
        ("env: OSTLER_TEST_NOWHERE", "environment variable OSTLER_TEST_NOWHERE", "ostler secret set"),
        ("file: nowhere.txt", "nowhere.txt", "ostler secret set"),
        ("secret: box1", "no secret `box1`", "`ostler secret set box1` stores it"),
    ] {
        environment.write(
            "ostler.yaml",
            &format!("servers: {{ web1: {{ authorized_keys: [ key.pub ], password: {{ {reference} }} }} }}\n"),
        );
        let finished = environment.run(&["up", "ostler.yaml"]);
        assert_eq!(finished.code, 3, "{reference}: {}", finished.stderr);
        assert!(finished.stderr.contains(words), "{reference}: {}", finished.stderr);
        let (_, said) = finished.stderr.split_once("hint: ").expect("a hint");
        assert!(said.contains(hint), "{reference}: {}", finished.stderr);
        assert_eq!(environment.run(&["status", "--output", "json"]).ok().stdout.trim(), "[]");
    }
}

#[test]
fn an_image_that_is_not_there_names_both_ways_to_get_it() {
    let environment = environment();
    environment.write("key.pub", KEY);
    environment.write("ostler.yaml", "servers: { web1: { authorized_keys: [ key.pub ], size: { memory: 256MiB } } }\n");
    // Nothing listens on port 9: the site can't be reached.
    let finished = environment.command(&["up", "ostler.yaml"]).env("OSTLER_IMAGE_SITE", "http://127.0.0.1:9").output();
    let finished = finished.expect("ostler starts");
    let stderr = String::from_utf8_lossy(&finished.stderr);
    assert_eq!(finished.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("ostler image build debian-13"), "{stderr}");
    let status = environment.run(&["status", "--output", "json"]).ok();
    assert_eq!(
        status.json_lines()[0][0]["operation"]["state"],
        "failed",
        "the failure is on record: {}",
        status.stdout
    );
    environment.run(&["destroy", "web1", "--yes"]).ok();
    assert_eq!(environment.run(&["status", "--output", "json"]).ok().stdout.trim(), "[]");
}

#[test]
fn of_several_servers_each_fails_on_its_own() {
    let environment = environment();
    environment.write("key.pub", KEY);
    let server = "{ authorized_keys: [ key.pub ], size: { memory: 256MiB } }";
    environment.write("ostler.yaml", &format!("servers:\n  web1: {server}\n  web2: {server}\n  web3: {server}\n"));
    let offline = |arguments: &[&str]| {
        let mut command = environment.command(arguments);
        let output = command.env("OSTLER_IMAGE_SITE", "http://127.0.0.1:9").output().expect("ostler starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let names = ["web1", "web2", "web3"];
    let (code, stdout, stderr) = offline(&["up", "ostler.yaml", "--parallel", "2"]);
    assert_eq!(code, Some(4), "{stdout}{stderr}");
    let table: Vec<_> = stdout.lines().rev().take(4).collect();
    assert!(table[3].starts_with("SERVER  RESULT  CHANGED  TIME"), "{stdout}");
    for (row, name) in table.iter().rev().skip(1).zip(names) {
        assert!(row.starts_with(&format!("{name}    FAILED  -")), "{row}");
        assert!(stderr.contains(&format!("{name}  error: ")), "{stderr}");
    }
    let (code, stdout, stderr) = offline(&["up", "ostler.yaml", "--output", "quiet"]);
    assert_eq!((code, stdout.as_str()), (Some(4), ""));
    assert_eq!(names.map(|name| stderr.matches(&format!("{name}  error: ")).count()), [1, 1, 1], "{stderr}");
    let (code, stdout, _) = offline(&["up", "ostler.yaml", "web1", "web3", "--output", "json"]);
    assert_eq!(code, Some(4));
    let lines: Vec<serde_json::Value> = stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.iter().all(|line| line["server"] == "web1" || line["server"] == "web3"), "{stdout}");
    let failed = lines.iter().filter(|line| line["event"] == "outcome" && line["ok"] == false).count();
    assert_eq!(failed, 2, "{stdout}");
    assert_eq!(offline(&["resume", "--all"]).0, Some(4));
    assert_eq!(environment.run(&["destroy", "web1", "nobody", "--yes"]).code, 2);
    environment.run(&["destroy", "web1", "web2", "web3", "--yes"]).ok();
    assert_eq!(environment.run(&["status", "--output", "json"]).ok().stdout.trim(), "[]");
    assert_eq!(offline(&["up", "ostler.yaml", "--parallel", "0"]).0, Some(2));
}

#[test]
fn destroying_needs_a_yes_where_nobody_can_be_asked() {
    let environment = environment();
    environment.write("key.pub", KEY);
    environment.write("ostler.yaml", "servers: { web1: { authorized_keys: [ key.pub ] } }\n");
    let up = environment.command(&["up", "ostler.yaml"]).env("OSTLER_IMAGE_SITE", "http://127.0.0.1:9").output();
    assert!(!up.expect("ostler starts").status.success());
    let finished = environment.run(&["destroy", "web1"]);
    assert_eq!(finished.code, 2);
    assert!(finished.stderr.contains("--yes"), "{}", finished.stderr);
}

#[test]
fn secrets_are_kept_but_never_shown() {
    let environment = environment();
    let mut set = environment.command(&["secret", "set", "box1"]).stdin(Stdio::piped()).spawn().expect("ostler starts");
    set.stdin.take().expect("a pipe").write_all(b"correct horse battery\n").expect("a written secret");
    assert!(set.wait().expect("an end").success());
    assert_eq!(environment.run(&["secret", "list"]).ok().stdout, "box1\n");
    let grep = Command::new("grep").args(["-rla", "correct horse"]).arg(environment.path()).output().expect("grep");
    assert_eq!(String::from_utf8_lossy(&grep.stdout), "", "the secret is in the clear on disk");
    environment.run(&["secret", "rm", "box1"]).ok();
    assert_eq!(environment.run(&["secret", "rm", "box1"]).code, 2);
}

#[test]
fn the_schema_knows_modules_and_apps() {
    let schema = environment().run(&["schema"]).ok().stdout;
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    assert!(schema["$schema"].as_str().is_some_and(|url| url.contains("2020-12")));
    let text = schema.to_string();
    for key in ["auto_allow_app_ports", "worker_connections", "lan-only", "prohibit-password"] {
        assert!(text.contains(key), "the schema lacks {key}");
    }
}

#[test]
fn doctor_names_the_command_that_mends() {
    let environment = environment();
    // A PATH without anything: everything is missing.
    let output = environment.command(&["doctor"]).env("PATH", "/nowhere").output().expect("ostler starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(4), "{stdout}");
    assert!(stdout.contains("sudo apt install") && stdout.contains("qemu-system-x86"), "{stdout}");
}

#[test]
fn a_plan_of_what_is_not_there_tells_how_much_will_be_made_and_ends_with_its_own_code() {
    let environment = environment();
    environment.write("key.pub", KEY);
    let spec = "servers: { web1: { authorized_keys: [ key.pub ], modules: { ufw: true, fail2ban: true }, apps: [ nginx ] } }\n";
    environment.write("ostler.yaml", spec);
    let finished = environment.run(&["plan", "ostler.yaml", "--exit-code"]);
    if finished.stdout.contains("refused") {
        // Nothing to make a machine with on this machine: then that is what the code says.
        assert_eq!(finished.code, 4, "{}", finished.stdout);
        return;
    }
    assert_eq!(finished.code, 10, "{} {}", finished.stdout, finished.stderr);
    assert!(
        finished.stdout.contains("web1  will be provisioned from scratch: 2 modules, 1 app"),
        "{}",
        finished.stdout
    );
    let json = environment.run(&["plan", "ostler.yaml", "--output", "json"]).ok().json_lines();
    assert_eq!(json[0][0]["actions"][0]["action"], "create", "{json:?}");
    assert_eq!(json[0][0]["check"], serde_json::json!({ "result": "from_scratch", "modules": 2, "apps": 1 }));
    let json = environment.run(&["plan", "ostler.yaml", "--no-check", "--output", "json"]).ok().json_lines();
    assert!(json[0][0].get("check").is_none(), "{json:?}");
    // Without a check nobody can say that nothing is to do.
    assert_eq!(environment.run(&["plan", "ostler.yaml", "--no-check", "--exit-code"]).code, 2);
}

#[test]
fn completions_are_scripts_that_their_shells_take() {
    let environment = environment();
    for shell in ["bash", "zsh", "fish"] {
        let script = environment.run(&["completions", shell]).ok().stdout;
        assert!(script.contains("destroy") && script.contains("exit-code"), "{shell}: {script}");
        environment.write("script", &script);
        // -n: read, and run nothing. Not every machine has all three.
        let parsed = Command::new(shell).arg("-n").arg(environment.path().join("script")).output();
        let Ok(parsed) = parsed else { continue };
        assert!(parsed.status.success(), "{shell}: {}", String::from_utf8_lossy(&parsed.stderr));
    }
    let script = environment.path().join("ostler.bash");
    environment.write("ostler.bash", &environment.run(&["completions", "bash"]).ok().stdout);
    let ask = format!(
        "source {}; COMP_WORDS=(ostler pl); COMP_CWORD=1; _ostler ostler pl ostler; echo ${{COMPREPLY[@]}}",
        script.display()
    );
    let answer = Command::new("bash").args(["-c", &ask]).output().expect("bash");
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "plan");
    assert_eq!(environment.run(&["completions", "tcsh"]).code, 2);
}

#[test]
fn every_command_has_a_manual_page() {
    let environment = environment();
    let dir = environment.path().join("man");
    environment.run(&["man", "--dir", dir.to_str().expect("a plain path")]).ok();
    for page in ["ostler.1", "ostler-up.1", "ostler-plan.1", "ostler-image-build.1", "ostler-secret-set.1"] {
        let text = std::fs::read_to_string(dir.join(page)).expect(page);
        assert!(text.contains(".TH") && text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    assert!(!dir.join("ostler-man.1").exists(), "what is hidden has no page");
    assert!(environment.run(&["man"]).ok().stdout.contains("Exit codes"));
    let taken = environment.run(&["man", "--dir", "/proc/nowhere"]);
    assert_eq!(taken.code, 2);
    assert!(taken.stderr.contains("/proc/nowhere") && taken.stderr.contains("hint:"), "{}", taken.stderr);
}

#[test]
fn who_reads_no_more_is_no_failure() {
    let environment = environment();
    let closed = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        writer
    };
    let schema = environment.command(&["schema"]).stdout(closed()).output().expect("ostler starts");
    assert!(schema.status.success(), "{}", String::from_utf8_lossy(&schema.stderr));
    let unknown = environment.command(&["resume", "web1"]).stderr(closed()).status().expect("ostler starts");
    assert_eq!(unknown.code(), Some(2), "a message that nobody reads changes the exit code");
}

#[test]
fn a_signal_ends_the_wait_for_a_reader() {
    let environment = environment();
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    let mut schema = environment.command(&["schema"]).stdout(writer).spawn().expect("ostler starts");
    let pid = rustix::process::Pid::from_child(&schema);
    let begun = std::time::Instant::now();
    // It is more than a pipe takes.
    while schema.try_wait().expect("a child").is_none() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "it can't be ended");
        std::thread::sleep(std::time::Duration::from_millis(500)); // first it is to come as far as waiting
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM); // it has just ended
    }
}

#[test]
fn help_lists_every_command_and_the_exit_codes() {
    let help = environment().run(&["--help"]).ok().stdout;
    for word in [
        "up",
        "plan",
        "status",
        "resume",
        "destroy",
        "logs",
        "ssh",
        "image",
        "secret",
        "schema",
        "doctor",
        "completions",
    ] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(word)), "--help lacks {word}");
    }
    assert!(help.contains("Exit codes:"));
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKpVxHT3DzIDVFIUmNCGDPfuGnZGUCTWvXAbxgUW5a test\n";

#[test]
fn a_key_is_made_where_there_is_none_and_never_over_another() {
    let environment = environment();
    let folder = environment.path().join("home/.ssh");
    environment.write("ostler.yaml", "servers: { web1: { authorized_keys: [ ~/.ssh/id_ed25519.pub ] } }\n");
    let missing = environment.run(&["up", "ostler.yaml"]);
    assert_eq!(missing.code, 3);
    assert!(missing.stderr.contains("hint: `ostler key new` makes it"), "{}", missing.stderr);
    // Nobody can type a passphrase here.
    for arguments in [&["key", "new"][..], &["key", "new", "--non-interactive"]] {
        let refused = environment.run(arguments);
        assert_eq!(refused.code, 2);
        assert!(refused.stderr.contains("`--no-passphrase` makes a key without one"), "{}", refused.stderr);
    }
    assert!(!folder.exists());

    let made = environment.run(&["key", "new", "--no-passphrase"]).ok();
    assert!(made.stdout.starts_with("ssh-ed25519 ") && made.stdout.lines().count() == 1, "{}", made.stdout);
    assert!(made.stderr.contains("`authorized_keys: [ ~/.ssh/id_ed25519.pub ]` in a spec"), "{}", made.stderr);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    let (private, public) = (folder.join("id_ed25519"), folder.join("id_ed25519.pub"));
    assert_eq!((mode(&folder), mode(&private)), (0o700, 0o600));
    assert_eq!(fs::read_to_string(&public).unwrap(), made.stdout);
    let before = fs::read(&private).unwrap();

    let again = |expected: &str| {
        let refused = environment.run(&["key", "new", "--no-passphrase"]);
        assert_eq!(refused.code, 2, "{}", refused.stderr);
        assert!(refused.stderr.contains("exists already and is left as it is"), "{}", refused.stderr);
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    };
    again("hint: `authorized_keys: [ ~/.ssh/id_ed25519.pub ]` in a spec lets it in");
    fs::remove_file(&public).unwrap();
    again("hint: `ssh-keygen -y -f");
    assert_eq!(fs::read(&private).unwrap(), before);
    fs::remove_file(&private).unwrap();
    std::os::unix::fs::symlink("/nowhere/at/all", &public).unwrap();
    again("hint: `--file PATH` makes another one");

    let json = environment.run(&["key", "new", "--no-passphrase", "--file", "keys/-my key", "--output", "json"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["public_file"], "keys/-my key.pub");
    let read = fs::read_to_string(environment.path().join("keys/-my key.pub")).unwrap();
    assert_eq!(json["public_key"], read.trim_end());

    let lacking =
        environment.command(&["key", "new", "--no-passphrase", "--file", "other"]).env("PATH", "").output().unwrap();
    let said = String::from_utf8_lossy(&lacking.stderr).into_owned();
    assert!(said.contains("ssh-keygen can't be started") && said.contains("apt install openssh-client"), "{said}");
    fs::write(environment.path().join("file"), "").unwrap();
    let refused = environment.run(&["key", "new", "--no-passphrase", "--file", "file/key"]);
    assert!(refused.stderr.contains("the folder file can't be made"), "{}", refused.stderr);
}

#[test]
fn a_spec_in_another_encoding_is_read_or_says_where() {
    let environment = environment();
    environment.write("key.pub", &format!("\u{feff}{KEY}\r\n"));
    let text = "servers: { web1: { authorized_keys: [ key.pub ], user: - } }\r\n";
    let utf16: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, expected) in [
        (b"servers: \xff\xfe".to_vec(), "ostler.yaml:1:10: the byte 0xff is not valid in UTF-8"),
        (utf16, "ostler.yaml:1:56: not valid YAML"),
        (
            b"servers:\n  # Gr\xfc\xdfe\n".to_vec(),
            "ostler.yaml:2:7: the byte 0xfc is not valid in UTF-8\n  hint: save the file as UTF-8",
        ),
    ] {
        fs::write(environment.path().join("ostler.yaml"), bytes).unwrap();
        let finished = environment.run(&["plan", "ostler.yaml"]);
        assert_eq!(finished.code, 3);
        assert!(finished.stderr.contains(expected), "{}", finished.stderr);
    }
}
