//! Reads why a login failed from what ssh said at level DEBUG1.
//!
//! ssh exits with 255 whatever happened (ssh(1), EXIT STATUS), so its English messages are all there is. The phrases below
//! are in OpenSSH 9.2 to 10.0: `sshconnect.c`, `sshconnect2.c`, `kex.c`, `packet.c`.

use ostler_core::ports::ConnectError;

/// `expected`: fingerprints of the pinned keys.
pub(crate) fn classify(stderr: &str, expected: &[String]) -> ConnectError {
    let said = |phrase: &str| stderr.contains(phrase);
    if said("Host key verification failed.") {
        return ConnectError::HostKey { expected: expected.to_vec(), offered: offered(stderr) };
    }
    // An sshd since 9.8 says so to a source that it has penalised (PerSourcePenalties in sshd_config(5)), and hangs up.
    if said("Not allowed at this time") {
        return ConnectError::Barred("sshd says `Not allowed at this time`".to_owned());
    }
    let reason = reason(stderr);
    if said("Permission denied (") || said("Too many authentication failures") {
        return ConnectError::Refused(reason);
    }
    // A connection was at least tried, or what failed lies on this side.
    if said("debug1: Connecting to ") && !said("ControlSocket ") && !said("unix_listener: ") {
        return ConnectError::NoAnswer(reason);
    }
    ConnectError::Broken(reason)
}

/// `debug1: Server host key: ssh-ed25519 SHA256:...`
fn offered(stderr: &str) -> Option<String> {
    let line = stderr.lines().rev().find_map(|line| line.strip_prefix("debug1: Server host key: "))?;
    line.split_whitespace().find(|word| word.starts_with("SHA256:")).map(str::to_owned)
}

/// The last line that is meant for people.
fn reason(stderr: &str) -> String {
    let mut lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty() && !is_noise(line)).rev();
    let line = lines.next().unwrap_or("ssh ended without a message");
    let line = line.trim_start_matches("ssh: ").trim_end_matches('.');
    line.to_owned()
}

fn is_noise(line: &str) -> bool {
    ["debug1:", "OpenSSH_", "Authenticated to ", "Transferred: ", "Bytes per second: "]
        .into_iter()
        .any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PINNED: &str = "SHA256:pinned";

    fn check(stderr: &str, expected: ConnectError) {
        assert_eq!(classify(stderr, &[PINNED.to_owned()]), expected, "for {stderr}");
    }

    #[test]
    fn messages_of_ssh_are_told_apart() {
        let trying = "OpenSSH_9.2p1 Debian-2, OpenSSL 3.0.19\r\ndebug1: Connecting to 10.0.0.2 [10.0.0.2] port 22.\r\n";
        check(
            &format!("{trying}ssh: connect to host 10.0.0.2 port 22: Connection refused\r\n"),
            ConnectError::NoAnswer("connect to host 10.0.0.2 port 22: Connection refused".to_owned()),
        );
        check(
            &format!(
                "{trying}kex_exchange_identification: Connection closed by remote host\r\nConnection closed by 10.0.0.2 port 22\r\n"
            ),
            ConnectError::NoAnswer("Connection closed by 10.0.0.2 port 22".to_owned()),
        );
        check(
            &format!("{trying}root@10.0.0.2: Permission denied (publickey).\r\n"),
            ConnectError::Refused("root@10.0.0.2: Permission denied (publickey)".to_owned()),
        );
        check(
            &format!(
                "{trying}debug1: kex_exchange_identification: banner line 0: Not allowed at this time\r\nkex_exchange_identification: Connection closed by remote host\r\n"
            ),
            ConnectError::Barred("sshd says `Not allowed at this time`".to_owned()),
        );
        check(
            &format!(
                "{trying}debug1: Server host key: ecdsa-sha2-nistp256 SHA256:shown\r\nNo ECDSA host key is known for web-1 and you have requested strict checking.\r\nHost key verification failed.\r\n"
            ),
            ConnectError::HostKey { expected: vec![PINNED.to_owned()], offered: Some("SHA256:shown".to_owned()) },
        );
        check(
            "setpriv: failed to execute ssh: No such file or directory\n",
            ConnectError::Broken("setpriv: failed to execute ssh: No such file or directory".to_owned()),
        );
        check(
            "command-line: line 0: Bad configuration option: nonsense\r\n",
            ConnectError::Broken("command-line: line 0: Bad configuration option: nonsense".to_owned()),
        );
    }
}
