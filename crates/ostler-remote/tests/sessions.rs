//! Sessions against a real sshd.

mod support;

use ostler_core::ports::{ConnectError, Credential, Remote};
use ostler_remote::interactive_argv;
use std::{process::Command, time::Duration};
use support::{Lab, eventually, processes_with};
use tokio::io::AsyncWriteExt;

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_command_gets_its_input_and_its_status_comes_back() {
    let Some(lab) = Lab::new() else { return };
    let session = lab.connect().await;

    let output = session.run("echo out; echo err >&2; exit 3", b"").await.unwrap();
    assert_eq!((output.status, output.stdout.as_str(), output.stderr.as_str()), (3, "out\n", "err\n"));

    let data: Vec<u8> = (0..300_000u32).map(|i| (i * 7 + i / 256) as u8).collect();
    let path = lab.dir().join("data");
    let output = session.run(&format!("cat > '{}'; wc -c < '{0}'", path.display()), &data).await.unwrap();
    assert_eq!((output.status, output.stdout.trim()), (0, "300000"));
    assert!(std::fs::read(&path).unwrap() == data, "the input was changed on its way");

    let script = "# a quote ' and \" and $HOME and `\nread line\nprintf '%s|' \"$line\" \"$0\"\ncat";
    let output = session.run(script, "first\nrest ü".as_bytes()).await.unwrap();
    assert_eq!((output.status, output.stdout.as_str()), (0, "first|sh|rest ü"));

    let unread = session.run("exit 7", &vec![b'x'; 5_000_000]).await.unwrap();
    assert_eq!(unread.status, 7);
    let wrong = session.run("if then", b"").await.unwrap();
    assert_eq!(wrong.status, 2, "{}", wrong.stderr);
    assert_eq!(session.run("", b"").await.unwrap().status, 0);
    session.close().await;
}

#[tokio::test]
async fn big_output_is_kept_up_to_its_bound() {
    let Some(lab) = Lab::new() else { return };
    let session = lab.connect().await;
    let big = session.run("head -c 16777216 /dev/zero | tr '\\0' x", b"").await.unwrap();
    assert_eq!((big.status, big.stdout.len()), (0, 16 * 1024 * 1024));

    let error = session.run("yes", b"").await.unwrap_err();
    assert_eq!(error.message, "a command on web-1 wrote more than 16777216 bytes");
    assert_eq!(session.run("echo on", b"").await.unwrap().stdout, "on\n", "the session did not survive");
}

#[tokio::test]
async fn another_host_key_is_refused_with_both_fingerprints() {
    let Some(lab) = Lab::new() else { return };
    let mut login = lab.login();
    let pinned = lab.remote.generate_key().unwrap().public;
    login.host_keys = vec![pinned.clone()];
    let error = lab.remote.connect(&login, LIMIT).await.err().expect("a login to a server with another key");
    let expected = vec![fingerprint(&pinned)];
    let offered = Some(fingerprint(lab.sshd.host_key()));
    assert_eq!(error, ConnectError::HostKey { expected, offered });
    assert!(!lab.sshd.log().contains("Accepted"), "it logged in");

    login.host_keys = Vec::new();
    let error = lab.remote.connect(&login, LIMIT).await.err().expect("a login without a pinned key");
    let offered = Some(fingerprint(lab.sshd.host_key()));
    assert_eq!(error, ConnectError::HostKey { expected: Vec::new(), offered });
}

#[tokio::test]
async fn an_unknown_key_is_refused_and_a_later_one_works() {
    let Some(lab) = Lab::new() else { return };
    lab.sshd.authorize(&[]);
    let error = lab.remote.connect(&lab.login(), LIMIT).await.err().expect("a login with an unknown key");
    let ConnectError::Refused(reason) = &error else { panic!("{error:?}") };
    assert!(reason.contains("Permission denied"), "{reason}");
    assert_eq!(lab.sockets(), 0, "a failed login left sockets");

    lab.sshd.authorize(&[&lab.key.public]);
    lab.connect().await.close().await;
}

#[tokio::test]
async fn a_server_that_has_banned_us_refuses() {
    let Some(lab) = Lab::new() else { return };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut login = lab.login();
    login.address = listener.local_addr().unwrap();
    let ban = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"Not allowed at this time\r\n").await.unwrap(); // as sshd.c writes it
    };
    let (error, ()) = tokio::join!(lab.remote.connect(&login, LIMIT), ban);
    let reason = "sshd says `Not allowed at this time`".to_owned();
    assert_eq!(error.err(), Some(ConnectError::Barred(reason)));
}

#[tokio::test]
async fn one_connection_shows_the_host_key() {
    let Some(lab) = Lab::new() else { return };
    let connections = || lab.sshd.log().matches("Connection from ").count();
    let wanted = fingerprint(lab.sshd.host_key());
    for wanted in [None, Some(wanted.as_str())] {
        let before = connections();
        let keys = lab.remote.host_keys(lab.sshd.address(), wanted, LIMIT).await.unwrap();
        assert_eq!(keys.iter().map(|key| key.key.as_str()).collect::<Vec<_>>(), [lab.sshd.host_key()]);
        assert_eq!(keys[0].fingerprint, fingerprint(lab.sshd.host_key()));
        assert_eq!(connections() - before, 1);
    }
    let other = lab.remote.host_keys(lab.sshd.address(), Some("SHA256:another"), LIMIT).await.unwrap();
    assert_eq!(other.len(), 1, "it has no other one");
    assert!(!lab.sshd.log().contains("Accepted"), "it logged in");

    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let error = lab.remote.host_keys(address, None, Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoAnswer(_)), "{error:?}");
}

/// An ssh-agent with `count` keys that nobody knows, and then the lab's.
async fn agent_with_keys(lab: &Lab, count: usize) -> (std::path::PathBuf, tokio::process::Child) {
    let socket = lab.dir().join("agent");
    let mut agent = tokio::process::Command::new("ssh-agent");
    let agent = agent.arg("-D").arg("-a").arg(&socket).stdout(std::process::Stdio::null()).kill_on_drop(true);
    let agent = agent.spawn().unwrap();
    eventually("the agent listens", || socket.exists());
    let mut keys: Vec<_> = (0..count).map(|_| lab.remote.generate_key().unwrap()).collect();
    keys.push(lab.key.clone());
    for key in keys {
        let mut add = tokio::process::Command::new("ssh-add");
        add.args(["-q", "-"]).env("SSH_AUTH_SOCK", &socket).stdin(std::process::Stdio::piped());
        let mut add = add.spawn().unwrap();
        add.stdin.take().unwrap().write_all(key.private.expose().as_bytes()).await.unwrap();
        assert!(add.wait().await.unwrap().success());
    }
    (socket, agent)
}

#[tokio::test]
async fn an_agent_with_many_keys_offers_the_right_one_first() {
    let Some(lab) = Lab::new() else { return };
    let (socket, _agent) = agent_with_keys(&lab, 8).await;
    let mut login = lab.login();
    login.credential = Credential::Agent { socket: socket.clone(), first: Vec::new() };
    let error = lab.remote.connect(&login, LIMIT).await.err().expect("the right key comes too late");
    let ConnectError::TooManyKeys { words, held: 9, tried: 6 } = &error else { panic!("{error:?}") };
    assert!(words.ends_with("Too many authentication failures"), "{words}");

    let line = format!("from=\"127.0.0.1\" {} me", lab.key.public);
    let unknown = lab.remote.generate_key().unwrap().public;
    login.credential = Credential::Agent { socket: socket.clone(), first: vec![unknown, line] };
    lab.remote.connect(&login, LIMIT).await.expect("a login by the right key").close().await;

    // Its public half names it, and no other one is offered.
    let path = lab.dir().join("right.pub");
    std::fs::write(&path, format!("{}\n", lab.key.public)).unwrap();
    login.credential = Credential::KeyFile { path: path.clone(), agent: Some(socket) };
    lab.remote.connect(&login, LIMIT).await.expect("a login by the key that is named").close().await;
}

#[tokio::test]
async fn nobody_there_and_nobody_speaking_are_no_answer() {
    let Some(lab) = Lab::new() else { return };
    let mut login = lab.login();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    login.address = listener.local_addr().unwrap();
    let error = lab.remote.connect(&login, Duration::from_secs(2)).await.err().expect("a login at a silent listener");
    assert_eq!(error, ConnectError::NoAnswer(format!("no login at {} within 2s", login.address)));

    drop(listener);
    let error = lab.remote.connect(&login, LIMIT).await.err().expect("a login where nothing listens");
    let port = login.address.port();
    assert_eq!(error, ConnectError::NoAnswer(format!("connect to host 127.0.0.1 port {port}: Connection refused")));
    assert_eq!(lab.sockets(), 0, "a failed login left sockets");
    eventually("ssh is gone", || processes_with(lab.dir()).is_empty());
}

#[tokio::test]
async fn two_sessions_live_side_by_side_and_drop_leaves_nothing() {
    let Some(lab) = Lab::new() else { return };
    let (one, two) = tokio::join!(lab.connect(), lab.connect());
    assert_eq!(lab.sockets(), 2);
    let (first, second) = tokio::join!(one.run("echo 1", b""), two.run("echo 2", b""));
    assert_eq!((first.unwrap().stdout.as_str(), second.unwrap().stdout.as_str()), ("1\n", "2\n"));

    drop(one);
    assert_eq!(two.run("echo still", b"").await.unwrap().stdout, "still\n");
    drop(two);
    assert_eq!(lab.sockets(), 0);
    eventually("ssh is gone", || processes_with(lab.dir()).is_empty());
}

#[tokio::test]
async fn commands_share_one_login_and_outlive_its_loss() {
    let Some(lab) = Lab::new() else { return };
    let session = lab.connect().await;
    for _ in 0..5 {
        session.run("true", b"").await.unwrap();
    }
    assert_eq!(lab.logins(), 1);

    let transport = session.transport();
    let master = Command::new("ssh").args(&transport.ssh_args).args(["-O", "exit", "--", "web-1"]).output().unwrap();
    assert!(master.status.success(), "{}", String::from_utf8_lossy(&master.stderr));
    assert_eq!(session.run("echo again", b"").await.unwrap().stdout, "again\n");
    assert_eq!(lab.logins(), 2, "the second login is the command's own");
}

#[tokio::test]
async fn the_transport_serves_a_plain_ssh() {
    let Some(lab) = Lab::new() else { return };
    let session = lab.connect().await;
    let transport = session.transport();
    let ssh = |control: &[&str]| {
        let mut command = tokio::process::Command::new("ssh");
        command.args(control).args(&transport.ssh_args);
        command.args(["-p", &transport.address.port().to_string(), "-l", &transport.user, "127.0.0.1", "echo hello"]);
        command
    };
    assert_eq!(ssh(&[]).output().await.unwrap().stdout, b"hello\n");
    assert_eq!(lab.logins(), 1, "it did not ride on the session's connection");
    assert_eq!(ssh(&["-o", "ControlPath=none"]).output().await.unwrap().stdout, b"hello\n");
    assert_eq!(lab.logins(), 2, "it did not connect by itself");

    // Whether an sshd without root may hand out terminals depends on how /dev/pts was mounted.
    let (tty, expected) = if transport.user == "root" { (true, "2\nterminal") } else { (false, "2\npipe") };
    let words = ["echo $((1 +", "1));", "if test -t 0; then echo terminal; else echo pipe; fi"].map(str::to_owned);
    let argv = interactive_argv(&transport, tty, &words);
    let typed = argv.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let terminal = Command::new("script").args(["-qec", &typed, "/dev/null"]).output().unwrap();
    let shown = String::from_utf8_lossy(&terminal.stdout).replace('\r', "");
    assert!(shown.trim().ends_with(expected), "{shown:?}"); // `script` may echo its own end of input before
    assert_eq!(lab.logins(), 2);
}

#[tokio::test]
async fn the_key_is_in_no_argv_no_environment_and_no_file() {
    let Some(lab) = Lab::new() else { return };
    let session = lab.connect().await;
    let secret = "correct-horse-battery-staple";
    let watcher = lab.dir().join("seen");
    // While a script with a secret runs on the server, which is this machine, nobody's argv shows it.
    let script = format!(": {secret}; cat /proc/[0-9]*/cmdline > '{}'", watcher.display());
    assert_eq!(session.run(&script, secret.as_bytes()).await.unwrap().stdout, "");
    assert!(!String::from_utf8_lossy(&std::fs::read(&watcher).unwrap()).contains(secret), "an argv shows the script");

    // The fourth line of base64 holds the seed; those before hold what is public.
    let seed = lab.key.private.expose().lines().nth(4).unwrap();
    let ours = processes_with(lab.dir());
    assert!(!ours.is_empty(), "the master was not found");
    for pid in ours {
        for file in ["cmdline", "environ"] {
            let text = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&text).contains(seed), "{file} of {pid}");
        }
    }
    let found = Command::new("grep").args(["-rlF", "--devices=skip", "-e", seed]).arg(lab.dir()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "the key was written to disk");
}

#[tokio::test]
async fn the_agent_lists_and_signs_and_dies_with_its_session() {
    let Some(lab) = Lab::new() else { return };
    let session = lab.connect().await;
    let socket = session.transport().agent_socket;
    let agent = |args: &[&str]| {
        let mut command = tokio::process::Command::new("ssh-add");
        command.args(args).env("SSH_AUTH_SOCK", &socket).env("LC_ALL", "C");
        command
    };
    let listed = agent(&["-L"]).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&listed.stdout).trim(), lab.key.public);
    assert!(!agent(&["-D"]).output().await.unwrap().status.success(), "it forgets keys on demand");
    assert_eq!(agent(&["-L"]).output().await.unwrap().stdout, listed.stdout);
    session.close().await;
    assert!(!agent(&["-L"]).output().await.unwrap().status.success());
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_killed_process_leaves_no_ssh() {
    if support::hold_a_session_if_told().await {
        return;
    }
    let Some(lab) = Lab::new() else { return };
    let holder = lab.hold_a_session("a_killed_process_leaves_no_ssh", None);
    assert_eq!(processes_with(&lab.runtime()).len(), 1, "one master");
    holder.kill();
    eventually("the master is gone", || processes_with(&lab.runtime()).is_empty());

    assert_eq!(lab.sockets(), 1);
    let session = lab.connect().await;
    assert_eq!(lab.sockets(), 1, "the dead one's sockets were not cleared");
    drop(session);
    assert_eq!(lab.sockets(), 0);
}

#[tokio::test]
async fn without_setpriv_the_next_session_ends_what_a_killed_process_left() {
    if support::hold_a_session_if_told().await {
        return;
    }
    let Some(lab) = Lab::new() else { return };
    let bin = lab.dir().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(support::which("ssh"), bin.join("ssh")).unwrap();
    let holder =
        lab.hold_a_session("without_setpriv_the_next_session_ends_what_a_killed_process_left", Some(bin.as_path()));
    let left = processes_with(&lab.runtime());
    assert_eq!(left.len(), 1, "one master");
    holder.kill();
    assert_eq!(processes_with(&lab.runtime()), left, "this machine needs no setpriv");

    let session = lab.connect().await;
    eventually("the master is gone", || !processes_with(&lab.runtime()).contains(&left[0]));
    session.close().await;
    assert_eq!((lab.sockets(), processes_with(&lab.runtime())), (0, Vec::new()));
}

/// As ssh-keygen says it, which shares no code with us.
fn fingerprint(key: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), key).unwrap();
    let output = std::process::Command::new("ssh-keygen").arg("-lf").arg(file.path()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().nth(1).unwrap().to_owned()
}
