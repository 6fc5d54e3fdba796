//! What machines boot from.

use crate::{error::Result, ports::Reporter, spec::ImageRef};
use async_trait::async_trait;
use std::path::PathBuf;

/// The cache of images.
#[async_trait]
pub trait Images: Send + Sync {
    /// The image's file if it is at hand, without any network.
    async fn cached(&self, image: &ImageRef) -> Result<Option<PathBuf>>;

    /// The image's file, fetched and verified if it is not at hand yet.
    async fn ensure(&self, image: &ImageRef, reporter: &dyn Reporter) -> Result<PathBuf>;
}
