//! Reads why a login failed from what ssh said at level DEBUG1.
//!
//! ssh exits with 255 whatever happened (ssh(1), EXIT STATUS), so its English messages are all there is. The phrases below
//! are in OpenSSH 9.2 to 10.0: `sshconnect.c`, `sshconnect2.c`, `kex.c`, `packet.c`.

use ostler_core::{ports::ConnectError, text};

/// `expected`: fingerprints of the pinned keys.
pub(crate) fn classify(stderr: &str, expected: &[String]) -> ConnectError {
    let said = |phrase: &str| stderr.contains(phrase);
    if said("Host key verification failed.") {
        return ConnectError::HostKey { expected: expected.to_vec(), offered: offered(stderr) };
    }
    // An sshd says so to a source that it has penalised, or has too many unfinished logins of (PerSourcePenalties and
    // MaxStartups in sshd_config(5)), and hangs up; the second one is older than 9.8.
    for refusal in ["Not allowed at this time", "Exceeded MaxStartups"] {
        if said(refusal) {
            return ConnectError::Barred(format!("sshd says `{refusal}`"));
        }
    }
    let words = words(stderr);
    if said("Too many authentication failures") {
        let count = |phrase: &str| stderr.matches(phrase).count();
        let (held, tried) = (count("debug1: Will attempt key: "), count("debug1: Offering public key: "));
        return ConnectError::TooManyKeys { words, held, tried };
    }
    // Where the key exchange was done and sshd hung up, it did not want us: an account that has expired ends so.
    let authenticating = said("debug1: SSH2_MSG_SERVICE_ACCEPT received");
    let hung_up = said("Connection closed by ") || said("Connection reset by ");
    if said("Permission denied (") || authenticating && hung_up {
        return ConnectError::Refused(words);
    }
    // A connection was at least tried, or what failed lies on this side.
    let tried = said("debug1: Connecting to ") || said("debug1: Executing proxy command: ");
    if tried && !said("ControlSocket ") && !said("unix_listener: ") {
        return ConnectError::NoAnswer(words);
    }
    ConnectError::Broken(words)
}

/// `debug1: Server host key: ssh-ed25519 SHA256:...`
fn offered(stderr: &str) -> Option<String> {
    let line = stderr.lines().rev().find_map(|line| line.strip_prefix("debug1: Server host key: "))?;
    line.split_whitespace().find(|word| word.starts_with("SHA256:")).map(str::to_owned)
}

/// How many lines are passed on, and how long each may be, in characters: a server may say what it likes.
const MOST_LINES: usize = 8;
const LONGEST_LINE: usize = 240;

/// The last lines that are meant for people: what the server said, and what ssh says, which comes last.
fn words(stderr: &str) -> String {
    let text = text::plain(stderr);
    let lines = text.lines().filter_map(|line| {
        // Level DEBUG1 only shows what came in place of a banner.
        let line = line.trim();
        let banner = line.strip_prefix("debug1: kex_exchange_identification: banner line ");
        let line = banner.and_then(|rest| rest.split_once(": ")).map_or(line, |(_, said)| said);
        (!line.is_empty() && !is_noise(line)).then_some(line)
    });
    let mut lines: Vec<String> = lines.map(|line| line.chars().take(LONGEST_LINE).collect()).collect();
    // `Disconnected from ADDRESS` comes after `Received disconnect from ADDRESS`, which has the reason.
    if let [.., before, last] = lines.as_slice()
        && before.starts_with("Received disconnect from ")
        && last.starts_with("Disconnected from ")
    {
        lines.pop();
    }
    let Some(last) = lines.pop() else { return "ssh ended without a message".to_owned() };
    lines.drain(..lines.len().saturating_sub(MOST_LINES - 1));
    lines.push(last.trim_start_matches("ssh: ").trim_end_matches('.').to_owned());
    lines.join("\n")
}

fn is_noise(line: &str) -> bool {
    // `@` frames a warning; `**` begins one of the client's own about algorithms.
    ["debug1:", "OpenSSH_", "Authenticated to ", "Transferred: ", "Bytes per second: ", "** ", "@@@"]
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
            ConnectError::NoAnswer(
                "kex_exchange_identification: Connection closed by remote host\nConnection closed by 10.0.0.2 port 22"
                    .to_owned(),
            ),
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
                "{trying}debug1: kex_exchange_identification: banner line 0: \u{1b}[2JGo away\r\nkex_exchange_identification: Connection closed by remote host\r\n"
            ),
            ConnectError::NoAnswer("Go away\nkex_exchange_identification: Connection closed by remote host".to_owned()),
        );
        check(
            &format!(
                "{trying}debug1: Will attempt key: a ED25519 SHA256:a agent\r\ndebug1: Will attempt key: b ED25519 SHA256:b agent\r\ndebug1: Offering public key: a ED25519 SHA256:a agent\r\nReceived disconnect from 10.0.0.2 port 22:2: Too many authentication failures\r\nDisconnected from 10.0.0.2 port 22\r\n"
            ),
            ConnectError::TooManyKeys {
                words: "Received disconnect from 10.0.0.2 port 22:2: Too many authentication failures".to_owned(),
                held: 2,
                tried: 1,
            },
        );
        check(
            &format!("{trying}debug1: SSH2_MSG_SERVICE_ACCEPT received\r\nConnection closed by 10.0.0.2 port 22\r\n"),
            ConnectError::Refused("Connection closed by 10.0.0.2 port 22".to_owned()),
        );
        check(
            &format!(
                "{trying}@@@@@@@@@@@@\r\nPermissions 0644 for '/home/ann/k' are too open.\r\nLoad key \"/home/ann/k\": bad permissions\r\nroot@10.0.0.2: Permission denied (publickey).\r\n"
            ),
            ConnectError::Refused(
                "Permissions 0644 for '/home/ann/k' are too open.\nLoad key \"/home/ann/k\": bad permissions\nroot@10.0.0.2: Permission denied (publickey)"
                    .to_owned(),
            ),
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
