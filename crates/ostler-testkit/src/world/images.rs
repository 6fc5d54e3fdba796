//! Images that are empty files.

use super::FakeWorld;
use async_trait::async_trait;
use ostler_core::{
    Result,
    ports::{Images, Reporter},
    spec::ImageRef,
};
use std::path::PathBuf;

#[async_trait]
impl Images for FakeWorld {
    async fn cached(&self, _: &ImageRef) -> Result<Option<PathBuf>> {
        let path = self.dir.path("images/image");
        self.faults.around("images.cached", async { Ok(path.exists().then_some(path)) }).await
    }

    async fn ensure(&self, _: &ImageRef, _: &dyn Reporter) -> Result<PathBuf> {
        self.faults
            .around("images.ensure", async {
                self.dir.write("images/image", &"");
                Ok(self.dir.path("images/image"))
            })
            .await
    }
}
