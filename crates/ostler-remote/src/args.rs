//! The argv of every ssh that Ostler starts: pure builders, tested by exact output.
//!
//! ssh takes the first value that it sees for an option, so what stands here wins over what Ansible or mitogen append.

use crate::RemoteError;
use ostler_core::{
    ids::ServerName,
    ports::{Credential, Through, Transport},
    secret::Secret,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// A connection over which nothing comes for this long is asked for a sign of life, as often as [`ALIVE_COUNT`] says: one that is
/// cut, with nobody told, is given up after 30 to 40 s. A server that is only busy answers sooner, for sshd does little else.
const ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const ALIVE_COUNT: u32 = 3;

/// Options that every client shares: whom to trust, which key, nothing from the user's or the system's configuration.
///
/// `IdentitiesOnly` stays off, because with it ssh ignores keys that only the agent has (ssh_config(5)); our agent has one.
pub(crate) fn trust(server: &ServerName, known_hosts: &Path, agent: &Path) -> Result<Vec<String>, RemoteError> {
    let mut args = vec!["-F".to_owned(), "none".to_owned()];
    let options = [
        "BatchMode=yes".to_owned(),
        format!("HostKeyAlias={server}"),
        format!("UserKnownHostsFile={}", option_path(known_hosts)?),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "CheckHostIP=no".to_owned(),
        "UpdateHostKeys=no".to_owned(),
        "VerifyHostKeyDNS=no".to_owned(),
        "PreferredAuthentications=publickey".to_owned(),
        "PasswordAuthentication=no".to_owned(),
        "KbdInteractiveAuthentication=no".to_owned(),
        "IdentitiesOnly=no".to_owned(),
        "IdentityFile=none".to_owned(),
        format!("IdentityAgent={}", option_path(agent)?),
        "ForwardAgent=no".to_owned(),
        "ConnectTimeout=30".to_owned(),
        format!("ServerAliveInterval={}", ALIVE_INTERVAL.as_secs()),
        format!("ServerAliveCountMax={ALIVE_COUNT}"),
    ];
    for option in options {
        args.extend(["-o".to_owned(), option]);
    }
    Ok(args)
}

/// Options that say what the master proves itself with, where that is not our own agent's key. They stand before those of
/// [`trust`], and win.
///
/// `first`: files of public keys that the agent tries before its others.
pub(crate) fn proof(credential: &Credential, first: &[PathBuf]) -> Result<Vec<String>, RemoteError> {
    let options = match credential {
        Credential::Key(_) => Vec::new(),
        Credential::KeyFile { path, agent } => {
            let agent = agent.as_deref().map_or(Ok("none".to_owned()), option_path)?;
            vec![
                format!("IdentityFile={}", option_path(path)?),
                "IdentitiesOnly=yes".into(),
                format!("IdentityAgent={agent}"),
            ]
        }
        // What is named as a file is offered first.
        Credential::Agent { socket, .. } => {
            let mut options = vec![format!("IdentityAgent={}", option_path(socket)?)];
            for path in first {
                options.push(format!("IdentityFile={}", option_path(path)?));
            }
            options
        }
        Credential::Password(_) => [
            "BatchMode=no",
            "PreferredAuthentications=password,keyboard-interactive",
            "PubkeyAuthentication=no",
            "PasswordAuthentication=yes",
            "KbdInteractiveAuthentication=yes",
            "NumberOfPasswordPrompts=1",
        ]
        .map(str::to_owned)
        .to_vec(),
    };
    Ok(options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect())
}

/// The program that takes a tunnel, by `PATH`.
pub(crate) const TUNNEL_CLIENT: &str = "cloudflared";

/// Options that have a connection come through a tunnel, and the environment that the client of it takes its service token from, so that
/// it stands in no argument. They stand before those of [`trust`].
pub(crate) fn through(through: Option<&Through>) -> (Vec<String>, Vec<(&'static str, Secret)>) {
    let Some(Through { hostname, client_id, client_secret }) = through else { return (Vec::new(), Vec::new()) };
    let options = vec!["-o".to_owned(), format!("ProxyCommand={TUNNEL_CLIENT} access ssh --hostname {hostname}")];
    let environment = vec![
        ("TUNNEL_SERVICE_TOKEN_ID", Secret::new(client_id.clone())),
        ("TUNNEL_SERVICE_TOKEN_SECRET", client_secret.clone()),
    ];
    (options, environment)
}

/// Options of clients that ride on a master whose connection comes through a tunnel: they have no token, and where the master is gone
/// they fail at once.
pub(crate) fn never_alone(through: Option<&Through>) -> Vec<String> {
    through.map_or(Vec::new(), |_| vec!["-o".to_owned(), "ProxyCommand=false".to_owned()])
}

/// Options that make a client ride on the master, or connect by itself if there is none.
pub(crate) fn ride(control: &Path) -> Result<Vec<String>, RemoteError> {
    Ok(["-o", "ControlMaster=no", "-o", &format!("ControlPath={}", option_path(control)?)].map(str::to_owned).to_vec())
}

/// What the master prints on its standard output once it is logged in and its control socket listens.
pub(crate) const READY: &str = "ostler-session-ready";

/// The master: no command, in the foreground, reports by `LocalCommand`, which ssh runs right after it began to listen on
/// the control socket. Level DEBUG1 is the one at which ssh tells the offered host key's fingerprint in every case.
pub(crate) fn master(trust: &[String], control: &Path, login: (&str, &str, u16)) -> Result<Vec<String>, RemoteError> {
    let mut args = vec!["ssh".to_owned()];
    args.extend_from_slice(trust);
    let control = format!("ControlPath={}", option_path(control)?);
    let ready = format!("LocalCommand=echo {READY}");
    for option in
        ["ControlMaster=yes", "ControlPersist=no", &control, "PermitLocalCommand=yes", &ready, "LogLevel=DEBUG1"]
    {
        args.extend(["-o".to_owned(), option.to_owned()]);
    }
    args.extend(["-N".to_owned(), "-T".to_owned()]);
    args.extend(destination(login));
    Ok(args)
}

/// Asks for the method `none` and no other; where that lets us in, nothing is done there. Level DEBUG1 tells what is offered.
pub(crate) fn question(trust: &[String], login: (&str, &str, u16)) -> Vec<String> {
    let mut args = vec!["ssh".to_owned()];
    for option in ["PreferredAuthentications=none", "PubkeyAuthentication=no", "LogLevel=DEBUG1"] {
        args.extend(["-o".to_owned(), option.to_owned()]);
    }
    args.extend_from_slice(trust);
    args.push("-T".to_owned());
    args.extend(destination(login));
    args.push("exit".to_owned());
    args
}

/// Asks the master behind `control` to end. The host's name is not used, but ssh wants one.
pub(crate) fn end_master(control: &Path) -> Result<Vec<String>, RemoteError> {
    let control = format!("ControlPath={}", option_path(control)?);
    Ok(["ssh", "-F", "none", "-o", &control, "-O", "exit", "--", "ostler"].map(str::to_owned).to_vec())
}

/// A command without a terminal.
pub(crate) fn command(ssh_args: &[String], login: (&str, &str, u16), remote_command: &str) -> Vec<String> {
    // Where the master is gone, the command connects by itself; a server that fell silent must not hold up the next step for long.
    let mut args: Vec<String> = ["ssh", "-o", "ConnectTimeout=10"].map(str::to_owned).to_vec();
    args.extend_from_slice(ssh_args);
    args.extend(["-o", "LogLevel=ERROR", "-T"].map(str::to_owned));
    args.extend(destination(login));
    args.push(remote_command.to_owned());
    args
}

/// The argv with which a person logs in over a session's connection; it inherits the terminal.
///
/// `command` is what they typed after `--`; like `ssh` itself, the words are joined by spaces and the remote shell splits
/// them again. With `tty` the server gives the command a terminal. Nothing in it is secret; the [`Transport`]'s session
/// must live until the program has ended.
pub fn interactive_argv(transport: &Transport, tty: bool, command: &[String]) -> Vec<String> {
    let address = transport.address;
    let mut args = vec!["ssh".to_owned()];
    args.extend_from_slice(&transport.ssh_args);
    args.extend(["-o".to_owned(), "LogLevel=ERROR".to_owned()]);
    args.push(if tty { "-t" } else { "-T" }.to_owned());
    args.extend(destination((&transport.user, &address.ip().to_string(), address.port())));
    args.extend_from_slice(command);
    args
}

fn destination((user, host, port): (&str, &str, u16)) -> Vec<String> {
    vec!["-l".into(), user.into(), "-p".into(), port.to_string(), "--".into(), host.into()]
}

/// A path as the value of an option: ssh splits at spaces, unquotes, and expands `%` and `${}` (ssh_config(5), TOKENS and
/// ENVIRONMENT VARIABLES). A dollar sign can't be escaped there.
pub(crate) fn option_path(path: &Path) -> Result<String, RemoteError> {
    let unusable = || RemoteError::UnusablePath { path: path.to_owned() };
    let text = path.to_str().filter(|text| path.is_absolute() && !text.contains(['$', '"', '\\', '\n', '\r']));
    let text = text.ok_or_else(unusable)?.replace('%', "%%");
    Ok(if text.contains([' ', '\t', '#', '\'']) { format!("\"{text}\"") } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_as_ssh_reads_them() {
        assert_eq!(option_path(Path::new("/a/b")).unwrap(), "/a/b");
        assert_eq!(option_path(Path::new("/a b/100%")).unwrap(), "\"/a b/100%%\"");
        for bad in ["/a/${HOME}", "relative", "/a\"b", "/a\nb"] {
            assert!(option_path(Path::new(bad)).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_clients_argv_pins_trust_first_and_ends_with_the_command() {
        let name = ServerName::parse("web-1").unwrap();
        let mut args = trust(&name, Path::new("/state/known_hosts"), Path::new("/run/a")).unwrap();
        args.extend(ride(Path::new("/run/c")).unwrap());
        assert_eq!(
            command(&args, ("root", "10.0.0.2", 22), "true").join(" "),
            "ssh -o ConnectTimeout=10 -F none -o BatchMode=yes -o HostKeyAlias=web-1 -o UserKnownHostsFile=/state/known_hosts \
             -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o CheckHostIP=no -o UpdateHostKeys=no \
             -o VerifyHostKeyDNS=no -o PreferredAuthentications=publickey -o PasswordAuthentication=no \
             -o KbdInteractiveAuthentication=no -o IdentitiesOnly=no -o IdentityFile=none -o IdentityAgent=/run/a \
             -o ForwardAgent=no -o ConnectTimeout=30 -o ServerAliveInterval=10 -o ServerAliveCountMax=3 \
             -o ControlMaster=no -o ControlPath=/run/c -o LogLevel=ERROR -T -l root -p 22 -- 10.0.0.2 true"
        );
    }

    #[test]
    fn a_tunnels_token_is_in_the_environment_and_in_no_argument() {
        let way = Through {
            hostname: "ssh.example.com".into(),
            client_id: "id.access".into(),
            client_secret: Secret::new("hush"),
        };
        let (options, environment) = through(Some(&way));
        assert_eq!(options, ["-o", "ProxyCommand=cloudflared access ssh --hostname ssh.example.com"]);
        let shown: Vec<_> = environment.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect();
        assert_eq!(shown, ["TUNNEL_SERVICE_TOKEN_ID=id.access", "TUNNEL_SERVICE_TOKEN_SECRET=hush"]);
        assert_eq!(never_alone(Some(&way)), ["-o", "ProxyCommand=false"]);
        assert!(through(None).0.is_empty() && never_alone(None).is_empty());
    }

    #[test]
    fn an_interactive_login_joins_words_as_ssh_does() {
        let transport = Transport {
            address: "[::1]:2222".parse().unwrap(),
            user: "root".to_owned(),
            ssh_args: vec!["-F".to_owned(), "none".to_owned()],
            agent_socket: "/run/a".into(),
        };
        let words = ["ls", "-l", "/a b"].map(str::to_owned);
        assert_eq!(
            interactive_argv(&transport, true, &words).join(" "),
            "ssh -F none -o LogLevel=ERROR -t -l root -p 2222 -- ::1 ls -l /a b"
        );
        assert!(interactive_argv(&transport, false, &[]).contains(&"-T".to_owned()));
    }
}
