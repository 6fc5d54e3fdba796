//! Git repositories and a server for them on this machine: the real `git http-backend` behind HTTP, which stops in the middle when told to.
//!
//! It needs `git` (Debian: git).

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, Response, StatusCode, Uri},
};
use futures::{StreamExt, stream};
use std::{
    convert::Infallible,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpListener, process::Command, sync::watch, task::JoinHandle};

/// A bare repository with a folder that is committed to it.
#[derive(Debug)]
pub struct GitRepository {
    dir: TempDir,
}

impl Default for GitRepository {
    fn default() -> Self {
        Self::new()
    }
}

impl GitRepository {
    /// An empty one.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("ostler-git-").tempdir().expect("a temporary directory");
        let repository = Self { dir };
        repository.run(repository.root(), &["init", "-q", "--bare", "catalog.git"]);
        repository.run(repository.root(), &["init", "-q", "-b", "stable", "work"]);
        repository.git(&["remote", "add", "origin", "../catalog.git"]);
        repository
    }

    /// The folder with `catalog.git`.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// What is committed.
    pub fn work(&self) -> PathBuf {
        self.root().join("work")
    }

    /// `file://` URL of the bare repository.
    pub fn file_url(&self) -> String {
        format!("file://{}", self.root().join("catalog.git").display())
    }

    /// Writes a file, with the folders above it.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.work().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a written file");
    }

    /// Runs Git in the folder, and returns what it printed.
    pub fn git(&self, arguments: &[&str]) -> String {
        self.run(&self.work(), arguments)
    }

    /// Commits all files. Returns the commit's id.
    pub fn commit(&self) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "a change"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Makes what is checked out the branch's newest commit, whatever it was before.
    pub fn push(&self, branch: &str) {
        self.git(&["push", "-q", "--force", "origin", &format!("HEAD:refs/heads/{branch}")]);
    }

    /// Both, for the branch `stable`.
    pub fn publish(&self) -> String {
        let commit = self.commit();
        self.push("stable");
        commit
    }

    fn run(&self, folder: &Path, arguments: &[&str]) -> String {
        let output = git().args(arguments).current_dir(folder).output().expect("git starts");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

/// Without anybody's configuration.
fn git() -> std::process::Command {
    let mut command = std::process::Command::new("git");
    command.envs([
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_AUTHOR_NAME", "Ann"),
        ("GIT_AUTHOR_EMAIL", "ann@example.org"),
        ("GIT_COMMITTER_NAME", "Ann"),
        ("GIT_COMMITTER_EMAIL", "ann@example.org"),
    ]);
    command
}

/// The running server. Dropping it ends it.
#[derive(Debug)]
pub struct GitSite {
    address: SocketAddr,
    site: Arc<Site>,
    server: JoinHandle<()>,
}

impl GitSite {
    /// Serves the repositories in `root` on a free port of 127.0.0.1, inside the current tokio runtime.
    pub async fn start(root: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let site = Arc::new(Site {
            root: root.to_owned(),
            requests: Mutex::default(),
            stall_after: Mutex::default(),
            only_old_protocol: Mutex::default(),
            stalled: watch::Sender::new(false),
        });
        let app = Router::new().fallback(answer).with_state(Arc::clone(&site));
        let server = tokio::spawn(async move {
            // Only ends with the task.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { address, site, server })
    }

    /// URL of the repository.
    pub fn url(&self) -> String {
        format!("http://{}/catalog.git", self.address)
    }

    /// Paths of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.site.requests).clone()
    }

    /// The next pack ends after this many bytes, and the connection stays.
    pub fn stall_after(&self, bytes: usize) {
        self.site.stalled.send_replace(false);
        *lock(&self.site.stall_after) = Some(bytes);
    }

    /// Comes back when that pack has stalled.
    pub async fn stalled(&self) {
        let _ = self.site.stalled.subscribe().wait_for(|stalled| *stalled).await;
    }

    /// Speaks version 0 of Git's protocol, in which a commit that is no branch's tip can't be asked for.
    pub fn speak_only_the_old_protocol(&self) {
        *lock(&self.site.only_old_protocol) = true;
    }
}

impl Drop for GitSite {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Debug)]
struct Site {
    root: PathBuf,
    requests: Mutex<Vec<String>>,
    stall_after: Mutex<Option<usize>>,
    only_old_protocol: Mutex<bool>,
    stalled: watch::Sender<bool>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(
    State(site): State<Arc<Site>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    lock(&site.requests).push(uri.path().to_owned());
    let (status, type_, answer) = match backend(&site, &method, &uri, &headers, &body).await {
        Ok(answer) => answer,
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain".to_owned(), error.to_string().into()),
    };
    let response = Response::builder().status(status).header("content-type", type_).header("cache-control", "no-cache");
    let is_pack = answer.windows(4).any(|bytes| bytes == b"PACK");
    let stall = if is_pack { lock(&site.stall_after).take() } else { None };
    let body = match stall {
        None => Body::from(answer),
        Some(bytes) => {
            let start = stream::iter([Ok::<_, Infallible>(answer.slice(..bytes.min(answer.len())))]);
            let told = stream::once(async move {
                site.stalled.send_replace(true);
                std::future::pending::<Result<Bytes, Infallible>>().await
            });
            Body::from_stream(start.chain(told))
        }
    };
    response.body(body).expect("headers are valid")
}

/// git-http-backend(1) as a CGI program.
async fn backend(
    site: &Site,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> io::Result<(StatusCode, String, Bytes)> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let protocol = if *lock(&site.only_old_protocol) { String::new() } else { header("git-protocol") };
    let mut child = Command::from(git())
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &site.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", method.as_str())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", protocol)
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let (written, output) = tokio::join!(
        async move {
            stdin.write_all(body).await?;
            drop(stdin);
            io::Result::Ok(())
        },
        child.wait_with_output()
    );
    let _ = written; // it need not read what it refuses
    let output = Bytes::from(output?.stdout);
    let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or_else(|| io::Error::other("no headers"))?;
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let value = |name: &str| head.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
    let status = value("Status:").and_then(|status| status.split(' ').next()?.parse().ok()).unwrap_or(200);
    let status = StatusCode::from_u16(status).map_err(io::Error::other)?;
    Ok((status, value("Content-Type:").unwrap_or_default(), output.slice(end + 4..)))
}
