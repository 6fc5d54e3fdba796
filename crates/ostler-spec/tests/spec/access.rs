//! Users, keys, passwords, and every way to lock oneself out.

use crate::fixture::{KEY, check_server, good, read, server};

#[test]
fn user_names() {
    check_server(
        "user: root",
        "
ostler.yaml:3:11: servers.web1.user: `root` can't be the user that Ostler logs in as
  hint: name another account, such as `ops`: it becomes root with sudo, which leaves a trace
",
    );
    check_server(
        "user: www-data",
        "
ostler.yaml:3:11: servers.web1.user: `www-data` is an account or group of the system itself
  hint: choose a name of its own, such as `ops`
",
    );
    check_server(
        "user: Ann Smith",
        "
ostler.yaml:3:11: servers.web1.user: `Ann Smith` is not a user name
  hint: 1 to 32 of a-z, A-Z, 0-9, `_`, `.` and `-`, not beginning with `-`
",
    );
    check_server(
        &format!("user: {}", "a".repeat(33)),
        "
ostler.yaml:3:11: servers.web1.user: `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` is not a user name
  hint: 1 to 32 of a-z, A-Z, 0-9, `_`, `.` and `-`, not beginning with `-`
",
    );
}

#[test]
fn keys_must_be_there_and_public() {
    check_server(
        "authorized_keys: [ keys/none.pub, ~/.ssh/none.pub, keys/empty, keys/broken, keys/shut ]",
        "
ostler.yaml:3:24: servers.web1.authorized_keys[0]: there is no file `keys/none.pub`
  hint: `new key pair in another file` makes a key pair
ostler.yaml:3:39: servers.web1.authorized_keys[1]: there is no file `/home/ann/.ssh/none.pub`
  hint: `new key pair in another file` makes a key pair
ostler.yaml:3:56: servers.web1.authorized_keys[2]: `keys/empty` holds no public key
ostler.yaml:3:68: servers.web1.authorized_keys[3]: line 2 of `keys/broken` is not a public key
ostler.yaml:3:81: servers.web1.authorized_keys[4]: `keys/shut` can't be read: permission denied
",
    );
    check_server("authorized_keys: [ ~/.ssh/id_ed25519 ]", "
ostler.yaml:3:24: servers.web1.authorized_keys[0]: `~/.ssh/id_ed25519` is a PRIVATE key; it must never leave this machine
  hint: name its public half: `~/.ssh/id_ed25519.pub`
");
    check_server(
        "authorized_keys: [ ~bob/.ssh/id_ed25519.pub ]",
        "
ostler.yaml:3:24: servers.web1.authorized_keys[0]: `~bob/.ssh/id_ed25519.pub` can't be resolved
  hint: only `~/` is, as your home directory
",
    );
    check_server(
        "authorized_keys: [ ssh-ed25519 AAAAC3Nza ann ]",
        "
ostler.yaml:3:24: servers.web1.authorized_keys[0]: this is not a whole public key
  hint: it may have been cut off when it was copied
",
    );
    check_server(
        "authorized_keys: [ ssh-dss AAAAB3NzaC1kc3M= ann ]",
        "
ostler.yaml:3:24: servers.web1.authorized_keys[0]: OpenSSH no longer accepts DSA keys
  hint: `new key pair` makes one that it accepts
",
    );
    check_server(
        "authorized_keys: [ ~/.ssh/id_rsa.pub, keys/rfc4716, keys/pem, keys/tls.crt ]",
        "
ostler.yaml:3:24: servers.web1.authorized_keys[0]: there is no file `/home/ann/.ssh/id_rsa.pub`
  hint: `new key pair in another file` makes a key pair
ostler.yaml:3:43: servers.web1.authorized_keys[1]: line 1 of `keys/rfc4716`: a public key in the format of RFC 4716
  hint: `ssh-keygen -i -f FILE` prints it in that of OpenSSH
ostler.yaml:3:57: servers.web1.authorized_keys[2]: line 1 of `keys/pem`: a public key in PEM
  hint: `ssh-keygen -i -m PKCS8 -f FILE` prints it in the format of OpenSSH
ostler.yaml:3:67: servers.web1.authorized_keys[3]: line 1 of `keys/tls.crt`: not a public key of OpenSSH
  hint: one begins with `ssh-ed25519` or similar
",
    );
}

#[test]
fn names_of_accounts_are_those_that_useradd_takes() {
    for name in ["ann.smith", "Ann", "ANN", "1a", "_apt-x", ".a", "a.", "host$", "a"] {
        let spec =
            good(&server(&format!("provider: existing\nexisting: {{ address: box, user: '{name}' }}\nuser: '{name}'")));
        let web1 = &spec.servers[0];
        assert_eq!((web1.provider.way_in().unwrap().user.as_str(), web1.user.as_str()), (name, name));
    }
    for (name, hint) in [
        ("123", "digits alone are the number of an account, and Debian does not accept them as a name"),
        ("..", "it is the name of a folder"),
        ("-a", "1 to 32 of a-z, A-Z, 0-9, `_`, `.` and `-`, not beginning with `-`"),
        ("$", "1 to 32 of a-z, A-Z, 0-9, `_`, `.` and `-`, not beginning with `-`"),
        ("a$b", "1 to 32 of a-z, A-Z, 0-9, `_`, `.` and `-`, not beginning with `-`"),
        ("ann@corp", "1 to 32 of a-z, A-Z, 0-9, `_`, `.` and `-`, not beginning with `-`"),
        ("jörg", "1 to 32 of a-z, A-Z, 0-9, `_`, `.` and `-`, not beginning with `-`"),
    ] {
        check_server(
            &format!("provider: existing\nexisting: {{ address: box, user: '{name}' }}"),
            &format!("ostler.yaml:4:37: servers.web1.existing.user: `{name}` is not a user name\n  hint: {hint}"),
        );
    }
}

#[test]
fn keys_from_windows_are_taken() {
    let spec = good(&server("authorized_keys: [ keys/windows.pub ]"));
    assert_eq!(spec.servers[0].authorized_keys, [KEY.to_owned(), format!("from=\"10.0.0.0/8\" {KEY}")]);
    // In the spec itself, too.
    assert_eq!(good(&server(&format!("authorized_keys: [ \"\u{feff}{KEY}\" ]"))).servers[0].authorized_keys, [KEY]);
}

#[test]
fn what_sshd_would_pass_over_is_refused() {
    let said = |line: &str| {
        let line = line.replace('\'', "''");
        let text = server(&format!("authorized_keys: [ '{line}' ]"));
        read(&text).map(drop).map_err(|error| error.to_string().split_once("[0]: ").unwrap().1.to_owned())
    };
    for options in [
        "restrict,PTY,from=\"10.0.0.0/8,*.example.org\"",
        "command=\"echo \\\"a, b\\\"\",no-agent-forwarding",
        "cert-authority,principals=\"ann\"",
    ] {
        assert_eq!(said(&format!("{options} {KEY}")), Ok(()), "{options}");
    }
    for (options, expected) in [
        ("git.example.org", "sshd knows no key option `git.example.org`"),
        ("no-ptty", "sshd knows no key option `no-ptty`\n  hint: did you mean `no-pty`?"),
        ("restrict,", "sshd knows no key option ``"),
        ("from=10.0.0.0/8", "the option `from` needs a value in quotes\n  hint: for example `from=\"…\"`"),
    ] {
        assert_eq!(said(&format!("{options} {KEY}")), Err(expected.to_owned()));
    }
    let certificate = format!("ssh-ed25519-cert-v01@openssh.com {}", KEY.split(' ').nth(1).unwrap());
    let hint = "a certificate is not a key\n  hint: name the key that it was made for, without `-cert`";
    assert_eq!(said(&certificate), Err(hint.to_owned()));
    // 512 bits, as nobody should have them.
    let short = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAQQC7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7";
    let expected =
        "an RSA key of 512 bits: sshd accepts none below 1024\n  hint: `new key pair` makes one that it accepts";
    assert_eq!(said(short), Err(expected.to_owned()));
}

#[test]
fn a_private_key_in_the_spec_is_refused_and_never_shown() {
    let text = server("authorized_keys:\n  - |\n    -----BEGIN OPENSSH PRIVATE KEY-----\n    c2VjcmV0\n");
    let message = read(&text).unwrap_err().to_string();
    assert!(message.contains("this is a PRIVATE key"), "{message}");
    assert!(!message.contains("c2VjcmV0"), "{message}");
}

#[test]
fn a_key_of_another_type_than_it_says_is_refused() {
    check_server(
        &format!("authorized_keys: [ {} ]", KEY.replace("ssh-ed25519 ", "ssh-rsa ")),
        "
ostler.yaml:3:24: servers.web1.authorized_keys[0]: this is not a whole public key
  hint: it may have been cut off when it was copied
",
    );
}

#[test]
fn policies_that_lock_the_user_out() {
    check_server(
        "authorized_keys: []",
        "
ostler.yaml:3:22: servers.web1.authorized_keys: nobody could log in: `auth` is `key-only`, and there is no key
  hint: for example `authorized_keys: [ ~/.ssh/id_ed25519.pub ]`
",
    );
    check_server(
        "ssh: { enabled: false }",
        "
ostler.yaml:3:21: servers.web1.ssh.enabled: without SSH there is no way into this server
  hint: this provider has no other way in: take it out
",
    );
    check_server(
        "ssh: { enabled: no }",
        "
ostler.yaml:3:21: servers.web1.ssh.enabled: expected `true` or `false`, found a text
  hint: did you mean `false`?
",
    );
    check_server(
        "ssh: { auth: key-and-password }",
        "
ostler.yaml:3:18: servers.web1.ssh.auth: `key-and-password` needs a password
  hint: for example `password: { env: OPS_PASSWORD }`
",
    );
    check_server(
        "authorized_keys: []\nssh: { auth: key-and-password }",
        "
ostler.yaml:4:18: servers.web1.ssh.auth: `key-and-password` needs a password
  hint: for example `password: { env: OPS_PASSWORD }`
",
    );
}

#[test]
fn a_password_in_the_spec_is_refused_and_never_shown() {
    for password in [
        "hunter2",
        "12345",
        "012345",
        "{ <<: hunter2 }",
        "!vault 12345",
        "true",
        "[ hunter2 ]",
        "{ env: [ hunter2 ] }",
        "{ plain: hunter2 }",
        "{ env: a, file: b }",
        "{}",
    ] {
        let message = read(&server(&format!("password: {password}"))).unwrap_err().to_string();
        assert!(message.contains("servers.web1.password"), "{message}");
        assert!(!message.contains("hunter2") && !message.contains("12345"), "{message}");
    }
    check_server(
        "password: hunter2",
        "
ostler.yaml:3:15: servers.web1.password: a secret must not be in this file
  hint: write `{ env: NAME }`, `{ file: PATH }` or `{ secret: NAME }`; the one that was here is exposed: choose another
",
    );
    check_server(
        "password: { env: a, file: b }",
        "
ostler.yaml:3:15: servers.web1.password: expected exactly one of `secret`, `env` and `file`
  hint: write `{ env: NAME }`, `{ file: PATH }` or `{ secret: NAME }`
",
    );
}
