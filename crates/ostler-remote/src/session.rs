//! A login that stays open.

use crate::{RemoteError, agent::Agent, args, launch::Launcher, master::Master, runtime_dir::SessionDir};
use async_trait::async_trait;
use ostler_core::{
    Result,
    ports::{Login, Output, SSH_FAILED, Session, Transport},
    text::one_line,
};
use ostler_process::children;
use std::{io, net::SocketAddr, process::Stdio};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

/// What a command may write to standard output, and to standard error, in bytes.
const MOST_OUTPUT: usize = 16 * 1024 * 1024;

/// Stands before what a script of ours writes.
const MARK: &str = "ostler-begins-here";
/// What is read: the mark and its line feed come before the output.
const MOST_READ: usize = MARK.len() + 1 + MOST_OUTPUT;

/// Fields are dropped in this order: the connection, the key, the sockets.
pub(crate) struct SshSession {
    master: Master,
    agent: Option<Agent>,
    dir: SessionDir,
    launcher: Launcher,
    server: String,
    address: SocketAddr,
    user: String,
    ssh_args: Vec<String>,
}

impl SshSession {
    /// Takes over what a login is made of; `ssh_args` are those of its clients.
    pub(crate) fn new(
        login: &Login,
        ssh_args: Vec<String>,
        launcher: Launcher,
        (master, agent, dir): (Master, Option<Agent>, SessionDir),
    ) -> Self {
        let (server, user) = (login.server.to_string(), login.user.clone());
        Self { master, agent, dir, launcher, server, address: login.address, user, ssh_args }
    }

    async fn pipe(&self, script: &str, stdin: &[u8]) -> Result<Output, RemoteError> {
        let pipe = |source| RemoteError::Pipe { server: self.server.clone(), source };
        let host = self.address.ip().to_string();
        let argv = args::command(&self.ssh_args, (&self.user, &host, self.address.port()), &reader_of(script));
        let mut command = self.launcher.command(&argv);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = children::start(command).map_err(|source| Launcher::failed(&argv, source))?;

        let input = child.stdin.take();
        let feed = async {
            let Some(mut input) = input else { return Ok(()) };
            let fed = async {
                input.write_all(script.as_bytes()).await?;
                input.write_all(stdin).await
            };
            match fed.await {
                // A command need not read its input.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                other => other.map_err(pipe),
            }
        };
        let stdout = self.collect(child.stdout.take());
        let stderr = self.collect(child.stderr.take());
        let ((), stdout, stderr) = tokio::try_join!(feed, stdout, stderr)?;
        let status = child.wait().await.map_err(pipe)?.code().unwrap_or(SSH_FAILED);
        match (after_mark(&stdout), after_mark(&stderr)) {
            (Some(out), err) => {
                Ok(Output { status, stdout: out.to_owned(), stderr: err.unwrap_or(&stderr).to_owned() })
            }
            (None, _) if status == SSH_FAILED => Ok(Output { status, stdout, stderr }),
            (None, _) => Err(RemoteError::AnotherCommand {
                server: self.server.clone(),
                user: self.user.clone(),
                words: words(&[&stdout, &stderr], &[script.as_bytes(), stdin]),
            }),
        }
    }

    async fn collect(&self, from: Option<impl AsyncRead + Unpin>) -> Result<String, RemoteError> {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            let read = from.take(MOST_READ as u64 + 1).read_to_end(&mut bytes).await;
            read.map_err(|source| RemoteError::Pipe { server: self.server.clone(), source })?;
        }
        if bytes.len() > MOST_READ {
            return Err(RemoteError::TooMuchOutput { server: self.server.clone(), limit: MOST_OUTPUT });
        }
        Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }
}

/// The remote command that reads a script from the beginning of its input, and runs it with the rest as *its* input.
///
/// First it says on both of its outputs that it begins: what came before is of the login (a `.bashrc` that greets), and where this does
/// not come, something else was run (a forced command, a shell that allows no login).
///
/// So neither this machine's process list nor the server's shows the script, which may hold a secret. `head` takes exactly
/// as many bytes as it is told (GNU coreutils reads no further); the account's login shell may be any that knows `exec`.
fn reader_of(script: &str) -> String {
    let length = script.len();
    format!(r#"exec sh -c 'echo {MARK}; echo {MARK} >&2; script=$(head -c {length}) && eval "$script"'"#)
}

fn after_mark(output: &str) -> Option<&str> {
    output.split_once(MARK)?.1.strip_prefix('\n')
}

/// What was said instead, on one line. A shell that took our input for its own may have repeated it, and there may be a secret in it.
fn words(outputs: &[&str], inputs: &[&[u8]]) -> String {
    let inputs = inputs.iter().map(|input| String::from_utf8_lossy(input).into_owned()).collect::<Vec<_>>();
    let ours: Vec<&str> =
        inputs.iter().flat_map(|input| input.lines()).map(str::trim).filter(|l| l.len() > 2).collect();
    let lines = outputs.iter().flat_map(|output| output.lines()).map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !ours.iter().any(|our| line.contains(our)));
    let text = one_line(&lines.collect::<Vec<_>>().join(" "));
    if text.is_empty() { "nothing".to_owned() } else { text }
}

#[async_trait]
impl Session for SshSession {
    async fn run(&self, script: &str, stdin: &[u8]) -> Result<Output> {
        Ok(self.pipe(script, stdin).await?)
    }

    fn offered_methods(&self) -> Vec<String> {
        self.master.offered_methods()
    }

    fn transport(&self) -> Transport {
        Transport {
            address: self.address,
            user: self.user.clone(),
            ssh_args: self.ssh_args.clone(),
            agent_socket: self.dir.agent_socket(),
        }
    }

    async fn close(self: Box<Self>) {
        let Self { master, agent, dir, .. } = *self;
        master.end().await;
        drop((agent, dir));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::text::LINE;

    #[test]
    fn what_a_login_prints_is_no_output_of_ours() {
        let said = format!("welcome, ada\n{MARK}\nroot\n");
        assert_eq!(after_mark(&said), Some("root\n"));
        assert_eq!(after_mark("Please login as another\n"), None);
    }

    #[test]
    fn words_of_another_command_are_short_and_never_our_input() {
        let said = ["\u{1b}[1mno way in\r\n\nhunter22: Command not found.\n", "sh: 1: hunter22: not found"];
        assert_eq!(words(&said, &[b"IFS= read -r password", b"hunter22\nset -eu\n"]), "no way in");
        assert_eq!(words(&[""], &[b"true"]), "nothing");
        assert_eq!(words(&[&"x".repeat(5000)], &[]).len(), LINE);
    }
}
