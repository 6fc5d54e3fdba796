//! Requests to Proxmox VE's REST API (<https://pve.proxmox.com/pve-docs/api-viewer/>).
//!
//! What only looks is asked again when the answer does not come. What changes something is sent again only where no
//! connection had come about, so that nothing was asked for yet; all else is for the caller, who knows how to look.

use super::{
    error::ProxmoxError,
    form::{Form, encode},
    tls::{self, Shown},
    wire::{self, Answer},
};
use futures::{Stream, stream};
use hyper::ext::ReasonPhrase;
use ostler_core::{
    secret::Secret,
    spec::{ProxmoxEndpoint, ProxmoxTrust},
};
use reqwest::{
    Method, RequestBuilder, Response,
    header::{self, HeaderValue},
};
use serde::de::DeserializeOwned;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::io::AsyncReadExt;

/// How long a request bears with a node.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For an answer.
    pub answer: Duration,
    /// Attempts of what may be asked again.
    pub attempts: u32,
    /// Pause after the first attempt; it doubles.
    pub pause: Duration,
    /// Pause between two looks at a task or a guest.
    pub poll: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(60),
            attempts: 4,
            pause: Duration::from_secs(1),
            poll: Duration::from_secs(1),
        }
    }
}

/// A client of one endpoint.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    endpoint: ProxmoxEndpoint,
    authorization: HeaderValue,
    token_id: String,
    shown: Shown,
    /// Its patience.
    pub patience: Patience,
}

/// What a request carries.
#[derive(Clone)]
enum Content {
    None,
    Form(String),
    Upload(Upload),
}

/// A file for a storage of a node.
#[derive(Clone, Debug)]
pub struct Upload {
    /// `iso` or `import`.
    pub content: &'static str,
    /// Its name there.
    pub filename: String,
    /// What it holds.
    pub source: UploadSource,
    /// Checksum that the node compares: algorithm and hexadecimal digits.
    pub checksum: Option<(&'static str, String)>,
}

/// Where the bytes of an upload come from.
#[derive(Clone, Debug)]
pub enum UploadSource {
    /// Memory.
    Bytes(Vec<u8>),
    /// A file; how much of it was sent can be read meanwhile.
    File {
        path: PathBuf,
        /// Its length.
        length: u64,
        /// Bytes that were sent.
        sent: Arc<AtomicU64>,
    },
}

impl UploadSource {
    /// A file here.
    pub fn file(path: &Path) -> Result<Self, ProxmoxError> {
        let length = std::fs::metadata(path)
            .map_err(|source| ProxmoxError::File { path: path.display().to_string(), source })?
            .len();
        Ok(Self::File { path: path.to_owned(), length, sent: Arc::default() })
    }

    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }
}

impl Client {
    /// For an endpoint, with the value of its token.
    pub fn new(endpoint: &ProxmoxEndpoint, token: &Secret, patience: Patience) -> Result<Self, ProxmoxError> {
        let bad = || ProxmoxError::BadToken(endpoint.name.clone());
        let (token_id, value) = token.expose().trim().split_once('=').ok_or_else(bad)?;
        let right = token_id.split_once('!').is_some_and(|(user, id)| user.contains('@') && !id.is_empty());
        if !right || value.is_empty() {
            return Err(bad());
        }
        let mut authorization = HeaderValue::from_str(&format!("PVEAPIToken={token_id}={value}")).map_err(|_| bad())?;
        authorization.set_sensitive(true);
        let shown = Shown::default();
        let http = reqwest::Client::builder()
            .user_agent(concat!("ostler/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls::config(&endpoint.trust, &shown)?)
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(patience.connect)
            .build()
            .map_err(ProxmoxError::Client)?;
        let token_id = token_id.to_owned();
        Ok(Self { http, endpoint: endpoint.clone(), authorization, token_id, shown, patience })
    }

    /// `USER@REALM!TOKENID`: who tasks of ours belong to.
    pub fn token_id(&self) -> &str {
        &self.token_id
    }

    /// The provider's name.
    pub fn name(&self) -> &str {
        &self.endpoint.name
    }

    /// `GET`, whose answer must not be null.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &Form) -> Result<T, ProxmoxError> {
        self.call(Method::GET, path, query).await
    }

    /// `POST`, whose answer must not be null.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, form: &Form) -> Result<T, ProxmoxError> {
        self.call(Method::POST, path, form).await
    }

    /// `PUT`, whatever it answers.
    pub async fn put(&self, path: &str, form: &Form) -> Result<Option<serde_json::Value>, ProxmoxError> {
        self.request(Method::PUT, path, form).await.map(|(answer, _)| answer)
    }

    /// `DELETE`, whatever it answers.
    pub async fn delete(&self, path: &str, query: &Form) -> Result<Option<serde_json::Value>, ProxmoxError> {
        self.request(Method::DELETE, path, query).await.map(|(answer, _)| answer)
    }

    /// Uploads a file; the answer is the id of a task.
    pub async fn upload(&self, node: &str, storage: &str, upload: Upload) -> Result<String, ProxmoxError> {
        let path = format!("/nodes/{}/storage/{}/upload", encode(node), encode(storage));
        // A line of 1 MiB/s is the slowest that is borne with.
        let limit = self.patience.answer + Duration::from_secs(upload.source.length() >> 20);
        let (answer, what) = self.attempts(Method::POST, &path, Content::Upload(upload), limit).await?;
        answer.ok_or_else(|| garbled(&what))
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, form: &Form) -> Result<T, ProxmoxError> {
        let (answer, what) = self.request(method, path, form).await?;
        answer.ok_or_else(|| garbled(&what))
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        form: &Form,
    ) -> Result<(Option<T>, String), ProxmoxError> {
        let in_body = method == Method::POST || method == Method::PUT;
        if in_body || form.is_empty() {
            let content = if in_body { Content::Form(form.encoded()) } else { Content::None };
            return self.attempts(method, path, content, self.patience.answer).await;
        }
        self.attempts(method, &format!("{path}?{}", form.encoded()), Content::None, self.patience.answer).await
    }

    async fn attempts<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content: Content,
        limit: Duration,
    ) -> Result<(Option<T>, String), ProxmoxError> {
        let what = format!("{method} {}", path.split('?').next().unwrap_or(path));
        let mut attempt = 1;
        loop {
            let error = match self.attempt(&method, path, &what, content.clone(), limit).await {
                Ok(answer) => return Ok((answer, what)),
                Err(error) => error,
            };
            let again = match &error {
                ProxmoxError::Unreachable { .. } => true,
                error => method == Method::GET && error.is_transient(),
            };
            if !again || attempt >= self.patience.attempts {
                return Err(error);
            }
            tokio::time::sleep(self.patience.pause * (1 << (attempt - 1).min(8))).await;
            attempt += 1;
        }
    }

    async fn attempt<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        what: &str,
        content: Content,
        limit: Duration,
    ) -> Result<Option<T>, ProxmoxError> {
        let url = format!("{}/api2/json{path}", self.endpoint.url);
        let request = self.http.request(method.clone(), url).timeout(limit);
        let request = with_content(request.header(header::AUTHORIZATION, self.authorization.clone()), content);
        let response = request.send().await.map_err(|source| self.failed(what, source))?;
        let status = response.status().as_u16();
        let reason = reason(&response);
        let body = response.bytes().await.map_err(|source| self.failed(what, source))?;
        if (200..300).contains(&status) {
            let answer = wire::read(&body).map_err(|source| ProxmoxError::Garbled { what: what.to_owned(), source })?;
            return Ok(answer.data);
        }
        // What is no JSON, such as a proxy's page, leaves the status line.
        let answer: Option<Answer<serde_json::Value>> = wire::read(&body).ok();
        let message = refusal(reason, answer);
        Err(match status {
            401 => ProxmoxError::Unauthorized { name: self.endpoint.name.clone(), message },
            _ => ProxmoxError::Refused { what: what.to_owned(), status, message },
        })
    }

    fn failed(&self, what: &str, source: reqwest::Error) -> ProxmoxError {
        let source = source.without_url();
        let url = self.endpoint.url.clone();
        if !source.is_connect() {
            return ProxmoxError::NoAnswer { what: what.to_owned(), source };
        }
        match &self.endpoint.trust {
            ProxmoxTrust::Fingerprint(pinned) => match self.shown.get() {
                Some(found) if found != *pinned => {
                    ProxmoxError::WrongCertificate { url, pinned: pinned.clone(), found }
                }
                _ => ProxmoxError::Unreachable { url, source },
            },
            ProxmoxTrust::Authority(_) if is_about_trust(&source) => ProxmoxError::UntrustedCertificate { url, source },
            ProxmoxTrust::Authority(_) => ProxmoxError::Unreachable { url, source },
        }
    }
}

fn garbled(what: &str) -> ProxmoxError {
    let source = serde::de::Error::custom("`data` is null");
    ProxmoxError::Garbled { what: what.to_owned(), source }
}

/// Whether the chain of causes has TLS's verdict on a certificate.
fn is_about_trust(error: &reqwest::Error) -> bool {
    fn is_verdict(cause: &(dyn std::error::Error + 'static)) -> bool {
        // `source` of an `io::Error` goes past what it holds.
        let held = cause.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        matches!(cause.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
            || held.is_some_and(|held| is_verdict(held))
            || cause.source().is_some_and(is_verdict)
    }
    is_verdict(error)
}

/// The text of the status line, which PVE uses for its messages.
fn reason(response: &Response) -> String {
    let said = response.extensions().get::<ReasonPhrase>();
    let said = said.map(|phrase| String::from_utf8_lossy(phrase.as_bytes()).into_owned());
    said.unwrap_or_else(|| response.status().canonical_reason().unwrap_or_default().to_owned())
}

/// The parameters at fault, or else PVE's message: in the body since 8.3, in the status line always.
fn refusal(reason: String, answer: Option<Answer<serde_json::Value>>) -> String {
    let Some(answer) = answer else { return reason };
    if answer.errors.is_empty() {
        let message = answer.message.map(|message| message.trim().to_owned());
        return message.filter(|message| !message.is_empty()).unwrap_or(reason);
    }
    let plain =
        |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), |text| text.trim().to_owned());
    let all: Vec<String> = answer.errors.iter().map(|(key, value)| format!("{key}: {}", plain(value))).collect();
    all.join("; ")
}

const FORM: &str = "application/x-www-form-urlencoded";
/// Nothing in a seed or an image may hold it.
const BOUNDARY: &str = "----ostler-8c1f6f3be5a94e0c9d1b2a7743f0d6c2";

fn with_content(request: RequestBuilder, content: Content) -> RequestBuilder {
    match content {
        Content::None => request,
        Content::Form(form) => request.header(header::CONTENT_TYPE, FORM).body(form),
        Content::Upload(upload) => {
            let (head, tail) = (upload_head(&upload), format!("\r\n--{BOUNDARY}--\r\n"));
            let length = head.len() as u64 + upload.source.length() + tail.len() as u64;
            let request = request
                .header(header::CONTENT_TYPE, format!("multipart/form-data; boundary={BOUNDARY}"))
                .header(header::CONTENT_LENGTH, length);
            match upload.source {
                UploadSource::Bytes(bytes) => request.body([head.into_bytes(), bytes, tail.into_bytes()].concat()),
                UploadSource::File { path, sent, .. } => {
                    request.body(reqwest::Body::wrap_stream(file_stream(head, path, sent, tail)))
                }
            }
        }
    }
}

/// pveproxy reads the fields before the file only, and the file must be called `filename`.
fn upload_head(upload: &Upload) -> String {
    let mut fields = vec![("content", upload.content)];
    if let Some((algorithm, digits)) = &upload.checksum {
        fields.extend([("checksum-algorithm", *algorithm), ("checksum", digits.as_str())]);
    }
    let fields: String = fields
        .iter()
        .map(|(name, value)| {
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        })
        .collect();
    format!(
        "{fields}--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"{}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n",
        upload.filename
    )
}

/// Bytes of a file that are in memory at a time.
const CHUNK: usize = 256 << 10;

fn file_stream(
    head: String,
    path: PathBuf,
    sent: Arc<AtomicU64>,
    tail: String,
) -> impl Stream<Item = io::Result<Vec<u8>>> + Send + 'static {
    use futures::StreamExt;
    sent.store(0, Ordering::Relaxed);
    let file = stream::try_unfold((None, path), move |(file, path)| {
        let sent = Arc::clone(&sent);
        async move {
            let mut file = match file {
                Some(file) => file,
                None => tokio::fs::File::open(&path).await?,
            };
            let mut chunk = vec![0; CHUNK];
            let read = file.read(&mut chunk).await?;
            if read == 0 {
                return Ok(None);
            }
            chunk.truncate(read);
            sent.fetch_add(read as u64, Ordering::Relaxed);
            Ok(Some((chunk, (Some(file), path))))
        }
    });
    stream::once(async move { Ok(head.into_bytes()) })
        .chain(file)
        .chain(stream::once(async move { Ok(tail.into_bytes()) }))
}
