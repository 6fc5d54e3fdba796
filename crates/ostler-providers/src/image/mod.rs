//! Images that servers boot from: Debian's official ones, pulled and verified; the same made here; or the user's own.
//!
//! Pulling and building end in the same folder (`store`), so whoever needs an image asks for its name and does not care how
//! it came. Nothing is ever built unasked: it takes minutes and other programs, so a site that is out of reach is an error
//! which names the way out.

mod build;
mod error;
mod pull;
mod site;
mod store;
mod sum;

pub use build::BUILD_PROGRAMS;
pub use error::ImageError;
pub use site::Patience;
pub use store::{CachedImage, Origin};
pub use sum::Sum;

use ostler_core::{ports::Reporter, spec::ImageRef};
use std::path::{Path, PathBuf};

/// The cache of images in one folder.
#[derive(Clone, Debug)]
pub struct ImageStore {
    folder: store::Folder,
    site: String,
    patience: Patience,
}

impl ImageStore {
    /// Images in `dir`, pulled from Debian's own site. Nothing is touched yet.
    pub fn new(dir: PathBuf) -> Self {
        Self::with_site(dir, site::DEBIAN.into())
    }

    /// The same with a mirror of <https://cloud.debian.org/images/cloud>, by `http` or `https`.
    pub fn with_site(dir: PathBuf, base_url: String) -> Self {
        Self { folder: store::Folder::new(dir), site: base_url, patience: Patience::default() }
    }

    /// The same with other time-outs.
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// The newest official image of this name: downloaded unless it is at hand, or the site is out of reach and an older
    /// one is at hand. An interrupted download goes on where it was. On failure, an unfinished download stays.
    pub async fn pull(&self, name: &str, reporter: &dyn Reporter) -> Result<PathBuf, ImageError> {
        pull::named(self, site::known(name)?, reporter).await
    }

    /// Makes the image of this name from the packages of the Debian mirror that this machine uses. On failure, nothing
    /// but a log stays.
    pub async fn build(&self, name: &str, reporter: &dyn Reporter) -> Result<PathBuf, ImageError> {
        build::build(&self.folder, site::known(name)?.name, reporter).await
    }

    /// All images at hand, newest first.
    pub fn list(&self) -> Result<Vec<CachedImage>, ImageError> {
        self.folder.list()
    }

    /// Where an image can be had for somebody else, who fetches it or is given it: here if it is at hand, else where it is
    /// published, with the checksum that it must have.
    pub(crate) async fn source(&self, image: &ImageRef, reporter: &dyn Reporter) -> Result<Source, ImageError> {
        let name = match image {
            ImageRef::Named(name) => name.clone(),
            ImageRef::Path(path) => pull::name_of(&path.to_string_lossy()),
            ImageRef::Url { url, .. } => pull::name_of(url),
        };
        if let Some(path) = self.cached(image)? {
            let sum = blocking("read", &path, Sum::sha512_of).await?;
            return Ok(Source { name, sum, place: Place::File(path) });
        }
        let (url, sum) = match image {
            ImageRef::Named(name) => pull::published(self, site::known(name)?, reporter).await?,
            ImageRef::Path(path) => return Err(ImageError::NoSuchFile(path.clone())),
            ImageRef::Url { url, checksum } => (url.clone(), checksum.parse()?),
        };
        Ok(Source { name, sum, place: Place::Url(url) })
    }

    /// Where the image of this name is published.
    pub(crate) fn url_of(&self, name: &str) -> Result<String, ImageError> {
        Ok(site::known(name)?.url(&self.site))
    }

    /// The image's file if it is at hand, without any network.
    pub fn cached(&self, image: &ImageRef) -> Result<Option<PathBuf>, ImageError> {
        let found = match image {
            ImageRef::Named(name) => self.folder.newest(site::known(name)?.name)?,
            ImageRef::Path(path) => return Ok(path.is_file().then(|| path.clone())),
            ImageRef::Url { checksum, .. } => self.folder.with_sum(&checksum.parse()?)?,
        };
        Ok(found.map(|image| image.path))
    }

    /// The image's file, fetched and verified if it is not at hand yet.
    pub async fn ensure(&self, image: &ImageRef, reporter: &dyn Reporter) -> Result<PathBuf, ImageError> {
        if let Some(path) = self.cached(image)? {
            return Ok(path);
        }
        match image {
            ImageRef::Named(name) => self.pull(name, reporter).await,
            ImageRef::Path(path) => Err(ImageError::NoSuchFile(path.clone())),
            ImageRef::Url { url, checksum } => pull::url(self, url, checksum.parse()?, reporter).await,
        }
    }
}

/// Where an image can be had.
pub(crate) struct Source {
    /// What it is called.
    pub name: String,
    /// What its checksum is.
    pub sum: Sum,
    /// Where it is.
    pub place: Place,
}

/// Here or there.
pub(crate) enum Place {
    /// A file here.
    File(PathBuf),
    /// A download.
    Url(String),
}

/// For errors of a thread that ended badly, which only happens when the runtime shuts down.
async fn blocking<T: Send + 'static>(
    action: &'static str,
    path: &Path,
    work: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
) -> Result<T, ImageError> {
    let owned = path.to_owned();
    tokio::task::spawn_blocking(move || work(&owned))
        .await
        .map_err(std::io::Error::from)
        .and_then(|result| result)
        .map_err(ImageError::file(action, path))
}
