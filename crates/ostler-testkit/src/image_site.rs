//! A site like <https://cloud.debian.org/images/cloud> on this machine, which fails when told to.
//!
//! It gives files with the `SHA512SUMS` of their folders, understands ranges, and keeps a record of requests, so that a
//! test can say what was fetched, from where on, and how often.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, Response, StatusCode, Uri, header},
};
use futures::{StreamExt, stream};
use sha2::{Digest, Sha512};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// What goes wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends after this many bytes of the body.
    CloseAfter(usize),
    /// Nothing more comes after this many bytes of the body, and the connection stays.
    StallAfter(usize),
    /// The whole file comes, whatever range was asked for.
    IgnoreRange,
    /// This status, with `Retry-After` in seconds if given.
    Status(u16, Option<u64>),
    /// Everything comes, and then the file changes to this, with its right checksum: a new `latest`.
    ThenReplace(Vec<u8>),
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRequest {
    /// Path without a leading slash.
    pub path: String,
    /// First byte asked for, if a range was.
    pub from: Option<usize>,
}

/// The running site. Dropping it ends it.
#[derive(Debug)]
pub struct ImageSite {
    address: SocketAddr,
    site: Shared,
    server: JoinHandle<()>,
}

impl ImageSite {
    /// Starts an empty site on a free port of 127.0.0.1, inside the current tokio runtime.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let site = Shared::default();
        let app = Router::new().fallback(answer).with_state(site.clone());
        let server = tokio::spawn(async move {
            // Only ends with the task.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { address, site, server })
    }

    /// Base URL, without a final slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Offers a file under this path, and its right checksum beside it.
    pub fn publish(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.site.lock().publish(path, bytes.into());
    }

    /// Changes a file, but not the checksum beside it.
    pub fn corrupt(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.site.lock().files.insert(path.to_owned(), Bytes::from(bytes.into()));
    }

    /// Lets the next request for this path go wrong; several faults of a path hit one request each, in order.
    pub fn fail(&self, path: &str, fault: Fault) {
        self.site.lock().faults.entry(path.to_owned()).or_default().push_back(fault);
    }

    /// All requests so far, in order.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.site.lock().requests.clone()
    }

    /// First bytes of the requests for this path: `None` where no range was asked for.
    pub fn requests_for(&self, path: &str) -> Vec<Option<usize>> {
        self.requests().into_iter().filter(|request| request.path == path).map(|request| request.from).collect()
    }
}

impl Drop for ImageSite {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Debug, Default)]
struct SiteState {
    files: BTreeMap<String, Bytes>,
    /// Path to SHA-512 in hexadecimal.
    sums: BTreeMap<String, String>,
    faults: HashMap<String, VecDeque<Fault>>,
    requests: Vec<SeenRequest>,
}

impl SiteState {
    fn publish(&mut self, path: &str, bytes: Vec<u8>) {
        let sum = Sha512::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        self.sums.insert(path.to_owned(), sum);
        self.files.insert(path.to_owned(), bytes.into());
    }

    /// As sha512sum(1) writes it.
    fn sum_list(&self, folder: &str) -> Option<Bytes> {
        let lines: String = self
            .sums
            .iter()
            .filter_map(|(path, sum)| Some(format!("{sum}  {}\n", path.strip_prefix(folder)?.strip_prefix('/')?)))
            .collect();
        (!lines.is_empty()).then(|| lines.into())
    }
}

#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<SiteState>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, SiteState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State(shared): State<Shared>, _: Method, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let path = uri.path().trim_start_matches('/').to_owned();
    let from = headers.get(header::RANGE).and_then(|range| first_byte(range.to_str().ok()?));
    let mut site = shared.lock();
    site.requests.push(SeenRequest { path: path.clone(), from });
    let bytes = match path.strip_suffix("/SHA512SUMS") {
        Some(folder) => site.sum_list(folder),
        None => site.files.get(&path).cloned(),
    };
    let fault = site.faults.get_mut(&path).and_then(VecDeque::pop_front);
    let Some(bytes) = bytes else { return status(StatusCode::NOT_FOUND, None) };
    match fault {
        None => part(bytes, from),
        Some(Fault::IgnoreRange) => part(bytes, None),
        Some(Fault::Status(code, retry_after)) => {
            status(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), retry_after)
        }
        Some(Fault::CloseAfter(count)) => {
            cut(part(bytes, from), count, stream::iter([Err(io::Error::other("told to"))]))
        }
        Some(Fault::StallAfter(count)) => cut(part(bytes, from), count, stream::pending()),
        Some(Fault::ThenReplace(newer)) => {
            site.publish(&path, newer);
            part(bytes, from)
        }
    }
}

/// `bytes=5-`
fn first_byte(range: &str) -> Option<usize> {
    range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

fn part(bytes: Bytes, from: Option<usize>) -> Response<Body> {
    let total = bytes.len();
    let response = Response::builder();
    let response = match from {
        None => response.header(header::CONTENT_LENGTH, total).body(Body::from(bytes)),
        Some(from) if from >= total => response
            .status(StatusCode::RANGE_NOT_SATISFIABLE)
            .header(header::CONTENT_RANGE, format!("bytes */{total}"))
            .body(Body::empty()),
        Some(from) => response
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, format!("bytes {from}-{}/{total}", total - 1))
            .header(header::CONTENT_LENGTH, total - from)
            .body(Body::from(bytes.slice(from..))),
    };
    response.expect("headers are valid")
}

fn status(code: StatusCode, retry_after: Option<u64>) -> Response<Body> {
    let mut response = Response::builder().status(code);
    if let Some(seconds) = retry_after {
        response = response.header(header::RETRY_AFTER, seconds);
    }
    response.body(Body::empty()).expect("headers are valid")
}

/// The first `count` bytes of the response, then `end`. Its length stays what it would have been.
fn cut(
    response: Response<Body>,
    count: usize,
    end: impl futures::Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let mut left = count;
    let start = body.into_data_stream().map(move |bytes| {
        let mut bytes = bytes.unwrap_or_default();
        bytes.truncate(left);
        left -= bytes.len();
        Ok::<_, Infallible>(bytes)
    });
    let start = start.map(|bytes| bytes.map_err(io::Error::other));
    // Given a turn, the server sends what it has before it learns of the end.
    let turn = stream::once(async {
        tokio::task::yield_now().await;
        Ok(Bytes::new())
    });
    Response::from_parts(parts, Body::from_stream(start.chain(turn).chain(end)))
}
