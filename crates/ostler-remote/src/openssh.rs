//! The adapter itself.

use crate::{
    RemoteError,
    agent::Agent,
    args,
    askpass::Askpass,
    banner,
    error::one_line,
    host_keys, keys, known_hosts,
    launch::Launcher,
    master::Master,
    offered,
    runtime_dir::{self, Leftover, SessionDir},
    session::SshSession,
};
use async_trait::async_trait;
use ostler_core::{
    Result,
    ids::ServerName,
    model::KeyPair,
    ports::{ConnectError, Credential, HostKey, Login, PortState, Remote, Session},
    secret::Secret,
};
use ssh_agent_lib::{agent::Session as _, client::Client};
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    net::{TcpStream, UnixStream},
    process::Command,
    sync::OnceCell,
    time::timeout,
};

/// How long the user's agent may take to list its keys.
const AGENT_ANSWERS: Duration = Duration::from_secs(5);

/// SSH through the system's `ssh`, version 9.2 or later.
///
/// Open sessions on a thread that lives as long as they do, such as that of a current-thread runtime: the kernel ends their
/// processes when the thread that started them ends. That runtime must not be blocked while another client logs in with a
/// session's [`transport`](Session::transport), for it also runs the agent that signs.
#[derive(Debug)]
pub struct OpenSsh {
    state_dir: PathBuf,
    xdg_runtime_dir: Option<PathBuf>,
    launcher: OnceCell<Launcher>,
}

impl OpenSsh {
    /// `state_dir`, absolute, gets `servers/NAME/known_hosts`. Sockets go to `xdg_runtime_dir` (`$XDG_RUNTIME_DIR`) if that
    /// is private and short enough, otherwise to `/tmp/ostler-UID`. Touches nothing.
    pub fn new(state_dir: impl Into<PathBuf>, xdg_runtime_dir: Option<PathBuf>) -> Self {
        Self { state_dir: state_dir.into(), xdg_runtime_dir, launcher: OnceCell::new() }
    }

    async fn open(&self, login: &Login) -> Result<SshSession, ConnectError> {
        let first = match &login.credential {
            Credential::Agent { socket, first } => held(socket, first).await,
            _ => Vec::new(),
        };
        can_take(login)?;
        let prepared = self.prepare(login, &first).map_err(|error| ConnectError::Broken(one_line(&error)))?;
        let Prepared { agent, dir, leftovers, ssh_args, master_argv, askpass, expected, environment, .. } = prepared;
        let launcher = *self.launcher.get_or_init(Launcher::detect).await;
        clear(launcher, leftovers).await;
        let master = Master::start(launcher, &master_argv, (askpass.as_ref(), &environment), &expected).await?;
        Ok(SshSession::new(login, ssh_args, launcher, (master, agent, dir)))
    }

    async fn offered(&self, login: &Login) -> Result<Vec<String>, ConnectError> {
        can_take(login)?;
        let prepared = self.prepare(login, &[]).map_err(|error| ConnectError::Broken(one_line(&error)))?;
        let launcher = *self.launcher.get_or_init(Launcher::detect).await;
        let host = login.address.ip().to_string();
        let login = (login.user.as_str(), host.as_str(), login.address.port());
        let way = (prepared.connecting.as_slice(), prepared.environment.as_slice());
        offered::ask(launcher, way, login, &prepared.expected).await
    }

    /// `first`: public keys that are tried before others.
    fn prepare(&self, login: &Login, first: &[String]) -> Result<Prepared, RemoteError> {
        let expected = login.host_keys.iter().map(|key| keys::fingerprint(key)).collect::<Result<_, _>>()?;
        let known_hosts = known_hosts::write(&self.state_dir, &login.server, &login.host_keys)?;
        let base = runtime_dir::base(self.xdg_runtime_dir.as_deref(), rustix::process::geteuid().as_raw());
        let (dir, leftovers) = runtime_dir::open(&base)?;

        let agent_socket = dir.agent_socket();
        let trust = args::trust(&login.server, &known_hosts, &agent_socket)?;
        let host = login.address.ip().to_string();
        let control = dir.control_socket();
        let failed = |source| RemoteError::File { path: dir.path().to_owned(), source };
        let first = dir.write_keys(first).map_err(failed)?;
        let proof = args::proof(&login.credential, &first)?;
        let (through, environment) = args::through(login.through.as_ref());
        let connecting = [through, trust.clone()].concat();
        let master_argv =
            args::master(&[proof, connecting.clone()].concat(), &control, (&login.user, &host, login.address.port()))?;
        let never_alone = args::never_alone(login.through.as_ref());
        let ssh_args = [never_alone, trust, args::ride(&control)?].concat();
        let (mut agent, mut askpass) = (None, None);
        match &login.credential {
            Credential::Key(key) => {
                let key = keys::parse_private(login.server.as_str(), key)?;
                agent = Some(Agent::start(key, &agent_socket).map_err(failed)?);
            }
            Credential::Password(password) => askpass = Some(Askpass::prepare(dir.path(), password).map_err(failed)?),
            Credential::KeyFile { .. } | Credential::Agent { .. } => {}
        }
        Ok(Prepared { agent, dir, leftovers, connecting, ssh_args, master_argv, askpass, expected, environment })
    }
}

/// Those of the public keys `wanted` that the agent at `socket` holds. One that can't be asked has its own way.
async fn held(socket: &Path, wanted: &[String]) -> Vec<String> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let Ok(stream) = UnixStream::connect(socket).await else { return Vec::new() };
    let listed = timeout(AGENT_ANSWERS, Client::new(stream).request_identities()).await;
    let Ok(Ok(listed)) = listed else { return Vec::new() };
    let is_held = |line: &&String| {
        keys::in_authorized_line(line)
            .is_some_and(|key| listed.iter().any(|it| it.credential.key_data() == key.key_data()))
    };
    let held = wanted.iter().filter(is_held).filter_map(|line| keys::in_authorized_line(line)?.to_openssh().ok());
    held.collect()
}

/// Everything that a login needs before ssh is started. Dropping it removes it.
struct Prepared {
    agent: Option<Agent>,
    dir: SessionDir,
    leftovers: Vec<Leftover>,
    /// Options of a client that connects by itself.
    connecting: Vec<String>,
    ssh_args: Vec<String>,
    master_argv: Vec<String>,
    askpass: Option<Askpass>,
    expected: Vec<String>,
    environment: Vec<(&'static str, Secret)>,
}

/// Without the program that takes a tunnel, no try would be better than the first.
fn can_take(login: &Login) -> Result<(), ConnectError> {
    let in_path = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(args::TUNNEL_CLIENT).is_file())
    };
    match login.through.is_none() || in_path() {
        true => Ok(()),
        false => Err(ConnectError::Broken(format!(
            "`{}` is not in PATH, and the way to {} leads through a tunnel: install it from https://pkg.cloudflare.com",
            args::TUNNEL_CLIENT,
            login.server
        ))),
    }
}

/// Ends masters whose Ostler died, where the kernel did not, and removes their sockets.
async fn clear(launcher: Launcher, leftovers: Vec<Leftover>) {
    for leftover in leftovers {
        if leftover.control_socket().exists()
            && let Ok(argv) = args::end_master(&leftover.control_socket())
        {
            let _ = timeout(Duration::from_secs(2), launcher.output(&argv)).await;
        }
        leftover.clear();
    }
}

#[async_trait]
impl Remote for OpenSsh {
    fn generate_key(&self) -> Result<KeyPair> {
        Ok(keys::generate()?)
    }

    async fn forget(&self, server: &ServerName) -> Result<()> {
        Ok(known_hosts::remove(&self.state_dir, server)?)
    }

    async fn banner(&self, address: SocketAddr, timeout: Duration) -> bool {
        banner::wait(address, timeout).await
    }

    async fn try_port(&self, address: SocketAddr, limit: Duration) -> PortState {
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(_)) => PortState::Open,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => PortState::Closed,
            Ok(Err(_)) | Err(_) => PortState::Filtered,
        }
    }

    async fn host_keys(
        &self,
        address: SocketAddr,
        wanted: Option<&str>,
        timeout: Duration,
    ) -> Result<Vec<HostKey>, ConnectError> {
        let launcher = *self.launcher.get_or_init(Launcher::detect).await;
        host_keys::ask(launcher, address, wanted, timeout).await
    }

    async fn offered_methods(&self, login: &Login, limit: Duration) -> Result<Vec<String>, ConnectError> {
        match timeout(limit, self.offered(login)).await {
            Ok(offered) => offered,
            Err(_) => Err(ConnectError::NoAnswer(format!("no answer at {} within {limit:?}", login.address))),
        }
    }

    async fn tunnel_client(&self) -> Result<String> {
        let program = args::TUNNEL_CLIENT;
        let failed = |source| RemoteError::TunnelClient { program, source };
        let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().await.map_err(failed)?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()),
            false => Err(failed(io::Error::other(format!("`{program} --version`: {}", output.status))).into()),
        }
    }

    async fn connect(&self, login: &Login, limit: Duration) -> Result<Box<dyn Session>, ConnectError> {
        match timeout(limit, self.open(login)).await {
            Ok(opened) => Ok(Box::new(opened?)),
            Err(_) => Err(ConnectError::NoAnswer(format!("no login at {} within {limit:?}", login.address))),
        }
    }
}
