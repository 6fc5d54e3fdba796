//! Storages: `local`, a folder, and `local-lvm`, which has no files that anybody could name.

use super::{
    NODE,
    api::{Refusal, Reply, Request},
    tasks::{self, Worker},
    vms,
};
use axum::body::Bytes;
use serde_json::json;
use sha2::{Digest, Sha256, Sha512};
use std::{fs, io};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(super) fn list(request: &Request<'_>) -> Reply {
    let state = request.node.lock();
    let seen = |name: &str| {
        let path = format!("/storage/{name}");
        state.grants.may(&path, "Datastore.Audit") || state.grants.may(&path, "Datastore.AllocateSpace")
    };
    Ok(state
        .storages
        .iter()
        .filter(|(name, _)| seen(name))
        .map(|(name, storage)| {
            json!({
                "storage": name, "type": storage.kind, "content": storage.content, "avail": storage.avail,
                "total": 500_u64 << 30, "active": u8::from(storage.active), "enabled": u8::from(storage.enabled), "shared": 0,
            })
        })
        .collect())
}

pub(super) fn content(request: &Request<'_>) -> Reply {
    let mut state = request.node.lock();
    vms::settle_host(request.node, &mut state);
    let storage = request.get("storage");
    if !state.storages.contains_key(storage) {
        return Err(Refusal::died(format!("storage '{storage}' does not exist")));
    }
    state.grants.any(&format!("/storage/{storage}"), &["Datastore.Audit", "Datastore.AllocateSpace"])?;
    let kind = request.get("content");
    let vmid: Option<u32> = request.get("vmid").parse().ok();
    let volumes = state.volumes.iter().filter(|(volid, volume)| {
        volid.starts_with(&format!("{storage}:"))
            && (kind.is_empty() || kind_of(volid) == kind)
            && (vmid.is_none() || volume.vmid == vmid)
            && state.grants.sees_volume(storage, volume.vmid)
    });
    Ok(volumes
        .map(|(volid, volume)| {
            let size = fs::metadata(&volume.path).map_or(0, |file| file.len());
            json!({ "volid": volid, "content": kind_of(volid), "vmid": volume.vmid, "size": size, "format": "raw" })
        })
        .collect())
}

/// Content type of a volume by its id.
fn kind_of(volid: &str) -> &str {
    match volid.split_once(':').and_then(|(_, name)| name.split_once('/')) {
        Some((kind @ ("iso" | "import"), _)) => kind,
        _ => "images",
    }
}

/// What upload and download have in common: whether the storage takes a file of this name; its volume.
fn destination(request: &Request<'_>) -> Result<String, Refusal> {
    let state = request.node.lock();
    let (storage, content, filename) = (request.get("storage"), request.get("content"), request.get("filename"));
    state.grants.all(&format!("/storage/{storage}"), &["Datastore.AllocateTemplate"])?;
    let found = state.storages.get(storage);
    let found = found.ok_or_else(|| Refusal::died(format!("storage '{storage}' does not exist")))?;
    if found.kind != "dir" {
        return Err(Refusal::died(format!("can't upload to storage type '{}'", found.kind)));
    }
    if !found.content.split(',').any(|taken| taken == content) {
        return Err(Refusal::died(format!("storage '{storage}' does not support '{content}' content")));
    }
    let safe = filename.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.+=_".contains(&byte));
    let endings: &[&str] = if content == "iso" { &[".iso", ".img"] } else { &[".ova", ".qcow2", ".raw", ".vmdk"] };
    if !safe || !endings.iter().any(|ending| filename.ends_with(ending)) {
        let words = if content == "iso" { "wrong file extension" } else { "invalid filename or wrong extension" };
        return Err(Refusal::parameter("filename", words));
    }
    Ok(format!("{storage}:{content}/{filename}"))
}

/// What the node expects the file to be.
#[derive(Clone)]
struct Expected {
    algorithm: String,
    digits: String,
    volume: String,
}

impl Expected {
    fn of(request: &Request<'_>, volume: String) -> Self {
        let text = |key| request.get(key).to_owned();
        Self { algorithm: text("checksum-algorithm"), digits: text("checksum"), volume }
    }

    /// Compares, and puts the file where it belongs. A file of the same name is overwritten in place, as `cp` does it.
    fn take_in(&self, worker: &Worker, file: &[u8]) -> Result<(), String> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let found = match self.algorithm.as_str() {
            "" => None,
            "sha256" => Some(hex(&Sha256::digest(file))),
            "sha512" => Some(hex(&Sha512::digest(file))),
            other => return Err(format!("the fake node knows no {other}")),
        };
        match found {
            Some(found) if found != self.digits.to_lowercase() => {
                return Err(format!("checksum mismatch: got '{found}' != expect '{}'", self.digits));
            }
            Some(_) => worker.say("calculating checksum...OK, checksum verified"),
            None => {}
        }
        let is_iso = file.get(0x8001..0x8006) == Some(b"CD001");
        if kind_of(&self.volume) == "iso" && !is_iso {
            return Err("wrong file type: not an ISO 9660 image".to_owned());
        }
        let name = self.volume.split_once(':').map_or("", |(_, name)| name);
        let path = worker.node.path(name);
        worker.say(format!("target file: {}", path.display()));
        let failed = |error: io::Error| format!("import failed: {error}");
        fs::write(&path, file).map_err(failed)?;
        worker.node.lock().add_volume(&self.volume, None, path);
        worker.say("finished file import successfully");
        Ok(())
    }
}

pub(super) fn upload(request: &Request<'_>) -> Reply {
    let volume = destination(request)?;
    let file = request.file.clone().ok_or_else(|| Refusal::died("missing temporary file name"))?;
    let expected = Expected::of(request, volume);
    let mut state = request.node.lock();
    let work = move |worker: Worker| async move { expected.take_in(&worker, &file) };
    tasks::begin(request.node, &mut state, "imgcopy", "", work, |_| {}, |_| {})
}

pub(super) fn download(request: &Request<'_>) -> Reply {
    request.node.lock().grants.network()?;
    let volume = destination(request)?;
    let expected = Expected::of(request, volume);
    let url = request.get("url").to_owned();
    let mut state = request.node.lock();
    let work = move |worker: Worker| async move {
        worker.say(format!("downloading {url} to {}", expected.volume));
        let file = fetch(&url).await.map_err(|error| format!("download failed: {error}"))?;
        expected.take_in(&worker, &file)
    };
    tasks::begin(request.node, &mut state, "download", "", work, |_| {}, |_| {})
}

pub(super) async fn query_url(request: &Request<'_>) -> Reply {
    request.node.lock().grants.network()?;
    match fetch(request.get("url")).await {
        Ok(file) => Ok(json!({ "size": file.len(), "mimetype": "application/octet-stream" })),
        Err(error) => Err(Refusal::died(format!("invalid server response: '{error}'"))),
    }
}

/// `http://HOST:PORT/PATH`, the way that needs nothing: HTTP/1.0.
async fn fetch(url: &str) -> io::Result<Bytes> {
    let rest = url.strip_prefix("http://").ok_or_else(|| io::Error::other("500 Can't connect (no route to host)"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host).await?;
    stream.write_all(format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or_else(|| io::Error::other("no answer"))?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let line = head.lines().next().unwrap_or_default();
    if line.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(line.to_owned()));
    }
    Ok(Bytes::from(answer).slice(end + 4..))
}

pub(super) fn delete(request: &Request<'_>) -> Reply {
    let mut state = request.node.lock();
    let volume = match request.get("volume") {
        volume if volume.contains(':') => volume.to_owned(),
        name => format!("{}:{name}", request.get("storage")),
    };
    let storage = volume.split(':').next().unwrap_or_default().to_owned();
    state.grants.all(&format!("/storage/{storage}"), &["Datastore.Allocate"])?;
    let id = state.volumes.get(&volume).and_then(|found| found.vmid).map(|vmid| format!("{vmid}@")).unwrap_or_default();
    let work = move |worker: Worker| async move {
        let mut state = worker.node.lock();
        if !state.volumes.contains_key(&volume) {
            return Err(format!("no such volume '{volume}' on {NODE}"));
        }
        state.remove_volume(&volume);
        drop(state);
        worker.say(format!("Removed volume '{volume}'"));
        Ok(())
    };
    tasks::begin(request.node, &mut state, "imgdel", &format!("{id}{storage}"), work, |_| {}, |_| {})
}
