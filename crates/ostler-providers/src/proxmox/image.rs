//! What a VM's disk is imported from: a file among the `import` content of a storage, named by its checksum.
//!
//! The node fetches it itself where it can, and compares the checksum before the file gets its name: one of that name is whole.
//! Otherwise it is uploaded from here, with the same comparison, but the node then copies it bit by bit over whatever has its name,
//! which another Ostler's VM may be importing. So each upload has a name of its own, which says how long the file is once it is whole.
//! A file that is there, and is whole, is used again.

use super::{
    client::{Client, Upload, UploadSource},
    error::ProxmoxError,
    form::{Form, encode},
    storage, task,
    wire::Volume,
};
use crate::image::{ImageStore, Place, Source};
use ostler_core::{
    event::{EventKind, Level, ProgressUnit},
    ids::OperationId,
    model::MachineOrder,
    ports::Reporter,
    spec::ProxmoxOptions,
};
use std::{
    io::Read,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// The volume of the image of `order`, which is put on the node if it is not there.
pub async fn ensure(
    client: &Client,
    options: &ProxmoxOptions,
    order: &MachineOrder,
    source: Source,
    images: &ImageStore,
    reporter: &dyn Reporter,
) -> ostler_core::Result<String> {
    let site = Site { client, options, order, reporter };
    if let Some(volume) = site.present(&source).await? {
        return Ok(volume);
    }
    let file = match &source.place {
        Place::File(path) => path.clone(),
        Place::Url(url) => match site.download(&source, url).await {
            Ok(Some(volume)) => return Ok(volume),
            // A file of an unclear format has to be looked into.
            Ok(None) => images.ensure(&order.image_ref, reporter).await?,
            Err(ProxmoxError::Task { exit, .. }) if !exit.contains("checksum") => {
                let message = format!("{} can't fetch {url} ({exit}): uploading it from here", options.node);
                reporter.report(EventKind::Notice { level: Level::Warning, message }).await;
                images.ensure(&order.image_ref, reporter).await?
            }
            Err(error) => return Err(error.into()),
        },
    };
    Ok(site.upload(&source, &file).await?)
}

/// Whether an image of this name is on the node, whatever its checksum.
pub async fn is_known(client: &Client, options: &ProxmoxOptions, name: &str) -> Result<bool, ProxmoxError> {
    let start = format!("{}:import/ostler-{name}-", options.images);
    Ok(volumes(client, options).await?.iter().any(|volume| volume.volid.starts_with(&start)))
}

struct Site<'a> {
    client: &'a Client,
    options: &'a ProxmoxOptions,
    order: &'a MachineOrder,
    reporter: &'a dyn Reporter,
}

/// The formats that a storage's `import` content has a name for.
const FORMATS: [&str; 2] = ["qcow2", "raw"];

impl Site<'_> {
    /// In whatever format it is there, and however it came.
    async fn present(&self, source: &Source) -> Result<Option<String>, ProxmoxError> {
        let volumes = volumes(self.client, self.options).await?;
        let stem = self.volume(&stem(source));
        let whole = |volume: &Volume| match volume.volid.strip_prefix(&stem) {
            Some(rest) => {
                FORMATS.iter().any(|format| rest == format!(".{format}")) || uploaded(rest) == Some(volume.size)
            }
            None => false,
        };
        Ok(volumes.into_iter().find(whole).map(|volume| volume.volid))
    }

    fn volume(&self, file: &str) -> String {
        format!("{}:import/{file}", self.options.images)
    }

    /// Lets the node fetch it; `None` where the URL does not tell the format.
    async fn download(&self, source: &Source, url: &str) -> Result<Option<String>, ProxmoxError> {
        let Some(format) = FORMATS.iter().find(|format| url.ends_with(&format!(".{format}"))) else { return Ok(None) };
        let file = format!("{}.{format}", stem(source));
        let (algorithm, digits) = source.sum.parts();
        let path =
            format!("/nodes/{}/storage/{}/download-url", encode(&self.options.node), encode(&self.options.images));
        let form = Form::new()
            .with("content", "import")
            .with("filename", &file)
            .with("url", url)
            .with("checksum-algorithm", algorithm)
            .with("checksum", digits);
        let upid: String = self.client.post(&path, &form).await?;
        task::finish(self.client, &upid, &format!("fetch image {}", source.name), self.reporter).await?;
        Ok(Some(self.volume(&file)))
    }

    async fn upload(&self, source: &Source, file: &Path) -> Result<String, ProxmoxError> {
        let format = format_of(file)?;
        let (algorithm, digits) = source.sum.parts();
        let bytes = UploadSource::file(file)?;
        let filename = format!("{}-{}-{}.{format}", stem(source), bytes.length(), self.order.operation);
        let upload = Upload {
            content: "import",
            filename: filename.clone(),
            source: bytes.clone(),
            checksum: Some((algorithm, digits.to_owned())),
        };
        let sending = self.client.upload(&self.options.node, &self.options.images, upload);
        tokio::pin!(sending);
        let upid = loop {
            tokio::select! {
                sent = &mut sending => break sent?,
                () = tokio::time::sleep(Duration::from_millis(500)) => self.show(&source.name, &bytes).await,
            }
        };
        task::finish(self.client, &upid, &format!("take in image {}", source.name), self.reporter).await?;
        Ok(self.volume(&filename))
    }

    async fn show(&self, name: &str, source: &UploadSource) {
        if let UploadSource::File { length, sent, .. } = source {
            let what = format!("image {name}");
            let (done, total) = (Arc::clone(sent).load(Ordering::Relaxed), Some(*length));
            self.reporter.report(EventKind::Progress { what, done, total, unit: ProgressUnit::Bytes }).await;
        }
    }
}

/// What the names of an image's files begin with.
fn stem(source: &Source) -> String {
    format!("ostler-{}-{}", source.name, source.sum.short())
}

/// How long the file is once it is whole, by the end of an upload's name: `-LENGTH-OPERATION.FORMAT`.
fn uploaded(rest: &str) -> Option<u64> {
    rest.strip_prefix('-')?.split('-').next()?.parse().ok()
}

/// The operation that uploads an image, by its volume's id, as long as its length is not the one that its name says: nobody boots from it then.
pub fn incomplete(volume: &Volume) -> Option<OperationId> {
    let (name, _format) = volume.volid.rsplit_once('.')?;
    // An operation's id has four hyphens itself.
    let parts: Vec<&str> = name.rsplitn(7, '-').collect();
    let [e, d, c, b, a, length, _] = parts.as_slice() else { return None };
    let operation = [*a, *b, *c, *d, *e].join("-").parse().ok()?;
    let length: u64 = length.parse().ok()?;
    (length != volume.size).then_some(operation)
}

async fn volumes(client: &Client, options: &ProxmoxOptions) -> Result<Vec<Volume>, ProxmoxError> {
    client.get(&storage::content_path(&options.node, &options.images), &Form::new().with("content", "import")).await
}

/// qcow2 by its first four bytes (docs/interop/qcow2.rst of QEMU); all else is raw.
fn format_of(file: &Path) -> Result<&'static str, ProxmoxError> {
    let failed = |source| ProxmoxError::File { path: file.display().to_string(), source };
    let mut magic = Vec::new();
    std::fs::File::open(file).map_err(failed)?.take(4).read_to_end(&mut magic).map_err(failed)?;
    Ok(if magic == b"QFI\xfb" { "qcow2" } else { "raw" })
}
