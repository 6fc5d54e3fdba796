//! Nobody sits in front of the fake world.

use super::FakeWorld;
use async_trait::async_trait;
use ostler_core::{Result, ports::Ask, secret::Secret};

#[async_trait]
impl Ask for FakeWorld {
    async fn secret(&self, _: &str) -> Result<Option<Secret>> {
        Ok(None)
    }

    async fn confirm(&self, _: &str) -> Result<Option<bool>> {
        Ok(None)
    }
}
