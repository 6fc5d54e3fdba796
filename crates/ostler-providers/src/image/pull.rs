//! Downloads: verified, resumable, and polite to a site that has trouble.
//!
//! The checksum is known before the first byte comes, so an unfinished file is named by it and is only ever continued with
//! the same file, although Debian's `latest` moves. Nothing becomes an image before its checksum is right.

use super::{
    ImageStore, blocking,
    error::ImageError,
    site::{self, Known},
    store::Origin,
    sum::Sum,
};
use futures::StreamExt;
use ostler_core::{
    event::{EventKind, Level, ProgressUnit},
    ports::Reporter,
};
use reqwest::{Client, Response, StatusCode, header};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::{fs::File, io::AsyncWriteExt};

/// Gets an image that is known by name.
pub(super) async fn named(store: &ImageStore, image: &Known, reporter: &dyn Reporter) -> Result<PathBuf, ImageError> {
    let _lock = store.folder.lock(image.name, || waiting(image.name, reporter)).await?;
    let transfer = Transfer::new(store, image.name, &store.site, reporter)?;
    let list_url = image.sums_url(&store.site);
    let list = match transfer.text(&list_url).await {
        Ok(list) => list,
        // Whatever ails the site: an older image is better than none, and the user is told.
        Err(error) => {
            let Some(cached) = store.folder.newest(image.name)? else { return Err(error) };
            let message =
                format!("using image {} of {}, which may not be the newest: {error}", image.name, day(cached.date));
            notice(reporter, Level::Warning, message).await;
            return Ok(cached.path);
        }
    };
    let sum = image.sum_in(&list, &list_url)?;
    if let Some(cached) = store.folder.with_sum(&sum)? {
        return Ok(cached.path);
    }
    let url = image.url(&store.site);
    match transfer.fetch(&url, &sum).await {
        // `latest` may have moved between the two requests.
        Err(error @ ImageError::WrongSum { .. }) => match image.sum_in(&transfer.text(&list_url).await?, &list_url)? {
            newer if newer != sum => transfer.fetch(&url, &newer).await,
            _ => Err(error),
        },
        result => result,
    }
}

/// Where an image that is known by name is published now, and its checksum.
pub(super) async fn published(
    store: &ImageStore,
    image: &Known,
    reporter: &dyn Reporter,
) -> Result<(String, Sum), ImageError> {
    let list_url = image.sums_url(&store.site);
    let list = Transfer::new(store, image.name, &store.site, reporter)?.text(&list_url).await?;
    Ok((image.url(&store.site), image.sum_in(&list, &list_url)?))
}

/// Gets an image that a spec names by URL and checksum.
pub(super) async fn url(
    store: &ImageStore,
    url: &str,
    sum: Sum,
    reporter: &dyn Reporter,
) -> Result<PathBuf, ImageError> {
    let name = name_of(url);
    let _lock = store.folder.lock(&name, || waiting(&name, reporter)).await?;
    if let Some(cached) = store.folder.with_sum(&sum)? {
        return Ok(cached.path);
    }
    Transfer::new(store, &name, url, reporter)?.fetch(url, &sum).await
}

/// What comes from one site for one image.
struct Transfer<'a> {
    store: &'a ImageStore,
    name: &'a str,
    reporter: &'a dyn Reporter,
    client: Client,
}

impl<'a> Transfer<'a> {
    fn new(store: &'a ImageStore, name: &'a str, site: &str, reporter: &'a dyn Reporter) -> Result<Self, ImageError> {
        Ok(Self { store, name, reporter, client: site::client(&store.patience, site)? })
    }

    /// A small text.
    async fn text(&self, url: &str) -> Result<String, ImageError> {
        let mut tries = Tries::new(self);
        loop {
            let got = async {
                let response = self.request(url, 0).await?;
                let response = accepted(response, url)?;
                let mut text = Vec::new();
                let mut body = response.bytes_stream();
                while let Some(bytes) = self.next(&mut body, url, 0).await? {
                    text.extend_from_slice(&bytes);
                    if text.len() > LONGEST_TEXT {
                        break;
                    }
                }
                Ok(String::from_utf8_lossy(&text).into_owned())
            };
            match got.await {
                Ok(text) => return Ok(text),
                Err(error) => tries.after(error, 0).await?,
            }
        }
    }

    /// The file with this checksum, which becomes an image.
    async fn fetch(&self, url: &str, sum: &Sum) -> Result<PathBuf, ImageError> {
        let folder = &self.store.folder;
        let partial = folder.partial(self.name, sum);
        folder.remove_other_partials(self.name, &partial)?;
        let was_resumed = length(&partial) > 0;
        self.download(url, &partial).await?;
        let mut found = self.sum_of(&partial, sum).await?;
        if found != *sum && was_resumed {
            // What an earlier run left may be broken, such as by a power cut: that is not the site's fault.
            notice(self.reporter, Level::Warning, format!("the first part of {} was broken; starting over", self.name))
                .await;
            remove(&partial)?;
            self.download(url, &partial).await?;
            found = self.sum_of(&partial, sum).await?;
        }
        if found != *sum {
            remove(&partial)?;
            return Err(ImageError::WrongSum { url: url.to_owned(), expected: sum.clone(), found });
        }
        folder.add(&partial, self.name, found, Origin::Pulled(url.to_owned()))
    }

    async fn sum_of(&self, file: &Path, like: &Sum) -> Result<Sum, ImageError> {
        let like = like.clone();
        blocking("read", file, move |file| like.same_kind_of(file)).await
    }

    /// Brings `partial` to its full length, whatever it holds.
    async fn download(&self, url: &str, partial: &Path) -> Result<(), ImageError> {
        let mut tries = Tries::new(self);
        loop {
            match self.attempt(url, partial).await {
                Ok(()) => return Ok(()),
                Err(error) => tries.after(error, length(partial)).await?,
            }
        }
    }

    /// One request for what `partial` lacks.
    async fn attempt(&self, url: &str, partial: &Path) -> Result<(), ImageError> {
        let have = length(partial);
        let mut response = self.request(url, have).await?;
        let mut start = 0;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            // Nothing is left to send (RFC 9110 section 15.5.17), or the file is shorter than what is here.
            if have > 0 && content_range(&response).is_some_and(|(_, total)| total == Some(have)) {
                return Ok(());
            }
            response = self.request(url, 0).await?;
        }
        let response = accepted(response, url)?;
        let mut total = response.content_length();
        if response.status() == StatusCode::PARTIAL_CONTENT {
            match content_range(&response) {
                Some((Some(first), whole)) if first == have => {
                    start = have;
                    total = whole.or(total.map(|rest| rest + have));
                }
                // Not the part that was asked for: of no use.
                _ => return Err(broken(url, have, None)),
            }
        }
        if let Some(total) = total {
            self.store.folder.check_space(total.saturating_sub(start) + RESERVE)?;
        }
        self.save(response, url, partial, start, total).await
    }

    async fn save(
        &self,
        response: Response,
        url: &str,
        partial: &Path,
        start: u64,
        total: Option<u64>,
    ) -> Result<(), ImageError> {
        let failed = || ImageError::file("write", partial);
        let mut file = File::options().create(true).append(true).open(partial).await.map_err(failed())?;
        file.set_len(start).await.map_err(failed())?;
        let mut meter = Meter { transfer: self, total, last: None };
        let mut received = start;
        let mut body = response.bytes_stream();
        let result = loop {
            meter.show(received, false).await;
            match self.next(&mut body, url, received).await {
                Ok(Some(bytes)) => {
                    file.write_all(&bytes).await.map_err(failed())?;
                    received += bytes.len() as u64;
                }
                Ok(None) if total.is_some_and(|total| received < total) => break Err(broken(url, received, None)),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        // What came is kept also where the rest did not.
        file.flush().await.map_err(failed())?;
        if result.is_ok() {
            meter.show(received, true).await;
        }
        result
    }

    /// Asks for everything from byte `from` on.
    async fn request(&self, url: &str, from: u64) -> Result<Response, ImageError> {
        let mut request = self.client.get(url);
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let idle = self.store.patience.idle;
        match tokio::time::timeout(idle, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(source)) if source.is_connect() => {
                Err(ImageError::SiteUnreachable { url: url.to_owned(), source: source.without_url() })
            }
            Ok(Err(source)) => Err(broken(url, from, Some(source))),
            Err(_) => Err(ImageError::Stalled { url: url.to_owned(), idle }),
        }
    }

    async fn next<B: AsRef<[u8]>>(
        &self,
        body: &mut (impl futures::Stream<Item = reqwest::Result<B>> + Unpin),
        url: &str,
        received: u64,
    ) -> Result<Option<B>, ImageError> {
        let idle = self.store.patience.idle;
        match tokio::time::timeout(idle, body.next()).await {
            Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
            Ok(Some(Err(source))) => Err(broken(url, received, Some(source))),
            Ok(None) => Ok(None),
            Err(_) => Err(ImageError::Stalled { url: url.to_owned(), idle }),
        }
    }
}

/// Longest list of checksums in bytes; Debian's has some 10 KiB.
const LONGEST_TEXT: usize = 1 << 20;

/// Bytes that a download leaves free on the disk.
const RESERVE: u64 = 64 << 20;

/// Progress, at most this often.
const METER_PERIOD: Duration = Duration::from_millis(500);

/// As many new bytes make a failed attempt count as progress, so that a bad line ends in time all the same.
const WORTHWHILE: u64 = 1 << 20;

/// When to try again, and when to give up.
struct Tries<'a> {
    transfer: &'a Transfer<'a>,
    failed: u32,
    furthest: u64,
}

impl<'a> Tries<'a> {
    fn new(transfer: &'a Transfer<'a>) -> Self {
        Self { transfer, failed: 0, furthest: 0 }
    }

    /// Pauses after a failed attempt that left `received` bytes, or hands the error back to end it.
    async fn after(&mut self, error: ImageError, received: u64) -> Result<(), ImageError> {
        let patience = &self.transfer.store.patience;
        if received >= self.furthest + WORTHWHILE {
            self.failed = 0;
        }
        self.furthest = self.furthest.max(received);
        self.failed += 1;
        // Who never answered is not there; one more try is for a lost packet.
        let attempts = match error {
            ImageError::SiteUnreachable { .. } if self.furthest == 0 => patience.attempts.min(2),
            _ => patience.attempts,
        };
        if !error.is_transient() || self.failed >= attempts {
            return Err(error);
        }
        let pause = match &error {
            ImageError::Status { retry_after: Some(wait), .. } if *wait > patience.longest_pause => return Err(error),
            ImageError::Status { retry_after: Some(wait), .. } => *wait,
            _ => patience.pause.saturating_mul(1 << (self.failed - 1).min(16)).min(patience.longest_pause),
        };
        let message = format!("{error}; trying again in {} s", pause.as_secs_f32().ceil());
        notice(self.transfer.reporter, Level::Info, message).await;
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Tells how far a download is.
struct Meter<'a> {
    transfer: &'a Transfer<'a>,
    total: Option<u64>,
    last: Option<Instant>,
}

impl Meter<'_> {
    async fn show(&mut self, done: u64, at_once: bool) {
        if !at_once && self.last.is_some_and(|last| last.elapsed() < METER_PERIOD) {
            return;
        }
        self.last = Some(Instant::now());
        let what = format!("image {}", self.transfer.name);
        let kind = EventKind::Progress { what, done, total: self.total, unit: ProgressUnit::Bytes };
        self.transfer.reporter.report(kind).await;
    }
}

/// The response if its status is a success.
fn accepted(response: Response, url: &str) -> Result<Response, ImageError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    Err(ImageError::Status { url: url.to_owned(), status, retry_after: retry_after(&response) })
}

/// Seconds or a date (RFC 9110 section 10.2.3).
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(jiff::Timestamp::now())).unwrap_or_default())
}

/// First byte and length of the whole, as far as told: `bytes 5-9/10`, `bytes */10` (RFC 9110 section 14.4).
fn content_range(response: &Response) -> Option<(Option<u64>, Option<u64>)> {
    let value = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-').and_then(|(first, _)| first.parse().ok()), total.parse().ok()))
}

/// Name of an image from elsewhere: the file name of its URL, with nothing in it that a file name can't bear.
pub(super) fn name_of(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let file = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = stem.chars().filter(|c| is_plain(*c)).take(64).collect();
    let name = name.trim_start_matches('.');
    // A known image's name stays its own.
    if name.is_empty() || site::known(name).is_ok() { format!("url-{name}") } else { name.to_owned() }
}

fn broken(url: &str, received: u64, source: Option<reqwest::Error>) -> ImageError {
    ImageError::Broken { url: url.to_owned(), received, source: source.map(reqwest::Error::without_url) }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |it| it.len())
}

fn remove(path: &Path) -> Result<(), ImageError> {
    std::fs::remove_file(path).map_err(ImageError::file("remove", path))
}

fn day(date: jiff::Timestamp) -> String {
    date.strftime("%Y-%m-%d").to_string()
}

async fn waiting(name: &str, reporter: &dyn Reporter) {
    notice(reporter, Level::Info, format!("waiting for another Ostler that is getting image {name}")).await;
}

async fn notice(reporter: &dyn Reporter, level: Level, message: String) {
    reporter.report(EventKind::Notice { level, message }).await;
}
