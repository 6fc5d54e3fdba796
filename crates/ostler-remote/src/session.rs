//! A login that stays open.

use crate::{RemoteError, agent::Agent, args, launch::Launcher, master::Master, runtime_dir::SessionDir};
use async_trait::async_trait;
use ostler_core::{
    Result,
    ports::{Login, Output, Session, Transport},
};
use std::{io, net::SocketAddr, process::Stdio};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

/// What a command may write to standard output, and to standard error, in bytes.
const MOST_OUTPUT: usize = 16 * 1024 * 1024;

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
        let mut child = command.spawn().map_err(|source| Launcher::failed(&argv, source))?;

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
        let status = child.wait().await.map_err(pipe)?;
        Ok(Output { status: status.code().unwrap_or(255), stdout, stderr })
    }

    async fn collect(&self, from: Option<impl AsyncRead + Unpin>) -> Result<String, RemoteError> {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            let read = from.take(MOST_OUTPUT as u64 + 1).read_to_end(&mut bytes).await;
            read.map_err(|source| RemoteError::Pipe { server: self.server.clone(), source })?;
        }
        if bytes.len() > MOST_OUTPUT {
            return Err(RemoteError::TooMuchOutput { server: self.server.clone(), limit: MOST_OUTPUT });
        }
        Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }
}

/// The remote command that reads a script from the beginning of its input, and runs it with the rest as *its* input.
///
/// So neither this machine's process list nor the server's shows the script, which may hold a secret. `head` takes exactly
/// as many bytes as it is told (GNU coreutils reads no further); the account's login shell may be any that knows `exec`.
fn reader_of(script: &str) -> String {
    format!(r#"exec sh -c 'script=$(head -c {}) && eval "$script"'"#, script.len())
}

#[async_trait]
impl Session for SshSession {
    async fn run(&self, script: &str, stdin: &[u8]) -> Result<Output> {
        Ok(self.pipe(script, stdin).await?)
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
