//! The folder of images.
//!
//! An image is named by its own checksum and never changes, because the disks of machines are overlays of it: a newer one
//! stands beside it. What it is stands in a record beside it, written first, so that an image without a record is no image.
//! Everything arrives by rename: what is there is whole.

use super::{error::ImageError, sum::Sum};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// An image at hand.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CachedImage {
    /// What it is called: `debian-13`, or the file name of its URL.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Where it came from.
    pub origin: Origin,
    /// Its checksum.
    pub sum: Sum,
    /// When it arrived.
    pub date: jiff::Timestamp,
}

/// Where an image came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Downloaded from this URL.
    Pulled(String),
    /// Made here from this package mirror.
    Built(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pulled(url) => write!(f, "pulled from {url}"),
            Self::Built(mirror) => write!(f, "built from {mirror}"),
        }
    }
}

/// What the record beside an image holds.
#[derive(Serialize, Deserialize)]
struct Record {
    name: String,
    size: u64,
    origin: Origin,
    sum: Sum,
    date: jiff::Timestamp,
}

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// All images, newest first.
    pub fn list(&self) -> Result<Vec<CachedImage>, ImageError> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(ImageError::file("read", &self.0))?,
        };
        let mut images = Vec::new();
        for entry in entries {
            let path = entry.map_err(ImageError::file("read", &self.0))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                images.extend(read_record(&path)?);
            }
        }
        images.sort_by(|a, b| b.date.cmp(&a.date).then_with(|| a.path.cmp(&b.path)));
        Ok(images)
    }

    /// The newest image of this name.
    pub fn newest(&self, name: &str) -> Result<Option<CachedImage>, ImageError> {
        Ok(self.list()?.into_iter().find(|image| image.name == name))
    }

    /// The image with this checksum.
    pub fn with_sum(&self, sum: &Sum) -> Result<Option<CachedImage>, ImageError> {
        Ok(self.list()?.into_iter().find(|image| image.sum == *sum))
    }

    /// Takes in a whole and verified file of this folder. Its name does not tell its format: qcow2, or as a URL gives it.
    pub fn add(&self, file: &Path, name: &str, sum: Sum, origin: Origin) -> Result<PathBuf, ImageError> {
        let image = self.0.join(format!("{name}-{}.img", sum.short()));
        let record = image.with_extension("json");
        let written = File::open(file).map_err(ImageError::file("open", file))?;
        written.sync_all().map_err(ImageError::file("write out", file))?;
        let size = written.metadata().map_err(ImageError::file("read", file))?.len();
        let text = Record { name: name.to_owned(), size, origin, sum, date: jiff::Timestamp::now() };
        let text =
            serde_json::to_vec_pretty(&text).map_err(|source| ImageError::Damaged { path: record.clone(), source })?;
        tempfile::NamedTempFile::new_in(&self.0)
            .and_then(|mut fresh| {
                io::Write::write_all(&mut fresh, &text)?;
                fresh.as_file().sync_all()?;
                fresh.persist(&record).map_err(|error| error.error)?;
                Ok(())
            })
            .map_err(ImageError::file("write", &record))?;
        fs::rename(file, &image).map_err(ImageError::file("make", &image))?;
        File::open(&self.0).and_then(|dir| dir.sync_all()).map_err(ImageError::file("write out", &self.0))?;
        Ok(image)
    }

    /// The unfinished download of the file with this checksum.
    pub fn partial(&self, name: &str, sum: &Sum) -> PathBuf {
        self.0.join(format!("{name}-{}.part", sum.short()))
    }

    /// Removes unfinished downloads of this name whose file is no longer wanted.
    pub fn remove_other_partials(&self, name: &str, wanted: &Path) -> Result<(), ImageError> {
        let prefix = format!("{name}-");
        for entry in fs::read_dir(&self.0).map_err(ImageError::file("read", &self.0))? {
            let path = entry.map_err(ImageError::file("read", &self.0))?.path();
            let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            if path != wanted && file.starts_with(&prefix) && file.ends_with(".part") {
                fs::remove_file(&path).map_err(ImageError::file("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Fails unless the folder's disk has `needed` bytes free.
    pub fn check_space(&self, needed: u64) -> Result<(), ImageError> {
        let stat =
            rustix::fs::statvfs(&self.0).map_err(io::Error::from).map_err(ImageError::file("look at", &self.0))?;
        let free = stat.f_bavail * stat.f_frsize;
        if free < needed {
            return Err(ImageError::NoSpace { path: self.0.clone(), free, needed });
        }
        Ok(())
    }

    /// Waits until nobody else, in this or another process, gets an image of this name. Tells once that it waits.
    pub async fn lock(&self, name: &str, waiting: impl AsyncFnOnce()) -> Result<Lock, ImageError> {
        fs::create_dir_all(&self.0).map_err(ImageError::file("make", &self.0))?;
        let path = self.0.join(format!("{name}.lock"));
        let file = File::options().create(true).append(true).open(&path).map_err(ImageError::file("open", &path))?;
        let mut waiting = Some(waiting);
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock(file)),
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(errno) => return Err(ImageError::file("lock", &path)(errno.into())),
            }
            if let Some(waiting) = waiting.take() {
                waiting().await;
            }
            // Not by a blocking flock: nobody could break off that wait.
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// How often a lock is tried.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Held until dropped; the kernel lets go of it when its owner dies.
#[derive(Debug)]
pub(super) struct Lock(#[allow(dead_code)] File);

fn read_record(path: &Path) -> Result<Option<CachedImage>, ImageError> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(ImageError::file("read", path))?,
    };
    let damaged = |source| ImageError::Damaged { path: path.to_owned(), source };
    let record: Record = serde_json::from_slice(&text).map_err(damaged)?;
    let image = path.with_extension("img");
    // Without its file, or with a file that somebody cut, it is not at hand.
    if !fs::metadata(&image).is_ok_and(|found| found.len() == record.size) {
        return Ok(None);
    }
    let Record { name, size, origin, sum, date } = record;
    Ok(Some(CachedImage { name, path: image, size, origin, sum, date }))
}
